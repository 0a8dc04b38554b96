/**
 * Every operation as data: the router, the validation, the OpenAPI document, the types of the functions and the tests read this table,
 * and nothing describes an operation twice.
 */
import * as z from "zod";
import { EVENT_KINDS, STATUSES } from "./job.ts";
import type { ProblemCode } from "./problem.ts";

/**
 * What a function is handed: nothing (`public`), the store of one tenant (`tenant`), the worker's side or the operator's.
 * `tenants` says how a tenant operation learns whose: `one` must be named by X-Tenant-ID; `one or all` also takes `*`, and without a
 * header only where `all by default`.
 */
export type Scope = "public" | "tenant" | "worker" | "operator";
export type Tenants = "one" | "one or all" | "all by default";

export interface OperationRow {
	readonly method: "GET" | "POST";
	/** Parameters in braces. */
	readonly path: string;
	readonly scope: Scope;
	readonly tenants?: Tenants;
	readonly summary: string;
	readonly query?: z.ZodObject;
	readonly body?: z.ZodType;
	/** Status of success. */
	readonly status: 200 | 201;
	readonly answer: z.ZodType;
	/** What it may refuse, beside what every operation may. */
	readonly problems: readonly ProblemCode[];
}

const instant = z.iso.datetime().describe("RFC 3339, UTC");
/** Nothing is put off beyond this: the order within a tenant has room for it. */
export const RUN_AT_MAX = Date.UTC(2090, 0, 1);
const instantIn = z.iso
	.datetime({ offset: true })
	.refine(text => !(Date.parse(text) >= RUN_AT_MAX), "must be before the year 2090")
	.describe("RFC 3339, any offset");
/** `null` where a field is optional means absent. */
const optional = <T extends z.ZodType>(schema: T) => schema.nullish();

export const TASK_NAME = /^[A-Za-z_][A-Za-z0-9_.-]{0,99}$/;
const TASK_NAME_RULE = "must be 1 to 100 letters, digits and _ . -, and start with a letter or _";
export const TENANT_NAME = /^[A-Za-z0-9_][A-Za-z0-9._:@-]{0,99}$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is kept out.
const PRINTABLE = /^[^\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]*$/;
const text = (most: number) =>
	z
		.string()
		.min(1)
		.max(most)
		.regex(PRINTABLE, "must not contain control characters")
		.refine(value => value.isWellFormed(), "must be whole Unicode characters");

export const WAIT_MS_MAX = 20_000;
const FAR_FUTURE_MS = 10 * 365 * 24 * 3_600_000;

/** Query values are text; a schema over them names its parameters. */
const count = (least: number, most: number) =>
	z
		.string()
		.regex(/^\d{1,9}$/, `must be a whole number from ${least} to ${most}`)
		.transform(Number)
		.pipe(z.int().min(least).max(most));
const flag = z.enum(["true", "false"]).transform(value => value === "true");
const listOf = <T extends readonly [string, ...string[]]>(values: T) =>
	z
		.string()
		.transform(value => value.split(","))
		.pipe(z.array(z.enum(values)).min(1).max(20));

const waitMs = count(0, WAIT_MS_MAX)
	.optional()
	.describe("Answer when the job has ended, or after this many milliseconds, whichever comes first");

export const submitBody = z
	.strictObject({
		task: optional(z.string().regex(TASK_NAME, TASK_NAME_RULE)).describe("The task to run; may instead stand in payload.task"),
		payload: z.unknown().optional().describe("What the task is given; must fit its schema"),
		priority: optional(z.int().min(-1000).max(1000)).describe("Higher runs sooner; one point is worth one minute of waiting"),
		delay_ms: optional(z.int().min(0).max(FAR_FUTURE_MS)).describe("Not before this many milliseconds from now"),
		run_at: optional(instantIn).describe("Not before this instant"),
		start_by: optional(instantIn).describe("Cancelled, reason expired, if it has not started by this instant"),
		max_retries: optional(z.int().min(0).max(100)).describe("Attempts after the first; the task's own number if absent"),
		timeout_ms: optional(
			z
				.int()
				.min(1)
				.max(24 * 3_600_000),
		).describe("The longest one attempt may run"),
		key: optional(text(200)).describe("Jobs of one key of a tenant run one after the other, in order"),
		tags: optional(z.array(text(100)).max(20)),
		idempotency_key: optional(text(255)).describe(
			"A second submit with it answers with the first one's job; also as header Idempotency-Key",
		),
	})
	.meta({ id: "Submit", examples: [{ task: "echo", payload: { hello: "world" } }, { payload: { task: "process_data" } }] });

export const event = z
	.object({
		seq: z.int(),
		at: instant,
		kind: z.enum(EVENT_KINDS),
		text: z.string().describe("One sentence for people"),
		attempt: z.int().optional(),
		worker: z.string().nullish(),
		reason: z.string().nullish(),
		error: z.unknown().optional(),
		run_at: instant.nullish(),
	})
	.meta({ id: "Event" });

export const job = z
	.object({
		job_id: z.string(),
		id: z.string(),
		tenant_id: z.string(),
		task: z.string(),
		status: z.enum(STATUSES),
		reason: z.enum(["not_retryable", "retries_exhausted", "lease_lost", "requested", "expired"]).nullable(),
		payload: z.unknown(),
		result: z.unknown(),
		error_message: z.string().nullable(),
		error: z.object({ message: z.string(), attempt: z.int(), name: z.string().optional(), stack: z.string().optional() }).nullable(),
		attempt: z.int().describe("1 for the first; the current one, or the last"),
		max_attempts: z.int().describe("max_retries + 1"),
		retry_count: z.int().describe("Attempts that failed"),
		max_retries: z.int(),
		lost_count: z.int().describe("Leases lost in a row: the worker went away, which is not the task's fault"),
		priority: z.int(),
		key: z.string().nullable(),
		tags: z.array(z.string()),
		progress: z.object({ percent: z.number(), message: z.string().optional() }).nullable(),
		timeout_ms: z.int().nullable(),
		created_at: instant,
		run_at: instant,
		start_by: instant.nullable(),
		started_at: instant.nullable(),
		completed_at: instant.nullable(),
		cancel_requested_at: instant.nullable(),
		timing: z.object({ waited_ms: z.int().nullable(), ran_ms: z.int().nullable() }),
		worker: z.string().nullable(),
		trace_id: z.string(),
		links: z.object({ self: z.string(), dashboard: z.string() }),
		history: z.array(event).optional(),
	})
	.meta({ id: "Job" });

const page = <K extends string>(name: K, item: z.ZodType) =>
	z.object({ [name]: z.array(item), count: z.int().describe("Items in this page"), next_cursor: z.string().nullable() });

export const metricsAnswer = z
	.object({
		pending: z.int(),
		running: z.int(),
		done: z.int(),
		failed: z.int(),
		dead_letter_queue: z.int(),
		active_tenants: z.int().describe("Tenants with a job that has not ended"),
		timestamp: instant,
		cancelled: z.int(),
		ready: z.int(),
		delayed: z.int(),
		blocked: z.int().describe("Waiting for another job of their key"),
		submitted_total: z.int().describe("Only grows: its difference over time is the throughput in"),
		finished_total: z.int(),
		workers: z.object({ busy: z.int(), size: z.int() }),
		last_tick_at: instant.nullable(),
		next_wake_at: instant.nullable(),
		version: z.int().describe("Moves with every change; also the ETag"),
	})
	.meta({ id: "Metrics" });

export const tickReport = z
	.object({
		tick_id: z.string(),
		dry_run: z.boolean(),
		trigger: z.string(),
		started_at: instant,
		duration_ms: z.int(),
		budget_ms: z.int(),
		stopped_by: z.enum(["nothing_due", "budget", "jobs", "statements", "slots", "stopped"]),
		claimed: z.int(),
		outcomes: z.record(z.string(), z.int()),
		expired_leases: z.int(),
		expired_starts: z.int(),
		pruned: z.int(),
		jobs: z.array(
			z.object({
				id: z.string(),
				tenant_id: z.string(),
				task: z.string(),
				attempt: z.int(),
				outcome: z.string().nullable(),
				waited_ms: z.int(),
				ran_ms: z.int().nullable(),
			}),
		),
		jobs_omitted: z.int(),
		held: z.array(z.object({ code: z.string(), jobs: z.int(), tenants: z.int() })),
		statements: z.int(),
		next_wake_at: instant.nullable(),
		next_wake_reason: z.string(),
	})
	.meta({ id: "TickReport" });

export const operations = {
	submitJob: {
		method: "POST",
		path: "/api/jobs",
		scope: "tenant",
		tenants: "one",
		summary: "Submit a job",
		query: z.strictObject({ wait_ms: waitMs }),
		body: submitBody,
		status: 201,
		answer: job,
		problems: [
			"run_at_and_delay_ms",
			"idempotency_keys_differ",
			"header_invalid",
			"task_required",
			"unknown_task",
			"invalid_payload",
			"idempotency_key_reused",
			"tenant_backlog_full",
		],
	},
	listJobs: {
		method: "GET",
		path: "/api/jobs",
		scope: "tenant",
		tenants: "one or all",
		summary: "List jobs, newest first",
		query: z.strictObject({
			status: listOf(STATUSES).optional().describe("One or several, by comma"),
			task: z.string().regex(TASK_NAME, TASK_NAME_RULE).optional(),
			tag: text(100).optional(),
			limit: count(1, 200).optional().describe("50 if absent"),
			cursor: z.string().max(100).optional().describe("next_cursor of the page before"),
		}),
		status: 200,
		answer: page("jobs", job).meta({ id: "Jobs" }),
		problems: ["cursor_invalid"],
	},
	getJob: {
		method: "GET",
		path: "/api/jobs/{id}",
		scope: "tenant",
		tenants: "one or all",
		summary: "One job, with its result",
		query: z.strictObject({ wait_ms: waitMs, include: listOf(["history"]).optional() }),
		status: 200,
		answer: job,
		problems: ["job_not_found"],
	},
	cancelJob: {
		method: "POST",
		path: "/api/jobs/{id}/cancel",
		scope: "tenant",
		tenants: "one",
		summary: "Cancel a job: a waiting one at once; a running one is asked to stop and keeps its slot until it has",
		status: 200,
		answer: job,
		problems: ["job_not_found", "job_finished"],
	},
	retryJob: {
		method: "POST",
		path: "/api/jobs/{id}/retry",
		scope: "tenant",
		tenants: "one",
		summary: "Run a failed, dead or cancelled job again: same id, attempts afresh, its history goes on",
		status: 200,
		answer: job,
		problems: ["job_not_found", "job_not_finished"],
	},
	listTasks: {
		method: "GET",
		path: "/api/tasks",
		scope: "public",
		summary: "The tasks this queue knows",
		query: z.strictObject({}),
		status: 200,
		answer: page(
			"tasks",
			z.object({
				name: z.string(),
				summary: z.string().nullable(),
				example: z.unknown(),
				input_schema: z.unknown(),
				timeout_ms: z.int(),
				retry: z.object({ max_retries: z.int(), base_ms: z.int(), factor: z.number(), max_ms: z.int() }),
			}),
		).meta({ id: "Tasks" }),
		problems: [],
	},
	metrics: {
		method: "GET",
		path: "/api/metrics",
		scope: "tenant",
		tenants: "all by default",
		summary: "Counts of the whole queue, or of one tenant; exact, and one row whatever its size",
		query: z.strictObject({}),
		status: 200,
		answer: metricsAnswer,
		problems: [],
	},
	processTick: {
		method: "POST",
		path: "/api/tick",
		scope: "worker",
		summary: "Run one bounded pass: take back lost leases, claim due jobs, run them, record how they ended",
		query: z.strictObject({ dry_run: flag.optional().describe("Answer what a tick would do; nothing is written") }),
		body: z.strictObject({
			limit: optional(z.int().min(1).max(1_000_000)).describe("Start at most this many jobs"),
			budget_ms: optional(z.int().min(1).max(3_600_000)).describe("Start no job after this"),
		}),
		status: 200,
		answer: tickReport,
		problems: [],
	},
	health: {
		method: "GET",
		path: "/health",
		scope: "public",
		summary: "The process is up",
		query: z.strictObject({}),
		status: 200,
		answer: z.object({ status: z.literal("ok"), timestamp: instant }).meta({ id: "Health" }),
		problems: [],
	},
	ready: {
		method: "GET",
		path: "/ready",
		scope: "operator",
		summary: "The store answers and has the schema of this code",
		query: z.strictObject({}),
		status: 200,
		answer: z.object({ status: z.literal("ready"), timestamp: instant, last_tick_at: instant.nullable() }).meta({ id: "Ready" }),
		problems: ["not_ready"],
	},
	openapi: {
		method: "GET",
		path: "/openapi.json",
		scope: "public",
		summary: "This API as OpenAPI 3.1",
		query: z.strictObject({}),
		status: 200,
		answer: z.record(z.string(), z.unknown()),
		problems: [],
	},
	describeProblem: {
		method: "GET",
		path: "/docs/problems/{code}",
		scope: "public",
		summary: "What a problem's code means",
		query: z.strictObject({}),
		status: 200,
		answer: z.object({ code: z.string(), status: z.int(), title: z.string(), operations: z.array(z.string()) }).meta({ id: "ProblemCode" }),
		problems: ["not_found"],
	},
} as const satisfies Record<string, OperationRow>;

export type Operations = typeof operations;
export type OperationName = keyof Operations;
export type Query<N extends OperationName> = Operations[N] extends { query: infer Q extends z.ZodType }
	? z.output<Q>
	: Record<never, never>;
export type Body<N extends OperationName> = Operations[N] extends { body: infer B extends z.ZodType } ? z.output<B> : undefined;
export type Answer<N extends OperationName> = z.output<Operations[N]["answer"]>;

/** What every operation may refuse, by what it has. */
export function commonProblems(row: OperationRow): ProblemCode[] {
	return [
		"query_invalid",
		"host_forbidden",
		"method_not_allowed",
		...("dry_run" in (row.query?.shape ?? {}) ? [] : (["dry_run_unsupported"] as const)),
		...(row.scope === "tenant" ? (["tenant_invalid"] as const) : []),
		...(row.scope === "tenant" && row.tenants !== "all by default" ? (["tenant_required"] as const) : []),
		...(row.body === undefined ? [] : (["json_invalid", "media_type_unsupported", "payload_too_large", "body_invalid"] as const)),
		"internal_error",
		"storage_unavailable",
		"access_closed",
	];
}
