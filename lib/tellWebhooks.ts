/** Tells webhooks that jobs have ended: each call is a job of its own, by the task that calls addresses outside, under a tenant of its own. */
import { callsTenant } from "./callsTenant.ts";
import type { Deps } from "./context.ts";
import type { Job } from "./job.ts";
import { statusOf } from "./job.ts";
import { toJobId } from "./jobId.ts";
import { messageOf } from "./log.ts";
import { type NewJob, StorageUnavailable, type WorkerStore } from "./storage/storage.ts";
import { instant, jobText } from "./wire.ts";

/** The task that delivers; functions/tasks/http_request.ts. */
const WEBHOOK_TASK = "webhook";
/** By the task's own backoff, over about 16 hours: a receiver may be away for a while. */
const MAX_RETRIES = 15;
/** Of one call. A receiver has only to take the news; what it does about it, it does later. */
const TIMEOUT_MS = 15_000;

export type TellDeps = Pick<Deps, "clock" | "random" | "log" | "config"> & {
	readonly store: Pick<WorkerStore, "untoldWebhooks" | "insertJobFor" | "tellWebhooks">;
};

/**
 * Submits a call for each of at most `limit` jobs that have ended and whose webhook has not been told. Each ending is told by one job, however
 * often this is done for it: its key in the store is the ending. One whose call cannot be stored keeps no other from its own: it is given up.
 * @throws StorageUnavailable after the others have been told; those for which the store was away are told another time
 */
export async function tellWebhooks(deps: TellDeps, limit: number): Promise<void> {
	const { store, clock, log } = deps;
	const jobs = await store.untoldWebhooks(limit);
	if (jobs.length === 0) return;
	const nowMs = clock.now();
	let away: StorageUnavailable | null = null;
	const told = await Promise.all(
		jobs.map(async job => {
			try {
				await store.insertJobFor(callsTenant(job.tenant), toCall(job, deps, nowMs), nowMs);
			} catch (error) {
				if (error instanceof StorageUnavailable) {
					away = error;
					return [];
				}
				log.error("a webhook is not called: its call could not be stored", {
					job_id: toJobId(job),
					tenant_id: job.tenant,
					error: messageOf(error),
				});
			}
			return [job];
		}),
	);
	await store.tellWebhooks(told.flat());
	if (away !== null) throw away;
}

const toCall = (job: Job, { random, config }: TellDeps, nowMs: number): NewJob => ({
	task: WEBHOOK_TASK,
	payload: payloadOf(job),
	maxRetries: MAX_RETRIES,
	tags: [`webhook:${toJobId(job)}`],
	tail: random.tail(),
	traceId: job.traceId,
	webhookUrl: null,
	idempotency: {
		kind: "slot",
		// A job can end twice in one millisecond, after a retry.
		key: `webhook ${job.id} ${job.completedAt} ${job.claims} ${job.state}`,
		fingerprint: "",
		expiresAt: nowMs + config.idempotencyMs,
	},
});

/** The body as Standard Webhooks has it: type, timestamp, data. The job's payload may hold credentials, and its receiver is another's. */
const payloadOf = (job: Job): string =>
	`{"url":${JSON.stringify(job.webhookUrl)},"timeout_ms":${TIMEOUT_MS},"body":{"type":"job.${statusOf(job.state)}","timestamp":"${instant(job.completedAt ?? 0)}","data":${jobText(job, { inList: true, noPayload: true })}}}`;
