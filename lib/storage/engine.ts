/**
 * What a dialect does for the store: each verb of storage.ts as one atomic call, with names already turned into numbers and rows as
 * they come (rows.ts). lib/storage/store.ts makes the three facets of it, the same for every dialect.
 */
import type { State } from "../job.ts";
import type { Row } from "./rows.ts";
import type {
	BulkStatus,
	ClaimRequest,
	Ending,
	Lease,
	LeaseBounds,
	LeaseExtension,
	Limits,
	ListQuery,
	NewBulkAction,
	NewJob,
	NewSchedule,
	NewWorker,
	ScheduleMove,
	StorageDefaults,
	SubmitAnswer,
} from "./storage.ts";

export interface SubmitRow {
	readonly laneId: number;
	readonly job: NewJob;
	/** A follow-up: stored only while its parent's lease is held, and above any backlog limit. */
	readonly parent?: Lease;
	/** Stored above any backlog limit. */
	readonly unbounded?: boolean;
}

export interface Submission {
	readonly rows: readonly SubmitRow[];
	readonly nowMs: number;
	/** Told of each row when it is decided; where the store fails later, the others are not. */
	readonly answered: (i: number, answer: SubmitAnswer) => void;
}

/** A page of jobs, newest first, by what it is looked for. States and task null: any. With a fingerprint the states are failed or dead. */
export type JobList = { readonly query: ListQuery; readonly states: readonly State[] | null; readonly taskId: number | null } & (
	| { readonly of: "queue" }
	| { readonly of: "tag"; readonly tenantId: number; readonly tag: string }
	/** fewWait: whether all its waiting jobs may be looked at. */
	| { readonly of: "tenant"; readonly tenantId: number; readonly fewWait: boolean }
);

/** Limits of a tenant; `step` is what a turn costs it. What is absent stays as it is. */
export type EngineLimits = Omit<Limits, "tasks" | "weight"> & { readonly step?: number };

export interface RehearsedRows {
	/** {id, seq, claims, losses} of each as the claim leaves it. */
	readonly claimed: readonly Row[];
	readonly lost: readonly Row[];
	readonly late: readonly Row[];
	readonly pruned: number;
	readonly held: readonly Row[];
}

/** Which dead letters and failed jobs are grouped; null: any. */
export interface GroupQuery {
	readonly tenantId: number | null;
	readonly taskId: number | null;
	readonly reason: string | null;
	readonly fingerprint: string | null;
	readonly limit: number;
}

/** What a bulk action has come to: written if its cursor is still `from`. */
export interface BulkProgress {
	readonly id: number;
	readonly from: number | null;
	/** Jobs below this number are still to be looked at; null with the end. */
	readonly cursor: number | null;
	readonly status: BulkStatus;
	readonly reason: string | null;
	readonly seen: number;
	readonly changed: number;
	readonly skipped: number;
	readonly canaryIds: readonly number[];
	/** When it goes on; null with the end. */
	readonly nextAt: number | null;
}

export interface Engine {
	/** Rows that share one submit at most, so that a statement stays short. */
	readonly submitRowsMax: number;
	/** Stores rows of any tenants. They are asked for when the turn comes, so that what arrives until then shares the batch. */
	submit(gather: () => Submission): Promise<void>;

	tenantNamed(name: string): Promise<Row | undefined>;
	tenantsNumbered(ids: readonly number[]): Promise<Row[]>;
	tasks(): Promise<Row[]>;
	/** Gives numbers to tasks that have none. With `most`: to all of them, or to none where the store would know more tasks then. */
	writeTasks(names: readonly string[], most?: number): Promise<void>;
	/** Makes the lanes that are missing, with their tenants and tasks. Answers {tenant_id, name, task_id, task} of each. */
	makeLanes(gather: () => readonly (readonly [tenant: string, task: string])[], defaults: StorageDefaults): Promise<Row[]>;

	/** `brief`: the columns of BRIEF_COLUMNS alone. */
	jobs(ids: readonly number[], columns?: "all" | "brief"): Promise<Row[]>;
	/** One row more than the page holds where there is one. */
	list(list: JobList, columns?: "all" | "brief"): Promise<Row[]>;
	/** Where a page looks at a bounded number of rows: down to which id above `above` it saw everything. Null: all it shows. */
	scanEnd(list: JobList, above: number): Promise<number | null>;
	events(jobId: number): Promise<Row[]>;
	/** {task_id, fingerprint, reason, jobs, tenants, first_at, last_at, example (a job's number)}, the largest first. */
	groups(query: GroupQuery): Promise<Row[]>;
	counts(): Promise<Row>;
	tenantCounts(tenantId: number): Promise<Row | undefined>;
	/** The lanes that a claim would walk, for `countRunnable`: `limit` at most. Null: of all tasks, of all tenants. */
	runnableLanes(taskIds: readonly number[] | null, tenantId: number | null, limit: number, nowMs: number): Promise<Row[]>;

	/** Answer the ids that changed. */
	cancel(ids: readonly number[], defaults: StorageDefaults, nowMs: number): Promise<number[]>;
	retry(ids: readonly number[], nowMs: number): Promise<number[]>;
	deleteJobs(ids: readonly number[]): Promise<number[]>;

	claim(request: ClaimRequest, taskIds: readonly number[], nowMs: number): Promise<Row[]>;
	rehearse(
		request: ClaimRequest,
		taskIds: readonly number[],
		sweepLimit: number,
		defaults: StorageDefaults,
		nowMs: number,
	): Promise<RehearsedRows>;
	/**
	 * {id, cancel_requested_at, lease_until} of the leases that are held. With `bounds` none is extended beyond them, or after they have
	 * passed; and one that is named when its attempt's time is over is marked: it ends as a failure (jobs.overdue).
	 */
	extend(leases: readonly LeaseExtension[], leaseUntil: number, nowMs: number, bounds?: LeaseBounds): Promise<Row[]>;
	/**
	 * {id, tail, state, reason, circuit} of what was accepted, and of what the same token had ended before; `circuit` is 'opened' where the
	 * ending has opened one. Each lease stands once among the endings.
	 * Throws PartlyRecorded when it fails after some.
	 */
	finish(endings: readonly Ending[], followUps: readonly SubmitRow[], defaults: StorageDefaults, nowMs: number): Promise<Row[]>;
	/**
	 * Notes in the histories of these jobs that a late ending was refused; at most 10 of each job. Not of a job that is not there, that was
	 * never taken up, or whose tail is another.
	 */
	refuse(endings: readonly Ending[], nowMs: number): Promise<void>;
	expire(limit: number, defaults: StorageDefaults, nowMs: number): Promise<Row[]>;
	cancelLate(limit: number, defaults: StorageDefaults, nowMs: number): Promise<Row[]>;
	/** Answers how many jobs were deleted. */
	prune(limit: number, nowMs: number): Promise<number>;
	/** The row of `toNextDue`. */
	nextDue(taskIds: readonly number[], nowMs: number): Promise<Row>;
	leaseHolders(): Promise<string[]>;
	forfeit(worker: string, nowMs: number): Promise<number>;

	/** Answers the row, or nothing where `most` of this tenant are under way. `tenantId` null: jobs of all tenants; `cursor`: jobs below this number. */
	insertBulkAction(action: NewBulkAction, tenantId: number | null, most: number, nowMs: number): Promise<Row | undefined>;
	bulkAction(id: number): Promise<Row | undefined>;
	/** The latest first; of all tenants: every one. */
	bulkActions(tenantId: number | null, limit: number): Promise<Row[]>;
	stopBulkAction(id: number, nowMs: number): Promise<void>;
	/** The one that is due first, if any; nobody else takes it before `busyUntil`. */
	takeBulkAction(nowMs: number, busyUntil: number): Promise<Row | undefined>;
	recordBulkAction(progress: BulkProgress, nowMs: number): Promise<void>;

	/** Rows of schedules have `last_job_tail` and `last_job_created_at` of the job of the last slot; NULL where it is gone. */
	schedules(tenantId: number | null, limit: number, after?: { readonly tenant: string; readonly name: string }): Promise<Row[]>;
	schedule(tenantId: number, name: string): Promise<Row | undefined>;
	/** A new one, while the tenant has fewer than `most`; else undefined. */
	putSchedule(tenantId: number, schedule: NewSchedule, nowMs: number, most: number): Promise<Row | undefined>;
	/** Undefined: there is none of this name. */
	changeSchedule(tenantId: number, schedule: NewSchedule, nowMs: number): Promise<Row | undefined>;
	deleteSchedule(tenantId: number, name: string): Promise<boolean>;
	/** With `last_job_open` (0, 1): whether the job of its last slot still waits or runs. */
	dueSchedules(limit: number, nowMs: number): Promise<Row[]>;
	/** Nothing happens where its next slot is no longer `from`. */
	moveSchedule(id: number, from: number, moved: ScheduleMove): Promise<void>;

	webhookOf(tenantId: number): Promise<string | null>;
	setWebhook(tenantId: number, url: string | null): Promise<void>;
	untoldWebhooks(limit: number): Promise<Row[]>;
	/** [id, seq] of jobs: one that has moved since keeps its webhook untold. */
	tellWebhooks(jobs: readonly (readonly [id: number, seq: number])[]): Promise<void>;

	/** Workers that were not there for a week are forgotten, and of remote ones all but the REMOTE_WORKERS_MAX that were there last. */
	seeWorker(worker: NewWorker, nowMs: number): Promise<void>;
	/** {name, kind, tasks (JSON), version, first_seen_at, last_seen_at, running} */
	workers(limit: number): Promise<Row[]>;
	/** {task, concurrency, paused, reopen_at, circuits_open, circuits (JSON: [{tenant, probes_at}], the first by name), process_at, remote_at (when a worker of it was last seen)} of each. */
	taskStates(): Promise<Row[]>;
	/** Answers how many lanes had an open circuit or a hold. */
	resetCircuit(taskId: number, tenantId: number | null): Promise<number>;

	/** `lanes`: most running for lanes of this tenant, by number; null takes the limit away. */
	setLimits(
		tenant: string,
		limits: EngineLimits,
		lanes: readonly (readonly [laneId: number, concurrency: number | null])[],
		defaults: StorageDefaults,
	): Promise<void>;
	setTask(task: string, settings: { readonly concurrency?: number | null; readonly paused?: boolean }): Promise<void>;
	/** Gives tenants without limits of their own these. */
	setDefaults(defaults: StorageDefaults): Promise<void>;
	verify(): Promise<string[]>;
	ping(): Promise<void>;
	/** Statements sent since the start. */
	statements(): number;
	close(): Promise<void>;
}
