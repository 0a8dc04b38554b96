/** POST /api/jobs/{id}/cancel: ends a waiting job, asks a running one to stop. Asking again answers the same. */
import { found, refOf } from "../lib/findJob.ts";
import { isEnded, statusOf } from "../lib/job.ts";
import { operation, Reply } from "../lib/operation.ts";
import { Problem } from "../lib/problem.ts";
import { jobText } from "../lib/wire.ts";

export const cancelJob = operation("cancelJob", async ({ params, store, deps }) => {
	const { job } = found(await store.cancelJob(refOf(params.id), deps.clock.now()));
	if (isEnded(job.state) && job.state !== "cancelled")
		throw new Problem("job_finished", `The job is ${statusOf(job.state)}; only one that waits or runs can be cancelled.`, {
			members: { job_status: statusOf(job.state) },
		});
	if (job.state === "running") deps.running.get(job.id)?.cancel();
	else {
		// Its key may be free for the next one.
		deps.ended.announce(job.id);
		deps.wake.ring();
	}
	return new Reply(jobText(job));
});
