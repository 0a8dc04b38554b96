/**
 * Every operation as data: the router, the validation, the OpenAPI document, the types of the functions and the tests read this table,
 * and nothing describes an operation twice.
 */
import * as z from "zod";
import { EVENT_KINDS, type Reason, STATUSES } from "./job.ts";
import type { ProblemCode } from "./problem.ts";
import { BULK_ACTIONS, BULK_STATUSES } from "./storage/storage.ts";

/**
 * What a function is handed: nothing (`public`), the store of one tenant (`tenant`), the worker's side or the operator's.
 * `tenants` says how a tenant operation learns whose: `one` must be named by X-Tenant-ID; `one or all` also takes `*`, and without a
 * header only where `all by default`.
 */
export type Scope = "public" | "tenant" | "worker" | "operator";
export type Tenants = "one" | "one or all" | "all by default";

export interface OperationRow {
	readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
	/** Parameters in braces. */
	readonly path: string;
	readonly scope: Scope;
	readonly tenants?: Tenants;
	/** Whether X-Tenant-ID may also be `~` and a name: the calls that tickq makes to webhooks of that tenant. */
	readonly calls?: true;
	readonly summary: string;
	readonly query?: z.ZodObject;
	readonly body?: z.ZodType;
	/** Whether the body holds many results: it may have four times the bytes of one result rather than those of a payload. */
	readonly results?: true;
	/** Status of success. */
	readonly status: 200 | 201 | 202 | 204;
	/** Its body; `z.undefined()`: none. */
	readonly answer: z.ZodType;
	/** What a dry run answers, with 200, where that is something else. */
	readonly dryRun?: z.ZodType;
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

/** The longest that a request waits for a job. */
export const WAIT_MS_MAX = 20_000;
/** The longest that a job can be put off. */
export const FAR_FUTURE_MS = 10 * 365 * 24 * 3_600_000;

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

/** Items of a page where the caller does not say. */
export const LIMIT_DEFAULT = 50;
const pageLimit = count(1, 200).optional().describe(`${LIMIT_DEFAULT} if absent`);

const waitMs = count(0, WAIT_MS_MAX)
	.optional()
	.describe("Answer when the job has ended, or after this many milliseconds, whichever comes first");

const webhookUrl = text(2000)
	.refine(value => /^https?:$/.test(URL.parse(value)?.protocol ?? ""), "must be an http or https address")
	.refine(value => {
		const url = URL.parse(value);
		return url === null || (url.username === "" && url.password === "");
	}, "must not contain a user or a password");

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
		webhook_url: optional(webhookUrl).describe("Called when the job has ended; else the tenant's own webhook, if it has one"),
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
		outcome: z.string().optional(),
		circuit: z
			.enum(["opened", "closed", "probe"])
			.optional()
			.describe("What the end of this attempt did to the circuit of its tenant's jobs of the task; probe: it failed while that was open"),
	})
	.meta({ id: "Event" });

const REASONS = ["not_retryable", "retries_exhausted", "lease_lost", "requested", "expired"] as const satisfies readonly Reason[];

export const job = z
	.object({
		job_id: z.string(),
		id: z.string(),
		tenant_id: z.string(),
		task: z.string(),
		status: z.enum(STATUSES),
		reason: z.enum(REASONS).nullable(),
		payload: z.unknown(),
		result: z.unknown(),
		error_message: z.string().nullable(),
		error: z
			.object({
				message: z.string(),
				attempt: z.int(),
				name: z.string().optional(),
				stack: z.string().optional(),
				fingerprint: z.string().optional().describe("The same for alike errors"),
			})
			.nullable(),
		fingerprint: z.string().nullable().describe("Of the latest failed attempt"),
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
		copy_of: z.string().nullable(),
		webhook_url: z.string().nullable(),
		trace_id: z.string(),
		links: z.object({ self: z.string(), dashboard: z.string() }),
		history: z
			.array(event)
			.optional()
			.describe("All of it; beyond 200 events without the attempts that came to nothing (given back, put off, lost)"),
	})
	.meta({ id: "Job" });

const page = <K extends string>(name: K, item: z.ZodType) =>
	z.object({ [name]: z.array(item), count: z.int().describe("Items in this page"), next_cursor: z.string().nullable() });

const metricsAnswer = z
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
		workers: z
			.object({
				busy: z.int().describe("Jobs that run in this process"),
				size: z.int().describe("Jobs that it can run at once"),
				running: z.int().describe("Its workers"),
				min: z.int(),
				max: z.int(),
				desired: z
					.int()
					.describe(
						"Workers that the jobs which are counted could use now, by the same rule: what to scale machines by. What a limit, a pause, a hold or a circuit keeps waiting calls for none; what waits calls for 100 at most",
					),
				reason: z.string(),
				scaled: z
					.array(z.object({ at: instant, from: z.int(), to: z.int(), reason: z.string() }))
					.describe("The latest changes, the newest last"),
			})
			.describe("Of the process that answers; desired and reason: by the jobs of the whole queue, or of the one tenant"),
		last_tick_at: instant.nullable(),
		next_wake_at: instant.nullable(),
		version: z.int().describe("Moves with every change; also the ETag"),
	})
	.meta({ id: "Metrics" });

const tickReport = z
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

/** Which jobs: query parameters of a list, and members of a bulk action's filter. */
const filterQuery = {
	status: listOf(STATUSES).optional().describe("One or several, by comma"),
	task: z.string().regex(TASK_NAME, TASK_NAME_RULE).optional(),
	tag: text(100).optional(),
	fingerprint: text(100).optional().describe("Of failed jobs and dead letters: GET /api/dead-letters/groups"),
	reason: z.enum(REASONS).optional(),
	created_after: instantIn.optional(),
	created_before: instantIn.optional(),
};
const bulkFilter = z
	.strictObject({
		status: optional(z.union([z.enum(STATUSES), z.array(z.enum(STATUSES)).min(1).max(6)])),
		task: optional(z.string().regex(TASK_NAME, TASK_NAME_RULE)),
		tag: optional(text(100)),
		fingerprint: optional(text(100)),
		reason: optional(z.enum(REASONS)),
		created_after: optional(instantIn),
		created_before: optional(instantIn),
	})
	.meta({ id: "JobFilter" });

const IDS_MAX = 1000;
const bulkBody = z
	.strictObject({
		action: z.enum(BULK_ACTIONS).describe("retry: failed, dead and cancelled jobs · cancel: waiting and running ones · delete: ended ones"),
		filter: optional(bulkFilter).describe("Jobs that are like this; at least one member"),
		ids: optional(z.array(z.string().max(100)).min(1).max(IDS_MAX)).describe("Or these jobs"),
		rate_per_s: optional(z.int().min(1).max(10_000)).describe("So many jobs a second at most"),
		canary: optional(z.int().min(1).max(100)).describe("So many first; the others only if those are done. For retry"),
		name: optional(text(200)),
		if_matched: optional(z.int().min(0)).describe("Refused when another number matches: the number that the dry run said"),
	})
	.meta({ id: "NewBulkAction", examples: [{ action: "retry", filter: { status: "dead_letter", task: "send_email" }, canary: 3 }] });

export const bulkAction = z
	.object({
		id: z.string(),
		action: z.enum(BULK_ACTIONS),
		name: z.string().nullable(),
		tenant_id: z.string().nullable().describe("null: jobs of all tenants"),
		filter: bulkFilter.nullable(),
		ids_count: z.int().nullable().describe("Jobs that were named by their ids"),
		rate_per_s: z.int().nullable(),
		canary: z.int().nullable(),
		canary_jobs: z.array(z.string()).optional().describe("The first jobs, as far as they are still there; not in a list"),
		status: z.enum(BULK_STATUSES),
		reason: z.string().nullable().describe("Why it was stopped"),
		seen: z.int(),
		changed: z.int(),
		skipped: z.int().describe("Jobs that were no longer ones to change when their turn came"),
		created_at: instant,
		updated_at: instant,
		ended_at: instant.nullable(),
	})
	.meta({ id: "BulkAction" });
/** What an action would act on. */
const bulkMatched = z
	.object({
		dry_run: z.literal(true),
		matched: z.object({ value: z.int(), relation: z.enum(["eq", "gte"]).describe("gte: there are more, and no further was counted") }),
		by_task: z.record(z.string(), z.int()),
		by_tenant: z.record(z.string(), z.int()),
		sample: z.array(z.string()),
	})
	.meta({ id: "BulkMatched" });

/** Short enough for `schedule:` and the name to be a tag. */
export const SCHEDULE_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,89}$/;
const scheduleFields = {
	task: z.string().regex(TASK_NAME, TASK_NAME_RULE),
	payload: z.unknown().optional().describe("What each job is given; must fit the task's schema"),
	cron: text(200).describe("Five fields, or six with seconds, or @daily and its kin"),
	timezone: optional(text(100)).describe("IANA name such as Europe/Zurich; UTC if absent"),
	missed: optional(z.enum(["skip", "one"])).describe(
		"Slots that nobody was there for in five minutes: none runs (if absent), or the latest",
	),
	overlap: optional(z.enum(["skip", "queue"])).describe("A slot whose forerunner has not ended: left out, or queued (if absent)"),
	paused: optional(z.boolean()),
	max_retries: optional(z.int().min(0).max(100)).describe("Of each job; the task's own number if absent"),
};
const scheduleBody = z
	.strictObject({
		name: z.string().regex(SCHEDULE_NAME, "must be 1 to 90 letters, digits and _ . : -, and start with a letter, a digit or _"),
		...scheduleFields,
	})
	.meta({ id: "NewSchedule", examples: [{ name: "nightly", task: "process_data", cron: "30 2 * * *", timezone: "Europe/Zurich" }] });
const scheduleChange = z
	.strictObject({ ...scheduleFields, task: optional(scheduleFields.task), cron: optional(scheduleFields.cron) })
	.meta({ id: "ScheduleChange", examples: [{ paused: true }] });
const schedule = z
	.object({
		name: z.string(),
		tenant_id: z.string(),
		task: z.string(),
		payload: z.unknown(),
		cron: z.string(),
		timezone: z.string(),
		missed: z.enum(["skip", "one"]),
		overlap: z.enum(["skip", "queue"]),
		paused: z.boolean(),
		max_retries: z.int(),
		created_at: instant,
		updated_at: instant,
		last_at: instant.nullable().describe("The latest slot that was due, whether or not it made a job"),
		last_job_id: z
			.string()
			.nullable()
			.describe("The latest job that a slot has made, while it is kept; all of them: GET /api/jobs?tag=schedule:{name}"),
		next_at: instant.nullable().describe("null while it is paused"),
		next_five: z.array(instant).describe("The next slots; none while it is paused"),
	})
	.meta({ id: "Schedule" });

/** Jobs that one request for jobs is given. */
export const LEASE_LIMIT_MAX = 100;
/** Leases that one request names. */
const LEASES_MAX = 1000;
const workerName = text(200).describe("Who asks; shown in histories and in GET /api/workers");
const leaseBody = z
	.strictObject({
		worker: workerName,
		tasks: z.array(z.string().regex(TASK_NAME, TASK_NAME_RULE)).min(1).max(200).describe("What it can run; its tasks become known"),
		limit: optional(z.int().min(1).max(LEASE_LIMIT_MAX)).describe("Its free slots; 1 if absent"),
		lease_ms: optional(z.int().min(1000).max(3_600_000)).describe(
			"How long each lease lasts unless it is extended; the queue's own if absent",
		),
		wait_ms: optional(z.int().min(0).max(WAIT_MS_MAX)).describe("Answer when there is a job, or after this many milliseconds"),
		version: optional(text(100)).describe("Of the worker, for whoever looks"),
	})
	.meta({ id: "LeaseRequest", examples: [{ worker: "gpu-1", tasks: ["render"], limit: 1, wait_ms: 20_000 }] });
const leaseToken = z.string().regex(/^\d{1,16}$/, "is not a lease's token");
const heartbeatBody = z
	.strictObject({
		worker: workerName,
		leases: z
			.array(
				z.strictObject({
					id: z.string().max(100),
					lease_token: leaseToken,
					progress: optional(z.strictObject({ percent: z.number().min(0).max(100), message: optional(z.string().max(500)) })),
				}),
			)
			.max(LEASES_MAX),
		lease_ms: optional(z.int().min(1000).max(3_600_000)),
	})
	.meta({ id: "Heartbeat" });
/** A job that a job submits, for its own tenant. */
const followUp = z.strictObject({
	task: z.string().regex(TASK_NAME, TASK_NAME_RULE),
	payload: submitBody.shape.payload,
	priority: submitBody.shape.priority,
	delay_ms: submitBody.shape.delay_ms,
	max_retries: submitBody.shape.max_retries,
	key: submitBody.shape.key,
	tags: submitBody.shape.tags,
});
const FOLLOW_UPS_MAX = 100;
const SETTLE_OUTCOMES = ["done", "retry", "failed", "snooze", "release", "cancelled"] as const;
const settleBody = z
	.strictObject({
		results: z
			.array(
				z
					.strictObject({
						id: z.string().max(100),
						lease_token: leaseToken,
						outcome: z.enum(SETTLE_OUTCOMES),
						result: z.unknown().optional(),
						error: optional(
							z.union([
								z.string(),
								z.strictObject({ message: z.string(), name: optional(z.string().max(200)), stack: optional(z.string()) }),
							]),
						),
						retry_after_ms: optional(z.int().min(0).max(FAR_FUTURE_MS)),
						retry_scope: optional(z.enum(["job", "tenant", "task"])).describe(
							"Who waits with a job whose dependency says when to come back; such a failure opens no circuit",
						),
						follow_ups: optional(z.array(followUp).max(FOLLOW_UPS_MAX)).describe("With done: submitted together with it, or not at all"),
					})
					.refine(({ outcome, retry_after_ms }) => outcome !== "snooze" || typeof retry_after_ms === "number", {
						path: ["retry_after_ms"],
						message: "must say for how long to snooze",
					}),
			)
			.min(1)
			.max(LEASES_MAX)
			.refine(results => results.reduce((sum, { follow_ups }) => sum + (follow_ups?.length ?? 0), 0) <= LEASES_MAX, {
				message: `must have at most ${LEASES_MAX} follow-ups together`,
			}),
	})
	.meta({
		id: "Settle",
		examples: [
			{ results: [{ id: "job_01KB7Z3V0000000012Q8YZ4W9", lease_token: "4503599627370497", outcome: "done", result: { ok: true } }] },
		],
	});
/** A refusal inside an answer that says how each item went. */
const itemProblem = z.object({ code: z.string(), title: z.string(), detail: z.string() });

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
			"job_not_found",
			"tenant_backlog_full",
		],
	},
	listJobs: {
		method: "GET",
		path: "/api/jobs",
		scope: "tenant",
		tenants: "one or all",
		calls: true,
		summary: "List jobs, newest first",
		query: z.strictObject({
			...filterQuery,
			limit: pageLimit,
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
		calls: true,
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
		calls: true,
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
		calls: true,
		summary: "Run a failed, dead or cancelled job again: same id, attempts afresh, its history goes on",
		status: 200,
		answer: job,
		problems: ["job_not_found", "job_not_finished"],
	},
	copyJob: {
		method: "POST",
		path: "/api/jobs/{id}/copy",
		scope: "tenant",
		tenants: "one",
		summary: "Submit a job like this one, with another payload if one is given",
		body: z.strictObject({
			payload: z.unknown().optional(),
			task: optional(z.string().regex(TASK_NAME, TASK_NAME_RULE)),
			max_retries: optional(z.int().min(0).max(100)),
			priority: optional(z.int().min(-1000).max(1000)),
		}),
		status: 201,
		answer: job,
		problems: ["job_not_found", "unknown_task", "invalid_payload", "tenant_backlog_full"],
	},
	deleteJob: {
		method: "DELETE",
		path: "/api/jobs/{id}",
		scope: "tenant",
		tenants: "one",
		calls: true,
		summary: "Delete a job that has ended, with its history",
		query: z.strictObject({}),
		status: 204,
		answer: z.undefined(),
		problems: ["job_not_found", "job_not_ended"],
	},
	listDeadLetterGroups: {
		method: "GET",
		path: "/api/dead-letters/groups",
		scope: "tenant",
		tenants: "one or all",
		calls: true,
		summary: "Failed jobs and dead letters by what went wrong, the largest group first",
		query: z.strictObject({
			task: z.string().regex(TASK_NAME, TASK_NAME_RULE).optional(),
			reason: z.enum(["not_retryable", "retries_exhausted", "lease_lost"]).optional(),
			fingerprint: text(100).optional(),
			limit: pageLimit,
		}),
		status: 200,
		answer: page(
			"groups",
			z.object({
				fingerprint: z.string(),
				task: z.string(),
				reason: z.enum(REASONS),
				message: z.string().nullable(),
				count: z.int(),
				tenants: z.int(),
				first_seen_at: instant,
				last_seen_at: instant,
				example_job_id: z.string(),
				example_tenant_id: z.string(),
			}),
		).meta({ id: "DeadLetterGroups" }),
		problems: [],
	},
	startBulkAction: {
		method: "POST",
		path: "/api/bulk-actions",
		scope: "tenant",
		tenants: "one or all",
		calls: true,
		summary: "Retry, cancel or delete many jobs; ticks carry it out",
		query: z.strictObject({ dry_run: flag.optional().describe("Answer what it would act on; nothing is written") }),
		body: bulkBody,
		status: 202,
		answer: bulkAction,
		dryRun: bulkMatched,
		problems: ["filter_empty", "filter_or_ids", "canary_unsupported", "status_unsupported", "matched_changed", "bulk_actions_full"],
	},
	listBulkActions: {
		method: "GET",
		path: "/api/bulk-actions",
		scope: "tenant",
		tenants: "one or all",
		calls: true,
		summary: "Bulk actions, the latest first",
		query: z.strictObject({ limit: pageLimit }),
		status: 200,
		answer: page("bulk_actions", bulkAction).meta({ id: "BulkActions" }),
		problems: [],
	},
	getBulkAction: {
		method: "GET",
		path: "/api/bulk-actions/{id}",
		scope: "tenant",
		tenants: "one or all",
		calls: true,
		summary: "One bulk action, with its progress",
		query: z.strictObject({}),
		status: 200,
		answer: bulkAction,
		problems: ["bulk_action_not_found"],
	},
	stopBulkAction: {
		method: "POST",
		path: "/api/bulk-actions/{id}/stop",
		scope: "tenant",
		tenants: "one or all",
		calls: true,
		summary: "Stop a bulk action; what it has done stays",
		status: 200,
		answer: bulkAction,
		problems: ["bulk_action_not_found"],
	},
	createSchedule: {
		method: "POST",
		path: "/api/schedules",
		scope: "tenant",
		tenants: "one",
		summary: "Submit a job at each slot of a cron line",
		body: scheduleBody,
		status: 201,
		answer: schedule,
		problems: ["schedule_exists", "schedules_full", "cron_invalid", "timezone_unknown", "unknown_task", "invalid_payload"],
	},
	listSchedules: {
		method: "GET",
		path: "/api/schedules",
		scope: "tenant",
		tenants: "one or all",
		summary: "Schedules, by name",
		query: z.strictObject({
			limit: pageLimit,
			cursor: z.string().max(400).optional().describe("next_cursor of the page before"),
		}),
		status: 200,
		answer: page("schedules", schedule).meta({ id: "Schedules" }),
		problems: ["cursor_invalid"],
	},
	getSchedule: {
		method: "GET",
		path: "/api/schedules/{name}",
		scope: "tenant",
		tenants: "one",
		summary: "One schedule, with its next five slots",
		query: z.strictObject({}),
		status: 200,
		answer: schedule,
		problems: ["schedule_not_found"],
	},
	updateSchedule: {
		method: "PATCH",
		path: "/api/schedules/{name}",
		scope: "tenant",
		tenants: "one",
		summary: "Change a schedule, pause it or let it go on",
		body: scheduleChange,
		status: 200,
		answer: schedule,
		problems: ["schedule_not_found", "cron_invalid", "timezone_unknown", "unknown_task", "invalid_payload"],
	},
	deleteSchedule: {
		method: "DELETE",
		path: "/api/schedules/{name}",
		scope: "tenant",
		tenants: "one",
		summary: "Delete a schedule; the jobs that it has made stay",
		query: z.strictObject({}),
		status: 204,
		answer: z.undefined(),
		problems: ["schedule_not_found"],
	},
	runSchedule: {
		method: "POST",
		path: "/api/schedules/{name}/run",
		scope: "tenant",
		tenants: "one",
		summary: "Submit a schedule's job now, beside its slots",
		status: 201,
		answer: job,
		problems: ["schedule_not_found", "unknown_task", "invalid_payload", "tenant_backlog_full"],
	},
	getWebhook: {
		method: "GET",
		path: "/api/webhook",
		scope: "tenant",
		tenants: "one",
		summary: "What is called when a job of this tenant ends",
		query: z.strictObject({}),
		status: 200,
		answer: z.object({ url: z.string().nullable() }).meta({ id: "Webhook" }),
		problems: [],
	},
	setWebhook: {
		method: "PUT",
		path: "/api/webhook",
		scope: "tenant",
		tenants: "one",
		summary: "Call this address when a job of this tenant ends; null: none",
		body: z.strictObject({ url: webhookUrl.nullable() }).meta({ id: "NewWebhook", examples: [{ url: "https://example.com/hooks/tickq" }] }),
		status: 200,
		answer: z.object({ url: z.string().nullable() }).meta({ id: "Webhook" }),
		problems: [],
	},
	leaseJobs: {
		method: "POST",
		path: "/api/leases",
		scope: "worker",
		summary: "Take due jobs to run them elsewhere, under the same limits and in the same turns as everywhere",
		body: leaseBody,
		status: 200,
		answer: z
			.object({
				jobs: z.array(
					z.object({
						id: z.string(),
						tenant: z.string(),
						task: z.string(),
						payload: z.unknown(),
						attempt: z.int(),
						max_attempts: z.int(),
						timeout_ms: z.int().describe("The longest this attempt may run"),
						timeout_from: z.enum(["job", "task", "queue"]).describe("Who said so; the queue: nobody did, and the worker may know better"),
						lease_token: z.string(),
						lease_expires_at: instant,
						trace_id: z.string(),
					}),
				),
				next_wake_at: instant.nullable().describe("When it is worth asking again, as far as is known now"),
			})
			.meta({ id: "Leases" }),
		problems: ["too_many_tasks"],
	},
	heartbeatLeases: {
		method: "POST",
		path: "/api/leases/heartbeat",
		scope: "worker",
		summary: "Extend leases, say how far their jobs are, and learn which are to stop",
		body: heartbeatBody,
		results: true,
		status: 200,
		answer: z
			.object({
				leases: z.array(
					z.object({
						id: z.string(),
						status: z.enum(["held", "cancel_requested", "lost"]),
						lease_expires_at: instant.nullable(),
					}),
				),
			})
			.meta({ id: "HeldLeases" }),
		problems: [],
	},
	settleLeases: {
		method: "POST",
		path: "/api/leases/settle",
		scope: "worker",
		summary: "Say how attempts ended; each is accepted while its lease is held, and once",
		body: settleBody,
		results: true,
		status: 200,
		answer: z
			.object({ results: z.array(z.object({ id: z.string(), status: z.enum(STATUSES).optional(), problem: itemProblem.optional() })) })
			.meta({ id: "Settled" }),
		problems: ["lease_lost"],
	},
	listWorkers: {
		method: "GET",
		path: "/api/workers",
		scope: "operator",
		summary: "Who runs jobs, and was there in the last week",
		query: z.strictObject({ limit: pageLimit }),
		status: 200,
		answer: page(
			"workers",
			z.object({
				name: z.string(),
				kind: z.enum(["process", "remote"]),
				status: z.enum(["live", "gone"]).describe("live: seen in the last 75 seconds; these come first"),
				tasks: z.array(z.string()),
				running: z.int(),
				first_seen_at: instant,
				last_seen_at: instant,
				version: z.string(),
			}),
		).meta({ id: "Workers" }),
		problems: [],
	},
	resetCircuit: {
		method: "POST",
		path: "/api/tasks/{task}/circuit/reset",
		scope: "operator",
		summary: "Close the circuits of a task and end its holds: its jobs run again",
		body: z.strictObject({ tenant: optional(z.string().regex(TENANT_NAME)) }),
		status: 200,
		answer: z.object({ task: z.string(), reset: z.int().describe("Tenants whose jobs waited for it") }).meta({ id: "CircuitReset" }),
		problems: ["unknown_task"],
	},
	listTasks: {
		method: "GET",
		path: "/api/tasks",
		scope: "operator",
		summary: "The tasks this queue knows: its own, and those of remote workers",
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
				served_by: z
					.enum(["this process", "remote workers", "other processes", "nobody"])
					.describe("Who would start a job of it: this process, or whoever was seen in the last 75 s"),
				paused: z.boolean(),
				held_until: instant.nullable().describe("All its jobs wait until then"),
				circuits_open: z.int().describe("Tenants whose jobs of it wait since they kept failing"),
				circuits: z
					.array(
						z.object({
							tenant_id: z.string(),
							probes_at: instant.nullable().describe("When one job may be tried; null: from now on, or it is being tried"),
						}),
					)
					.describe("The first 20 of these, by name"),
			}),
		).meta({ id: "Tasks" }),
		problems: [],
	},
	metrics: {
		method: "GET",
		path: "/api/metrics",
		scope: "tenant",
		tenants: "all by default",
		calls: true,
		summary: "Counts of the whole queue, or of one tenant: exact, and one row whatever its size; and the workers that they call for",
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
		answer: z
			.object({ code: z.string(), status: z.int(), title: z.string(), remedy: z.string(), operations: z.array(z.string()) })
			.meta({ id: "ProblemCode" }),
		problems: ["not_found"],
	},
} as const satisfies Record<string, OperationRow>;

export type Operations = typeof operations;
export type OperationName = keyof Operations;
export type Query<N extends OperationName> = Operations[N] extends { query: infer Q extends z.ZodType }
	? z.output<Q>
	: Record<never, never>;
export type Body<N extends OperationName> = Operations[N] extends { body: infer B extends z.ZodType } ? z.output<B> : undefined;
export type Answer<N extends OperationName> =
	| z.output<Operations[N]["answer"]>
	| (Operations[N] extends { dryRun: infer D extends z.ZodType } ? z.output<D> : never);

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
