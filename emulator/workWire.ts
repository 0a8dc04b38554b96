/** How what a remote worker runs looks on its way: a leased job becomes one that an attempt can run, and an ending becomes a result. */
import { type Answer, FAR_FUTURE_MS } from "../lib/contract.ts";
import { fromJobId } from "../lib/jobId.ts";
import type { Claimed, Ending } from "../lib/storage/storage.ts";

export type Leased = Answer<"leaseJobs">["jobs"][number];

/** Says that the queue would not take what an attempt ended with. */
export const toRefused = ({ id, lease_token }: Leased, detail: string): string =>
	JSON.stringify({ id, lease_token, outcome: "failed", error: `the queue refused what the attempt ended with: ${detail}` });

/** An ending as the queue takes it: JSON. */
export function toResult({ id, lease_token }: Leased, ending: Ending, nowMs: number): string {
	const named = (more: object): string => JSON.stringify({ id, lease_token, ...more });
	const waitMs = (ms: number): number => Math.min(Math.max(0, Math.round(ms)), FAR_FUTURE_MS);
	switch (ending.outcome) {
		case "done": {
			const followUps = ending.followUps?.map(({ task, payload, maxRetries, priority, runAt, key, tags }) => {
				const delayMs = runAt === undefined ? undefined : waitMs(runAt - nowMs);
				return { task, payload: JSON.parse(payload), max_retries: maxRetries, priority, delay_ms: delayMs, key, tags };
			});
			return `${named({ outcome: "done", follow_ups: followUps }).slice(0, -1)},"result":${ending.result}}`;
		}
		case "retry":
		case "failed": {
			const { message, name, stack } = JSON.parse(ending.error);
			const error = { message, name, stack };
			if (ending.outcome === "failed") return named({ outcome: "failed", error });
			// What counts for no circuit says who waits: the job, if nobody else.
			const scope = ending.hold ?? (ending.circuitFailures === undefined ? "job" : undefined);
			return named({ outcome: "retry", error, retry_after_ms: waitMs(ending.delayMs), retry_scope: scope });
		}
		case "snooze":
			return named({ outcome: "snooze", retry_after_ms: waitMs(ending.delayMs) });
		case "cancelled":
			return named({ outcome: "cancelled" });
		case "release":
		case "expired":
			return named({ outcome: "release" });
	}
}

/** A job as those who run it know it: what its worker was told, and for the rest what stands for nothing. */
export function toClaimed(job: Leased, worker: string): Claimed {
	const ref = fromJobId(job.id);
	if (ref === null) throw new Error(`${job.id} is no job's id`);
	return {
		id: ref.id,
		tail: ref.tail,
		createdAt: ref.createdAt ?? 0,
		token: Number(job.lease_token),
		tenant: job.tenant,
		task: job.task,
		payload: JSON.stringify(job.payload) ?? "null",
		taskInPayload: false,
		failures: job.attempt - 1,
		maxRetries: job.max_attempts - 1,
		// The worker's own task may say how long it takes, where neither the job nor the queue does.
		timeoutMs: job.timeout_from === "queue" ? null : job.timeout_ms,
		traceId: job.trace_id,
		worker,
		leaseUntil: Date.parse(job.lease_expires_at),
		state: "running",
		reason: null,
		priority: 0,
		seq: 0,
		runAt: 0,
		startBy: null,
		startedAt: null,
		completedAt: null,
		expiresAt: null,
		losses: 0,
		claims: 0,
		cancelRequestedAt: null,
		key: null,
		traceParent: null,
		parentId: null,
		copyOf: null,
		webhookUrl: null,
		fingerprint: null,
		tags: [],
		progress: null,
		error: null,
		result: null,
	};
}
