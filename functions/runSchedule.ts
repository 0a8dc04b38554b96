/** POST /api/schedules/{name}/run: submits a schedule's job now, beside its slots, also while it is paused. */
import { toJobId } from "../lib/jobId.ts";
import { backlogFull, checkPayload, ownTask, servedElsewhere, toStored } from "../lib/newJob.ts";
import { operation, Reply } from "../lib/operation.ts";
import { foundSchedule, namedSchedule, toNewJob } from "../lib/schedules.ts";
import type { NewJob } from "../lib/storage/storage.ts";
import { jobText } from "../lib/wire.ts";

export const runSchedule = operation("runSchedule", async ({ params, store, deps, traceId, traceParent }) => {
	const schedule = foundSchedule(await store.getSchedule(namedSchedule(params)));
	const task = ownTask(schedule.task, deps.tasks) ?? (await servedElsewhere(schedule.task, "/task", deps.tasks, store));
	checkPayload(schedule.task, task, JSON.parse(schedule.payload));
	const job: NewJob = { ...toNewJob(schedule, deps, traceId), ...(traceParent === undefined ? {} : { traceParent }) };
	const answer = await store.insertJob(job, deps.clock.now());
	if (answer.status === "backlog_full") throw backlogFull(store.tenant);
	if (answer.status !== "created") throw new Error(`a job without a key was ${answer.status}`);
	deps.wake.ring();
	const stored = toStored(job, answer, store.tenant);
	const id = toJobId(stored);
	return new Reply(jobText(stored, { id }), { location: `/api/jobs/${id}` });
});
