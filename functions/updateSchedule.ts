/** PATCH /api/schedules/{name}: changes what is given of a schedule, pauses it or lets it go on. */
import { taskFor } from "../lib/newJob.ts";
import { operation } from "../lib/operation.ts";
import { firstSlot, foundSchedule, namedSchedule, toWireSchedule } from "../lib/schedules.ts";

export const updateSchedule = operation("updateSchedule", async ({ params, body, store, deps }) => {
	const nowMs = deps.clock.now();
	const old = foundSchedule(await store.getSchedule(namedSchedule(params)));
	const name = body.task ?? old.task;
	const payload = body.payload === undefined ? JSON.parse(old.payload) : (body.payload ?? {});
	if (typeof body.task === "string" || body.payload !== undefined) await taskFor({ name, pointer: "/task", payload }, deps.tasks, store);
	const cron = body.cron ?? old.cron;
	const timezone = body.timezone ?? old.timezone;
	const paused = body.paused ?? old.paused;
	// One whose times stay keeps the slot that it waits for, or that is due at this moment.
	const isNew = cron !== old.cron || timezone !== old.timezone || (!paused && old.nextAt === null);
	const nextAt = isNew ? firstSlot(cron, timezone, nowMs) : old.nextAt;

	// Another may have deleted it by now: then it stays so.
	const schedule = await store.changeSchedule(
		{
			name: old.name,
			task: name,
			payload: JSON.stringify(payload),
			cron,
			timezone,
			missed: body.missed ?? old.missed,
			overlap: body.overlap ?? old.overlap,
			paused,
			maxRetries: body.max_retries ?? old.maxRetries,
			nextAt: paused ? null : nextAt,
		},
		nowMs,
	);
	deps.wake.ring();
	return toWireSchedule(foundSchedule(schedule), nowMs);
});
