/** A job, the states it can be in, and the one table of moves between them. */

/** Stored states, in the order of their numbers in `jobs.state`: what waits, what runs, what has ended. */
export const STATES = ["blocked", "delayed", "ready", "running", "done", "failed", "dead", "cancelled"] as const;
export type State = (typeof STATES)[number];

/** The status of a job as the API names it. */
export const STATUSES = ["pending", "running", "done", "failed", "dead_letter", "cancelled"] as const;
export type Status = (typeof STATUSES)[number];

const STATUS_OF: Record<State, Status> = {
	delayed: "pending",
	ready: "pending",
	blocked: "pending",
	running: "running",
	done: "done",
	failed: "failed",
	dead: "dead_letter",
	cancelled: "cancelled",
};

export const statusOf = (state: State): Status => STATUS_OF[state];
export const statesOf = (status: Status): State[] => STATES.filter(state => STATUS_OF[state] === status);
export const isEnded = (state: State): boolean => state === "done" || state === "failed" || state === "dead" || state === "cancelled";

/** Why a job ended as it did; null where the status says it all. */
export type Reason = "not_retryable" | "retries_exhausted" | "lease_lost" | "requested" | "expired";

/**
 * Every move a job can make. The README's state diagram is drawn from this table and held to it by a test; the storage conformance
 * suite makes each move once.
 */
export const TRANSITIONS = [
	{ from: "new", event: "submit", to: "ready" },
	{ from: "new", event: "submit, run_at in the future", to: "delayed" },
	{ from: "new", event: "submit, its key is busy", to: "blocked" },
	{ from: "blocked", event: "the key is free", to: "ready" },
	{ from: "blocked", event: "the key is free, not due", to: "delayed" },
	{ from: "delayed", event: "due", to: "ready" },
	{ from: "ready", event: "claim", to: "running" },
	{ from: "running", event: "done", to: "done" },
	{ from: "running", event: "error, retries left", to: "delayed" },
	{ from: "running", event: "error, retries spent", to: "dead" },
	{ from: "running", event: "not retryable", to: "failed" },
	{ from: "running", event: "snooze", to: "delayed" },
	{ from: "running", event: "release", to: "ready" },
	{ from: "running", event: "lease lost, 1st or 2nd in a row", to: "ready" },
	{ from: "running", event: "lease lost, 3rd in a row", to: "dead" },
	{ from: "running", event: "cancel acknowledged", to: "cancelled" },
	{ from: "ready", event: "cancel, or start deadline passed", to: "cancelled" },
	{ from: "delayed", event: "cancel, or start deadline passed", to: "cancelled" },
	{ from: "blocked", event: "cancel, or start deadline passed", to: "cancelled" },
	{ from: "failed", event: "retry", to: "ready" },
	{ from: "dead", event: "retry", to: "ready" },
	{ from: "cancelled", event: "retry", to: "ready" },
	{ from: "failed", event: "retry, its key is busy", to: "blocked" },
	{ from: "dead", event: "retry, its key is busy", to: "blocked" },
	{ from: "cancelled", event: "retry, its key is busy", to: "blocked" },
] as const satisfies readonly { from: State | "new"; event: string; to: State }[];

/** Leases that may be lost in a row before a job is a dead letter; the job counts as lost for good with this one. */
export const LOSSES_MAX = 3;

/**
 * Events that a history has before attempts that came to nothing (given back, put off, lost, failed while a circuit was open) are left out
 * of it: its row goes back to what it told before their claim. What uses an attempt, what a person does and the end are always written.
 * `claims` counts all of them.
 */
export const EVENTS_MAX = 200;

/** How long an open circuit waits before one job may probe whether the task works again. */
export const CIRCUIT_PROBE_MS = 60_000;
/**
 * Claims of a job that may have used no attempt when a failure while the circuit is open still uses none: then its failures count again.
 * Alone in its lane it probes for an hour and forty minutes, one among ten for most of a day: so an outage of some hours costs little or
 * nothing, and a job that is broken for good becomes a dead letter. Whatever used no attempt is counted, since a job has no other count.
 */
export const PROBES_FREE_MAX = 100;
/** The longest that a failed attempt's job keeps others from running, whatever it asks for; it may wait longer itself. */
export const HOLD_MS_MAX = 3_600_000;
/** The fingerprint of a job that is a dead letter because its leases were lost. */
export const LEASE_LOST_FINGERPRINT = "lease_lost";
/** The fingerprint of an attempt elsewhere that went on when its time was over, until it had lost its lease. */
export const TIMED_OUT_FINGERPRINT = "timed_out";

/** A job as the store holds it. Instants are epoch milliseconds; `payload`, `result`, `error` and `progress` are JSON text. */
export interface Job {
	readonly id: number;
	readonly tail: number;
	readonly tenant: string;
	readonly task: string;
	readonly state: State;
	readonly reason: Reason | null;
	readonly priority: number;
	readonly seq: number;
	readonly createdAt: number;
	readonly runAt: number;
	readonly startBy: number | null;
	readonly startedAt: number | null;
	readonly completedAt: number | null;
	readonly expiresAt: number | null;
	readonly failures: number;
	readonly losses: number;
	readonly claims: number;
	readonly maxRetries: number;
	readonly timeoutMs: number | null;
	readonly leaseUntil: number | null;
	readonly cancelRequestedAt: number | null;
	readonly taskInPayload: boolean;
	readonly worker: string | null;
	readonly key: string | null;
	readonly traceId: string;
	readonly traceParent: string | null;
	readonly parentId: number | null;
	/** The public id of the job that it is a copy of. */
	readonly copyOf: string | null;
	/** Called when the job has ended. */
	readonly webhookUrl: string | null;
	/** Groups alike errors; of the latest failed attempt. */
	readonly fingerprint: string | null;
	readonly tags: readonly string[];
	readonly progress: string | null;
	readonly error: string | null;
	readonly result: string | null;
	readonly payload: string;
}

/** What a public id says: the job's number, the random tail that cannot be guessed, and when it was created. All must be right. */
export interface JobRef {
	readonly id: number;
	readonly tail: number;
	readonly createdAt?: number;
}
export const isJob = (job: Job | null, ref: JobRef): boolean =>
	job !== null && job.tail === ref.tail && (ref.createdAt === undefined || job.createdAt === ref.createdAt);

/** One entry of a job's history. `seq` counts from 1 without gaps. */
export interface JobEvent {
	readonly seq: number;
	readonly at: number;
	readonly kind: EventKind;
	readonly data: Readonly<Record<string, unknown>>;
}

export const EVENT_KINDS = [
	"submitted",
	"claimed",
	"done",
	"failed",
	"dead_letter",
	"cancelled",
	"retry",
	"snoozed",
	"released",
	"lost",
	"cancel_requested",
	"retried",
	"refused",
] as const;
export type EventKind = (typeof EVENT_KINDS)[number];
