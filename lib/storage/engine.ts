/**
 * What a dialect does for the store: each verb of storage.ts as one atomic call, with names already turned into numbers and rows as
 * they come (rows.ts). lib/storage/store.ts makes the three facets of it, the same for every dialect.
 */
import type { State } from "../job.ts";
import type { Row } from "./rows.ts";
import type { ClaimRequest, Ending, Lease, LeaseExtension, Limits, ListQuery, NewJob, StorageDefaults, SubmitAnswer } from "./storage.ts";

export interface SubmitRow {
	readonly laneId: number;
	readonly job: NewJob;
	/** A follow-up: stored only while its parent's lease is held, and above any backlog limit. */
	readonly parent?: Lease;
}

export interface Submission {
	readonly rows: readonly SubmitRow[];
	readonly nowMs: number;
	/** Told of each row when it is decided; where the store fails later, the others are not. */
	readonly answered: (i: number, answer: SubmitAnswer) => void;
}

/** A page of jobs, newest first, by what it is looked for. States and task null: any. */
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

export interface Engine {
	/** Rows that share one submit at most, so that a statement stays short. */
	readonly submitRowsMax: number;
	/** Stores rows of any tenants. They are asked for when the turn comes, so that what arrives until then shares the batch. */
	submit(gather: () => Submission): Promise<void>;

	tenantNamed(name: string): Promise<Row | undefined>;
	tenantsNumbered(ids: readonly number[]): Promise<Row[]>;
	tasks(): Promise<Row[]>;
	/** Gives numbers to tasks that have none. */
	writeTasks(names: readonly string[]): Promise<void>;
	/** Makes the lanes that are missing, with their tenants and tasks. Answers {tenant_id, name, task_id, task} of each. */
	makeLanes(gather: () => readonly (readonly [tenant: string, task: string])[], defaults: StorageDefaults): Promise<Row[]>;

	jobs(ids: readonly number[]): Promise<Row[]>;
	/** One row more than the page holds where there is one. */
	list(list: JobList): Promise<Row[]>;
	/** Where a page looks at a bounded number of rows: down to which id above `above` it saw everything. Null: all it shows. */
	scanEnd(list: JobList, above: number): Promise<number | null>;
	events(jobId: number): Promise<Row[]>;
	counts(): Promise<Row>;
	tenantCounts(tenantId: number): Promise<Row | undefined>;

	/** Answer the ids that changed. */
	cancel(ids: readonly number[], defaults: StorageDefaults, nowMs: number): Promise<number[]>;
	retry(ids: readonly number[], nowMs: number): Promise<number[]>;

	claim(request: ClaimRequest, taskIds: readonly number[], nowMs: number): Promise<Row[]>;
	rehearse(
		request: ClaimRequest,
		taskIds: readonly number[],
		sweepLimit: number,
		defaults: StorageDefaults,
		nowMs: number,
	): Promise<RehearsedRows>;
	/** {id, cancel_requested_at} of the leases that are held. */
	extend(leases: readonly LeaseExtension[], leaseUntil: number): Promise<Row[]>;
	/** {id, tail, state, reason} of what was accepted. Each lease stands once among the endings. Throws PartlyRecorded when it fails after some. */
	finish(endings: readonly Ending[], followUps: readonly SubmitRow[], defaults: StorageDefaults, nowMs: number): Promise<Row[]>;
	expire(limit: number, defaults: StorageDefaults, nowMs: number): Promise<Row[]>;
	cancelLate(limit: number, defaults: StorageDefaults, nowMs: number): Promise<Row[]>;
	/** Answers how many jobs were deleted. */
	prune(limit: number, nowMs: number): Promise<number>;
	/** The row of `toNextDue`. */
	nextDue(taskIds: readonly number[]): Promise<Row>;
	leaseHolders(): Promise<string[]>;
	forfeit(worker: string, nowMs: number): Promise<number>;

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
