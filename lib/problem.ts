/** Problem documents (RFC 9457): every refusal has a stable code, and a detail that says what to do next. */

import { VERSION } from "./version.ts";

/** Code → HTTP status and title. Codes are only ever added. */
export const PROBLEMS = {
	json_invalid: [400, "The body is not JSON"],
	query_invalid: [400, "The query does not fit the operation"],
	cursor_invalid: [400, "The cursor is not one of ours"],
	dry_run_unsupported: [400, "This operation has no dry run"],
	tenant_required: [400, "The tenant is missing"],
	tenant_invalid: [400, "The tenant's name cannot be used"],
	run_at_and_delay_ms: [400, "Two times to run"],
	idempotency_keys_differ: [400, "Two idempotency keys"],
	header_invalid: [400, "A header cannot be read"],
	host_forbidden: [403, "This address is not for that name"],
	not_found: [404, "There is nothing at this path"],
	job_not_found: [404, "There is no such job"],
	bulk_action_not_found: [404, "There is no such bulk action"],
	schedule_not_found: [404, "There is no such schedule"],
	method_not_allowed: [405, "This path has other methods"],
	job_finished: [409, "The job is not one to cancel"],
	job_not_finished: [409, "The job is not one to retry"],
	job_not_ended: [409, "The job is not one to delete yet"],
	lease_lost: [409, "The lease is not held any more"],
	matched_changed: [409, "Another number of jobs matches now"],
	schedule_exists: [409, "There is a schedule of this name"],
	schedules_full: [409, "The tenant has as many schedules as it may have"],
	payload_too_large: [413, "The body is too large"],
	media_type_unsupported: [415, "The body must be JSON"],
	body_invalid: [422, "The body does not fit the operation"],
	task_required: [422, "The task is missing"],
	unknown_task: [422, "There is no such task"],
	too_many_tasks: [422, "Too many tasks are known"],
	filter_empty: [422, "The filter says nothing"],
	filter_or_ids: [422, "One of filter and ids says which jobs"],
	canary_unsupported: [422, "Only a retry can have a canary"],
	status_unsupported: [422, "The action does not act on jobs of this status"],
	cron_invalid: [422, "The cron line cannot be used"],
	timezone_unknown: [422, "There is no such time zone"],
	invalid_payload: [422, "The payload does not fit the task"],
	idempotency_key_reused: [422, "The idempotency key belongs to another request"],
	tenant_backlog_full: [429, "Too many of the tenant's jobs are waiting"],
	bulk_actions_full: [429, "Too many bulk actions are under way"],
	internal_error: [500, "Something went wrong here"],
	storage_unavailable: [503, "The store cannot be used right now"],
	not_ready: [503, "Not ready"],
	access_closed: [503, "Nobody has been let in yet"],
} as const satisfies Record<string, readonly [status: number, title: string]>;
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
