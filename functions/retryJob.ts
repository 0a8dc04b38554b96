/** POST /api/jobs/{id}/retry: puts a failed, dead or cancelled job back in line. */
import { found, refOf } from "../lib/findJob.ts";
import { isEnded, statusOf } from "../lib/job.ts";
import { operation, Reply } from "../lib/operation.ts";
import { Problem } from "../lib/problem.ts";
import { jobText } from "../lib/wire.ts";

export const retryJob = operation("retryJob", async ({ params, store, deps }) => {
	const { job, changed } = found(await store.retryJob(refOf(params.id), deps.clock.now()));
	if (!changed) {
		const status = statusOf(job.state);
		const detail =
			isEnded(job.state) && status !== "done"
				? "The job has ended, but its webhook has not been told yet. Retry it in a moment."
				: `The job is ${status}; only one that is failed, dead_letter or cancelled can be retried.`;
		throw new Problem("job_not_finished", detail, { members: { job_status: status } });
	}
	deps.wake.ring();
	return new Reply(jobText(job));
});
