/** What several functions do with one job: find it by its public id, and wait for its end. */
import type { Deps } from "./context.ts";
import { isEnded, type Job, type JobRef } from "./job.ts";
import { fromJobId } from "./jobId.ts";
import { Problem } from "./problem.ts";
import type { JobReader } from "./storage/storage.ts";

const notFound = (): Problem =>
	new Problem("job_not_found", "There is no such job here. It may be another tenant's, or older than its retention.");

/** Reads a public id; what cannot be one is a job that is not there. */
export function refOf(id: string | undefined): JobRef {
	const ref = id === undefined ? null : fromJobId(id);
	if (ref === null) throw notFound();
	return ref;
}

/** The job, or the problem that it is not there: also for another tenant's, so that nobody learns whose it is. */
export function found<T>(value: T | null): T {
	if (value === null) throw notFound();
	return value;
}

/** How often the store is asked for a job that another process may be running. */
const LOOK_EVERY_MS = 500;

/** Waits until the job has ended, at most `waitMs`, or until the caller has gone; answers it as it is then. */
export async function waitForEnd(
	job: Job,
	waitMs: number,
	store: JobReader,
	{ clock, ended, platform }: Pick<Deps, "clock" | "ended" | "platform">,
	{ signal }: Pick<Request, "signal">,
): Promise<Job> {
	const until = clock.now() + waitMs;
	const everyMs = Math.max(LOOK_EVERY_MS, waitMs / (platform?.looksMax ?? Number.POSITIVE_INFINITY));
	let current = job;
	while (!isEnded(current.state) && clock.now() < until && !signal.aborted) {
		await new Promise<void>(resolve => {
			const done = () => {
				stopListening();
				cancelTimer();
				signal.removeEventListener("abort", done);
				resolve();
			};
			const stopListening = ended.listen(job.id, done);
			const cancelTimer = clock.after(Math.min(everyMs, until - clock.now()), done);
			signal.addEventListener("abort", done);
		});
		current = (await store.getJob(job)) ?? current;
	}
	return current;
}
