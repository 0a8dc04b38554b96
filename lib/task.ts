/** What a user's task is, and the endings it may choose. */
import type * as z from "zod";

/** What a task is handed beside its payload. */
export interface TaskContext {
	/** Aborted when the job times out, is cancelled, or the process stops; `signal.reason` says which. */
	readonly signal: AbortSignal;
	/** 1 for the first attempt. */
	readonly attempt: number;
	readonly maxAttempts: number;
	readonly jobId: string;
	readonly tenant: string;
	/** 32 hex digits, the same in every attempt and every log line of the job (W3C Trace Context). */
	readonly traceId: string;
	/** Stable for the job: hand it to the APIs you call, so that a second attempt is harmless. */
	readonly idempotencyKey: string;
	readonly log: TaskLog;
	/** Says how far the job is: `percent` 0–100 and a short message. Kept with the next heartbeat. */
	progress(percent: number, message?: string): void;
	/** Calls an address that a user gave: http(s) only, and refused (OutsideForbidden) where it leads inside this network. */
	readonly fetchOutside: FetchOutside;
	/**
	 * The headers `webhook-id`, `webhook-timestamp` and `webhook-signature` for a body that is sent to the tenant (Standard Webhooks); none
	 * where no secret is set.
	 * @param messageId the same for every attempt to deliver the same message
	 */
	sign(messageId: string, body: string): Promise<Readonly<Record<string, string>>>;
	/** Submits a follow-up job for the same tenant. It is committed together with this job's success, and not at all otherwise. */
	submit(task: string, payload: unknown, options?: FollowUpOptions): void;
}

export interface OutsideInit {
	readonly method?: string;
	readonly headers?: Readonly<Record<string, string>>;
	readonly body?: string;
	readonly signal?: AbortSignal;
}
export type FetchOutside = (url: string | URL, init?: OutsideInit) => Promise<Response>;

export interface FollowUpOptions {
	priority?: number;
	delayMs?: number;
	maxRetries?: number;
	key?: string;
	tags?: readonly string[];
}

export type LogFields = Readonly<Record<string, unknown>>;
export interface TaskLog {
	debug(message: string, fields?: LogFields): void;
	info(message: string, fields?: LogFields): void;
	warn(message: string, fields?: LogFields): void;
	error(message: string, fields?: LogFields): void;
}

/** How failed attempts are repeated. Delays are chosen at random between 0 and min(`maxMs`, `baseMs` × `factor`^(n−1)). */
export interface RetryPolicy {
	/** Attempts after the first; 0 means one attempt. */
	maxRetries: number;
	baseMs: number;
	factor: number;
	maxMs: number;
}

export interface Task<Input = unknown, Output = unknown> {
	readonly input?: z.ZodType<Input>;
	readonly retry?: Partial<RetryPolicy>;
	/** The longest one attempt may run, in milliseconds. */
	readonly timeoutMs?: number;
	/**
	 * Attempts of one tenant that fail in a row, all with one fingerprint, until its jobs of this task wait instead of burning attempts; one
	 * a minute then probes whether it works again. The configured number if absent; false: never.
	 */
	readonly circuitBreaker?: number | false;
	/** One line for people, shown in lists of tasks. */
	readonly summary?: string;
	/** A payload that works, shown by the dashboard's form. */
	readonly example?: unknown;
	run(payload: Input, context: TaskContext): Output | Promise<Output>;
}

// biome-ignore lint/suspicious/noExplicitAny: a registry holds tasks of every input type.
export type TaskRegistry = Readonly<Record<string, Task<any, any>>>;

/** The task of this name; undefined when there is none here. */
export const ownTask = (name: string, tasks: TaskRegistry): Task | undefined => (Object.hasOwn(tasks, name) ? tasks[name] : undefined);

/**
 * Defines a task. Its name is its key in the registry (`functions/tasks/index.ts`), and nowhere else.
 *
 * - `input`: a zod schema, checked when a job is submitted: a payload that does not fit is a 422 that points at the field.
 * - `run(payload, context)`: does the work. What it returns (JSON) is the job's result. A throw is a failed attempt, except
 *   {@link Failed} (no retry), {@link RetryAfter} (retry then) and {@link Snooze} (not a failure, run again later).
 */
export function defineTask<Input = unknown, Output = unknown>(task: Task<Input, Output>): Task<Input, Output> {
	return task;
}

/** The task says no, for good: the job ends `failed`, without another attempt. */
export class Failed extends Error {
	override readonly name = "Failed";
}

/** Who waits with a job that is to be retried later: nobody, its tenant's jobs of the same task, or all jobs of the task. */
export type RetryScope = "job" | "tenant" | "task";

/** A failed attempt that knows when the next one makes sense. */
export class RetryAfter extends Error {
	override readonly name = "RetryAfter";
	readonly after: number | Date | string | null;
	readonly scope: RetryScope;
	/**
	 * @param after milliseconds, a Date, or the text of an HTTP `Retry-After` header (seconds or a date; RFC 9110 10.2.3), which is
	 *   believed for a day at most; null: the usual backoff
	 * @param options scope: `task` where a dependency refuses everybody (none of the task's jobs starts before then), `tenant` where it refuses
	 *   one customer (none of that tenant's jobs of this task), both for an hour at most; `job` if absent
	 */
	constructor(after: number | Date | string | null, options: { readonly message?: string; readonly scope?: RetryScope } | string = {}) {
		const { message = "asked to be retried later", scope = "job" } = typeof options === "string" ? { message: options } : options;
		super(message);
		this.after = after;
		this.scope = scope;
	}
}

/** Not now: run the job again after `ms` milliseconds. No attempt is used up. */
export class Snooze extends Error {
	override readonly name = "Snooze";
	readonly ms: number;
	constructor(ms: number, message = "snoozed") {
		super(message);
		this.ms = ms;
	}
}
