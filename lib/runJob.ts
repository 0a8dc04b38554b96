/** Runs one attempt of one job, under its deadline. Answers how it ended, from a closed set, and never throws. */
import * as z from "zod";
import { ownerOf } from "./callsTenant.ts";
import { check } from "./check.ts";
import { CONFIG_DEFAULT, type Config } from "./config.ts";
import type { Deps } from "./context.ts";
import { RUN_AT_MAX, submitBody } from "./contract.ts";
import { failureOf, type ThrownError } from "./failure.ts";
import { attemptOf } from "./history.ts";
import type { Job } from "./job.ts";
import { toJobId } from "./jobId.ts";
import { messageOf } from "./log.ts";
import { backoffMs, RETRY_DEFAULT, retryAfterMs } from "./retry.ts";
import type { Claimed, Ending, FollowUp } from "./storage/storage.ts";
import {
	Failed,
	type FollowUpOptions,
	ownTask,
	RetryAfter,
	type RetryPolicy,
	Snooze,
	type Task,
	type TaskContext,
	type TaskRegistry,
} from "./task.ts";
import { signWebhook } from "./webhook.ts";

/** Why an attempt was told to stop. */
export type StopReason = "timeout" | "cancelled" | "stopping" | "lease_lost";

class Stopped extends Error {
	override readonly name = "Stopped";
	readonly why: StopReason;
	constructor(why: StopReason, message: string) {
		super(message);
		this.why = why;
	}
}

export interface Attempt {
	/** How it ended; null when the lease is lost and nobody wants to know. */
	readonly ending: Promise<Ending | null>;
	/**
	 * Aborts the task's signal. A task that goes on is left alone, and the attempt ends as the reason says: after a cancel when the grace
	 * period is over, else at once.
	 */
	stop(why: StopReason): void;
	/** What the task last said of its progress, if that has not been asked for yet: JSON. */
	takeProgress(): string | undefined;
}

/** What an attempt needs, wherever it runs. */
export type AttemptNeeds = Pick<Deps, "clock" | "random" | "log" | "config" | "tasks" | "fetchOutside" | "webhookSecrets">;

export const retryPolicy = (task: Pick<Task, "retry">): RetryPolicy => ({ ...RETRY_DEFAULT, ...task.retry });
export const timeoutOf = (job: Pick<Job, "timeoutMs">, task: Pick<Task, "timeoutMs">, config: Config): number =>
	Math.min(job.timeoutMs ?? task.timeoutMs ?? config.timeoutMs, config.timeoutMsMax);

/** The longest that an attempt of a remote worker may take: what a platform bounds for what runs on it does not bind those elsewhere. */
export const remoteAttemptMsMax = ({ config, platform }: Pick<Deps, "config" | "platform">): number =>
	platform === undefined ? config.timeoutMsMax : Math.max(config.timeoutMsMax, CONFIG_DEFAULT.timeoutMsMax);

/** Starts the attempt; the task's own code runs before this returns, up to its first await. */
export function startAttempt(job: Claimed, needs: AttemptNeeds): Attempt {
	const { clock, config, tasks } = needs;
	const task = tasks[job.task];
	const lease = { id: job.id, token: job.token };
	if (task === undefined) return endedBefore({ ...lease, outcome: "release" });
	if (job.startBy !== null && job.startBy <= clock.now()) return endedBefore({ ...lease, outcome: "expired" });

	const timeoutMs = timeoutOf(job, task, config);
	const followUps: FollowUp[] = [];
	let progress: string | undefined;
	let stopped: Stopped | null = null;
	let controller: AbortController | undefined;
	let graceTimer = () => {};
	let settle: (ending: Ending | null) => void = () => {};
	const ending = new Promise<Ending | null>(resolve => {
		settle = resolve;
	}).finally(() => {
		deadline();
		graceTimer();
	});

	const stop = (why: StopReason): void => {
		if (stopped !== null) return;
		stopped = new Stopped(why, why === "timeout" ? `timed out after ${timeoutMs} ms` : `told to stop: ${why}`);
		controller?.abort(stopped);
		const giveUp = () => settle(endingOf(stopped, stopped, job, task, needs));
		// A task that goes on has had its time; one that was cancelled gets a grace period to end in good order.
		if (why === "cancelled") graceTimer = clock.after(config.graceMs, giveUp);
		else giveUp();
	};
	const deadline = clock.after(timeoutMs, () => stop("timeout"));

	const jobId = toJobId(job);
	const attempt = attemptOf(job);
	const context: TaskContext = {
		attempt,
		maxAttempts: job.maxRetries + 1,
		jobId,
		tenant: ownerOf(job.tenant),
		traceId: job.traceId,
		idempotencyKey: jobId,
		// Most tasks ask for neither; those that do pay for them.
		get signal() {
			controller ??= new AbortController();
			if (stopped !== null) controller.abort(stopped);
			return controller.signal;
		},
		get log() {
			return needs.log.with({ job_id: jobId, tenant_id: job.tenant, task: job.task, attempt, trace_id: job.traceId });
		},
		progress(percent, message) {
			progress = JSON.stringify({
				percent: Math.min(100, Math.max(0, Number(percent) || 0)),
				...(message === undefined ? {} : { message: String(message).slice(0, 500) }),
			});
		},
		fetchOutside: needs.fetchOutside,
		sign: (messageId, body) => signWebhook(needs.webhookSecrets, ownerOf(job.tenant), messageId, clock.now(), body),
		submit(name, payload, options) {
			followUps.push(toFollowUp(job, name, payload, options, tasks, needs));
		},
	};

	const run = async (): Promise<Ending> => {
		const result = toJson(await task.run(readPayload(job, task), context));
		const refusal = refusalOf(result, config);
		if (refusal !== null) throw new Failed(refusal);
		return followUps.length === 0 ? { ...lease, outcome: "done", result } : { ...lease, outcome: "done", result, followUps };
	};
	run().then(settle, error => settle(endingOf(error, stopped, job, task, needs)));
	return {
		ending,
		stop,
		takeProgress() {
			const taken = progress;
			progress = undefined;
			return taken;
		},
	};
}

/** An attempt that ended before the task's code was reached. */
const endedBefore = (ending: Ending): Attempt => ({ ending: Promise.resolve(ending), stop: () => {}, takeProgress: () => undefined });

/** The payload as the task sees it: without the task's name where that stood in it, and as its schema makes it. */
function readPayload(job: Claimed, task: Task): unknown {
	const payload = taskPayload(JSON.parse(job.payload), job.taskInPayload);
	if (task.input === undefined) return payload;
	const parsed = task.input.safeParse(payload);
	if (parsed.success) return parsed.data;
	const issue = parsed.error.issues[0];
	throw new Failed(`the payload no longer fits the task's schema: ${issue?.path.join(".")} ${issue?.message}`);
}

/** Takes `task` out of a payload that named it. */
export function taskPayload(payload: unknown, taskInPayload: boolean): unknown {
	if (!taskInPayload) return payload;
	const { task: _, ...rest } = payload as Record<string, unknown>;
	return rest;
}

/** Why a result cannot be kept; null: it can. */
export function refusalOf(result: string, { resultBytesMax }: Config): string | null {
	const bytes = bytesOf(result, resultBytesMax);
	return bytes <= resultBytesMax
		? null
		: `the result has ${bytes} bytes, above the limit of ${resultBytesMax}: store it elsewhere and return where it is`;
}

/** The UTF-8 length; not counted where it cannot reach the limit. */
export const bytesOf = (text: string, limit: number): number =>
	text.length * 3 <= limit ? text.length : new TextEncoder().encode(text).length;

function toJson(result: unknown): string {
	let text: string | undefined;
	try {
		text = JSON.stringify(result);
	} catch (error) {
		throw new Failed(`the result cannot be stored as JSON: ${messageOf(error)}`);
	}
	return text ?? "null";
}

/**
 * How an attempt ends that its task cannot end any more, since what it ran in is gone: as the reason says. `message` says why where it
 * failed, or is given back.
 */
export function endingWithout(
	job: Claimed,
	why: StopReason,
	message: string,
	needs: Pick<AttemptNeeds, "clock" | "random" | "config" | "tasks">,
): Ending | null {
	const task = needs.tasks[job.task];
	const stopped = new Stopped(task === undefined && why === "timeout" ? "stopping" : why, message);
	const ending = endingOf(stopped, stopped, job, task ?? { run: () => {} }, needs);
	return ending?.outcome === "release" && message !== "" ? { ...ending, error: JSON.stringify({ message }) } : ending;
}

function endingOf(
	thrown: unknown,
	stopped: Stopped | null,
	job: Claimed,
	task: Task,
	{ clock, random, config }: Pick<AttemptNeeds, "clock" | "random" | "config">,
): Ending | null {
	const lease = { id: job.id, token: job.token };
	const why = stopped?.why ?? null;
	if (why === "lease_lost") return null;
	if (why === "cancelled") return { ...lease, outcome: "cancelled" };
	if (why === "stopping") return { ...lease, outcome: "release" };
	const failure = failureOf(toThrown(why === "timeout" ? stopped : thrown), attemptOf(job));
	if (thrown instanceof Failed) return { ...lease, ...failure, outcome: "failed" };
	if (thrown instanceof Snooze) return { ...lease, outcome: "snooze", delayMs: bounded(thrown.ms, clock.now()) };
	const asked = thrown instanceof RetryAfter ? retryAfterMs(thrown, clock.now()) : null;
	const hold = thrown instanceof RetryAfter && thrown.scope !== "job" ? { hold: thrown.scope } : {};
	// Without a time it is a failure like any other.
	if (asked !== null)
		return { ...lease, ...failure, ...hold, ...circuitOf(task, config, false), outcome: "retry", delayMs: bounded(asked, clock.now()) };
	return {
		...lease,
		...failure,
		...hold,
		...circuitOf(task, config),
		outcome: "retry",
		delayMs: backoffMs(retryPolicy(task), job.failures + 1, random.fraction()),
	};
}

/**
 * After how many failures that are alike the circuit of a task opens: what an ending says of it.
 * @param counts false: it does not count, since its dependency said when to come back; it only keeps a circuit open that is
 */
export function circuitOf(
	{ circuitBreaker }: Pick<Task, "circuitBreaker">,
	{ circuitFailures }: Config,
	counts = true,
): Pick<Extract<Ending, { readonly outcome: "retry" }>, "circuitFailures" | "circuitCounts"> {
	const failures = circuitBreaker ?? circuitFailures;
	if (failures === false || failures === 0) return {};
	return counts ? { circuitFailures: failures } : { circuitFailures: failures, circuitCounts: false };
}

/** A wait that a task asks for: what is no number is none, and none reaches beyond what can be stored. */
const bounded = (ms: number, nowMs: number): number => (Number.isNaN(ms) ? 0 : Math.min(Math.max(0, ms), RUN_AT_MAX - nowMs - 1));

/** What was thrown, whatever it is. What tickq itself says has no place in the task's code. */
function toThrown(thrown: unknown): ThrownError {
	const message = messageOf(thrown) + causeOf(thrown);
	if (!(thrown instanceof Error)) return { message };
	const name = String(thrown.name);
	return thrown instanceof Stopped || typeof thrown.stack !== "string" ? { message, name } : { message, name, stack: thrown.stack };
}

/** `fetch failed` alone says nothing: why stands in its cause. */
function causeOf(thrown: unknown): string {
	try {
		const { cause } = (thrown ?? {}) as { cause?: unknown };
		if (!(cause instanceof Error)) return "";
		const inner = cause instanceof AggregateError && cause.message === "" ? cause.errors[0] : cause;
		const { code } = inner as { code?: unknown };
		const why = messageOf(inner);
		return ` (${typeof code === "string" && !why.includes(code) ? `${code}: ` : ""}${why})`;
	} catch {
		// A task may throw what cannot even be looked at.
		return "";
	}
}

/** A follow-up is held to the same rules as a submit, at the place where it is asked for: a mistake there is a failed attempt. */
export function toFollowUp(
	job: Pick<Job, "tenant" | "traceId">,
	name: string,
	payload: unknown,
	options: FollowUpOptions = {},
	tasks: TaskRegistry,
	{ clock, random }: Pick<Deps, "clock" | "random">,
): FollowUp {
	const task = ownTask(name, tasks);
	if (task === undefined) throw new Error(`submit: there is no task ${name}`);
	const { maxRetries, priority, delayMs, key, tags } = check(FOLLOW_UP_OPTIONS, options, "body_invalid");
	if (task.input !== undefined) check(task.input, payload, "invalid_payload", "/payload", `It does not fit the task ${name}.`);
	return {
		tenant: job.tenant,
		task: name,
		payload: JSON.stringify(payload) ?? "null",
		maxRetries: maxRetries ?? retryPolicy(task).maxRetries,
		priority: priority ?? 0,
		...(delayMs ? { runAt: clock.now() + delayMs } : {}),
		...(key ? { key } : {}),
		...(tags ? { tags: [...new Set(tags)] } : {}),
		tail: random.tail(),
		traceId: job.traceId,
	};
}

const FOLLOW_UP_OPTIONS = z.strictObject({
	maxRetries: submitBody.shape.max_retries,
	priority: submitBody.shape.priority,
	delayMs: submitBody.shape.delay_ms,
	key: submitBody.shape.key,
	tags: submitBody.shape.tags,
});
