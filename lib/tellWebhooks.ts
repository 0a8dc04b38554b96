/** Tells webhooks that jobs have ended: each call is a job of its own, by the task that calls addresses outside, under a tenant of its own. */
import { callsTenant } from "./callsTenant.ts";
import type { Deps } from "./context.ts";
import type { Job } from "./job.ts";
import { statusOf } from "./job.ts";
import { toJobId } from "./jobId.ts";
import { messageOf } from "./log.ts";
import { bytesAtMost, type NewJob, PARAM_BYTES_MAX, StorageUnavailable, textsOfJob, type WorkerStore } from "./storage/storage.ts";
import { instant, jobText } from "./wire.ts";

/** The task that delivers; functions/tasks/http_request.ts. */
const WEBHOOK_TASK = "webhook";
/** By the task's own backoff, over about 16 hours: a receiver may be away for a while. */
const MAX_RETRIES = 15;
/** Of one call. A receiver has only to take the news; what it does about it, it does later. */
const TIMEOUT_MS = 15_000;
/** A call that the store has refused until its job ended so long ago is given up. What looks like a refusal may pass. */
const GIVE_UP_MS = 24 * 60 * 60_000;
/** Calls that are sent alone, at most, after one of several was refused. */
const ALONE_MAX = 10;

export type TellDeps = Pick<Deps, "clock" | "random" | "log" | "config"> & {
	readonly store: Pick<WorkerStore, "untoldWebhooks" | "insertJobFor" | "tellWebhooks">;
};

/**
 * Submits a call for each of at most `limit` jobs that have ended and whose webhook has not been told: of those, as many as surely fit one
 * parameter of a statement together; the rest is left to the next time. Each ending is told by one job, however often this is done for it:
 * its key in the store is the ending. Where the store refuses a call, each of them goes alone, as long as `mayGoOn`. One that is refused
 * alone is left to another time, and given up when its job ended a day ago.
 * @throws StorageUnavailable where the store was away, else what it refused a call with, after the others have been told
 */
export async function tellWebhooks(deps: TellDeps, limit: number, mayGoOn: () => boolean): Promise<void> {
	const { store, clock, log } = deps;
	const nowMs = clock.now();
	const calls = takeCalls(await store.untoldWebhooks(limit), deps, nowMs);
	if (calls.length === 0) return;
	const told: Job[] = [];
	const send = async ({ job, call }: Call, alone: boolean): Promise<Failure[]> => {
		try {
			await store.insertJobFor(callsTenant(job.tenant), call, nowMs);
			told.push(job);
			return [];
		} catch (error) {
			return [{ job, call, alone, error, away: error instanceof StorageUnavailable }];
		}
	};
	let failures = (await Promise.all(calls.map(call => send(call, calls.length === 1)))).flat();
	if (calls.length > 1 && !failures.some(({ away }) => away)) {
		const together = failures;
		failures = [];
		for (const [i, failure] of together.entries()) {
			const goesOn = i < ALONE_MAX && !failures.some(({ away }) => away) && mayGoOn();
			failures.push(...(goesOn ? await send(failure, true) : [failure]));
		}
	}
	const left: Failure[] = [];
	for (const failure of failures) {
		const { job, alone, away, error } = failure;
		if (!alone || away || nowMs - (job.completedAt ?? nowMs) < GIVE_UP_MS) {
			left.push(failure);
			continue;
		}
		told.push(job);
		log.error("a webhook is not called: for a day its call could not be stored", {
			job_id: toJobId(job),
			tenant_id: job.tenant,
			error: messageOf(error),
		});
	}
	if (told.length > 0) await store.tellWebhooks(told);
	const worst = left.find(({ away }) => away) ?? left[0];
	if (worst !== undefined) throw worst.error;
}

interface Call {
	readonly job: Job;
	readonly call: NewJob;
}
interface Failure extends Call {
	/** Of a call that shared its statements with no other. */
	readonly alone: boolean;
	readonly away: boolean;
	readonly error: unknown;
}
/** In order, but from anywhere on: one that the store refuses must not always be the first. */
function takeCalls(jobs: readonly Job[], deps: TellDeps, nowMs: number): Call[] {
	const from = Math.floor(deps.random.fraction() * jobs.length);
	const calls: Call[] = [];
	let bytes = 0;
	for (const job of [...jobs.slice(from), ...jobs.slice(0, from)]) {
		const call = toCall(job, deps, nowMs);
		bytes += bytesAtMost(textsOfJob(call));
		if (calls.length > 0 && bytes > PARAM_BYTES_MAX) break;
		calls.push({ job, call });
	}
	return calls;
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
