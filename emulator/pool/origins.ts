/**
 * Knows which attempt a piece of code belongs to, across timers and promises: so that an error which nobody catches (a timer's callback
 * that throws, a promise that nobody awaits) fails the attempt that it came from, and nothing else.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { inspect } from "node:util";
import { attemptOf } from "../../lib/history.ts";
import { toJobId } from "../../lib/jobId.ts";
import { type Log, messageOf } from "../../lib/log.ts";
import type { Attempt } from "../../lib/runJob.ts";
import type { Claimed } from "../../lib/storage/storage.ts";
import type { TaskRegistry } from "../../lib/task.ts";

export interface Origin {
	readonly job: Claimed;
	/** Whether its run() has been entered and has not ended, whatever became of the attempt. */
	isOpen: boolean;
	/** Lets run() end with an error, while it is open. */
	fail(error: unknown): void;
}

const origins = new AsyncLocalStorage<Origin>();

/** Starts an attempt as an origin of its own. The tasks must be `traced`. */
export function startTraced(job: Claimed, start: () => Attempt): { attempt: Attempt; origin: Origin } {
	const origin: Origin = { job, isOpen: false, fail: () => {} };
	return { origin, attempt: origins.run(origin, start) };
}

/** Runs what is done to an attempt from outside as if it came from it: it may reach the task's own code. */
export const within = (origin: Origin, code: () => void): void => origins.run(origin, code);

/** The same tasks, whose attempts can be failed from outside of run(). */
export const traced = (tasks: TaskRegistry): TaskRegistry =>
	Object.fromEntries(
		Object.entries(tasks).map(([name, task]) => [
			name,
			{
				...task,
				run(payload: unknown, context) {
					const result: unknown = task.run(payload, context);
					const origin = origins.getStore();
					if (origin === undefined || typeof (result as PromiseLike<unknown> | null)?.then !== "function") return result;
					origin.isOpen = true;
					return new Promise((resolve, reject) => {
						origin.fail = reject;
						Promise.resolve(result)
							.finally(() => {
								origin.isOpen = false;
							})
							.then(resolve, reject);
					});
				},
			} satisfies TaskRegistry[string],
		]),
	);

/** What Node does with an error that nobody catches. */
export function endByError(error: unknown): never {
	process.stderr.write(`${inspect(error)}\n`);
	process.exit(1);
}

/**
 * From now on no error of a task's stray code ends this process or thread: it is logged, and its attempt fails if it still runs.
 *
 * @param onThrown called after an exception, not after a rejected promise: what was interrupted may have left something half done
 * @param onUnknown handed an error of which no attempt is the origin
 */
export function catchStrays(log: Log, { onThrown, onUnknown }: { onThrown?: () => void; onUnknown?: (error: unknown) => void } = {}): void {
	process.on("uncaughtException", (error: unknown, kind) => {
		const origin = origins.getStore();
		if (origin === undefined && onUnknown !== undefined) return onUnknown(error);
		const rejected = kind === "unhandledRejection";
		log.error(rejected ? "a promise that nobody awaited was rejected" : "an error was thrown where nobody could catch it", {
			error: messageOf(error),
			...(origin === undefined
				? {}
				: {
						job_id: toJobId(origin.job),
						tenant_id: origin.job.tenant,
						task: origin.job.task,
						attempt: attemptOf(origin.job),
						trace_id: origin.job.traceId,
					}),
		});
		origin?.fail(error);
		if (!rejected) onThrown?.();
	});
}
