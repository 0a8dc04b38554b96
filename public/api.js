/** The HTTP API. Owns headers, timeouts, and turning every trouble into a Problem whose message can be shown as it is. */

/** @import { BulkAction, BulkMatched, DeadLetterGroup, Job, JobList, Metrics, NewBulkAction, NewSchedule, Schedule, ScheduleChange, Submission, Task, Worker } from "./types.js" */

const TIMEOUT_MS = 15_000;

/** What went wrong, as the server's problem document says it, or as far as the browser knows. */
export class Problem extends Error {
	/**
	 * @param {string} detail
	 * @param {{ status?: number, code?: string, errors?: { pointer: string, detail: string }[] }} [more]
	 */
	constructor(detail, { status = 0, code = "unreachable", errors = [] } = {}) {
		super(detail);
		this.status = status;
		this.code = code;
		this.errors = errors;
	}
}

/**
 * @typedef {object} Options
 * @property {string | null} [tenant] null reads across all tenants
 * @property {Record<string, string | number | boolean | null | undefined>} [query]
 * @property {unknown} [body]
 * @property {AbortSignal} [signal]
 * @property {number} [waitMs] how long the server may hold the answer back
 */

/**
 * @param {"GET" | "POST" | "PUT" | "PATCH" | "DELETE"} method
 * @param {string} path
 * @param {Options} options
 * @returns {Promise<any>}
 */
async function request(method, path, { tenant = null, query = {}, body, signal, waitMs = 0 }) {
	const url = new URL(path, location.origin);
	for (const [name, value] of Object.entries(query)) if (value) url.searchParams.set(name, String(value));
	if (waitMs > 0) url.searchParams.set("wait_ms", String(waitMs));
	const headers = new Headers();
	try {
		headers.set("x-tenant-id", tenant ?? "*");
	} catch {
		throw new Problem(`The tenant "${tenant}" has characters that an HTTP header cannot carry.`, { code: "tenant_invalid" });
	}
	if (body !== undefined) headers.set("content-type", "application/json");
	const timeout = AbortSignal.timeout(TIMEOUT_MS + waitMs);
	let response;
	let answer;
	try {
		response = await fetch(url, {
			method,
			headers,
			body: body === undefined ? undefined : JSON.stringify(body),
			// One address answers each tenant differently: no answer is kept for another.
			cache: "no-store",
			signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
		});
		answer = response.status === 204 ? {} : await response.json().catch(() => null);
	} catch (error) {
		if (signal?.aborted) throw error;
		throw new Problem(timeout.aborted ? "The server took too long to answer." : "The server cannot be reached.");
	}
	if (response.ok && answer !== null) return answer;
	const detail = answer?.detail ?? answer?.title ?? `The server answered ${response.status} without a reason.`;
	throw new Problem(String(detail), {
		status: response.status,
		code: answer?.code ?? "unknown",
		errors: Array.isArray(answer?.errors) ? answer.errors : [],
	});
}

/**
 * True for the error of a request that the page itself gave up.
 * @param {unknown} error
 */
export const isAbort = error => error instanceof DOMException && error.name === "AbortError";

/**
 * The sentence to show for any error.
 * @param {unknown} error
 */
export const messageOf = error => (error instanceof Error ? error.message : String(error));

/**
 * @param {string} tenant
 * @returns {Promise<Metrics>}
 */
export const getMetrics = tenant => request("GET", "/api/metrics", { tenant });

/**
 * @param {string | null} tenant
 * @param {Record<string, string | number | null>} query
 * @param {AbortSignal} signal
 * @returns {Promise<JobList>}
 */
export const listJobs = (tenant, query, signal) => request("GET", "/api/jobs", { tenant, query, signal });

/**
 * @param {string | null} tenant
 * @param {string} id
 * @param {{ signal?: AbortSignal, waitMs?: number, history?: boolean }} [options]
 * @returns {Promise<Job>}
 */
export const getJob = (tenant, id, { signal, waitMs, history = false } = {}) =>
	request("GET", `/api/jobs/${encodeURIComponent(id)}`, { tenant, query: { include: history ? "history" : null }, signal, waitMs });

/**
 * @param {string} tenant
 * @param {Submission} body
 * @returns {Promise<Job>}
 */
export const submitJob = (tenant, body) => request("POST", "/api/jobs", { tenant, body });

/**
 * Both act as the job's own tenant, whatever the scope is.
 * @param {Job} job
 * @param {"cancel" | "retry"} verb
 * @returns {Promise<Job>}
 */
export const actOnJob = (job, verb) =>
	request("POST", `/api/jobs/${encodeURIComponent(job.id)}/${verb}`, { tenant: job.tenant_id, body: {} });

/**
 * The job again with another payload, as a new job of the same tenant.
 * @param {Job} job
 * @param {unknown} payload
 * @returns {Promise<Job>}
 */
export const copyJob = (job, payload) =>
	request("POST", `/api/jobs/${encodeURIComponent(job.id)}/copy`, { tenant: job.tenant_id, body: { payload } });

/**
 * @param {Job} job
 * @returns {Promise<void>}
 */
export const deleteJob = job => request("DELETE", `/api/jobs/${encodeURIComponent(job.id)}`, { tenant: job.tenant_id });

/**
 * @param {string | null} tenant
 * @param {{ fingerprint?: string, task?: string | null, reason?: string | null, limit?: number }} query
 * @param {AbortSignal} signal
 * @returns {Promise<DeadLetterGroup[]>} the largest first
 */
export const listDeadLetterGroups = (tenant, query, signal) =>
	request("GET", "/api/dead-letters/groups", { tenant, query, signal }).then(answer => answer.groups);

/**
 * What an action would act on; nothing is changed.
 * @param {string | null} tenant
 * @param {NewBulkAction} body
 * @param {AbortSignal} signal
 * @returns {Promise<BulkMatched>}
 */
export const tryBulkAction = (tenant, body, signal) =>
	request("POST", "/api/bulk-actions", { tenant, query: { dry_run: true }, body, signal });

/**
 * @param {string | null} tenant
 * @param {NewBulkAction} body
 * @returns {Promise<BulkAction>}
 */
export const startBulkAction = (tenant, body) => request("POST", "/api/bulk-actions", { tenant, body });

/**
 * @param {string | null} tenant
 * @param {number} limit
 * @param {AbortSignal} signal
 * @returns {Promise<BulkAction[]>} the latest first
 */
export const listBulkActions = (tenant, limit, signal) =>
	request("GET", "/api/bulk-actions", { tenant, query: { limit }, signal }).then(answer => answer.bulk_actions);

/**
 * @param {BulkAction} action
 * @param {AbortSignal} signal
 * @returns {Promise<BulkAction>}
 */
export const getBulkAction = (action, signal) =>
	request("GET", `/api/bulk-actions/${encodeURIComponent(action.id)}`, { tenant: action.tenant_id, signal });

/**
 * @param {BulkAction} action
 * @returns {Promise<BulkAction>}
 */
export const stopBulkAction = action =>
	request("POST", `/api/bulk-actions/${encodeURIComponent(action.id)}/stop`, { tenant: action.tenant_id, body: {} });

/**
 * @param {string | null} tenant
 * @param {string | null} cursor
 * @param {AbortSignal} signal
 * @returns {Promise<{ schedules: Schedule[], next_cursor: string | null }>}
 */
export const listSchedules = (tenant, cursor, signal) => request("GET", "/api/schedules", { tenant, query: { cursor }, signal });

/**
 * @param {string} tenant
 * @param {NewSchedule} body
 * @returns {Promise<Schedule>}
 */
export const createSchedule = (tenant, body) => request("POST", "/api/schedules", { tenant, body });

/** @param {Schedule} schedule */
const schedulePath = schedule => `/api/schedules/${encodeURIComponent(schedule.name)}`;

/**
 * As it stands now, with its whole payload, which a list leaves out when it is large.
 * @param {Schedule} schedule
 * @returns {Promise<Schedule>}
 */
export const getSchedule = schedule => request("GET", schedulePath(schedule), { tenant: schedule.tenant_id });

/**
 * @param {Schedule} schedule
 * @param {ScheduleChange} change
 * @returns {Promise<Schedule>}
 */
export const changeSchedule = (schedule, change) => request("PATCH", schedulePath(schedule), { tenant: schedule.tenant_id, body: change });

/**
 * @param {Schedule} schedule
 * @returns {Promise<Job>}
 */
export const runSchedule = schedule => request("POST", `${schedulePath(schedule)}/run`, { tenant: schedule.tenant_id, body: {} });

/**
 * @param {Schedule} schedule
 * @returns {Promise<void>}
 */
export const deleteSchedule = schedule => request("DELETE", schedulePath(schedule), { tenant: schedule.tenant_id });

/**
 * What is called when a job of the tenant ends.
 * @param {string} tenant
 * @param {AbortSignal} signal
 * @returns {Promise<{ url: string | null }>}
 */
export const getWebhook = (tenant, signal) => request("GET", "/api/webhook", { tenant, signal });

/**
 * @param {string} tenant
 * @param {string | null} url null: nothing is called
 * @returns {Promise<{ url: string | null }>}
 */
export const setWebhook = (tenant, url) => request("PUT", "/api/webhook", { tenant, body: { url } });

/**
 * @param {AbortSignal} signal
 * @returns {Promise<Worker[]>}
 */
export const listWorkers = signal => request("GET", "/api/workers", { query: { limit: 200 }, signal }).then(answer => answer.workers);

/**
 * Closes the circuits of a task, for all tenants, and ends its holds.
 * @param {string} task
 * @returns {Promise<{ task: string, reset: number }>}
 */
export const resetCircuit = task => request("POST", `/api/tasks/${encodeURIComponent(task)}/circuit/reset`, { body: {} });

/**
 * The tasks as they stand now: which are held, and where circuits are open.
 * @param {AbortSignal} [signal]
 * @returns {Promise<Task[]>}
 */
export const getTasks = signal => request("GET", "/api/tasks", { signal }).then(answer => answer.tasks);

/** @type {Promise<Task[]> | null} */
let tasks = null;

/**
 * The tasks of this server, asked once a visit.
 * @returns {Promise<Task[]>}
 */
export function listTasks() {
	tasks ??= getTasks();
	tasks.catch(() => {
		tasks = null;
	});
	return tasks;
}
