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
	/** How a late result would have ended the job. */
	outcome?: string;
	/** Whether this attempt opened or closed the circuit of its tenant and task, or probed it in vain. */
	circuit?: "opened" | "closed" | "probe";
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
	/** Of its latest error: alike errors have the same. */
	fingerprint: string | null;
	copy_of: string | null;
	webhook_url: string | null;
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
	workers: Pool | null;
	/** Moves with any change of the queue. */
	version: number;
}

/** The workers of the process that answers; `desired` is of the whole queue. */
export interface Pool {
	busy: number;
	size: number;
	running: number;
	min: number;
	max: number;
	desired: number;
	reason: string;
	/** The newest last. */
	scaled: { at: string; from: number; to: number; reason: string }[];
}

export interface Task {
	name: string;
	summary: string | null;
	example: unknown;
	input_schema: unknown;
	timeout_ms: number;
	retry: { max_retries: number; base_ms: number; factor: number; max_ms: number };
	served_by: "this process" | "remote workers" | "nobody";
	paused: boolean;
	/** All its jobs wait until then. */
	held_until: string | null;
	/** Tenants whose jobs of it wait since they kept failing. */
	circuits_open: number;
	/** The first of these tenants by name, and when the next of their jobs probes. */
	circuits?: Circuit[];
}

export interface Circuit {
	tenant_id: string;
	/** null: one probes now. */
	probes_at: string | null;
}

/** Failed jobs and dead letters that are alike: one task, one fingerprint, one reason. */
export interface DeadLetterGroup {
	fingerprint: string;
	task: string;
	reason: string;
	message: string | null;
	count: number;
	tenants: number;
	first_seen_at: string;
	last_seen_at: string;
	example_job_id: string;
	example_tenant_id: string;
}

export type BulkActionKind = "retry" | "cancel" | "delete";

/** The body of POST /api/bulk-actions, as far as the page uses it. */
export interface NewBulkAction {
	action: BulkActionKind;
	filter: JobFilter;
	rate_per_s?: number;
	canary?: number;
	name?: string;
	if_matched?: number;
}

export interface JobFilter {
	status?: JobStatus | JobStatus[];
	task?: string;
	tag?: string;
	fingerprint?: string;
	reason?: string;
}

export interface BulkAction {
	id: string;
	action: BulkActionKind;
	name: string | null;
	tenant_id: string | null;
	filter: JobFilter | null;
	ids_count: number | null;
	rate_per_s: number | null;
	canary: number | null;
	/** Absent in lists. */
	canary_jobs?: string[];
	status: "running" | "canary" | "done" | "stopped";
	reason: string | null;
	seen: number;
	changed: number;
	skipped: number;
	created_at: string;
	updated_at: string;
	ended_at: string | null;
}

export interface BulkMatched {
	/** gte: there are more, and no further was counted. */
	matched: { value: number; relation: "eq" | "gte" };
	by_task: Record<string, number>;
	by_tenant: Record<string, number>;
}

export interface Schedule {
	name: string;
	tenant_id: string;
	task: string;
	payload: unknown;
	cron: string;
	timezone: string;
	missed: "skip" | "one";
	overlap: "skip" | "queue";
	paused: boolean;
	last_at: string | null;
	last_job_id: string | null;
	next_at: string | null;
	next_five: string[];
}

/** The body of POST /api/schedules. */
export interface NewSchedule {
	name: string;
	task: string;
	payload: unknown;
	cron: string;
	timezone?: string;
	missed?: string;
	overlap?: string;
}

/** The body of PATCH /api/schedules/{name}: what is absent stays. */
export type ScheduleChange = Partial<Omit<NewSchedule, "name">> & { paused?: boolean };

export interface Worker {
	name: string;
	kind: "process" | "remote";
	tasks: string[];
	running: number;
	first_seen_at: string;
	last_seen_at: string;
	version: string;
	/** Absent from older servers. */
	status?: "live" | "gone";
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
