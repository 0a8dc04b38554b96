/** POST /api/schedules: from now on a job for each slot of a cron line. */
import { maxRetriesOf, taskFor } from "../lib/newJob.ts";
import { operation, Reply } from "../lib/operation.ts";
import { Problem } from "../lib/problem.ts";
import { firstSlot, toWireSchedule } from "../lib/schedules.ts";

/** Schedules of one tenant. */
const SCHEDULES_MAX = 1000;

export const createSchedule = operation("createSchedule", async ({ body, store, deps }) => {
	const nowMs = deps.clock.now();
	const { name, cron } = body;
	const timezone = body.timezone ?? "UTC";
	const payload = body.payload ?? {};
	const paused = body.paused ?? false;
	const nextAt = firstSlot(cron, timezone, nowMs);
	const task = await taskFor({ name: body.task, pointer: "/task", payload }, deps.tasks, store);

	const schedule = await store.putSchedule(
		{
			name,
			task: body.task,
			payload: JSON.stringify(payload),
			cron,
			timezone,
			missed: body.missed ?? "skip",
			overlap: body.overlap ?? "queue",
			paused,
			maxRetries: body.max_retries ?? maxRetriesOf(task),
			nextAt: paused ? null : nextAt,
		},
		nowMs,
		SCHEDULES_MAX,
	);
	if (schedule === null) throw (await store.getSchedule(name)) === null ? full(store.tenant) : exists(name);
	deps.wake.ring();
	return new Reply(JSON.stringify(toWireSchedule(schedule, nowMs)), { location: `/api/schedules/${name}` });
});

const exists = (name: string): Problem =>
	new Problem("schedule_exists", `There is a schedule ${name} already. Change it with PATCH /api/schedules/${name}, or use another name.`);
const full = (tenant: string): Problem =>
	new Problem("schedules_full", `${tenant} has ${SCHEDULES_MAX} schedules, the most that it may have. Delete one first.`, {
		members: { limit: SCHEDULES_MAX },
	});
