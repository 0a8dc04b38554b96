/** What can be set, with its unit last in the name, its default, and its bounds. Roots fill it from flags, environment or bindings. */
import type { StorageDefaults } from "./storage/storage.ts";

export interface Config {
	/** A lease ends by itself after this; held ones are extended three times as often. */
	readonly leaseMs: number;
	/** One attempt of a task that does not say. */
	readonly timeoutMs: number;
	/** The most a task or job may ask for. */
	readonly timeoutMsMax: number;
	/** How long a stopped or cancelled attempt may take to end by itself. */
	readonly graceMs: number;
	/** Running at once per tenant, unless set for it. */
	readonly tenantConcurrency: number;
	/** Waiting per tenant, unless set for it; a submit beyond is refused. */
	readonly tenantBacklog: number;
	/** Request body, and so payload. */
	readonly payloadBytesMax: number;
	readonly resultBytesMax: number;
	/** Worker threads of one process: at least, and at most. */
	readonly workersMin: number;
	readonly workersMax: number;
	/** Jobs that share a worker. */
	readonly tasksPerWorker: number;
	/** Memory of a worker's heap, in MiB; a worker that needs more is ended. */
	readonly workerMemoryMb: number;
	/** Waiting jobs per worker: above it there are soon more workers, below the other one fewer. */
	readonly scaleUpAbove: number;
	readonly scaleDownBelow: number;
	/** A tick starts no job after this. */
	readonly tickBudgetMs: number;
	/** A tick starts at most this many jobs. */
	readonly tickJobsMax: number;
	/** A tick sends at most this many statements: it starts no more jobs when what is left is needed to record those that run. */
	readonly tickStatementsMax: number;
	/** Leases taken back, deadlines checked and old jobs deleted per tick, each. */
	readonly sweepJobsMax: number;
	/** How long jobs that are done or cancelled stay. */
	readonly keepDoneMs: number;
	/** How long failed jobs and dead letters stay. */
	readonly keepDeadMs: number;
	/** How long an idempotency key answers with its first job. */
	readonly idempotencyMs: number;
	/** Attempts of a tenant's task that fail in a row, all with one fingerprint, until its circuit opens; 0: never. */
	readonly circuitFailures: number;
}

const DAY_MS = 24 * 60 * 60_000;

export const CONFIG_DEFAULT: Config = {
	leaseMs: 30_000,
	timeoutMs: 60_000,
	timeoutMsMax: 15 * 60_000,
	graceMs: 10_000,
	tenantConcurrency: 5,
	tenantBacklog: 10_000,
	payloadBytesMax: 256 * 1024,
	resultBytesMax: 1024 * 1024,
	workersMin: 2,
	workersMax: 10,
	tasksPerWorker: 5,
	workerMemoryMb: 512,
	scaleUpAbove: 5,
	scaleDownBelow: 1,
	tickBudgetMs: 25_000,
	tickJobsMax: 10_000,
	tickStatementsMax: 1_000_000,
	sweepJobsMax: 500,
	keepDoneMs: 7 * DAY_MS,
	keepDeadMs: 30 * DAY_MS,
	idempotencyMs: DAY_MS,
	circuitFailures: 10,
};

/** Bounds that a root holds its settings to. */
export const CONFIG_BOUNDS: { readonly [K in keyof Config]: readonly [least: number, most: number] } = {
	leaseMs: [1000, 3_600_000],
	timeoutMs: [1, 24 * 3_600_000],
	timeoutMsMax: [1, 24 * 3_600_000],
	graceMs: [0, 300_000],
	tenantConcurrency: [1, 1_000_000],
	tenantBacklog: [1, 1_000_000_000],
	payloadBytesMax: [1024, 1024 * 1024],
	resultBytesMax: [1024, 1024 * 1024],
	workersMin: [1, 1000],
	workersMax: [1, 1000],
	tasksPerWorker: [1, 1000],
	workerMemoryMb: [32, 65_536],
	scaleUpAbove: [1, 1_000_000],
	scaleDownBelow: [0, 1_000_000],
	tickBudgetMs: [1, 3_600_000],
	tickJobsMax: [1, 1_000_000_000],
	tickStatementsMax: [30, 1_000_000_000],
	sweepJobsMax: [1, 10_000],
	keepDoneMs: [0, 3650 * DAY_MS],
	keepDeadMs: [0, 3650 * DAY_MS],
	idempotencyMs: [0, 3650 * DAY_MS],
	circuitFailures: [0, 1_000_000],
};

/** The environment variable of a setting: leaseMs → TICKQ_LEASE_MS. */
export const variableOf = (name: keyof Config): string => `TICKQ_${name.replaceAll(/[A-Z]/g, letter => `_${letter}`).toUpperCase()}`;

/** Jobs that a process runs at once before it has more workers than the least. */
export const slotsOf = ({ workersMin, tasksPerWorker }: Pick<Config, "workersMin" | "tasksPerWorker">): number =>
	workersMin * tasksPerWorker;

/** What the store holds for tenants without limits of their own, and how long it keeps what has ended. */
export const storageDefaults = (config: Config): StorageDefaults => ({
	concurrency: config.tenantConcurrency,
	backlog: config.tenantBacklog,
	keepDoneMs: config.keepDoneMs,
	keepDeadMs: config.keepDeadMs,
});
