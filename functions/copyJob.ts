/** POST /api/jobs/{id}/copy: a new job like an old one, to run at once; with another payload if one is given. */
import type { Body } from "../lib/contract.ts";
import { found, refOf } from "../lib/findJob.ts";
import type { Job } from "../lib/job.ts";
import { toJobId } from "../lib/jobId.ts";
import { maxRetriesOf, storeJob, taskFor, type Work } from "../lib/newJob.ts";
import { operation, Reply } from "../lib/operation.ts";
import { taskPayload } from "../lib/runJob.ts";
import type { NewJob } from "../lib/storage/storage.ts";
import { jobText } from "../lib/wire.ts";

export const copyJob = operation("copyJob", async ({ params, body, store, deps, traceId, traceParent }) => {
	const nowMs = deps.clock.now();
	const old = found(await store.getJob(refOf(params.id)));
	const work = workOf(old, body);
	const { name, payload, taskInPayload } = work;
	const task = await taskFor(work, deps.tasks, store);
	const priority = body.priority ?? old.priority;

	const job: NewJob = {
		task: name,
		payload: JSON.stringify(payload),
		taskInPayload,
		// Another task has a number of its own.
		maxRetries: body.max_retries ?? (name === old.task ? old.maxRetries : maxRetriesOf(task)),
		tail: deps.random.tail(),
		traceId,
		copyOf: toJobId(old),
		...(priority === 0 ? {} : { priority }),
		...(old.timeoutMs === null ? {} : { timeoutMs: old.timeoutMs }),
		...(old.key === null ? {} : { key: old.key }),
		...(old.tags.length === 0 ? {} : { tags: old.tags }),
		...(old.webhookUrl === null ? {} : { webhookUrl: old.webhookUrl }),
		...(traceParent === undefined ? {} : { traceParent }),
	};
	const copy = await storeJob(job, nowMs, store, deps);
	const id = toJobId(copy);
	return new Reply(jobText(copy, { id }), { location: `/api/jobs/${id}` });
});

/** The task and the payload. Where the old payload named the task, a new one may, too; `task` beside it has the last word. */
function workOf(old: Job, body: Body<"copyJob">): Required<Work> {
	const payload = body.payload ?? JSON.parse(old.payload);
	const inPayload = old.taskInPayload ? (payload as { task?: unknown } | null)?.task : undefined;
	if (typeof inPayload !== "string") return { name: body.task ?? old.task, pointer: "/task", payload, taskInPayload: false };
	if (typeof body.task === "string")
		return { name: body.task, pointer: "/task", payload: taskPayload(payload, true), taskInPayload: false };
	return { name: inPayload, pointer: "/payload/task", payload, taskInPayload: true };
}
