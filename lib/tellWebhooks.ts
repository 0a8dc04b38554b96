/** Tells webhooks that jobs have ended: each call is a job of its own, by the task that calls addresses outside. */
import type { Deps } from "./context.ts";
import type { Job } from "./job.ts";
import { statusOf } from "./job.ts";
import type { NewJob, WorkerStore } from "./storage/storage.ts";
import { instant, jobText } from "./wire.ts";

/** The task that delivers; functions/tasks/http_request.ts. */
export const WEBHOOK_TASK = "http_request";
/** By the task's own backoff, over about two hours: a receiver may be away for a while. */
const MAX_RETRIES = 20;

/**
 * Submits a call for each of at most `limit` jobs that have ended and whose webhook has not been told. Each ending is told by one job, however
 * often this is done for it: its key in the store is the ending.
 */
export async function tellWebhooks(
	{ store, clock, random, config }: Pick<Deps, "clock" | "random" | "config"> & { readonly store: WorkerStore },
	limit: number,
): Promise<number> {
	const jobs = await store.untoldWebhooks(limit);
	if (jobs.length === 0) return 0;
	const nowMs = clock.now();
	await Promise.all(
		jobs.map(job => {
			const call: NewJob = {
				task: WEBHOOK_TASK,
				payload: callOf(job),
				maxRetries: MAX_RETRIES,
				tail: random.tail(),
				traceId: job.traceId,
				webhookUrl: null,
				idempotency: {
					kind: "slot",
					key: `webhook ${job.id} ${job.completedAt}`,
					fingerprint: "",
					expiresAt: nowMs + config.idempotencyMs,
				},
			};
			return store.insertJobFor(job.tenant, call, nowMs);
		}),
	);
	await store.tellWebhooks(jobs);
	return jobs.length;
}

/** The body as Standard Webhooks has it: type, timestamp, data. */
const callOf = (job: Job): string =>
	`{"url":${JSON.stringify(job.webhookUrl)},"body":{"type":"job.${statusOf(job.state)}","timestamp":"${instant(job.completedAt ?? 0)}","data":${jobText(job, { inList: true })}}}`;
