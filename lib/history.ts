/**
 * A job's history, whole: the events that were written, and those that its own row still tells. A row tells that the job was
 * submitted (event 1), its latest claim, and its end; they are written down only when the row is about to forget them, or when more is to
 * be written behind them.
 */
import type { EventKind, Job, JobEvent } from "./job.ts";
import { isEnded, statusOf } from "./job.ts";

/** @param written events of the job from the store, by seq */
export function historyOf(job: Job, written: readonly JobEvent[]): JobEvent[] {
	const known = new Map(written.map(event => [event.seq, event]));
	const told: Omit<JobEvent, "seq">[] = [{ at: job.createdAt, kind: "submitted", data: {} }];
	const claimTold = job.state === "running" || isEnded(job.state);
	if (claimTold && job.startedAt !== null)
		told.push({ at: job.startedAt, kind: "claimed", data: { worker: job.worker, attempt: attemptOf(job) } });
	const missing: number[] = [];
	for (let seq = 1; seq <= job.seq; seq++) if (!known.has(seq)) missing.push(seq);
	if (isEnded(job.state) && !known.has(job.seq)) {
		const data = { reason: job.reason, ...(job.error === null ? {} : { error: JSON.parse(job.error) }) };
		known.set(job.seq, { seq: job.seq, at: job.completedAt ?? job.createdAt, kind: statusOf(job.state) as EventKind, data });
		missing.pop();
	}
	for (const seq of missing) {
		const next = told.shift();
		if (next !== undefined) known.set(seq, { seq, ...next });
	}
	return [...known.values()].sort((a, b) => a.seq - b.seq);
}

/** The attempt that a job is in, or was in last: 1 for the first. A job that has not run yet answers 1, its coming one. */
export function attemptOf(job: Pick<Job, "failures" | "state" | "maxRetries" | "reason">): number {
	const endedByError = (job.state === "failed" || job.state === "dead") && job.reason !== "lease_lost";
	return Math.max(1, endedByError ? job.failures : job.failures + 1);
}
