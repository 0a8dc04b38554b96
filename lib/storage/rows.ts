/** Rows as every dialect stores them, and what they mean: the columns have the same names everywhere. */
import type { EventKind, Job, JobEvent, State } from "../job.ts";
import { STATES, statesOf } from "../job.ts";
import type { Held, ListQuery, Moved, NextDue, QueueCounts } from "./storage.ts";

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
  trace_parent, parent_id, tags, progress, error, result, payload`;

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

export const statesOfQuery = (query: ListQuery): State[] | null => query.statuses?.flatMap(statesOf) ?? null;
export const numbersOf = (states: readonly State[]): number[] => states.map(state => S[state]);

/** How long jobs past their retention may stay when nothing else happens: a sleeping queue is not woken for each of them. */
export const PRUNE_LATENESS_MS = 60 * 60_000;

/** @param row ready: whether a claim may find something (0, 1) · delayed, lease, start_by, prune: the earliest instant of each, or NULL */
export function toNextDue(row: Row, nowMs: number): NextDue {
	const isDue = (at: number | null): boolean => at !== null && at <= nowMs;
	let at: number | null = null;
	let reason: NextDue["reason"] = "nothing";
	for (const candidate of ["delayed", "lease", "start_by", "prune"] as const) {
		const when = row[candidate] as number | null;
		if (when !== null && (at === null || when < at)) {
			at = when;
			reason = candidate;
		}
	}
	const more = {
		delayedAt: row.delayed,
		claim: row.ready === 1 || isDue(row.delayed),
		leases: isDue(row.lease),
		starts: isDue(row.start_by),
		old: row.prune !== null && isDue(row.prune - PRUNE_LATENESS_MS),
	};
	return row.ready === 1 ? { at: nowMs, reason: "ready", ...more } : { at, reason, ...more };
}

export const toHeld = (rows: readonly Row[]): Held[] =>
	rows.filter(row => row.tenants > 0).map(row => ({ code: row.code, jobs: row.jobs, tenants: row.tenants }));
