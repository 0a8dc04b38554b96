/** The shapes of the HTTP API that the dashboard reads. Only fields it uses; the server may send more. */

export type JobStatus = "pending" | "running" | "done" | "failed" | "dead_letter" | "cancelled";

export interface JobError {
	message: string;
	attempt?: number;
	stack?: string;
}

export interface HistoryEvent {
	seq: number;
	at: string;
	kind: string;
	text: string;
	attempt?: number | null;
	worker?: string | null;
	error?: string | JobError | null;
	run_at?: string | null;
}

export interface Job {
	id: string;
	tenant_id: string;
	task: string;
	status: JobStatus;
	/** Absent in lists when large. */
	payload?: unknown;
	result?: unknown;
	error_message: string | null;
	error: JobError | null;
	reason: string | null;
	attempt: number;
	max_attempts: number;
	retry_count: number;
	max_retries: number;
	timeout_ms: number | null;
	lost_count: number;
	priority: number;
	key: string | null;
	tags: string[];
	progress: { percent: number; message: string | null } | null;
	created_at: string;
	run_at: string | null;
	start_by: string | null;
	started_at: string | null;
	completed_at: string | null;
	cancel_requested_at: string | null;
	timing: { waited_ms: number | null; ran_ms: number | null } | null;
	trace_id: string | null;
	worker: string | null;
	/** Why a pending job does not run yet, in words. */
	waiting_for?: { code: string; text: string; until: string | null } | null;
	/** Present with `include=history`. */
	history?: HistoryEvent[];
}

export interface JobList {
	jobs: Job[];
	count: number;
	next_cursor: string | null;
}

export interface Metrics {
	pending: number;
	running: number;
	done: number;
	failed: number;
	dead_letter_queue: number;
	cancelled: number;
	active_tenants: number;
	timestamp: string;
	ready: number;
	delayed: number;
	blocked: number;
	submitted_total: number;
	finished_total: number;
	last_tick_at: string | null;
	next_wake_at: string | null;
	workers: { busy: number; size: number } | null;
	/** Moves with any change of the queue. */
	version: number;
}

export interface Task {
	name: string;
	summary: string | null;
	example: unknown;
	input_schema: unknown;
	timeout_ms: number;
	retry: { max_retries: number; base_ms: number; factor: number; max_ms: number };
}

/** The body of POST /api/jobs. */
export interface Submission {
	/** Absent where the payload names it. */
	task?: string;
	payload: unknown;
	priority?: number;
	delay_ms?: number;
	max_retries?: number;
	timeout_ms?: number;
	key?: string;
	tags?: string[];
	idempotency_key?: string;
}

/** What a page module hands to the router. */
export interface Page {
	title: string;
	element: HTMLElement;
	/** Called instead of a new page when only the parameters of the address changed. */
	update?(route: Route): void;
	/** Called once, when the page leaves. */
	close(): void;
}

/** `#/jobs/<id>?tenant=acme` is `{ path: ["jobs", "<id>"], params, tenant: "acme" }`. */
export interface Route {
	path: string[];
	params: URLSearchParams;
	/** The scope: one tenant, or null for all. */
	tenant: string | null;
}
