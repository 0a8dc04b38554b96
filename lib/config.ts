/** What can be set, with its unit last in the name, its default, and its bounds. Roots fill it from flags, environment or bindings. */

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
	/** Jobs that one process runs at once. */
	readonly workers: number;
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
	workers: 10,
	tickBudgetMs: 25_000,
	tickJobsMax: 10_000,
	tickStatementsMax: 1_000_000,
	sweepJobsMax: 500,
	keepDoneMs: 7 * DAY_MS,
	keepDeadMs: 30 * DAY_MS,
	idempotencyMs: DAY_MS,
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
	workers: [1, 10_000],
	tickBudgetMs: [1, 3_600_000],
	tickJobsMax: [1, 1_000_000_000],
	tickStatementsMax: [25, 1_000_000_000],
	sweepJobsMax: [1, 10_000],
	keepDoneMs: [0, 3650 * DAY_MS],
	keepDeadMs: [0, 3650 * DAY_MS],
	idempotencyMs: [0, 3650 * DAY_MS],
};

/** The environment variable of a setting: leaseMs → TICKQ_LEASE_MS. */
export const variableOf = (name: keyof Config): string => `TICKQ_${name.replaceAll(/[A-Z]/g, letter => `_${letter}`).toUpperCase()}`;
