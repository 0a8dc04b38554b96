/**
 * The storage interface: a small set of verbs in three facets. A function is handed the facet its contract row names, so that
 * tenant isolation is a type: nothing reached through a TenantStore can touch another tenant's jobs.
 *
 * Every verb is one statement or one atomic batch. Time, ids and randomness are arguments; instants are epoch milliseconds.
 */
import type { Job, JobEvent, JobRef, State, Status } from "../job.ts";

/** A job to be stored. */
export interface NewJob {
	readonly task: string;
	/** JSON text. */
	readonly payload: string;
	readonly taskInPayload?: boolean;
	readonly priority?: number;
	/** Absent or past: at once. */
	readonly runAt?: number;
	readonly startBy?: number;
	readonly maxRetries: number;
	readonly timeoutMs?: number;
	readonly key?: string;
	readonly tags?: readonly string[];
	readonly tail: number;
	readonly traceId: string;
	readonly traceParent?: string;
	/** Unique per tenant until `expiresAt`; `fingerprint` tells whether a second request with it is the same request. */
	readonly idempotency?: { readonly key: string; readonly fingerprint: string; readonly expiresAt: number };
}

/** `created`: `id` is new; jobs that are stored together are created at the latest of their instants. `replayed`: the same request came before, `id` is its job. The other two stored nothing. */
export type SubmitAnswer =
	| { readonly status: "created"; readonly id: number; readonly createdAt: number }
	| { readonly status: "replayed" | "key_conflict"; readonly id: number }
	| { readonly status: "backlog_full" };

export interface ListQuery {
	readonly statuses?: readonly Status[];
	readonly task?: string;
	readonly tag?: string;
	/** Jobs with a smaller id only: where the page before ended. */
	readonly before?: number;
	readonly limit: number;
}

/** Newest first. `next` is the `before` of the next page; null when there is none. A page may be short and still have a next one. */
export interface JobPage {
	readonly jobs: Job[];
	readonly next: number | null;
}

export interface Counts {
	readonly ready: number;
	readonly delayed: number;
	readonly blocked: number;
	readonly running: number;
	readonly done: number;
	readonly failed: number;
	readonly dead: number;
	readonly cancelled: number;
}
export interface QueueCounts extends Counts {
	/** Moves with every change. */
	readonly version: number;
	readonly submitted: number;
	readonly finished: number;
	readonly activeTenants: number;
}

/** Answer of a change to one job: the job as it is now, and whether this call changed it. */
export interface Changed {
	readonly job: Job;
	readonly changed: boolean;
}

/** Reading jobs: of one tenant, or of all where the caller may. */
export interface JobReader {
	getJob(ref: JobRef): Promise<Job | null>;
	listJobs(query: ListQuery): Promise<JobPage>;
	historyOf(job: Job): Promise<JobEvent[]>;
	/** One row, whatever the number of jobs or tenants. */
	counts(): Promise<QueueCounts>;
}

export interface TenantStore extends JobReader {
	readonly tenant: string;
	/** Stores one job durably, or says why not; decided inside the statement, exact under any number of callers. */
	insertJob(job: NewJob, nowMs: number): Promise<SubmitAnswer>;
	/** The job of this number, whatever its tail: for ids that came from the store itself. */
	getJobById(id: number): Promise<Job | null>;
	/** A waiting job is cancelled at once; a running one is asked to stop and keeps its slot until it has. Ended jobs stay as they are. */
	cancelJob(ref: JobRef, nowMs: number): Promise<Changed | null>;
	/** Puts a failed, dead or cancelled job back in line: same id, failures and losses 0, its history goes on. Others stay as they are. */
	retryJob(ref: JobRef, nowMs: number): Promise<Changed | null>;
}

export interface ClaimRequest {
	readonly tasks: readonly string[];
	/** At most this many: the caller's free slots. */
	readonly limit: number;
	readonly leaseMs: number;
	/** Fencing token, new for every claim: a random integer below 2^53. */
	readonly token: number;
	readonly worker: string;
	/** False: nothing delayed is due as far as the caller knows, so that a store which pays for each statement need not look. */
	readonly promote?: boolean;
}
export interface Claimed extends Job {
	readonly token: number;
}
export interface Lease {
	readonly id: number;
	readonly token: number;
}
export interface LeaseExtension extends Lease {
	readonly progress?: string;
}

/**
 * How an attempt ended. `retry` becomes a dead letter when the retries are spent; `retry`, `snooze` and `release` become `cancelled`
 * when a cancel was asked for. `result`, `error` are JSON text. Follow-up jobs are stored with a `done` that is accepted, or not at all.
 */
export type Ending = Lease &
	(
		| { readonly outcome: "done"; readonly result: string; readonly followUps?: readonly FollowUp[] }
		| { readonly outcome: "retry"; readonly delayMs: number; readonly error: string }
		| { readonly outcome: "failed"; readonly error: string }
		| { readonly outcome: "snooze"; readonly delayMs: number }
		| { readonly outcome: "release" }
		| { readonly outcome: "cancelled" }
		| { readonly outcome: "expired" }
	);

/** A job that is stored together with the success of the one that submitted it. */
export interface FollowUp extends NewJob {
	readonly tenant: string;
}

export interface Moved extends JobRef {
	readonly state: State;
	readonly reason: string | null;
}

/** When something next needs doing, and what: `at` is not after `nowMs` when it is now. */
export interface NextDue {
	readonly at: number | null;
	readonly reason: "ready" | "delayed" | "lease" | "start_by" | "prune" | "nothing";
	/** When the first delayed job is due. */
	readonly delayedAt: number | null;
	/** Whether a claim may find something now, and which sweeps have something to do. */
	readonly claim: boolean;
	readonly leases: boolean;
	readonly starts: boolean;
	readonly old: boolean;
}

/** Jobs that wait although they are due, grouped by the hold that keeps them. */
export interface Held {
	readonly code: "tenant_concurrency" | "tenant_paused" | "task_paused" | "task_concurrency" | "key_busy" | "delayed";
	readonly jobs: number;
	readonly tenants: number;
}

export interface Rehearsal {
	readonly claimed: readonly Claimed[];
	readonly lost: readonly Moved[];
	readonly late: readonly Moved[];
	readonly pruned: number;
	readonly held: readonly Held[];
}

export interface WorkerStore {
	/** Takes due jobs in fair turns and leases each to the caller: no job is given twice, no tenant goes above its limit. */
	claimDueJobs(request: ClaimRequest, nowMs: number): Promise<Claimed[]>;
	/**
	 * What expireLeases, cancelLate, prune and then a claim would do at this moment, and what would still be held then: all is done and
	 * taken back, nothing is written. Counting what is held costs with the number of tenants: this is for people, not for ticks.
	 */
	rehearse(request: ClaimRequest, sweepLimit: number, nowMs: number): Promise<Rehearsal>;
	/** Extends the leases that are still held and resets their losses. One that is missing in the answer is lost. */
	extendLeases(leases: readonly LeaseExtension[], leaseMs: number, nowMs: number): Promise<{ id: number; cancelRequested: boolean }[]>;
	/**
	 * Ends the attempts whose lease is still held by that token; the others, and any but the first for one lease, change nothing and are
	 * missing in the answer. Throws PartlyRecorded when the store fails in the middle.
	 */
	finishIfLeased(endings: readonly Ending[], nowMs: number): Promise<Moved[]>;
	/** Takes back at most `limit` leases that have run out: the job waits again, or is a dead letter with the third in a row. */
	expireLeases(limit: number, nowMs: number): Promise<Moved[]>;
	/** Cancels at most `limit` waiting jobs whose start deadline has passed. */
	cancelLate(limit: number, nowMs: number): Promise<Moved[]>;
	/** Deletes at most `limit` ended jobs past their retention, with history, tags; and as many outlived keys. Answers how many jobs. */
	prune(limit: number, nowMs: number): Promise<number>;
	/** One statement: the earliest of everything that a tick would have to do for these tasks. */
	nextDue(tasks: readonly string[], nowMs: number): Promise<NextDue>;
	/** The workers that hold a lease. */
	leaseHolders(): Promise<string[]>;
	/** Ends the leases of a worker that is known to be gone: they are lost now instead of when they run out. Answers how many. */
	forfeitLeases(worker: string, nowMs: number): Promise<number>;
	/** Statements sent by this process since the start; a tick reports the difference. */
	statements(): number;
}

export interface Limits {
	readonly concurrency?: number;
	readonly backlog?: number;
	readonly weight?: number;
	readonly paused?: boolean;
	/** Most running of one task within the tenant; null takes the limit away. */
	readonly tasks?: Readonly<Record<string, number | null>>;
}

export interface OperatorStore extends JobReader {
	/** Sets what is given for one tenant, and makes the tenant known. Takes effect with the next claim. */
	setLimits(tenant: string, limits: Limits): Promise<void>;
	/** Most running of a task over all tenants (null: no limit), and whether it is paused. */
	setTask(task: string, settings: { readonly concurrency?: number | null; readonly paused?: boolean }): Promise<void>;
	/** Recounts everything and compares: an empty list is the only good answer. Cost grows with the store; for tests and doctor. */
	verify(): Promise<string[]>;
	/** Throws when the store cannot be reached or has another schema. */
	ping(): Promise<void>;
}

/** Limits for tenants without their own, and how long ended jobs and keys stay. */
export interface StorageDefaults {
	readonly concurrency: number;
	readonly backlog: number;
	readonly keepDoneMs: number;
	readonly keepDeadMs: number;
}

export interface Storage {
	tenant(name: string): TenantStore;
	readonly worker: WorkerStore;
	readonly operator: OperatorStore;
	close(): Promise<void>;
}

/** The store could not be used now; the same call may work later. */
export class StorageUnavailable extends Error {
	override readonly name = "StorageUnavailable";
}

/** The store failed after it had recorded some endings, `moved`, and refused others; those in `left` were not looked at. */
export class PartlyRecorded extends StorageUnavailable {
	readonly moved: readonly Moved[];
	readonly left: readonly Ending[];
	constructor(moved: readonly Moved[], left: readonly Ending[], cause: Error) {
		super(cause.message, { cause });
		this.moved = moved;
		this.left = left;
	}
}
