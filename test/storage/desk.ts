/** A store and a clock that only moves when told, with short words for what tests do to it. */
import { expect } from "vitest";
import type { Job, JobEvent, JobRef, State } from "../../lib/job.ts";
import type {
	Claimed,
	Ending,
	FollowUp,
	Lease,
	ListQuery,
	Moved,
	NewJob,
	Storage,
	StorageDefaults,
	SubmitAnswer,
} from "../../lib/storage/storage.ts";

/** 2026-01-01T00:00:00Z */
export const T0 = Date.UTC(2026, 0, 1);
export const MINUTE = 60_000;
export const DAY = 24 * 60 * MINUTE;

/** What a store under test is opened with. */
export const DEFAULTS: StorageDefaults = { concurrency: 1000, backlog: 20_000, keepDoneMs: DAY, keepDeadMs: 7 * DAY };
export const TASKS: readonly string[] = ["a", "b", "c"];
export const LEASE_MS = 30_000;

export type Submit = Partial<NewJob> & { readonly tenant?: string };
export interface Claiming {
	readonly tasks?: readonly string[];
	readonly limit?: number;
	readonly leaseMs?: number;
	readonly worker?: string;
}
// biome-ignore lint/suspicious/noExplicitAny: distributes over the outcomes.
type EndingOf<E> = E extends any ? Omit<E, "id" | "token"> : never;
export type How = EndingOf<Ending>;

export const DONE = { outcome: "done", result: "null" } as const;
export const FAILED = { outcome: "failed", error: '{"message":"no"}', fingerprint: "f_no" } as const;
export const RELEASE = { outcome: "release" } as const;
export const CANCELLED = { outcome: "cancelled" } as const;
export const retryIn = (
	delayMs: number,
	more: { fingerprint?: string; hold?: "tenant" | "task"; circuitFailures?: number; circuitCounts?: false } = {},
): How => ({
	outcome: "retry",
	delayMs,
	error: '{"message":"again"}',
	fingerprint: "f_again",
	...more,
});
export const snooze = (delayMs: number): How => ({ outcome: "snooze", delayMs });

export const ending = (lease: Lease, how: How = DONE): Ending => ({ id: lease.id, token: lease.token, ...how });

/** Mulberry32: 0 ≤ n < 1, the same row of numbers for the same seed. */
export function createRandom(seed: number): () => number {
	let a = seed >>> 0;
	return () => {
		a = (a + 0x6d2b79f5) | 0;
		let t = Math.imul(a ^ (a >>> 15), 1 | a);
		t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
		return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
	};
}

/** Jobs whose history is read at the end of a test, at most: those with the longest. */
const AUDIT_MAX = 3;
/** Follow-ups of one job in `stock`. */
const STOCK_MAX = 1000;

/** What the desks at one store have in common. */
interface Book {
	now: number;
	drawn: number;
	readonly refs: Map<number, JobRef & { readonly tenant: string }>;
}

/** What lists are asked for: one of each form. */
export const LISTS: readonly Omit<ListQuery, "limit">[] = [
	{},
	{ before: 500 },
	{ task: "a" },
	...(["pending", "running", "done", "failed", "dead_letter", "cancelled"] as const).flatMap(status => [
		{ statuses: [status] },
		{ statuses: [status], task: "a" },
	]),
	{ statuses: ["failed", "dead_letter"] },
	{ statuses: ["pending", "running", "done"] },
	{ tag: "x" },
	{ tag: "x", statuses: ["done"] },
	{ tag: "x", task: "a" },
];

export class Desk {
	readonly storage: Storage;
	readonly #book: Book;

	/** @param beside a desk at the same store: this one goes by its clock, and draws no number that it drew */
	constructor(storage: Storage, beside?: Desk) {
		this.storage = storage;
		this.#book = beside === undefined ? { now: T0, drawn: 0, refs: new Map() } : beside.#book;
	}
	get now(): number {
		return this.#book.now;
	}
	set now(at: number) {
		this.#book.now = at;
	}
	get worker() {
		return this.storage.worker;
	}
	get operator() {
		return this.storage.operator;
	}
	tenant(name = "acme") {
		return this.storage.tenant(name);
	}
	/** A number that was not drawn before. */
	draw(): number {
		return ++this.#book.drawn;
	}

	job({ tenant: _, ...more }: Submit = {}): NewJob {
		const drawn = this.draw();
		return { task: "a", payload: "{}", maxRetries: 3, tail: drawn * 7, traceId: drawn.toString(16).padStart(32, "0"), ...more };
	}
	followUp(more: Submit = {}): FollowUp {
		return { tenant: more.tenant ?? "acme", ...this.job(more) };
	}
	async offer(more: Submit = {}): Promise<SubmitAnswer> {
		const tenant = more.tenant ?? "acme";
		const job = this.job(more);
		const answer = await this.tenant(tenant).insertJob(job, this.now);
		if (answer.status === "created") this.#book.refs.set(answer.id, { id: answer.id, tail: job.tail, tenant });
		return answer;
	}
	async submit(more: Submit = {}): Promise<number> {
		const answer = await this.offer(more);
		if (answer.status !== "created") throw new Error(`not created but ${answer.status}`);
		return answer.id;
	}
	/** Many jobs, all of one turn: which of them comes first is the store's affair. */
	fill(count: number, more: Submit | ((i: number) => Submit) = {}): Promise<number[]> {
		return Promise.all(Array.from({ length: count }, (_, i) => this.submit(typeof more === "function" ? more(i) : more)));
	}
	/** Some jobs, one after the other. */
	async line(count: number, more: Submit | ((i: number) => Submit) = {}): Promise<number[]> {
		const ids: number[] = [];
		for (let i = 0; i < count; i++) ids.push(await this.submit(typeof more === "function" ? more(i) : more));
		return ids;
	}
	/** Very many jobs for a few calls, in this order: follow-ups of a job of a task and tenant of its own, which is done. No backlog limit holds. */
	async stock(count: number, more: Submit | ((i: number) => Submit) = {}): Promise<number[]> {
		const jobs = Array.from({ length: count }, (_, i) => this.followUp(typeof more === "function" ? more(i) : more));
		for (let from = 0; from < count; from += STOCK_MAX) {
			await this.submit({ tenant: "stock", task: "stock" });
			const parent = await this.claimOne({ tasks: ["stock"] });
			expect(await this.finish(parent, { ...DONE, followUps: jobs.slice(from, from + STOCK_MAX) })).toHaveLength(1);
		}
		const idOf = new Map<number, number | undefined>(jobs.map(job => [job.tail, undefined]));
		let found = 0;
		for (let before: number | null | undefined; found < count && before !== null; ) {
			const page = await this.operator.listJobs({ limit: STOCK_MAX, ...(before === undefined ? {} : { before }) });
			for (const { id, tail, tenant } of page.jobs)
				if (idOf.has(tail)) {
					idOf.set(tail, id);
					this.#book.refs.set(id, { id, tail, tenant });
					found++;
				}
			before = page.next;
		}
		expect(found, "jobs that are stored").toBe(count);
		return jobs.map(job => idOf.get(job.tail)!);
	}

	async get(id: number): Promise<Job> {
		const job = await this.tenant(this.#book.refs.get(id)?.tenant).getJobById(id);
		if (job === null) throw new Error(`there is no job ${id}`);
		return job;
	}
	async state(id: number): Promise<State> {
		return (await this.get(id)).state;
	}
	states(ids: readonly number[]): Promise<State[]> {
		return Promise.all(ids.map(id => this.state(id)));
	}
	async history(id: number): Promise<JobEvent[]> {
		const job = await this.get(id);
		return this.tenant(job.tenant).historyOf(job);
	}
	async kinds(id: number): Promise<string[]> {
		return (await this.history(id)).map(event => event.kind);
	}

	request({ tasks = TASKS, limit = 1, leaseMs = LEASE_MS, worker = "worker" }: Claiming = {}) {
		return { tasks, limit, leaseMs, worker, token: 1_000_000 + this.draw() };
	}
	claim(claiming: Claiming = {}): Promise<Claimed[]> {
		return this.worker.claimDueJobs(this.request(claiming), this.now);
	}
	async claimOne(claiming: Claiming = {}): Promise<Claimed> {
		const jobs = await this.claim({ ...claiming, limit: 1 });
		expect(jobs).toHaveLength(1);
		return jobs[0]!;
	}
	/** The ids of claims of one job each, until nothing is left. */
	async claimInTurn(claiming: Claiming = {}): Promise<number[]> {
		const ids: number[] = [];
		for (;;) {
			const [job] = await this.claim({ ...claiming, limit: 1 });
			if (job === undefined) return ids;
			ids.push(job.id);
		}
	}
	finish(leases: Lease | readonly Lease[], how: How = DONE): Promise<Moved[]> {
		return this.worker.finishIfLeased(
			("id" in leases ? [leases] : leases).map(lease => ending(lease, how)),
			this.now,
		);
	}
	async cancel(id: number) {
		const ref = this.#book.refs.get(id) ?? (await this.get(id));
		return this.tenant(ref.tenant).cancelJob(ref, this.now);
	}
	async retry(id: number) {
		const ref = this.#book.refs.get(id) ?? (await this.get(id));
		return this.tenant(ref.tenant).retryJob(ref, this.now);
	}
	expire(limit = 1000) {
		return this.worker.expireLeases(limit, this.now);
	}
	/** Lets the lease of the one running job run out, `times` times in a row. */
	async lose(times = 1): Promise<void> {
		for (let i = 0; i < times; i++) {
			await this.claim({ limit: 1 });
			this.now += LEASE_MS;
			expect(await this.expire()).toHaveLength(1);
		}
	}

	async all(): Promise<Job[]> {
		const jobs: Job[] = [];
		let before: number | undefined;
		for (;;) {
			const page = await this.operator.listJobs({ limit: 500, ...(before === undefined ? {} : { before }) });
			jobs.push(...page.jobs);
			if (page.next === null) return jobs;
			before = page.next;
		}
	}

	/** What must hold at the end of every test: the store adds up, and every job tells its whole life. */
	async audit(): Promise<void> {
		expect(await this.operator.verify()).toEqual([]);
		const { jobs } = await this.operator.listJobs({ limit: 1000 });
		const longest = jobs
			.filter(job => job.seq > 1)
			.sort((a, b) => b.seq - a.seq)
			.slice(0, AUDIT_MAX);
		await Promise.all(
			longest.map(async job => {
				const history = await this.operator.historyOf(job);
				expect(
					history.map(event => event.seq),
					`history of job ${job.id}`,
				).toEqual(Array.from({ length: job.seq }, (_, i) => i + 1));
				expect(history[0]!.kind).toBe("submitted");
			}),
		);
	}
}
