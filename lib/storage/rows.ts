/** Rows as every dialect stores them, and what they mean: the columns have the same names everywhere. */
import type { EventKind, Job, JobEvent, State } from "../job.ts";
import { STATES, statesOf } from "../job.ts";
import type {
	BulkAction,
	Ending,
	Held,
	JobFilter,
	LeaseHeld,
	Moved,
	NextDue,
	QueueCounts,
	Schedule,
	TaskState,
	WorkerSeen,
} from "./storage.ts";

// biome-ignore lint/suspicious/noExplicitAny: rows are typed where they are read.
export type Row = Record<string, any>;

/** The number of each state in `jobs.state`. */
export const S = Object.fromEntries(STATES.map((state, number) => [state, number])) as Record<State, number>;

/** A lane's number says whose it is: tenant << 16 | task. */
export const laneOf = (tenantId: number, taskId: number): number => tenantId * 65536 + taskId;
export const tenantOfLane = (laneId: number): number => Math.floor(laneId / 65536);
export const taskOfLane = (laneId: number): number => laneId % 65536;

/** Everything of a job but `ord`, which exceeds what a JavaScript number holds. */
export const JOB_COLUMNS = `id, tail, tenant_id, lane_id, state, reason, priority, seq, created_at, run_at, start_by, started_at, completed_at, expires_at,
  failures, losses, claims, max_retries, timeout_ms, lease_until, cancel_requested_at, task_in_payload, worker, queue_key, trace_id,
  trace_parent, parent_id, copy_of, webhook_url, fingerprint, tags, progress, error, result, payload`;
/** What is needed to act on a job without reading all of it. */
export const BRIEF_COLUMNS = "id, tail, tenant_id, lane_id, state, reason, created_at, webhook_url, webhook_told";

export function toJob(row: Row, tenant: string, task: string): Job {
	return {
		id: row.id,
		tail: row.tail,
		tenant,
		task,
		state: STATES[row.state as number] as State,
		reason: row.reason,
		priority: row.priority,
		seq: row.seq,
		createdAt: row.created_at,
		runAt: row.run_at,
		startBy: row.start_by,
		startedAt: row.started_at,
		completedAt: row.completed_at,
		expiresAt: row.expires_at,
		failures: row.failures,
		losses: row.losses,
		claims: row.claims,
		maxRetries: row.max_retries,
		timeoutMs: row.timeout_ms,
		leaseUntil: row.lease_until,
		cancelRequestedAt: row.cancel_requested_at,
		taskInPayload: row.task_in_payload === 1,
		worker: row.worker,
		key: row.queue_key,
		traceId: row.trace_id,
		traceParent: row.trace_parent,
		parentId: row.parent_id,
		copyOf: row.copy_of,
		webhookUrl: row.webhook_url,
		fingerprint: row.fingerprint,
		tags: row.tags === null ? [] : JSON.parse(row.tags),
		progress: row.progress,
		error: row.error,
		result: row.result,
		payload: row.payload,
	};
}

export const toMoved = (row: Row): Moved => ({
	id: row.id,
	tail: row.tail,
	state: STATES[row.state as number] as State,
	reason: row.reason,
	...(row.circuit === "opened" ? { circuit: row.circuit } : {}),
});

export const toEvent = (row: Row): JobEvent => ({
	seq: row.seq,
	at: row.at,
	kind: row.kind as EventKind,
	data: row.data === null ? {} : JSON.parse(row.data),
});

export const toCounts = (row: Row): QueueCounts => ({
	version: row.version,
	submitted: row.submitted,
	finished: row.finished,
	activeTenants: row.active_tenants,
	ready: row.ready,
	delayed: row.delayed,
	blocked: row.blocked,
	running: row.running,
	done: row.done,
	failed: row.failed,
	dead: row.dead,
	cancelled: row.cancelled,
});

/** Rows that one page of a sparse filter reads at most before it comes back short, with a cursor to go on. */
export const LIST_ROWS_MAX = 5000;

/** What has a fingerprint that anybody asks for failed, or is a dead letter. */
export function statesOfFilter({ statuses, fingerprint }: JobFilter): readonly State[] | null {
	const states = statuses?.flatMap(statesOf) ?? null;
	return fingerprint === undefined ? states : (["failed", "dead"] as const).filter(state => states === null || states.includes(state));
}
export const numbersOf = (states: readonly State[]): number[] => states.map(state => S[state]);

/** How long jobs past their retention may stay when nothing else happens: a sleeping queue is not woken for each of them. */
export const PRUNE_LATENESS_MS = 60 * 60_000;

/**
 * @param row ready: whether a claim may find something (0, 1) · webhook: whether one is to be told (0, 1) · delayed, reopen (lanes, and the
 *   tasks asked for), lease, start_by, prune, schedule, bulk_action: the earliest instant of each, or NULL
 */
export function toNextDue(row: Row, nowMs: number): NextDue {
	const isDue = (at: number | null): boolean => at !== null && at <= nowMs;
	let at: number | null = null;
	let reason: NextDue["reason"] = "nothing";
	for (const candidate of ["delayed", "reopen", "lease", "start_by", "prune", "schedule", "bulk_action"] as const) {
		const when = row[candidate] as number | null;
		if (when !== null && (at === null || when < at)) {
			at = when;
			reason = candidate;
		}
	}
	const more = {
		delayedAt: row.delayed === null || row.reopen === null ? (row.delayed ?? row.reopen) : Math.min(row.delayed, row.reopen),
		claim: row.ready === 1 || isDue(row.delayed) || isDue(row.reopen),
		leases: isDue(row.lease),
		starts: isDue(row.start_by),
		old: row.prune !== null && isDue(row.prune - PRUNE_LATENESS_MS),
		schedules: isDue(row.schedule),
		bulkActions: isDue(row.bulk_action),
		webhooks: row.webhook === 1,
	};
	if (row.ready === 1) return { at: nowMs, reason: "ready", ...more };
	return row.webhook === 1 ? { at: nowMs, reason: "webhook", ...more } : { at, reason, ...more };
}

export const toHeld = (rows: readonly Row[]): Held[] =>
	rows.filter(row => row.tenants > 0).map(row => ({ code: row.code, jobs: row.jobs, tenants: row.tenants }));

/** JSON text that a refused ending leaves of its result, or of its error, at most. */
const REFUSED_CHARS_MAX = 4096;

/** What the history says of an ending that was refused: the JSON text of the event's data. */
export function refusedData(ending: Ending): string {
	const kept = (name: string, text: string | undefined) =>
		text !== undefined && text.length <= REFUSED_CHARS_MAX ? { [name]: JSON.parse(text) } : {};
	return JSON.stringify({
		outcome: ending.outcome,
		...("error" in ending ? kept("error", ending.error) : {}),
		...("result" in ending ? kept("result", ending.result) : {}),
	});
}

export const toLeaseHeld = (row: Row): LeaseHeld => ({
	id: row.id,
	cancelRequested: row.cancel_requested_at !== null,
	leaseUntil: row.lease_until,
});

export const toBulkAction = (row: Row, tenant: string | null): BulkAction => ({
	id: row.id,
	tenant,
	action: row.action,
	status: row.status,
	reason: row.reason,
	createdAt: row.created_at,
	updatedAt: row.updated_at,
	endedAt: row.ended_at,
	seen: row.seen,
	changed: row.changed,
	skipped: row.skipped,
	canaryIds: JSON.parse(row.canary_ids),
	...(row.name === null ? {} : { name: row.name }),
	...(row.filter === null ? {} : { filter: JSON.parse(row.filter) }),
	...(row.ids === null ? {} : { ids: JSON.parse(row.ids) }),
	...(row.rate_per_s === null ? {} : { ratePerS: row.rate_per_s }),
	...(row.canary === null ? {} : { canary: row.canary }),
});

export const toSchedule = (row: Row, tenant: string): Schedule => ({
	id: row.id,
	tenant,
	name: row.name,
	task: row.task,
	payload: row.payload,
	cron: row.cron,
	timezone: row.timezone,
	missed: row.missed,
	overlap: row.overlap,
	paused: row.paused === 1,
	maxRetries: row.max_retries,
	nextAt: row.next_at,
	lastAt: row.last_at,
	lastJob:
		row.last_job_tail === null
			? null
			: { id: Number(row.last_job_id), tail: Number(row.last_job_tail), createdAt: Number(row.last_job_created_at) },
	createdAt: row.created_at,
	updatedAt: row.updated_at,
});

export const toWorkerSeen = (row: Row): WorkerSeen => ({
	name: row.name,
	kind: row.kind,
	tasks: JSON.parse(row.tasks),
	version: row.version,
	firstSeenAt: row.first_seen_at,
	lastSeenAt: row.last_seen_at,
	running: row.running,
});

export const toTaskState = (row: Row): TaskState => ({
	task: row.task,
	concurrency: row.concurrency,
	paused: row.paused === 1,
	heldUntil: row.reopen_at,
	circuitsOpen: row.circuits_open,
	circuits: (JSON.parse(row.circuits) as Row[]).map(({ tenant, probes_at }) => ({ tenant, probesAt: probes_at })),
	seenAt: { process: row.process_at, remote: row.remote_at },
});
