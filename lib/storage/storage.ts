/**
 * The storage interface: a small set of verbs in three facets. A function is handed the facet its contract row names, so that
 * tenant isolation is a type: nothing reached through a TenantStore can touch another tenant's jobs.
 *
 * Every verb is one statement or one atomic batch. Time, ids and randomness are arguments; instants are epoch milliseconds.
 */
import type { Job, JobEvent, JobRef, Reason, State, Status } from "../job.ts";

/** What callers with few statements reckon with: how much is sent in one. */
export { bytesAtMost, fitting, groupsOf, PARAM_BYTES_MAX, textsOfEnding, textsOfJob } from "./fitting.ts";

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
	/** The public id of the job that it is a copy of. */
	readonly copyOf?: string;
	/** Called when the job has ended; null: nothing, also where its tenant has a webhook. */
	readonly webhookUrl?: string | null;
	/**
	 * Unique per tenant and kind until `expiresAt`; `fingerprint` tells whether a second request with it is the same request.
	 * `request` (if absent) is what a client sends; `slot` is one instant of a schedule, or one ending that is told to a webhook.
	 */
	readonly idempotency?: { readonly kind?: KeyKind; readonly key: string; readonly fingerprint: string; readonly expiresAt: number };
}
/** What a key in the store stands for; the numbers of `keys.kind`. */
export const KEY_KINDS = { request: 1, slot: 3 } as const;
export type KeyKind = keyof typeof KEY_KINDS;

/**
 * `created`: `id` is new; jobs that are stored together are created at the latest of their instants; `webhookUrl` is its own or its
 * tenant's. `replayed`: the same request came before, `id` is its job. The other two stored nothing.
 */
export type SubmitAnswer =
	| { readonly status: "created"; readonly id: number; readonly createdAt: number; readonly webhookUrl: string | null }
	| { readonly status: "replayed" | "key_conflict"; readonly id: number }
	| { readonly status: "backlog_full" };

/** Which jobs; what is absent does not matter. */
export interface JobFilter {
	readonly statuses?: readonly Status[];
	readonly task?: string;
	readonly tag?: string;
	readonly fingerprint?: string;
	readonly reason?: Reason;
	readonly createdAfter?: number;
	readonly createdBefore?: number;
}
export interface ListQuery extends JobFilter {
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

/** Failed jobs and dead letters that are alike: one task, one fingerprint, one reason. */
export interface DeadLetterGroup {
	readonly task: string;
	readonly fingerprint: string;
	readonly reason: Reason;
	readonly count: number;
	readonly tenants: number;
	/** When the first and the latest of them that are still there ended. */
	readonly firstSeenAt: number;
	readonly lastSeenAt: number;
	/** The newest of them. */
	readonly example: Job;
}

export const BULK_ACTIONS = ["retry", "cancel", "delete"] as const;
export type BulkActionKind = (typeof BULK_ACTIONS)[number];
/** The statuses that an action changes; jobs of others are left as they are. */
export const ACTS_ON: Readonly<Record<BulkActionKind, readonly Status[]>> = {
	retry: ["failed", "dead_letter", "cancelled"],
	cancel: ["pending", "running"],
	delete: ["done", "failed", "dead_letter", "cancelled"],
};
/** running: acts · canary: waits for the end of its first jobs · done · stopped: by request, or since a canary failed (`reason`). */
export const BULK_STATUSES = ["running", "canary", "done", "stopped"] as const;
export type BulkStatus = (typeof BULK_STATUSES)[number];

export interface NewBulkAction {
	readonly action: BulkActionKind;
	readonly name?: string;
	/** Jobs by what they are like, or by number; one of both. */
	readonly filter?: JobFilter;
	readonly ids?: readonly number[];
	/** Jobs a second at most. */
	readonly ratePerS?: number;
	/** So many first, and the others only once those are done. */
	readonly canary?: number;
}
export interface BulkAction extends NewBulkAction {
	readonly id: number;
	/** Whose jobs; null: of all tenants. */
	readonly tenant: string | null;
	readonly status: BulkStatus;
	readonly reason: string | null;
	readonly createdAt: number;
	readonly updatedAt: number;
	readonly endedAt: number | null;
	/** Jobs that it has looked at, changed, and left as they were since they no longer were ones to change. */
	readonly seen: number;
	readonly changed: number;
	readonly skipped: number;
	/** The jobs of the canary. */
	readonly canaryIds: readonly number[];
}

/** What a bulk action would act on. `value` is counted up to as many as were asked for; `relation` is gte where there may be more. */
export interface Matched {
	readonly value: number;
	readonly relation: "eq" | "gte";
	readonly byTask: readonly { readonly task: string; readonly jobs: number }[];
	readonly byTenant: readonly { readonly tenant: string; readonly jobs: number }[];
	/** The newest of them. */
	readonly sample: readonly (JobRef & { readonly createdAt: number })[];
}

export interface NewSchedule {
	readonly name: string;
	readonly task: string;
	/** JSON text. */
	readonly payload: string;
	readonly cron: string;
	readonly timezone: string;
	/** What becomes of slots that nobody was there for: none of them runs, or the latest. */
	readonly missed: "skip" | "one";
	/** Whether a slot whose forerunner has not ended is left out, or waits in line. */
	readonly overlap: "skip" | "queue";
	readonly paused: boolean;
	readonly maxRetries: number;
	/** The next slot; null: there is none (any more). */
	readonly nextAt: number | null;
}
export interface Schedule extends NewSchedule {
	readonly id: number;
	readonly tenant: string;
	readonly createdAt: number;
	readonly updatedAt: number;
	/** The latest slot that was due, and the latest job that a slot has made, if it is still there. */
	readonly lastAt: number | null;
	readonly lastJob: JobRef | null;
}
export interface ScheduleMove {
	readonly lastAt: number | null;
	readonly nextAt: number | null;
	readonly lastJobId: number | null;
}
export interface DueSchedule extends Schedule {
	/** Whether that job still waits or runs. */
	readonly lastJobOpen: boolean;
}

/** Reading jobs, schedules and bulk actions: of one tenant, or of all where the caller may. */
export interface JobReader {
	getJob(ref: JobRef): Promise<Job | null>;
	/** The jobs of these numbers that are there. */
	getJobsById(ids: readonly number[]): Promise<Job[]>;
	listJobs(query: ListQuery): Promise<JobPage>;
	/** Failed jobs and dead letters by what went wrong, the largest group first. Cost: an index entry for each of them, 100,000 at most: of more some are not counted. */
	deadLetterGroups(filter: Pick<JobFilter, "task" | "reason" | "fingerprint">, limit: number): Promise<DeadLetterGroup[]>;
	/** Counts jobs that a filter matches, or those of these numbers that are there: so many at most. */
	countMatching(filter: JobFilter | readonly number[], most: number): Promise<Matched>;
	/**
	 * Starts an action on many jobs; ticks carry it out. It acts on jobs that are there by now, the newest first. With `most` only while
	 * fewer of this tenant's (or of those for all tenants) are under way; null: as many are.
	 */
	startBulkAction(action: NewBulkAction, nowMs: number): Promise<BulkAction>;
	startBulkAction(action: NewBulkAction, nowMs: number, most: number): Promise<BulkAction | null>;
	getBulkAction(id: number): Promise<BulkAction | null>;
	/** The latest first. */
	listBulkActions(limit: number): Promise<BulkAction[]>;
	/** Null: there is none. One that has ended stays as it is. */
	stopBulkAction(id: number, nowMs: number): Promise<BulkAction | null>;
	/** By tenant and name, so many after `after` ("tenant name" of the last one before). */
	listSchedules(limit: number, after?: { readonly tenant: string; readonly name: string }): Promise<Schedule[]>;
	historyOf(job: Job): Promise<JobEvent[]>;
	/** One row, whatever the number of jobs or tenants. */
	counts(): Promise<QueueCounts>;
	/**
	 * How many of the ready jobs of these tasks (null: of all) a claim could take at this moment, if it had the slots: what limits, pauses,
	 * holds and circuits leave. It counts up to `most`, and looks at four times as many lanes at most (at 2,000, or `most` where that
	 * is more): a backlog, and what is held, cost nothing. Where all these lanes belong to a few tenants or tasks that are full, it falls short.
	 */
	runnable(tasks: readonly string[] | null, most: number, nowMs: number): Promise<number>;
}

export interface TenantStore extends JobReader {
	readonly tenant: string;
	/** Stores one job durably, or says why not; decided inside the statement, exact under any number of callers. */
	insertJob(job: NewJob, nowMs: number): Promise<SubmitAnswer>;
	/** The job of this number, whatever its tail: for ids that came from the store itself. */
	getJobById(id: number): Promise<Job | null>;
	/** A waiting job is cancelled at once; a running one is asked to stop and keeps its slot until it has. Ended jobs stay as they are. */
	cancelJob(ref: JobRef, nowMs: number): Promise<Changed | null>;
	/**
	 * Puts a failed, dead or cancelled job back in line: same id, failures and losses 0, its history goes on. Others stay as they are, and so
	 * does one whose webhook is still to be told of its end: nobody would hear of it any more.
	 */
	retryJob(ref: JobRef, nowMs: number): Promise<Changed | null>;
	/** Deletes a job that has ended and is told, with history and tags. Others stay as they are: `changed` is false. */
	deleteJob(ref: JobRef, nowMs: number): Promise<Changed | null>;
	getSchedule(name: string): Promise<Schedule | null>;
	/** Makes a schedule, while the tenant has fewer than `most`: null when there is one of this name, or as many as may be. */
	putSchedule(schedule: NewSchedule, nowMs: number, most: number): Promise<Schedule | null>;
	/** Gives the schedule of this name what is new: null when there is none. */
	changeSchedule(schedule: NewSchedule, nowMs: number): Promise<Schedule | null>;
	/** Whether there was one. */
	deleteSchedule(name: string): Promise<boolean>;
	/** What is called when a job of this tenant ends that names nothing else; null: nothing. */
	getWebhook(): Promise<string | null>;
	setWebhook(url: string | null): Promise<void>;
	/** Whether anybody has served the task, or does: then a job of it may be submitted. */
	knowsTask(task: string): Promise<boolean>;
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
	/** Of the job, where the id came from outside: with a wrong one, an ending that is refused is noted nowhere. */
	readonly tail?: number;
}
export interface LeaseExtension extends Lease {
	readonly progress?: string;
}
/** How long a worker that is not this process may hold a lease, whatever it says. */
export interface LeaseBounds {
	/** From its start, of a job that has no shorter timeout of its own. */
	readonly heldMsMax: number;
	/** Beyond its timeout, and from the moment when a cancel was asked for. */
	readonly graceMs: number;
}
export interface LeaseHeld {
	readonly id: number;
	readonly cancelRequested: boolean;
	readonly leaseUntil: number;
}

/** What an attempt that failed says to others of its lane. */
export interface Failure {
	/** JSON text. */
	readonly error: string;
	/** Groups alike errors. */
	readonly fingerprint: string;
}

/**
 * How an attempt ended. `retry` becomes a dead letter when the retries are spent; `retry`, `snooze` and `release` become `cancelled`
 * when a cancel was asked for. `result`, `error` are JSON text. Follow-up jobs are stored with a `done` that is accepted, or not at all.
 */
export type Ending = Lease &
	(
		| { readonly outcome: "done"; readonly result: string; readonly followUps?: readonly FollowUp[] }
		| (Failure & {
				readonly outcome: "retry";
				readonly delayMs: number;
				/** Whose jobs of this task wait as long: the tenant's, or everybody's. */
				readonly hold?: "tenant" | "task";
				/**
				 * The circuit of the lane opens when this is the last of so many failures in a row that are alike; absent: never. While it is
				 * open, or probes, a failure uses no attempt: the job waits again, however often it has failed.
				 */
				readonly circuitFailures?: number;
				/** False: it neither counts for that nor against it, since its dependency said when to come back. It keeps one open that is. */
				readonly circuitCounts?: false;
		  })
		| (Failure & { readonly outcome: "failed" })
		| { readonly outcome: "snooze"; readonly delayMs: number }
		/** `error`: why it is given back; JSON text, for its history. */
		| { readonly outcome: "release"; readonly error?: string }
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
	/** Its ending has opened the circuit of its lane, which had been closed. */
	readonly circuit?: "opened";
}

/** A job that a bulk action has changed; deleted ones as they were. */
export interface BulkMoved extends Moved {
	readonly action: BulkActionKind;
}

/** When something next needs doing, and what: `at` is not after `nowMs` when it is now. */
export interface NextDue {
	readonly at: number | null;
	readonly reason: "ready" | "delayed" | "reopen" | "lease" | "start_by" | "prune" | "schedule" | "bulk_action" | "webhook" | "nothing";
	/** When the first delayed job is due, or the first held lane opens. */
	readonly delayedAt: number | null;
	/** Whether a claim may find something now, and which sweeps have something to do. */
	readonly claim: boolean;
	readonly leases: boolean;
	readonly starts: boolean;
	readonly old: boolean;
	readonly schedules: boolean;
	readonly bulkActions: boolean;
	readonly webhooks: boolean;
}

/** Jobs that wait although they are due, grouped by the hold that keeps them. */
export interface Held {
	readonly code:
		| "tenant_concurrency"
		| "tenant_paused"
		| "task_paused"
		| "task_concurrency"
		| "circuit_open"
		| "retry_after"
		| "key_busy"
		| "delayed";
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
	/**
	 * Extends the leases that are still held. It does not reset their losses, only an ending does: a worker that says a word each time before
	 * it goes away would keep a job running for ever. One that is missing in the answer is lost, or has been held for as long as `bounds`
	 * allow: then it ends by itself, as an attempt that failed.
	 */
	extendLeases(leases: readonly LeaseExtension[], leaseMs: number, nowMs: number, bounds?: LeaseBounds): Promise<LeaseHeld[]>;
	/**
	 * Ends the attempts whose lease is still held by that token. One that was ended before by the same token is answered as it stands; the
	 * others, and any but the first for one lease, change nothing, are missing in the answer, and stand in the job's history as refused (a
	 * bounded number). Throws PartlyRecorded when the store fails in the middle.
	 * @param notes false: what is refused is not noted, for a caller that may send few statements
	 */
	finishIfLeased(endings: readonly Ending[], nowMs: number, notes?: boolean): Promise<Moved[]>;
	/**
	 * Takes back at most `limit` leases that have run out: the job waits again, or is a dead letter with the third in a row. Where the worker
	 * was there when the attempt's time was over (extendLeases with bounds), the attempt has failed: it is tried again later, or was the last.
	 */
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
	/**
	 * Carries the bulk actions on that are due: on so many jobs at most. Answers the jobs that it changed; when the next is due is for
	 * nextDue to say.
	 */
	advanceBulkActions(jobsMax: number, nowMs: number): Promise<readonly BulkMoved[]>;
	/** Schedules whose next slot has come, the longest due first. */
	dueSchedules(limit: number, nowMs: number): Promise<DueSchedule[]>;
	/** Moves a schedule on from the slot that was due, unless somebody else has. */
	moveSchedule(schedule: Schedule, moved: ScheduleMove): Promise<void>;
	/** Ended jobs whose webhook has not been told yet, the earliest first. */
	untoldWebhooks(limit: number): Promise<Job[]>;
	/** Their webhooks have been told: by jobs of their own. */
	tellWebhooks(jobs: readonly Job[]): Promise<void>;
	/**
	 * Says that a worker is there, for whoever looks: `listWorkers`. Its tasks become known, all or, where a remote one brings more than may
	 * be, none: throws TooManyTasks. Of remote workers the 1000 are remembered that were there last.
	 */
	seeWorker(worker: NewWorker, nowMs: number): Promise<void>;
	/** Stores a job for any tenant above its backlog limit: what the queue itself submits. */
	insertJobFor(tenant: string, job: NewJob, nowMs: number): Promise<SubmitAnswer>;
	/** The jobs of these numbers that are there. */
	getJobsById(ids: readonly number[]): Promise<Job[]>;
	/** Whether anybody has served the task, or does. */
	knowsTask(task: string): Promise<boolean>;
	/** Statements sent by this process since the start; a tick reports the difference. */
	statements(): number;
}

export interface NewWorker {
	readonly name: string;
	/** process: this program · remote: over HTTP */
	readonly kind: "process" | "remote";
	readonly tasks: readonly string[];
	readonly version: string;
}
export interface WorkerSeen extends NewWorker {
	readonly firstSeenAt: number;
	readonly lastSeenAt: number;
	/** Jobs whose lease it holds. */
	readonly running: number;
}
/** A task as the store knows it. */
export interface TaskState {
	readonly task: string;
	readonly concurrency: number | null;
	readonly paused: boolean;
	/** All its jobs wait until then. */
	readonly heldUntil: number | null;
	/** Circuits that are open or probe, of how many tenants. */
	readonly circuitsOpen: number;
	/** The first of these, by name. `probesAt`: when one job may be tried; null: from now on, or it is being tried. */
	readonly circuits: readonly { readonly tenant: string; readonly probesAt: number | null }[];
	/** When a worker that serves it was last seen, of each kind; null: none is known. */
	readonly seenAt: Readonly<Record<NewWorker["kind"], number | null>>;
}
/** Circuits of one task that are named at most. */
export const CIRCUITS_MAX = 20;

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
	/** Workers that were there lately, the latest first. */
	listWorkers(limit: number): Promise<WorkerSeen[]>;
	listTasks(): Promise<TaskState[]>;
	/** Closes the circuits of a task and ends its holds, for one tenant or all. Answers how many tenants had one. */
	resetCircuit(task: string, tenant: string | null): Promise<number>;
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

/** Tasks that are known at most when a remote worker names another one: there are numbers for 65535, and some are for programs of one's own. */
export const REMOTE_TASKS_MAX = 10_000;
/** Remote workers that are remembered. */
export const REMOTE_WORKERS_MAX = 1000;
export class TooManyTasks extends Error {
	override readonly name = "TooManyTasks";
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
