/** POST /api/jobs/{id}/retry: puts a failed, dead or cancelled job back in line. */
import { found, refOf } from "../lib/findJob.ts";
import { statusOf } from "../lib/job.ts";
import { operation, Reply } from "../lib/operation.ts";
import { Problem } from "../lib/problem.ts";
import { jobText } from "../lib/wire.ts";

export const retryJob = operation("retryJob", async ({ params, store, deps }) => {
	const { job, changed } = found(await store.retryJob(refOf(params.id), deps.clock.now()));
	if (!changed)
		throw new Problem(
			"job_not_finished",
			`The job is ${statusOf(job.state)}; only one that is failed, dead_letter or cancelled can be retried.`,
			{
				members: { job_status: statusOf(job.state) },
			},
		);
	deps.wake.ring();
	return new Reply(jobText(job));
});
