/** Problem documents (RFC 9457): every refusal has a stable code, and a detail that says what to do next. */

import { VERSION } from "./version.ts";

/** Code → HTTP status, title, and what to do about it. Codes are only ever added. */
export const PROBLEMS = {
	json_invalid: [400, "The body is not JSON", "Mend the JSON; the detail says where it breaks off."],
	query_invalid: [
		400,
		"The query does not fit the operation",
		"The detail names the parameter; GET /openapi.json lists those that there are.",
	],
	cursor_invalid: [400, "The cursor is not one of ours", "Use next_cursor of the page before as it is, or start without one."],
	dry_run_unsupported: [400, "This operation has no dry run", "Leave ?dry_run out. What can be rehearsed: ticks and bulk actions."],
	tenant_required: [400, "The tenant is missing", "Send the header X-Tenant-ID. Operations that read take * for all tenants."],
	tenant_invalid: [
		400,
		"The tenant's name cannot be used",
		"1 to 100 letters, digits and . _ : @ - that start with a letter, a digit or _.",
	],
	run_at_and_delay_ms: [400, "Two times to run", "Send one of run_at and delay_ms."],
	idempotency_keys_differ: [400, "Two idempotency keys", "Send the key as header or in the body, not two."],
	header_invalid: [400, "A header cannot be read", "The detail names the header and what it takes."],
	host_forbidden: [403, "This address is not for that name", "Call it by the name it was started for: http://localhost:PORT."],
	not_found: [404, "There is nothing at this path", "GET /openapi.json lists what there is."],
	job_not_found: [
		404,
		"There is no such job",
		"Check the id and the tenant: another tenant's job, and one older than its retention, are as if they were not there.",
	],
	bulk_action_not_found: [404, "There is no such bulk action", "GET /api/bulk-actions lists those of the last month."],
	schedule_not_found: [404, "There is no such schedule", "GET /api/schedules lists them."],
	method_not_allowed: [405, "This path has other methods", "The header Allow names the methods of this path."],
	job_finished: [409, "The job is not one to cancel", "It has ended. Retry it, or copy it."],
	job_not_finished: [
		409,
		"The job is not one to retry",
		"Only what has failed, is a dead letter or was cancelled can be retried; copy one that is done.",
	],
	job_not_ended: [409, "The job is not one to delete yet", "Cancel it and wait for its end; then delete it."],
	lease_lost: [
		409,
		"The lease is not held any more",
		"Drop the result and go on: the lease ran out, or the attempt was ended before. The job is in good hands.",
	],
	matched_changed: [409, "Another number of jobs matches now", "Look at the dry run again, and send its number as if_matched."],
	schedule_exists: [409, "There is a schedule of this name", "PATCH it, or choose another name."],
	schedules_full: [409, "The tenant has as many schedules as it may have", "Delete schedules that are not needed any more."],
	payload_too_large: [413, "The body is too large", "Store large data elsewhere and submit where it is."],
	media_type_unsupported: [415, "The body must be JSON", "Send JSON and say so: Content-Type: application/json."],
	body_invalid: [422, "The body does not fit the operation", "errors[] points at each field; GET /openapi.json has the schema."],
	task_required: [422, "The task is missing", 'Name the task in the body: {"task": "echo"}.'],
	unknown_task: [
		422,
		"There is no such task",
		"GET /api/tasks lists the tasks. One of a remote worker becomes known when the worker first asks for jobs.",
	],
	too_many_tasks: [422, "Too many tasks are known", "Look for workers that ask for names which change; a name stays known."],
	filter_empty: [422, "The filter says nothing", 'Say which jobs: at least one member, such as {"status": "dead_letter"}.'],
	filter_or_ids: [422, "One of filter and ids says which jobs", "Send one of filter and ids."],
	canary_unsupported: [422, "Only a retry can have a canary", "A canary goes with retry alone."],
	status_unsupported: [422, "The action does not act on jobs of this status", "The detail says on which statuses the action acts."],
	cron_invalid: [
		422,
		"The cron line cannot be used",
		"Five fields (minute hour day month weekday), six with seconds, or @daily and its kin.",
	],
	timezone_unknown: [422, "There is no such time zone", "Use an IANA name such as Europe/Zurich."],
	invalid_payload: [422, "The payload does not fit the task", "errors[] points at each field; GET /api/tasks has the task's schema."],
	idempotency_key_reused: [
		422,
		"The idempotency key belongs to another request",
		"Send the same request again to have its first answer, or use a new key.",
	],
	tenant_backlog_full: [
		429,
		"Too many of the tenant's jobs are waiting",
		"Submit again when some of the tenant's jobs have run (Retry-After), or raise its backlog limit.",
	],
	bulk_actions_full: [429, "Too many bulk actions are under way", "Wait until some are done, or stop them."],
	internal_error: [500, "Something went wrong here", "It is a mistake in tickq: please report it with the trace id's lines of the log."],
	storage_unavailable: [
		503,
		"The store cannot be used right now",
		"Try again in a moment; submits with an idempotency key, since an answer that was lost may have been a yes.",
	],
	not_ready: [503, "Not ready", "The detail says what is missing, and the command that mends it."],
	access_closed: [503, "Nobody has been let in yet", "Put an access control before it, then set TICKQ_OPEN to true."],
} as const satisfies Record<string, readonly [status: number, title: string, remedy: string]>;
export type ProblemCode = keyof typeof PROBLEMS;

/** One mistake in the input; `pointer` is a JSON Pointer (RFC 6901) into the body. */
export interface FieldError {
	readonly pointer: string;
	readonly code: string;
	readonly detail: string;
}

export interface ProblemExtras {
	readonly errors?: readonly FieldError[];
	readonly headers?: Readonly<Record<string, string>>;
	/** Further members of the document. */
	readonly members?: Readonly<Record<string, unknown>>;
}

/** Thrown by a function that refuses; the frame round it makes the answer. */
export class Problem extends Error {
	override readonly name = "Problem";
	readonly code: ProblemCode;
	readonly extras: ProblemExtras;
	/** @param detail one or two sentences: what is wrong, and what to do next */
	constructor(code: ProblemCode, detail: string, extras: ProblemExtras = {}) {
		super(detail);
		this.code = code;
		this.extras = extras;
	}
}

export function problemResponse({ code, message, extras }: Problem, path: string, traceId: string): Response {
	const [status, title] = PROBLEMS[code];
	const document = {
		type: `/docs/problems/${code}`,
		title,
		status,
		code,
		detail: message,
		instance: path,
		...(extras.errors === undefined ? {} : { errors: extras.errors }),
		...extras.members,
		trace_id: traceId,
	};
	return new Response(JSON.stringify(document), {
		status,
		headers: { ...extras.headers, "content-type": "application/problem+json", "tickq-version": VERSION, "trace-id": traceId },
	});
}
