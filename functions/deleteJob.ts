/** DELETE /api/jobs/{id}: deletes a job that has ended, with its history. */
import { found, refOf } from "../lib/findJob.ts";
import { isEnded, statusOf } from "../lib/job.ts";
import { operation, Reply } from "../lib/operation.ts";
import { Problem } from "../lib/problem.ts";

export const deleteJob = operation("deleteJob", async ({ params, store, deps }) => {
	const { job, changed } = found(await store.deleteJob(refOf(params.id), deps.clock.now()));
	if (!changed) {
		const status = statusOf(job.state);
		const detail = isEnded(job.state)
			? "The job has ended, but its webhook has not been told yet. Delete it in a moment."
			: `The job is ${status}; cancel it first, and delete it when it has ended.`;
		throw new Problem("job_not_ended", detail, { members: { job_status: status } });
	}
	return new Reply(null);
});
