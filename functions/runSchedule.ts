/** POST /api/schedules/{name}/run: submits a schedule's job now, beside its slots, also while it is paused. */
import { toJobId } from "../lib/jobId.ts";
import { storeJob, taskFor } from "../lib/newJob.ts";
import { operation, Reply } from "../lib/operation.ts";
import { foundSchedule, namedSchedule, toNewJob } from "../lib/schedules.ts";
import type { NewJob } from "../lib/storage/storage.ts";
import { jobText } from "../lib/wire.ts";

export const runSchedule = operation("runSchedule", async ({ params, store, deps, traceId, traceParent }) => {
	const schedule = foundSchedule(await store.getSchedule(namedSchedule(params)));
	await taskFor({ name: schedule.task, pointer: "/task", payload: JSON.parse(schedule.payload) }, deps.tasks, store);
	const job: NewJob = { ...toNewJob(schedule, deps, traceId), ...(traceParent === undefined ? {} : { traceParent }) };
	const stored = await storeJob(job, deps.clock.now(), store, deps);
	const id = toJobId(stored);
	return new Reply(jobText(stored, { id }), { location: `/api/jobs/${id}` });
});
