/**
 * What every storage engine must do, in the words of lib/storage/storage.ts. An engine's test file calls `conformance` with a way to open
 * a fresh, empty store (with DEFAULTS and TASKS of desk.ts). Every test ends with a recount of its store. The suite is some 11,500 calls, 7,300
 * of them one after the other, so that an engine behind a network has time for it: `stock` what is many, and read side by side.
 */
import { expect, describe as vitestDescribe, it as vitestIt } from "vitest";
import { isEnded, type Job, STATES, type State, TRANSITIONS } from "../../lib/job.ts";
import type { Claimed, Ending, Lease, ListQuery, Moved, Storage } from "../../lib/storage/storage.ts";
import { besideConformance } from "./beside.conformance.ts";
import {
	CANCELLED,
	type Claiming,
	createRandom,
	DAY,
	DEFAULTS,
	Desk,
	DONE,
	ending,
	FAILED,
	type How,
	LEASE_MS,
	MINUTE,
	RELEASE,
	retryIn,
	type Submit,
	snooze,
	T0,
	TASKS,
} from "./desk.ts";
import { executionConformance } from "./execution.conformance.ts";
import { waitingConformance } from "./waiting.conformance.ts";

export interface Opened {
	readonly storage: Storage;
	/** Another, independent connection to this very store, as another process would have. Without it, racers share the one there is. */
	again?(): Promise<Storage>;
	/** Closes `storage` and takes the store away; what `again` answered is closed by then. */
	close(): Promise<void>;
}

export interface ConformanceOptions {
	/** Tests that this engine does not pass, by full name (`section > title`), with the reason. One that names no test fails. */
	readonly skip?: Readonly<Record<string, string>>;
}

/** What is wrong with a list of skips. */
export const wrongSkips = (skip: Readonly<Record<string, string>>, titles: ReadonlySet<string>): string[] => [
	...Object.keys(skip)
		.filter(title => !titles.has(title))
		.map(title => `there is no test "${title}"`),
	...Object.keys(skip)
		.filter(title => skip[title]!.trim() === "")
		.map(title => `"${title}" is skipped without a reason`),
];

/** Desks at one store in a race, each with a connection of its own where the engine has such. */
const RACERS = 4;
/** Lives of each race; more: `TICKQ_RACES=20 npx vitest run test/storage/sqlite.test.ts -t races`. */
const RACE_SEEDS = Number(process.env.TICKQ_RACES ?? 1);

const ids = (jobs: readonly { readonly id: number }[]): number[] => jobs.map(job => job.id);
/** Seeded choices. */
class Chance {
	readonly #random: () => number;
	constructor(seed: number) {
		this.#random = createRandom(seed);
	}
	upTo(n: number): number {
		return Math.floor(this.#random() * n);
	}
	is(p: number): boolean {
		return this.#random() < p;
	}
	pick<T>(items: readonly T[]): T {
		return items[this.upTo(items.length)]!;
	}
	shuffle<T>(items: readonly T[]): T[] {
		const all = [...items];
		for (let i = all.length - 1; i > 0; i--) {
			const other = this.upTo(i + 1);
			[all[i], all[other]] = [all[other]!, all[i]!];
		}
		return all;
	}
	/** Begins all of them at once, in an order of chance; answers in the order given. */
	async atOnce<T>(acts: readonly (() => Promise<T>)[]): Promise<T[]> {
		const begun = new Map(this.shuffle(acts.map((act, i) => [i, act] as const)).map(([i, act]) => [i, act()]));
		return Promise.all(acts.map((_, i) => begun.get(i)!));
	}
}

const byId = <T extends { readonly id: number }>(jobs: readonly T[]): T[] => [...jobs].sort((a, b) => a.id - b.id);
const leaseOf = ({ id, token }: Claimed): Lease => ({ id, token });
const sorted = (numbers: Iterable<number>): number[] => [...numbers].sort((a, b) => a - b);
const count = <T>(items: readonly T[]): Map<T, number> => {
	const counts = new Map<T, number>();
	for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1);
	return counts;
};

/** Many claims at once; then one alone, for what they left to each other. */
async function claimAtOnce(q: Desk, callers: number, claiming: (i: number) => Claiming): Promise<Claimed[]> {
	const claims = await Promise.all(Array.from({ length: callers }, (_, i) => q.claim(claiming(i))));
	for (const [i, jobs] of claims.entries()) expect(jobs.length).toBeLessThanOrEqual(claiming(i).limit ?? 1);
	return [...claims.flat(), ...(await q.claim({ ...claiming(0), limit: 100 }))];
}

/** Brings a job into a state, by the shortest way. The lease is the last that was held. */
const REACH: Record<State, (q: Desk) => Promise<{ id: number; lease?: Claimed }>> = {
	ready: async q => ({ id: await q.submit() }),
	delayed: async q => ({ id: await q.submit({ runAt: q.now + DAY }) }),
	blocked: async q => {
		await q.submit({ key: "k", runAt: q.now + DAY });
		return { id: await q.submit({ key: "k" }) };
	},
	running: async q => {
		await q.submit();
		const lease = await q.claimOne();
		return { id: lease.id, lease };
	},
	done: q => reachEnd(q, DONE),
	failed: q => reachEnd(q, FAILED),
	dead: q => reachEnd(q, retryIn(0), { maxRetries: 0 }),
	cancelled: q => reachEnd(q, CANCELLED),
};
async function reachEnd(q: Desk, how: How, more: Submit = {}) {
	const id = await q.submit(more);
	const lease = await q.claimOne();
	await q.finish(lease, how);
	return { id, lease };
}

type Move = readonly [from: State | "new", to: State];

/** One way to make each move of the table. */
const MOVES: Record<string, (q: Desk) => Promise<Move>> = {
	"new: submit": async q => ["new", await q.state(await q.submit())],
	"new: submit, run_at in the future": async q => ["new", await q.state(await q.submit({ runAt: q.now + 1 }))],
	"new: submit, its key is busy": async q => {
		await q.submit({ key: "k" });
		return ["new", await q.state(await q.submit({ key: "k" }))];
	},
	"blocked: the key is free": q => freed(q, {}),
	"blocked: the key is free, not due": q => freed(q, { runAt: q.now + DAY }),
	"delayed: due": async q => {
		const id = await q.submit({ runAt: q.now + 1000, tenant: "full" });
		await q.operator.setLimits("full", { concurrency: 0 });
		return moved(q, id, async () => {
			q.now += 1000;
			await q.claim();
		});
	},
	"ready: claim": q => from(q, "ready", q => q.claim()),
	"running: done": q => ended(q, DONE),
	"running: error, retries left": q => ended(q, retryIn(5)),
	"running: error, retries spent": q => ended(q, retryIn(5), { maxRetries: 0 }),
	"running: not retryable": q => ended(q, FAILED),
	"running: snooze": q => ended(q, snooze(5)),
	"running: release": q => ended(q, RELEASE),
	"running: lease lost, 1st or 2nd in a row": q => lost(q, 1),
	"running: lease lost, 3rd in a row": q => lost(q, 3),
	"running: cancel acknowledged": async q => {
		const { id, lease } = await REACH.running(q);
		return moved(q, id, async () => {
			await q.cancel(id);
			await q.finish(lease!, CANCELLED);
		});
	},
	"ready: cancel, or start deadline passed": q => from(q, "ready", (q, id) => q.cancel(id)),
	"delayed: cancel, or start deadline passed": q => from(q, "delayed", (q, id) => q.cancel(id)),
	"blocked: cancel, or start deadline passed": q => from(q, "blocked", (q, id) => q.cancel(id)),
	"failed: retry": q => from(q, "failed", (q, id) => q.retry(id)),
	"dead: retry": q => from(q, "dead", (q, id) => q.retry(id)),
	"cancelled: retry": q => from(q, "cancelled", (q, id) => q.retry(id)),
	"failed: retry, its key is busy": q => retriedBehind(q, FAILED),
	"dead: retry, its key is busy": q => retriedBehind(q, retryIn(0)),
	"cancelled: retry, its key is busy": q => retriedBehind(q, CANCELLED),
};
async function moved(q: Desk, id: number, act: () => Promise<unknown>): Promise<Move> {
	const before = await q.state(id);
	await act();
	return [before, await q.state(id)];
}
async function from(q: Desk, state: State, act: (q: Desk, id: number) => Promise<unknown>): Promise<Move> {
	const { id } = await REACH[state](q);
	return moved(q, id, () => act(q, id));
}
async function freed(q: Desk, more: Submit): Promise<Move> {
	const holder = await q.submit({ key: "k" });
	const id = await q.submit({ key: "k", ...more });
	return moved(q, id, () => q.cancel(holder));
}
async function ended(q: Desk, how: How, more: Submit = {}): Promise<Move> {
	const id = await q.submit(more);
	const lease = await q.claimOne();
	return moved(q, id, () => q.finish(lease, how));
}
async function retriedBehind(q: Desk, how: How): Promise<Move> {
	const id = await q.submit({ key: "k", maxRetries: 0 });
	await q.finish(await q.claimOne(), how);
	await q.submit({ key: "k" });
	return moved(q, id, () => q.retry(id));
}
async function lost(q: Desk, time: number): Promise<Move> {
	const id = await q.submit();
	await q.lose(time - 1);
	await q.claimOne();
	return moved(q, id, async () => {
		q.now += LEASE_MS;
		await q.expire();
	});
}
const moveKey = ({ from, event }: { from: string; event: string }): string => `${from}: ${event}`;

/** Everything that may be tried on one job; the states from which it does something. */
const ACTS: readonly {
	name: string;
	from: readonly State[];
	act: (q: Desk, id: number, lease: { id: number; token: number }) => unknown;
}[] = [
	{ name: "claim", from: ["ready"], act: q => q.claim({ limit: 100, tasks: ["a"] }) },
	...[DONE, FAILED, RELEASE, CANCELLED, retryIn(5), snooze(5), { outcome: "expired" } as const].map(how => ({
		name: `finish as ${how.outcome}`,
		from: ["running"] as const,
		act: (q: Desk, _: number, lease: { id: number; token: number }) => q.finish(lease, how),
	})),
	{ name: "extend", from: ["running"], act: (q, _, lease) => q.worker.extendLeases([{ ...lease, progress: "1" }], LEASE_MS, q.now) },
	{ name: "expire", from: [], act: q => q.expire() },
	{ name: "cancel late ones", from: [], act: q => q.worker.cancelLate(100, q.now) },
	{ name: "prune", from: [], act: q => q.worker.prune(100, q.now) },
	{ name: "cancel", from: ["blocked", "delayed", "ready", "running"], act: (q, id) => q.cancel(id) },
	{ name: "retry", from: ["failed", "dead", "cancelled"], act: (q, id) => q.retry(id) },
];

export function conformance(name: string, open: () => Promise<Opened>, { skip = {} }: ConformanceOptions = {}): void {
	let section = "";
	const titles = new Set<string>();
	const describe = (title: string, body: () => void) =>
		vitestDescribe(title, () => {
			section = title;
			body();
		});
	/** A test with a store of its own, which must add up when it ends. */
	const it = (title: string, body: (q: Desk, opened: Opened) => Promise<void>) => {
		const full = `${section} > ${title}`;
		titles.add(full);
		vitestIt(title, async context => {
			if (skip[full] !== undefined) context.skip(skip[full]);
			const opened = await open();
			try {
				const q = new Desk(opened.storage);
				await body(q, opened);
				await q.audit();
			} finally {
				await opened.close();
			}
		});
	};
	/** A test with several desks at its store, the first of which is `q`. */
	const race = (title: string, body: (q: Desk, racers: readonly Desk[], chance: Chance) => Promise<void>) => {
		for (let seed = 1; seed <= RACE_SEEDS; seed++)
			it(seed === 1 ? title : `${title} (seed ${seed})`, async (q, opened) => {
				const others: Storage[] = [];
				try {
					if (opened.again !== undefined) while (others.length < RACERS - 1) others.push(await opened.again());
					const racers = Array.from({ length: RACERS }, (_, i) => (i === 0 ? q : new Desk(others[i - 1] ?? q.storage, q)));
					await body(q, racers, new Chance(seed));
				} finally {
					await Promise.all(others.map(storage => storage.close()));
				}
			});
	};

	vitestDescribe(name, () => {
		executionConformance({ describe, it, race });
		besideConformance({ describe, it, race });
		waitingConformance({ describe, it, race });

		describe("the table of moves", () => {
			for (const row of TRANSITIONS)
				it(`${row.from} → ${row.to}: ${row.event}`, async q => {
					expect(await MOVES[moveKey(row)]?.(q)).toEqual([row.from, row.to]);
				});

			vitestIt("is made whole by these tests", () => {
				expect(Object.keys(MOVES).sort()).toEqual(TRANSITIONS.map(moveKey).sort());
			});

			for (const state of STATES)
				it(`holds a ${state} job against everything that is not in it`, async q => {
					const { id, lease = { id: -1, token: 1 } } = await REACH[state](q);
					const look = async () => {
						const [job, counts] = await Promise.all([q.get(id), q.tenant().counts()]);
						// An ending that is refused stands in the history.
						return { job: { ...job, seq: 0 }, counts: { ...counts, version: 0 } };
					};
					const before = await look();
					for (const { name, from, act } of ACTS) {
						if (from.includes(state)) continue;
						await act(q, id, { ...lease, id });
						expect(await look(), name).toEqual(before);
					}
				});

			for (const state of STATES)
				it(`knows every move of a ${state} job`, async q => {
					for (const { name, from, act } of ACTS) {
						if (!from.includes(state)) continue;
						const { id, lease } = await REACH[state](q);
						await act(q, id, lease ?? { id, token: 1 });
						const to = await q.state(id);
						const known = TRANSITIONS.some(row => row.from === state && row.to === to);
						expect(known || to === state, `${name}: ${state} → ${to}`).toBe(true);
						// Out of the way of the next.
						await q.cancel(id);
						q.now += LEASE_MS;
						await q.expire();
					}
				});
		});

		describe("insertJob", () => {
			it("stores everything it is given", async q => {
				const job = q.job({
					task: "b",
					payload: '{"x":1}',
					taskInPayload: true,
					priority: -5,
					runAt: q.now + 10,
					startBy: q.now + 20,
					maxRetries: 7,
					timeoutMs: 1234,
					key: "k",
					tags: ["red", "blue", "red"],
					traceParent: "00-aa-bb-01",
					copyOf: "job_original",
					webhookUrl: "https://example.com/hook",
				});
				const answer = await q.tenant().insertJob(job, q.now);
				if (answer.status !== "created") throw new Error(`not created but ${answer.status}`);
				expect(answer).toEqual({ status: "created", id: expect.any(Number), createdAt: q.now, webhookUrl: "https://example.com/hook" });
				expect(await q.tenant().getJobById(answer.id)).toEqual({
					id: answer.id,
					tail: job.tail,
					tenant: "acme",
					task: "b",
					state: "delayed",
					reason: null,
					priority: -5,
					seq: 1,
					createdAt: q.now,
					runAt: q.now + 10,
					startBy: q.now + 20,
					startedAt: null,
					completedAt: null,
					expiresAt: null,
					failures: 0,
					losses: 0,
					claims: 0,
					maxRetries: 7,
					timeoutMs: 1234,
					leaseUntil: null,
					cancelRequestedAt: null,
					taskInPayload: true,
					worker: null,
					key: "k",
					traceId: job.traceId,
					traceParent: "00-aa-bb-01",
					parentId: null,
					copyOf: "job_original",
					webhookUrl: "https://example.com/hook",
					fingerprint: null,
					tags: ["red", "blue", "red"],
					progress: null,
					error: null,
					result: null,
					payload: '{"x":1}',
				});
			});

			it("gives ids that grow, also in one turn", async q => {
				const first = await q.submit();
				const together = await q.fill(502);
				const given = [first, ...sorted(together), await q.submit()];
				expect(given).toEqual(sorted(new Set(given)));
				expect(first).toBeGreaterThan(0);
				expect(given.every(Number.isSafeInteger)).toBe(true);
			});

			it("makes a job at its instant, or at a later one of those that are stored together with it", async q => {
				const tenant = q.tenant();
				await q.submit();
				const instants = [3, 9, 6].map(ms => T0 + ms);
				const answers = await Promise.all(instants.map(at => tenant.insertJob(q.job(), at)));
				for (const [i, answer] of answers.entries()) {
					if (answer.status !== "created") throw new Error(`not created but ${answer.status}`);
					expect(instants).toContain(answer.createdAt);
					expect(answer.createdAt).toBeGreaterThanOrEqual(instants[i]!);
					expect((await tenant.getJobById(answer.id))!.createdAt).toBe(answer.createdAt);
				}
			});

			it("runs at once what was due in the past", async q => {
				const id = await q.submit({ runAt: q.now - DAY });
				expect(await q.get(id)).toMatchObject({ state: "ready", runAt: q.now });
			});

			it("refuses above the backlog limit, exactly, also in one turn", async q => {
				await q.operator.setLimits("acme", { backlog: 10 });
				const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => q.offer(i % 3 === 0 ? { runAt: q.now + 1 } : {})));
				expect(count(answers.map(answer => answer.status))).toEqual(
					new Map([
						["created", 10],
						["backlog_full", 30],
					]),
				);
				expect((await q.offer()).status).toBe("backlog_full");
				expect((await q.offer({ tenant: "other" })).status).toBe("created");
				await q.claim({ limit: 4 });
				const more = await Promise.all(Array.from({ length: 5 }, () => q.offer()));
				expect(more.filter(answer => answer.status === "created")).toHaveLength(3);
			});

			it("counts each tenant's backlog by itself in one turn", async q => {
				await q.operator.setLimits("one", { backlog: 3 });
				await q.operator.setLimits("two", { backlog: 5 });
				const answers = await Promise.all(Array.from({ length: 24 }, (_, i) => q.offer({ tenant: ["one", "two"][i % 2]! })));
				const created = answers.map((answer, i) => [answer.status, i % 2] as const).filter(([status]) => status === "created");
				expect(created.filter(([, who]) => who === 0)).toHaveLength(3);
				expect(created.filter(([, who]) => who === 1)).toHaveLength(5);
			});
		});

		describe("payloads", () => {
			const TEXTS: readonly string[] = [
				"null",
				'""',
				"0",
				"-1.50e+300",
				"12345678901234567890",
				'{"a":1,"a":2}',
				" [ 1 ,\n2 ] ",
				String.raw`"\u0000\u001f\"\\\/\b\f\n\r\t"`,
				String.raw`"\ud83d\ude00 \ud800 lone"`,
				'"😀 ünïcödé שלום 漢字 \u2028\u2029\ufeff\uffff"',
				'{"?1":"\' OR 1=1 --","$.x":null}',
			];
			it("come back byte for byte, as do results, errors and progress", async q => {
				const stored = await q.fill(TEXTS.length, i => ({ payload: TEXTS[i]! }));
				const claimed = await q.claim({ limit: 100 });
				expect(new Map(claimed.map(job => [job.id, job.payload]))).toEqual(new Map(stored.map((id, i) => [id, TEXTS[i]!])));
				await q.worker.extendLeases(
					claimed.map((job, i) => ({ ...leaseOf(job), progress: TEXTS[i]! })),
					LEASE_MS,
					q.now,
				);
				await q.worker.finishIfLeased(
					claimed.map((job, i) => ending(job, i % 2 === 0 ? { outcome: "done", result: TEXTS[i]! } : { ...FAILED, error: TEXTS[i]! })),
					q.now,
				);
				for (const [i, job] of claimed.entries()) {
					const after = await q.get(job.id);
					expect(after.progress).toBe(TEXTS[i]);
					expect(i % 2 === 0 ? after.result : after.error).toBe(TEXTS[i]);
				}
			});

			it("may be 256 KiB and a result 1 MiB", async q => {
				const payload = JSON.stringify('é😀x\\"\u0001'.repeat(60_000).slice(0, 100_000));
				expect(Buffer.byteLength(payload)).toBeGreaterThan(200 * 1024);
				const id = await q.submit({ payload });
				const job = await q.claimOne();
				expect(job.payload === payload).toBe(true);
				const result = JSON.stringify("y".repeat(1024 * 1024 - 2));
				await q.finish(job, { outcome: "done", result });
				const after = await q.get(id);
				expect([after.payload === payload, after.result === result]).toEqual([true, true]);
			});

			it("are no reason to mix up names with other signs in them", async q => {
				const odd = ["😀", "a'b", "%", "_", "A", "a", "ä", "a b"];
				const stored = await Promise.all(odd.map(tenant => q.submit({ tenant, key: tenant, tags: [tenant] })));
				for (const [i, tenant] of odd.entries()) {
					const { jobs } = await q.tenant(tenant).listJobs({ tag: tenant, limit: 10 });
					expect(ids(jobs)).toEqual([stored[i]]);
					expect(jobs[0]).toMatchObject({ tenant, key: tenant, tags: [tenant] });
				}
			});
		});

		describe("claimDueJobs", () => {
			it("gives no job to two callers", async q => {
				await q.stock(100, i => ({ tenant: `t${i % 7}`, task: TASKS[i % 3]! }));
				const given = await claimAtOnce(q, 30, i => ({ limit: (i % 5) + 1 }));
				expect(given).toHaveLength(100);
				expect(new Set(ids(given)).size).toBe(100);
			});

			it("leases what it gives: token, worker, end of the lease", async q => {
				const id = await q.submit();
				const request = q.request({ worker: "w1", leaseMs: 5000 });
				const [job] = await q.worker.claimDueJobs(request, q.now + 3);
				expect(job).toMatchObject({ id, state: "running", token: request.token, worker: "w1", claims: 1, seq: 2 });
				expect(job).toMatchObject({ startedAt: T0 + 3, leaseUntil: T0 + 5003, failures: 0, losses: 0 });
				const { token: _, ...asStored } = job!;
				expect(await q.get(id)).toEqual(asStored);
			});

			it("gives at most its limit, and nothing for a limit of 0", async q => {
				await q.fill(10);
				expect(await q.claim({ limit: 0 })).toEqual([]);
				expect(await q.claim({ limit: 4 })).toHaveLength(4);
				expect(await q.claim({ limit: 100 })).toHaveLength(6);
				expect(await q.claim({ limit: 100 })).toEqual([]);
			});

			it("keeps a tenant's limit exact under many claimers", async q => {
				await q.operator.setLimits("acme", { concurrency: 7 });
				await q.stock(50, i => ({ task: TASKS[i % 3]! }));
				await q.fill(5, { tenant: "other" });
				const claims = await claimAtOnce(q, 30, i => ({ limit: (i % 3) + 1 }));
				const mine = claims.filter(job => job.tenant === "acme");
				expect(mine).toHaveLength(7);
				expect(claims).toHaveLength(12);
				await q.finish(mine.slice(0, 3));
				expect(await claimAtOnce(q, 10, () => ({ limit: 2 }))).toHaveLength(3);
				expect((await q.tenant().counts()).running).toBe(7);
			});

			it("keeps a limit that is lowered below what runs", async q => {
				await q.fill(20);
				const running = await q.claim({ limit: 6 });
				await q.operator.setLimits("acme", { concurrency: 3 });
				expect(await q.claim({ limit: 10 })).toEqual([]);
				await q.finish(running.slice(0, 3));
				expect(await q.claim({ limit: 10 })).toEqual([]);
				await q.finish(running.slice(3, 4), retryIn(1));
				expect(await q.claim({ limit: 10 })).toHaveLength(1);
				await q.operator.setLimits("acme", { concurrency: 5 });
				expect(await q.claim({ limit: 10 })).toHaveLength(2);
				await q.operator.setLimits("acme", { concurrency: 0 });
				expect(await q.claim({ limit: 10 })).toEqual([]);
			});

			it("takes only the tasks it is asked for", async q => {
				await q.stock(30, i => ({ task: TASKS[i % 3]! }));
				const some = await q.claim({ tasks: ["b"], limit: 100 });
				expect(some.map(job => job.task)).toEqual(Array(10).fill("b"));
				expect(await q.claim({ tasks: ["b", "unknown"], limit: 100 })).toEqual([]);
				expect(await q.claim({ tasks: [], limit: 100 })).toEqual([]);
				expect(await q.claim({ tasks: ["a", "c"], limit: 100 })).toHaveLength(20);
			});

			it("gives all that it may though a task is named twice", async q => {
				await q.fill(5);
				expect(await q.claim({ tasks: ["a", "a"], limit: 3 })).toHaveLength(3);
				expect((await q.tenant().counts()).running).toBe(3);
			});

			it("keeps a task's limit over all tenants", async q => {
				await q.operator.setTask("a", { concurrency: 4 });
				await q.stock(60, i => ({ tenant: `t${i % 5}`, task: TASKS[i % 2]! }));
				const claims: Claimed[] = [];
				for (let i = 0; i < 20; i++) claims.push(...(await q.claim({ limit: 5 })));
				const limited = claims.filter(job => job.task === "a");
				expect([limited.length, claims.length]).toEqual([4, 34]);
				expect(await q.claim({ limit: 100 })).toEqual([]);
				await q.finish(limited.slice(0, 2));
				expect(await q.claim({ limit: 100 })).toHaveLength(2);
				await q.operator.setTask("a", { concurrency: 1 });
				expect(await q.claim({ limit: 100 })).toEqual([]);
				await q.operator.setTask("a", { concurrency: null });
				expect(await q.claim({ limit: 100 })).toHaveLength(24);
			});

			it("keeps a tenant's limit for one task", async q => {
				await q.operator.setLimits("acme", { tasks: { a: 2 } });
				await q.fill(20, i => ({ task: TASKS[i % 2]! }));
				const claims = await claimAtOnce(q, 10, () => ({ limit: 3 }));
				expect(count(claims.map(job => job.task))).toEqual(
					new Map([
						["a", 2],
						["b", 10],
					]),
				);
				await q.finish(claims.find(job => job.task === "a")!);
				expect(await q.claim({ limit: 100 })).toHaveLength(1);
				await q.operator.setLimits("acme", { tasks: { a: 1 } });
				expect(await q.claim({ limit: 100 })).toEqual([]);
				await q.operator.setLimits("acme", { tasks: { a: null } });
				expect(await q.claim({ limit: 100 })).toHaveLength(7);
			});

			it("takes nothing of a paused tenant or task", async q => {
				await q.fill(4, i => ({ tenant: ["one", "two"][i % 2]!, task: TASKS[i >> 1]! }));
				await q.operator.setLimits("one", { paused: true });
				await q.operator.setTask("b", { paused: true });
				expect((await q.claim({ limit: 10 })).map(job => [job.tenant, job.task])).toEqual([["two", "a"]]);
				await q.operator.setLimits("one", { paused: false });
				expect((await q.claim({ limit: 10 })).map(job => [job.tenant, job.task])).toEqual([["one", "a"]]);
				await q.operator.setTask("b", { paused: false });
				expect(await q.claim({ limit: 10 })).toHaveLength(2);
			});

			it("does not let what holds one tenant or task hold another", async q => {
				await q.operator.setLimits("full", { concurrency: 1 });
				await q.operator.setLimits("paused", { paused: true });
				await q.operator.setTask("c", { concurrency: 0 });
				await q.stock(300, i => ({ tenant: ["full", "paused", "free"][i % 3]!, task: TASKS[Math.floor(i / 3) % 3]! }));
				const claims = [...(await q.claim({ limit: 20 })), ...(await q.claim({ limit: 1000 }))];
				expect(count(claims.map(job => job.tenant)).get("free")).toBe(67);
				expect(claims).toHaveLength(68);
			});
		});

		describe("order within a tenant", () => {
			it("is that of their coming", async q => {
				const submitted = await q.line(12, i => ({ task: TASKS[i % 3]! }));
				expect(await q.claimInTurn()).toEqual(submitted);
			});

			it("moves by a minute for each point of priority, across tasks", async q => {
				const start = q.now;
				const submitted: { id: number; due: number }[] = [];
				for (let i = 0; i < 30; i++) {
					q.now = start + i * 20_000;
					const priority = [0, 3, -2, 10, 1][i % 5]!;
					submitted.push({ id: await q.submit({ priority, task: TASKS[i % 3]! }), due: q.now - priority * MINUTE });
				}
				const expected = ids([...submitted].sort((a, b) => a.due - b.due || a.id - b.id));
				const many = ids(await q.claim({ limit: 13 }));
				expect(sorted(many)).toEqual(sorted(expected.slice(0, 13)));
				expect(await q.claimInTurn()).toEqual(expected.slice(13));
			});

			it("lets one point go before what came 59.999 s earlier, not 60.001 s", async q => {
				const old = await q.submit();
				q.now += 59_999;
				const sooner = await q.submit({ priority: 1 });
				q.now += 2;
				const later = await q.submit({ priority: 1 });
				expect(await q.claimInTurn()).toEqual([sooner, old, later]);
			});

			it("counts from when a delayed job is due", async q => {
				const delayed = await q.submit({ runAt: q.now + 1000 });
				q.now += 999;
				const first = await q.submit();
				q.now += 10;
				const last = await q.submit();
				expect(await q.claimInTurn()).toEqual([first, delayed, last]);
			});

			it("holds for instants far from today", async q => {
				const far = Date.UTC(2070, 0, 1);
				const submitted = [far + 2 * MINUTE, far, far + MINUTE].map(runAt => ({ runAt }));
				const given = await q.fill(3, i => submitted[i]!);
				const now = await q.submit();
				expect(await q.claimInTurn()).toEqual([now]);
				q.now = far + DAY;
				expect(await q.claimInTurn()).toEqual([given[1], given[2], given[0]]);
			});

			it("is kept by a job that comes back", async q => {
				const [first, second] = await q.line(2);
				await q.finish(await q.claimOne(), RELEASE);
				expect((await q.claimOne()).id).toBe(first);
				await q.worker.forfeitLeases("worker", q.now);
				await q.expire();
				expect(await q.claimInTurn()).toEqual([first, second]);
			});
		});

		describe("fair turns", () => {
			const tenantsOf = async (q: Desk, claims: number, limit: number, tasks?: readonly string[]) => {
				const given: string[] = [];
				for (let i = 0; i < claims; i++)
					given.push(...(await q.claim({ limit, ...(tasks === undefined ? {} : { tasks }) })).map(job => job.tenant));
				return count(given);
			};
			const weights = async (q: Desk) => {
				for (const weight of [1, 2, 3]) await q.operator.setLimits(`w${weight}`, { weight, concurrency: 100_000 });
			};

			for (const [limit, claims] of [
				[1, 60],
				[10, 18],
				[100, 6],
			] as const)
				it(`are by weight, 1:2:3 at claim(${limit})`, async q => {
					await weights(q);
					for (const weight of [1, 2, 3]) await q.stock(limit * claims * 0.6, i => ({ tenant: `w${weight}`, task: TASKS[i % 3]! }));
					const served = await tenantsOf(q, claims, limit);
					for (const weight of [1, 2, 3]) {
						const share = (claims * limit * weight) / 6;
						expect(
							Math.abs(served.get(`w${weight}`)! - share),
							`w${weight} got ${served.get(`w${weight}`)} of ${share}`,
						).toBeLessThanOrEqual(2);
					}
				});

			it("serve a lone job behind another tenant's 3,000 with the next claim(1)", async q => {
				await q.stock(3000, { tenant: "loud" });
				for (const limit of [1, 1, 10]) await q.claim({ limit });
				const lone = await q.submit({ tenant: "lone" });
				expect((await q.claimOne()).id).toBe(lone);
			});

			it("give a waking tenant no saved-up credit", async q => {
				await q.stock(300, { tenant: "awake" });
				await tenantsOf(q, 5, 40);
				await q.stock(100, { tenant: "woken" });
				const served = await tenantsOf(q, 16, 1);
				expect(Math.abs(served.get("woken")! - 8)).toBeLessThanOrEqual(1);
			});

			it("share the first large claim with a waking tenant", async q => {
				await q.stock(300, { tenant: "awake" });
				await tenantsOf(q, 20, 10);
				await q.fill(20, { tenant: "woken" });
				expect(Math.abs((await tenantsOf(q, 1, 10)).get("woken")! - 5)).toBeLessThanOrEqual(1);
			});

			it("give no saved-up credit to one that was at its limit", async q => {
				await q.operator.setLimits("full", { concurrency: 1 });
				await q.stock(300, i => ({ tenant: ["full", "free"][i % 2]! }));
				await tenantsOf(q, 5, 20);
				await q.operator.setLimits("full", { concurrency: 1000 });
				const served = await tenantsOf(q, 16, 1);
				expect(Math.abs(served.get("full")! - 8)).toBeLessThanOrEqual(1);
			});

			for (const hold of [{ paused: true }, { concurrency: 0 }] as const)
				it(`give a waking tenant no saved-up credit while a task is held (${Object.keys(hold)})`, async q => {
					await q.operator.setTask("b", hold);
					await q.submit({ tenant: "held", task: "b" });
					await q.stock(300, { tenant: "awake" });
					await tenantsOf(q, 5, 40);
					await q.stock(100, { tenant: "woken" });
					const served = await tenantsOf(q, 16, 1);
					expect(Math.abs(served.get("woken")! - 8)).toBeLessThanOrEqual(1);
				});

			it("give no saved-up credit to one whose other task is held", async q => {
				await q.operator.setTask("b", { paused: true });
				await q.submit({ tenant: "half", task: "b" });
				await q.stock(300, { tenant: "awake" });
				await tenantsOf(q, 5, 40);
				await q.stock(100, { tenant: "half" });
				const served = await tenantsOf(q, 16, 1);
				expect(Math.abs(served.get("half")! - 8)).toBeLessThanOrEqual(1);
			});

			it("give no saved-up credit to one that had only its limit of another task running", async q => {
				await q.operator.setLimits("half", { tasks: { b: 0 } });
				await q.submit({ tenant: "half", task: "b" });
				await q.stock(300, { tenant: "awake" });
				await tenantsOf(q, 5, 40);
				await q.stock(100, { tenant: "half" });
				const served = await tenantsOf(q, 16, 1);
				expect(Math.abs(served.get("half")! - 8)).toBeLessThanOrEqual(1);
			});

			it("give no saved-up credit to the tenants of a task that was paused", async q => {
				await q.operator.setTask("b", { paused: true });
				await q.stock(100, { tenant: "paused", task: "b" });
				await q.stock(300, { tenant: "awake" });
				await tenantsOf(q, 5, 40);
				await q.operator.setTask("b", { paused: false });
				const served = await tenantsOf(q, 16, 1);
				expect(Math.abs(served.get("paused")! - 8)).toBeLessThanOrEqual(1);
			});

			it("give one that was held no more than a claim of credit, however large the claims", async q => {
				await q.operator.setLimits("held", { paused: true });
				await q.stock(800, i => ({ tenant: ["held", "awake"][i % 2]! }));
				await tenantsOf(q, 20, 10);
				await q.operator.setLimits("held", { paused: false });
				const served = await tenantsOf(q, 20, 10);
				expect(Math.abs(served.get("held")! - 100)).toBeLessThanOrEqual(10);
			});

			it("ask nothing back from a tenant that was alone", async q => {
				await q.stock(100, { tenant: "alone" });
				await q.finish(await q.claim({ limit: 100 }));
				await q.stock(200, { tenant: "loud" });
				await q.claim();
				const lone = await q.submit({ tenant: "alone" });
				expect(ids([await q.claimOne(), await q.claimOne()])).toContain(lone);
			});

			it("hold for claimers of some tasks and of all, mixed", async q => {
				for (const tenant of ["x", "y", "z"]) {
					await q.operator.setLimits(tenant, { concurrency: 100_000 });
					await q.stock(160, i => ({ tenant, task: TASKS[i % 2]! }));
				}
				const given: string[] = [];
				for (let i = 0; i < 24; i++)
					for (const tasks of [["a"], ["b"], ["a", "b"]])
						given.push(...(await q.claim({ tasks, limit: (i % 2) + 1 })).map(job => job.tenant));
				const served = count(given);
				for (const tenant of ["x", "y", "z"]) expect(Math.abs(served.get(tenant)! - given.length / 3)).toBeLessThanOrEqual(2);
			});

			it("hold among the tenants of one task while other tasks are busier", async q => {
				await q.operator.setLimits("busy", { concurrency: 100_000 });
				await weights(q);
				await q.stock(600, { tenant: "busy", task: "b" });
				for (const tenant of ["w1", "w3"]) await q.stock(100, { tenant, task: "a" });
				const given: string[] = [];
				for (let i = 0; i < 28; i++) {
					await q.claim({ tasks: ["b"], limit: 10 });
					given.push((await q.claimOne({ tasks: ["a"] })).tenant);
				}
				expect(Math.abs(count(given).get("w3")! - 21)).toBeLessThanOrEqual(2);
			});

			it("do not make a waking tenant wait for the tenants of busier tasks", async q => {
				await q.operator.setLimits("busy", { concurrency: 100_000 });
				await q.stock(1000, { tenant: "busy", task: "b" });
				await q.stock(300, { tenant: "slow", task: "a" });
				for (let i = 0; i < 9; i++) await q.claim({ tasks: ["b"], limit: 100 });
				await q.claimOne({ tasks: ["a"] });
				const lone = await q.submit({ tenant: "lone", task: "a" });
				const next = [await q.claimOne({ tasks: ["a"] }), await q.claimOne({ tasks: ["a"] })];
				expect(ids(next)).toContain(lone);
			});
		});

		describe("delayed jobs", () => {
			it("are not given before they are due, and then at once", async q => {
				const id = await q.submit({ runAt: q.now + 1000 });
				q.now += 999;
				expect(await q.claim()).toEqual([]);
				q.now += 1;
				expect(ids(await q.claim())).toEqual([id]);
			});

			it("come in fair turns when many are due at once", async q => {
				const tenants = Array.from({ length: 24 }, (_, i) => `t${i}`);
				await q.stock(24 * 60, i => ({ tenant: tenants[Math.floor(i / 60)]!, runAt: q.now + 1000 + (i % 5) }));
				q.now += 5000;
				const given: Claimed[] = [];
				for (let i = 0; i < 36; i++) given.push(...(await q.claim({ limit: 10 })));
				const served = count(given.map(job => job.tenant));
				for (const tenant of tenants) expect(Math.abs((served.get(tenant) ?? 0) - 15), tenant).toBeLessThanOrEqual(3);
				let left = 24 * 60 - given.length;
				for (let claims = 0; left > 0; claims++) {
					expect(claims).toBeLessThan(100);
					left -= (await q.claim({ limit: 100 })).length;
				}
			});

			it("leave a store that adds up when more are due than one claim promotes", async q => {
				await q.stock(40, i => ({ runAt: q.now + 1000 + i }));
				q.now += 5000;
				await q.claim();
			});

			it("do not hide behind those of a tenant that is held", async q => {
				await q.operator.setLimits("held", { paused: true });
				await q.stock(200, { tenant: "held", runAt: q.now + 10 });
				const id = await q.submit({ runAt: q.now + 20 });
				q.now += 100;
				expect(ids(await q.claim())).toEqual([id]);
				await q.operator.setLimits("held", { paused: false });
				const given: Claimed[] = [];
				for (let i = 0; i < 10; i++) given.push(...(await q.claim({ limit: 100 })));
				expect(given).toHaveLength(200);
			});
		});

		describe("cancelLate", () => {
			it("cancels what has not started by its deadline, whatever it waits for", async q => {
				const startBy = q.now + 1000;
				const ready = await q.submit({ startBy });
				const delayed = await q.submit({ startBy, runAt: q.now + DAY });
				await q.submit({ key: "k", runAt: q.now + DAY });
				const blocked = await q.submit({ startBy, key: "k" });
				const later = await q.submit({ startBy: startBy + 1 });
				q.now += 999;
				expect(await q.worker.cancelLate(10, q.now)).toEqual([]);
				q.now += 1;
				const late = await q.worker.cancelLate(10, q.now);
				expect(sorted(ids(late))).toEqual([ready, delayed, blocked]);
				for (const job of late) expect(job).toMatchObject({ state: "cancelled", reason: "expired" });
				expect(await q.get(ready)).toMatchObject({ completedAt: q.now, expiresAt: q.now + DEFAULTS.keepDoneMs });
				expect(await q.state(later)).toBe("ready");
			});

			it("leaves what runs, and takes no more than it may", async q => {
				await q.fill(6, i => ({ startBy: q.now + 10 + i }));
				const job = await q.claimOne();
				q.now += 1000;
				expect(ids(await q.worker.cancelLate(2, q.now))).toHaveLength(2);
				expect(ids(await q.worker.cancelLate(100, q.now))).toHaveLength(3);
				expect(await q.state(job.id)).toBe("running");
			});

			it("cancels all late jobs of one key in one call", async q => {
				const submitted = await q.fill(3, { key: "k", startBy: q.now + 10 });
				q.now += 20;
				const late = await q.worker.cancelLate(100, q.now);
				expect(sorted(ids(late))).toEqual(sorted(submitted));
				expect(await q.tenant().counts()).toMatchObject({ ready: 0, blocked: 0, cancelled: 3 });
			});

			it("hands the key of a late job to one that is not late", async q => {
				await q.submit({ key: "k", startBy: q.now + 10 });
				const next = await q.submit({ key: "k" });
				q.now += 20;
				await q.worker.cancelLate(100, q.now);
				expect(await q.claimInTurn()).toEqual([next]);
			});

			it("forgets the deadline of a job that is retried", async q => {
				const id = await q.submit({ startBy: q.now + 10 });
				q.now += 20;
				await q.worker.cancelLate(10, q.now);
				await q.retry(id);
				expect(await q.worker.cancelLate(10, q.now)).toEqual([]);
				expect((await q.claimOne()).id).toBe(id);
			});
		});

		describe("finishIfLeased", () => {
			it("writes down how each attempt ended", async q => {
				const cases: [How, Partial<Submit>, object][] = [
					[{ outcome: "done", result: "[1]" }, {}, { state: "done", reason: null, result: "[1]", error: null, failures: 0 }],
					[FAILED, {}, { state: "failed", reason: "not_retryable", error: FAILED.error, failures: 1 }],
					[retryIn(70), {}, { state: "delayed", reason: null, error: '{"message":"again"}', failures: 1, runAt: T0 + 70 }],
					[retryIn(70), { maxRetries: 0 }, { state: "dead", reason: "retries_exhausted", failures: 1 }],
					[snooze(30), {}, { state: "delayed", reason: null, failures: 0, runAt: T0 + 30 }],
					[RELEASE, {}, { state: "ready", reason: null, failures: 0 }],
					[CANCELLED, {}, { state: "cancelled", reason: "requested", failures: 0 }],
					[{ outcome: "expired" }, {}, { state: "cancelled", reason: "expired", failures: 0 }],
				];
				await q.fill(cases.length, i => cases[i]![1]);
				const claimed = (await q.claim({ limit: 100 })).sort((a, b) => a.id - b.id);
				const moved = await q.worker.finishIfLeased(
					claimed.map((job, i) => ending(job, cases[i]![0])),
					q.now,
				);
				expect(moved.sort((a, b) => a.id - b.id)).toMatchObject(claimed.map((job, i) => ({ id: job.id, ...pick(cases[i]![2]) })));
				for (const [i, job] of claimed.entries()) {
					const after = await q.get(job.id);
					expect(after).toMatchObject({ leaseUntil: null, losses: 0, claims: 1, ...cases[i]![2] });
					expect(after.completedAt).toBe(isEnded(after.state) ? q.now : null);
					const keepMs = after.state === "failed" || after.state === "dead" ? DEFAULTS.keepDeadMs : DEFAULTS.keepDoneMs;
					expect(after.expiresAt).toBe(isEnded(after.state) ? q.now + keepMs : null);
				}
			});
			const pick = (values: object) => {
				const { state, reason } = values as { state: string; reason: string | null };
				return { state, reason };
			};

			it("refuses a token that is not the lease's", async q => {
				await q.submit();
				const job = await q.claimOne();
				const before = await q.get(job.id);
				for (const how of [DONE, FAILED, RELEASE, CANCELLED, retryIn(1), snooze(1)])
					expect(await q.finish({ id: job.id, token: job.token + 1 }, how)).toEqual([]);
				expect(await q.finish({ id: job.id + 1, token: job.token })).toEqual([]);
				expect(await q.get(job.id)).toEqual({ ...before, seq: before.seq + 6 });
			});

			it("refuses a token of an earlier lease, however that ended", async q => {
				const id = await q.submit({ maxRetries: 10 });
				const old: Claimed[] = [];
				for (const end of [
					() => q.finish(old.at(-1)!, retryIn(0)),
					() => q.finish(old.at(-1)!, RELEASE),
					() => q.finish(old.at(-1)!, snooze(0)),
					async () => {
						q.now += LEASE_MS;
						await q.expire();
					},
				]) {
					old.push(await q.claimOne());
					await end();
					expect(await q.finish(old.slice(0, -1))).toEqual([]);
				}
				const job = await q.claimOne();
				expect(await q.finish(old)).toEqual([]);
				expect(ids(await q.finish(job))).toEqual([id]);
				expect(await q.finish(old)).toEqual([]);
			});

			it("accepts an ending after the lease's time, while nobody has taken it back", async q => {
				const id = await q.submit();
				const job = await q.claimOne();
				q.now += LEASE_MS * 10;
				expect(ids(await q.finish(job))).toEqual([id]);
			});

			it("accepts one of two endings in one call", async q => {
				for (const hows of [
					[DONE, DONE],
					[retryIn(1), retryIn(1)],
					[DONE, retryIn(1)],
					[FAILED, RELEASE],
				] as const) {
					const id = await q.submit();
					const job = await q.claimOne();
					const before = await q.tenant().counts();
					const moved = await q.worker.finishIfLeased(
						hows.map(how => ending(job, how)),
						q.now,
					);
					expect(ids(moved)).toEqual([id]);
					const after = await q.get(id);
					expect([after.seq, moved[0]!.state]).toEqual([3, after.state]);
					expect((await q.tenant().counts()).running).toBe(before.running - 1);
					await q.cancel(id);
				}
			});

			it("accepts one of many endings in one turn", async q => {
				const id = await q.submit();
				const job = await q.claimOne();
				const answers = await Promise.all([DONE, FAILED, retryIn(1), DONE].map(how => q.finish(job, how)));
				const { state, reason } = await q.get(id);
				for (const moved of answers.flat()) expect(moved).toMatchObject({ id, state, reason });
				expect(answers.flat()).toHaveLength(4);
				expect(await q.kinds(id)).toHaveLength(3);
			});

			it("ends what it may of a list, and leaves the rest", async q => {
				await q.fill(10);
				const jobs = await q.claim({ limit: 10 });
				const moved = await q.worker.finishIfLeased(
					jobs.map((job, i) => ending(i % 2 === 0 ? job : { ...job, token: 1 }, i % 4 === 0 ? DONE : FAILED)),
					q.now,
				);
				expect(sorted(ids(moved))).toEqual(sorted(jobs.filter((_, i) => i % 2 === 0).map(job => job.id)));
				expect(await q.worker.finishIfLeased([], q.now)).toEqual([]);
			});

			it("retries until the retries are spent, then leaves a dead letter", async q => {
				const id = await q.submit({ maxRetries: 2 });
				for (const [failures, state] of [
					[1, "delayed"],
					[2, "delayed"],
					[3, "dead"],
				] as const) {
					await q.finish(await q.claimOne(), retryIn(100));
					expect(await q.get(id)).toMatchObject({ failures, state });
					expect(await q.claim()).toEqual([]);
					q.now += 100;
				}
				expect(await q.get(id)).toMatchObject({ reason: "retries_exhausted", claims: 3 });
				expect(await q.kinds(id)).toEqual(["submitted", "claimed", "retry", "claimed", "retry", "claimed", "dead_letter"]);
			});

			it("leaves failures alone in snooze and release, and clears losses", async q => {
				const id = await q.submit({ maxRetries: 1 });
				await q.finish(await q.claimOne(), retryIn(0));
				for (let i = 0; i < 5; i++) {
					await q.lose();
					await q.finish(await q.claimOne(), i % 2 === 0 ? snooze(0) : RELEASE);
					expect(await q.get(id)).toMatchObject({ failures: 1, losses: 0 });
				}
				await q.lose();
				await q.finish(await q.claimOne(), DONE);
				expect(await q.get(id)).toMatchObject({ state: "done", failures: 1, losses: 0, claims: 13, error: null });
			});
		});

		describe("follow-ups", () => {
			it("are stored with a done that is accepted, above any backlog limit", async q => {
				const id = await q.submit();
				await q.operator.setLimits("acme", { backlog: 0 });
				const job = await q.claimOne();
				const followUps = [q.followUp({ tags: ["x"] }), q.followUp({ tenant: "other", task: "b", runAt: q.now + 10 })];
				expect(await q.finish(job, { ...DONE, followUps })).toHaveLength(1);
				const { jobs } = await q.operator.listJobs({ limit: 10 });
				expect(jobs.map(({ tenant, task, state, parentId, tags }) => ({ tenant, task, state, parentId, tags }))).toEqual([
					{ tenant: "other", task: "b", state: "delayed", parentId: id, tags: [] },
					{ tenant: "acme", task: "a", state: "ready", parentId: id, tags: ["x"] },
					{ tenant: "acme", task: "a", state: "done", parentId: null, tags: [] },
				]);
				expect((await q.offer()).status).toBe("backlog_full");
			});

			it("are not stored with a done that is refused", async q => {
				await q.submit();
				const job = await q.claimOne();
				const done = () => ({ ...DONE, followUps: [q.followUp({ idempotency: { key: "i", fingerprint: "f", expiresAt: q.now + DAY } })] });
				expect(await q.finish({ ...job, token: 1 }, done())).toEqual([]);
				q.now += LEASE_MS;
				await q.expire();
				expect(await q.finish(job, done())).toEqual([]);
				expect(await q.all()).toHaveLength(1);
				expect((await q.offer({ idempotency: { key: "i", fingerprint: "f", expiresAt: q.now + DAY } })).status).toBe("created");
			});

			it("are stored once for two endings in one turn", async q => {
				await q.submit();
				const job = await q.claimOne();
				await Promise.all([1, 2, 3].map(() => q.finish(job, { ...DONE, followUps: [q.followUp({ task: "b" })] })));
				expect(await q.all()).toHaveLength(2);
			});

			it("are stored once for two endings in one call", async q => {
				await q.submit();
				const job = await q.claimOne();
				const done = { ...DONE, followUps: [q.followUp()] };
				expect(await q.finish([job, job], done)).toHaveLength(1);
				expect(await q.all()).toHaveLength(2);
			});

			it("are not stored when another ending of the same call is the accepted one", async q => {
				await q.submit();
				const job = await q.claimOne();
				const moved = await q.worker.finishIfLeased(
					[ending(job, retryIn(5)), ending(job, { ...DONE, followUps: [q.followUp({ task: "b" })] })],
					q.now,
				);
				expect(await q.all()).toHaveLength(moved[0]!.state === "done" ? 2 : 1);
			});

			it("may have the key of the job they follow, and get it next", async q => {
				await q.submit({ key: "k" });
				const job = await q.claimOne();
				await q.finish(job, { ...DONE, followUps: [q.followUp({ key: "k" })] });
				expect((await q.claimOne()).parentId).toBe(job.id);
			});

			it("are answered for by their idempotency key", async q => {
				const idempotency = { key: "i", fingerprint: "f", expiresAt: q.now + DAY };
				await q.fill(2);
				for (const job of await q.claim({ limit: 2 })) await q.finish(job, { ...DONE, followUps: [q.followUp({ idempotency })] });
				expect(await q.all()).toHaveLength(3);
			});
		});

		describe("extendLeases", () => {
			it("extends what is still held and says what is lost", async q => {
				await q.fill(3);
				const [held, ended, cancelled] = (await q.claim({ limit: 3 })) as [Claimed, Claimed, Claimed];
				await q.finish(ended);
				await q.cancel(cancelled.id);
				q.now += 20_000;
				const leases = [leaseOf(held), leaseOf(ended), leaseOf(cancelled), { id: held.id, token: 1 }, { id: 99, token: 1 }];
				const answer = await q.worker.extendLeases(leases, LEASE_MS, q.now);
				expect(answer.sort((a, b) => a.id - b.id)).toEqual(
					[held, cancelled]
						.map(job => ({ id: job.id, cancelRequested: job === cancelled, leaseUntil: q.now + LEASE_MS }))
						.sort((a, b) => a.id - b.id),
				);
				expect((await q.get(held.id)).leaseUntil).toBe(T0 + 20_000 + LEASE_MS);
				q.now += LEASE_MS - 1;
				expect(await q.expire()).toEqual([]);
				expect(await q.worker.extendLeases([], LEASE_MS, q.now)).toEqual([]);
			});

			it("keeps the progress that is given, and the last when none is", async q => {
				await q.submit();
				const job = await q.claimOne();
				await q.worker.extendLeases([{ ...job, progress: '{"n":1}' }], LEASE_MS, q.now);
				await q.worker.extendLeases([{ id: job.id, token: job.token }], LEASE_MS, q.now);
				expect((await q.get(job.id)).progress).toBe('{"n":1}');
			});

			it("leaves the losses as they are: a worker that says a word and goes away is lost all the same", async q => {
				const id = await q.submit();
				for (const [losses, state] of [
					[1, "ready"],
					[2, "ready"],
					[3, "dead"],
				] as const) {
					const job = await q.claimOne();
					expect(await q.worker.extendLeases([leaseOf(job)], LEASE_MS, q.now)).toHaveLength(1);
					await q.worker.forfeitLeases("worker", q.now);
					await q.expire();
					expect(await q.get(id)).toMatchObject({ state, losses });
				}
				expect((await q.get(id)).reason).toBe("lease_lost");
			});
		});

		describe("expireLeases", () => {
			it("takes back leases that have run out, the oldest first, no more than it may", async q => {
				const submitted = await q.line(5);
				for (let i = 0; i < 5; i++) await q.claim({ leaseMs: 1000 + i });
				q.now += 1003;
				expect(sorted(ids(await q.expire(2)))).toEqual(submitted.slice(0, 2));
				expect(sorted(ids(await q.expire()))).toEqual(submitted.slice(2, 4));
				expect(await q.state(submitted[4]!)).toBe("running");
			});

			it("leaves a dead letter with the third loss in a row, apart from failures", async q => {
				const id = await q.submit({ maxRetries: 5 });
				await q.finish(await q.claimOne(), retryIn(0));
				await q.lose(2);
				expect(await q.get(id)).toMatchObject({ state: "ready", failures: 1, losses: 2, reason: null });
				await q.lose();
				expect(await q.get(id)).toMatchObject({ state: "dead", failures: 1, losses: 3, reason: "lease_lost", completedAt: q.now });
				expect((await q.kinds(id)).slice(3)).toEqual(["claimed", "lost", "claimed", "lost", "claimed", "dead_letter"]);
			});

			it("dies of losses also with no retries, not before the third", async q => {
				const id = await q.submit({ maxRetries: 0 });
				await q.lose(2);
				expect(await q.state(id)).toBe("ready");
				await q.lose();
				expect(await q.state(id)).toBe("dead");
			});

			it("frees the slot of the tenant and of the task", async q => {
				await q.operator.setLimits("acme", { concurrency: 1 });
				await q.operator.setTask("a", { concurrency: 1 });
				await q.fill(2);
				await q.claimOne();
				expect(await q.claim()).toEqual([]);
				q.now += LEASE_MS;
				await q.expire();
				expect(await q.claim()).toHaveLength(1);
			});
		});

		describe("forfeitLeases", () => {
			it("ends the leases of one worker now", async q => {
				await q.fill(5);
				await q.claim({ limit: 2, worker: "gone" });
				await q.claim({ limit: 3, worker: "here" });
				expect((await q.worker.leaseHolders()).sort()).toEqual(["gone", "here"]);
				expect(await q.worker.forfeitLeases("gone", q.now)).toBe(2);
				expect(await q.worker.forfeitLeases("gone", q.now)).toBe(0);
				expect(await q.expire()).toHaveLength(2);
				expect(await q.worker.leaseHolders()).toEqual(["here"]);
				expect(await q.tenant().counts()).toMatchObject({ ready: 2, running: 3 });
			});
		});

		describe("cancelJob", () => {
			it("cancels what waits at once", async q => {
				for (const state of ["ready", "delayed", "blocked"] as const) {
					const { id } = await REACH[state](q);
					const answer = await q.cancel(id);
					expect(answer).toMatchObject({ changed: true, job: { state: "cancelled", reason: "requested", completedAt: q.now } });
					expect(await q.cancel(id)).toMatchObject({ changed: false, job: answer!.job });
				}
			});

			it("asks what runs, and keeps its slot until that is acknowledged", async q => {
				await q.operator.setLimits("acme", { concurrency: 1 });
				await q.fill(2);
				const job = await q.claimOne();
				expect(await q.cancel(job.id)).toMatchObject({ changed: true, job: { state: "running", cancelRequestedAt: q.now } });
				q.now += 10;
				expect(await q.cancel(job.id)).toMatchObject({ changed: false, job: { cancelRequestedAt: q.now - 10 } });
				expect(await q.claim()).toEqual([]);
				await q.finish(job, CANCELLED);
				expect(await q.get(job.id)).toMatchObject({ state: "cancelled", reason: "requested" });
				expect(await q.kinds(job.id)).toEqual(["submitted", "claimed", "cancel_requested", "cancelled"]);
				expect(await q.claim()).toHaveLength(1);
			});

			it("is fulfilled when the lease ends, or the attempt ends otherwise", async q => {
				for (const end of [
					(job: Claimed) => q.finish(job, retryIn(5)),
					(job: Claimed) => q.finish(job, snooze(5)),
					(job: Claimed) => q.finish(job, RELEASE),
					() => {
						q.now += LEASE_MS;
						return q.expire();
					},
				]) {
					await q.submit();
					const job = await q.claimOne();
					await q.cancel(job.id);
					await end(job);
					expect(await q.get(job.id)).toMatchObject({ state: "cancelled", reason: "requested", leaseUntil: null, completedAt: q.now });
				}
			});

			it("comes too late for what is done or has failed by then", async q => {
				for (const [how, state] of [
					[DONE, "done"],
					[FAILED, "failed"],
				] as const) {
					await q.submit();
					const job = await q.claimOne();
					await q.cancel(job.id);
					await q.finish(job, how);
					expect(await q.state(job.id)).toBe(state);
				}
			});

			it("needs the job's tail and tenant", async q => {
				const id = await q.submit();
				const { tail } = await q.get(id);
				expect(await q.tenant().cancelJob({ id, tail: tail + 1 }, q.now)).toBeNull();
				expect(await q.tenant("other").cancelJob({ id, tail }, q.now)).toBeNull();
				expect(await q.tenant("other").retryJob({ id, tail }, q.now)).toBeNull();
				expect(await q.tenant("other").getJob({ id, tail })).toBeNull();
				expect(await q.tenant("other").getJobById(id)).toBeNull();
				expect(await q.tenant().getJob({ id, tail: tail + 1 })).toBeNull();
				expect(await q.operator.getJob({ id, tail: tail + 1 })).toBeNull();
				expect(await q.operator.getJob({ id, tail })).toEqual(await q.get(id));
				expect(await q.state(id)).toBe("ready");
			});
		});

		describe("retryJob", () => {
			it("puts an ended job back in line, its history going on", async q => {
				for (const [state, kinds] of [
					["failed", ["submitted", "claimed", "failed", "retried"]],
					["dead", ["submitted", "claimed", "dead_letter", "retried"]],
					["cancelled", ["submitted", "claimed", "cancelled", "retried"]],
				] as const) {
					const { id } = await REACH[state](q);
					q.now += 1000;
					const answer = await q.retry(id);
					expect(answer).toMatchObject({ changed: true, job: { id, state: "ready", runAt: q.now, failures: 0, losses: 0, claims: 1 } });
					expect(answer!.job).toMatchObject({ completedAt: null, expiresAt: null, reason: null, error: null, cancelRequestedAt: null });
					expect(await q.kinds(id)).toEqual(kinds);
					await q.finish(await q.claimOne());
					expect(await q.kinds(id)).toEqual([...kinds, "claimed", "done"]);
				}
			});

			it("does not change what the history told before", async q => {
				const cases: ((q: Desk) => Promise<number>)[] = [
					async q => (await REACH.failed(q)).id,
					async q => (await REACH.dead(q)).id,
					async q => (await REACH.cancelled(q)).id,
					async q => {
						const id = await q.submit();
						await q.cancel(id);
						return id;
					},
					async q => {
						const id = await q.submit();
						await q.lose(3);
						return id;
					},
					async q => {
						const { id, lease } = await REACH.running(q);
						await q.cancel(id);
						await q.finish(lease!, CANCELLED);
						return id;
					},
					async q => {
						const id = await q.submit();
						await q.finish(await q.claimOne(), snooze(0));
						await q.claim({ limit: 0 });
						await q.cancel(id);
						return id;
					},
				];
				for (const live of cases) {
					const id = await live(q);
					const kind = (events: Awaited<ReturnType<Desk["history"]>>) => events.map(({ seq, at, kind }) => ({ seq, at, kind }));
					const told = kind(await q.history(id));
					for (let i = 0; i < 2; i++) {
						q.now += 1000;
						await q.retry(id);
						expect(kind(await q.history(id)).slice(0, told.length)).toEqual(told);
						await q.cancel(id);
					}
				}
			});

			it("does not change the data of what the history told before", async q => {
				const id = await q.submit();
				await q.cancel(id);
				const told = await q.history(id);
				await q.retry(id);
				expect((await q.history(id)).slice(0, told.length)).toEqual(told);
			});

			it("gives all retries and losses anew", async q => {
				const id = await q.submit({ maxRetries: 1 });
				for (let round = 0; round < 2; round++) {
					for (let i = 0; i < 2; i++) await q.finish(await q.claimOne(), retryIn(0));
					expect(await q.get(id)).toMatchObject({ state: "dead", reason: "retries_exhausted" });
					await q.retry(id);
					await q.lose(2);
					expect(await q.state(id)).toBe("ready");
					await q.lose();
					expect(await q.get(id)).toMatchObject({ state: "dead", reason: "lease_lost" });
					await q.retry(id);
					expect(await q.get(id)).toMatchObject({ state: "ready", failures: 0, losses: 0 });
				}
			});

			it("counts a retried job in again, also above the backlog limit", async q => {
				const { id } = await REACH.failed(q);
				await q.operator.setLimits("acme", { backlog: 0 });
				const before = await q.operator.counts();
				expect((await q.retry(id))!.changed).toBe(true);
				const after = await q.operator.counts();
				expect([after.submitted - before.submitted, after.ready, after.failed]).toEqual([1, 1, 0]);
			});
		});

		describe("history", () => {
			it("tells the attempts by number, worker, error and next run", async q => {
				const id = await q.submit();
				await q.finish(await q.claimOne({ worker: "w1" }), retryIn(1000));
				q.now += 1000;
				await q.finish(await q.claimOne({ worker: "w2" }), snooze(500));
				q.now += 500;
				await q.claimOne({ worker: "w3" });
				const events = await q.history(id);
				expect(events.map(({ at, kind, data }) => ({ at: at - T0, kind, ...data }))).toMatchObject([
					{ at: 0, kind: "submitted" },
					{ at: 0, kind: "claimed", worker: "w1", attempt: 1 },
					{ at: 0, kind: "retry", error: { message: "again" }, run_at: T0 + 1000 },
					{ at: 1000, kind: "claimed", worker: "w2", attempt: 2 },
					{ at: 1000, kind: "snoozed", run_at: T0 + 1500 },
					{ at: 1500, kind: "claimed", worker: "w3", attempt: 2 },
				]);
			});

			it("keeps the number of an attempt that ended in an error after a cancel request", async q => {
				await q.submit();
				const job = await q.claimOne();
				await q.cancel(job.id);
				await q.finish(job, retryIn(5));
				expect((await q.history(job.id))[1]).toMatchObject({ kind: "claimed", data: { attempt: 1 } });
			});
		});

		describe("keys", () => {
			it("run the jobs of one key one at a time, in order, across tasks", async q => {
				const submitted = await q.line(12, i => ({ key: "k", task: TASKS[i % 3]! }));
				const order: number[] = [];
				for (;;) {
					const jobs = await q.claim({ limit: 100 });
					if (jobs.length === 0) break;
					expect(jobs).toHaveLength(1);
					order.push(jobs[0]!.id);
					await q.finish(jobs);
				}
				expect(order).toEqual(submitted);
			});

			it("hold while the job comes back: error, snooze, release, lost lease", async q => {
				const [first, second] = await q.line(2, { key: "k" });
				for (const how of [retryIn(50), snooze(50), RELEASE]) {
					await q.finish(await q.claimOne(), how);
					if (how !== RELEASE) expect(await q.claim({ limit: 10 })).toEqual([]);
					q.now += 50;
				}
				await q.lose(2);
				const job = await q.claimOne();
				expect(job.id).toBe(first);
				await q.cancel(first!);
				expect(await q.claim()).toEqual([]);
				await q.finish(job, CANCELLED);
				expect((await q.claimOne()).id).toBe(second);
			});

			it("pass on with every way to end", async q => {
				const ends: ((id: number) => Promise<unknown>)[] = [
					async () => q.finish(await q.claimOne(), DONE),
					async () => q.finish(await q.claimOne(), FAILED),
					async () => q.finish(await q.claimOne(), retryIn(1)),
					async () => q.lose(3),
					id => q.cancel(id),
					async id => {
						const job = await q.claimOne();
						await q.cancel(id);
						await q.finish(job, RELEASE);
					},
					async id => {
						await q.claimOne();
						await q.cancel(id);
						q.now += LEASE_MS;
						await q.expire();
					},
				];
				const submitted = await q.line(ends.length + 1, { key: "k", maxRetries: 0 });
				for (const [i, end] of ends.entries()) {
					expect(await q.states(submitted.slice(i))).toEqual(["ready", ...Array(ends.length - i).fill("blocked")]);
					await end(submitted[i]!);
				}
				expect((await q.claimOne()).id).toBe(submitted.at(-1));
			});

			it("are held by a delayed job too", async q => {
				const [holder, next] = [await q.submit({ key: "k", runAt: q.now + 1000 }), await q.submit({ key: "k" })];
				expect(await q.states([holder, next])).toEqual(["delayed", "blocked"]);
				expect(await q.claim()).toEqual([]);
				q.now += 1000;
				expect((await q.claimOne()).id).toBe(holder);
			});

			it("keep a freed job until it is due", async q => {
				const holder = await q.submit({ key: "k" });
				const next = await q.submit({ key: "k", runAt: q.now + 1000 });
				await q.finish(await q.claimOne());
				expect(await q.states([holder, next])).toEqual(["done", "delayed"]);
				expect((await q.worker.nextDue(TASKS, q.now)).at).toBe(q.now + 1000);
				q.now += 1000;
				expect((await q.claimOne()).id).toBe(next);
			});

			it("let a higher priority go first among those that wait", async q => {
				const holder = await q.submit({ key: "k" });
				const low = await q.submit({ key: "k", priority: -1 });
				const high = await q.submit({ key: "k", priority: 5 });
				const order: number[] = [];
				for (let i = 0; i < 3; i++) {
					const job = await q.claimOne();
					order.push(job.id);
					await q.finish(job);
				}
				expect(order).toEqual([holder, high, low]);
			});

			it("put a retried job behind the one that has the key", async q => {
				const old = await q.submit({ key: "k" });
				await q.finish(await q.claimOne(), FAILED);
				const holder = await q.submit({ key: "k" });
				await q.retry(old);
				expect(await q.states([old, holder])).toEqual(["blocked", "ready"]);
				await q.finish(await q.claimOne());
				expect((await q.claimOne()).id).toBe(old);
			});

			it("are apart from each other and from those of other tenants", async q => {
				await q.stock(600, i => ({ key: `k${i % 100}`, tenant: ["one", "two"][Math.floor(i / 100) % 2]!, task: TASKS[i % 3]! }));
				const orders = new Map<string, number[]>();
				for (let round = 0; round < 3; round++) {
					const jobs = await q.claim({ limit: 1000 });
					expect(jobs).toHaveLength(200);
					for (const job of jobs) {
						const key = `${job.tenant} ${job.key}`;
						orders.set(key, [...(orders.get(key) ?? []), job.id]);
					}
					await q.finish(jobs);
				}
				expect(orders.size).toBe(200);
				for (const order of orders.values()) expect(order).toEqual(sorted(order));
				expect(await q.claim()).toEqual([]);
			});
		});

		describe("idempotency", () => {
			const idempotency = (key: string, fingerprint = "f", expiresAt = T0 + DAY) => ({ idempotency: { key, fingerprint, expiresAt } });

			it("answers the same request with its job, another with a conflict", async q => {
				const id = await q.submit(idempotency("i"));
				expect(await q.offer(idempotency("i"))).toEqual({ status: "replayed", id });
				expect(await q.offer(idempotency("i", "other"))).toEqual({ status: "key_conflict", id });
				expect((await q.offer({ ...idempotency("i"), tenant: "other" })).status).toBe("created");
				await q.finish(await q.claimOne());
				expect(await q.offer(idempotency("i"))).toEqual({ status: "replayed", id });
				expect(await q.all()).toHaveLength(2);
			});

			it("stores one job for 32 requests of one turn", async q => {
				const fingerprints = Array.from({ length: 32 }, (_, i) => (i % 4 === 3 ? "other" : "f"));
				const answers = await Promise.all(fingerprints.map(fingerprint => q.offer(idempotency("i", fingerprint))));
				const first = answers.findIndex(answer => answer.status === "created");
				for (const [i, answer] of answers.entries())
					if (i !== first) expect(answer.status).toBe(fingerprints[i] === fingerprints[first] ? "replayed" : "key_conflict");
				expect(new Set(answers.map(answer => "id" in answer && answer.id)).size).toBe(1);
				expect(await q.all()).toHaveLength(1);
			});

			it("stores one job for 32 requests of different turns", async q => {
				const answers = await Promise.all(
					Array.from({ length: 32 }, async (_, i) => {
						for (let turn = 0; turn < i % 8; turn++) await new Promise<void>(resolve => setImmediate(resolve));
						return q.offer(idempotency("i"));
					}),
				);
				expect(answers.filter(answer => answer.status === "created")).toHaveLength(1);
				expect(await q.all()).toHaveLength(1);
			});

			it("is apart for each key among many in one turn", async q => {
				const answers = await Promise.all(Array.from({ length: 36 }, (_, i) => q.offer(i % 3 === 0 ? {} : idempotency(`i${i % 10}`))));
				const created = answers.filter(answer => answer.status === "created");
				expect(created).toHaveLength(12 + 10);
				expect(await q.all()).toHaveLength(22);
			});

			it("ends with the key, not with the job", async q => {
				const { keepDoneMs } = DEFAULTS;
				const short = await q.submit(idempotency("short", "f", T0 + 1000));
				const long = await q.submit(idempotency("long", "f", T0 + 10 * keepDoneMs));
				await q.finish(await q.claim({ limit: 2 }));
				q.now += 999;
				expect((await q.offer(idempotency("short", "f", q.now + DAY))).status).toBe("replayed");
				q.now += 1;
				const again = await q.offer(idempotency("short", "g", q.now + DAY));
				expect(again.status).toBe("created");
				expect(await q.state(short)).toBe("done");
				q.now += keepDoneMs;
				await q.worker.prune(100, q.now);
				expect(await q.tenant().getJobById(long)).toBeNull();
				expect(await q.offer(idempotency("long"))).toEqual({ status: "replayed", id: long });
			});

			it("frees the key of a request that was refused for the backlog", async q => {
				await q.operator.setLimits("acme", { backlog: 1 });
				const [first] = await q.fill(1);
				const answers = await Promise.all([q.offer(idempotency("i")), q.offer(idempotency("i")), q.offer(idempotency("j"))]);
				expect(answers.map(answer => answer.status)).toEqual(["backlog_full", "backlog_full", "backlog_full"]);
				await q.cancel(first!);
				expect((await q.offer(idempotency("i", "changed"))).status).toBe("created");
				expect((await q.offer(idempotency("i", "changed"))).status).toBe("replayed");
				expect((await q.offer(idempotency("j"))).status).toBe("backlog_full");
			});
		});

		describe("counts", () => {
			const strip = ({ version: _, submitted, finished, activeTenants, ...counts }: Awaited<ReturnType<Desk["operator"]["counts"]>>) =>
				counts;
			const recount = async (q: Desk, tenant?: string) => {
				const jobs = (await q.all()).filter(job => tenant === undefined || job.tenant === tenant);
				const counts = count(jobs.map(job => job.state));
				return Object.fromEntries(STATES.map(state => [state, counts.get(state) ?? 0]));
			};

			it("are those of the jobs, for each tenant and for all", async q => {
				for (const state of STATES) await REACH[state](q);
				await q.fill(3, { tenant: "other" });
				await q.claim({ limit: 1 });
				for (const tenant of ["acme", "other"]) expect(strip(await q.tenant(tenant).counts())).toEqual(await recount(q, tenant));
				const counts = await q.operator.counts();
				expect(strip(counts)).toEqual(await recount(q));
				expect(counts.activeTenants).toBe(2);
				expect(counts.submitted - counts.finished).toBe(counts.blocked + counts.delayed + counts.ready + counts.running);
				expect(strip(await q.tenant("nobody").counts())).toEqual(Object.fromEntries(STATES.map(state => [state, 0])));
			});

			it("move their version with every change", async q => {
				let lease: Claimed | undefined;
				let late = 0;
				const changes: [string, () => Promise<unknown>][] = [
					["submit", () => q.fill(6)],
					["submit in another tenant", () => q.submit({ tenant: "other" })],
					["claim", async () => (lease = await q.claimOne())],
					["finish", () => q.finish(lease!, FAILED)],
					["retry", () => q.retry(lease!.id)],
					["cancel", () => q.cancel(lease!.id)],
					["claim again", async () => (lease = await q.claimOne())],
					["retry later", () => q.finish(lease!, retryIn(10))],
					["pause", () => q.operator.setTask("a", { paused: true })],
					["promote", () => q.worker.claimDueJobs(q.request(), q.now + 10)],
					["resume", () => q.operator.setTask("a", { paused: false })],
					["limits", () => q.operator.setLimits("acme", { concurrency: 5 })],
					["claim and lose", () => q.lose()],
					["submit late", async () => (late = await q.submit({ startBy: q.now }))],
					["cancel late", () => q.worker.cancelLate(1, q.now)],
					["prune", () => q.worker.prune(1, q.now + 10 * DAY)],
				];
				let version = (await q.operator.counts()).version;
				for (const [what, change] of changes) {
					await change();
					const now = (await q.operator.counts()).version;
					expect(now, what).toBeGreaterThan(version);
					expect((await q.tenant().counts()).version).toBe(now);
					version = now;
				}
				expect(late).toBeGreaterThan(0);
			});

			it("move their version with a cancel request", async q => {
				await q.submit();
				const job = await q.claimOne();
				const { version } = await q.operator.counts();
				await q.cancel(job.id);
				expect((await q.operator.counts()).version).toBeGreaterThan(version);
			});

			it("never let submitted and finished fall", async q => {
				await q.fill(3);
				await q.finish(await q.claim({ limit: 3 }));
				await q.worker.prune(10, q.now + 10 * DAY);
				expect(await q.operator.counts()).toMatchObject({ submitted: 3, finished: 3, done: 0 });
			});
		});

		describe("listJobs", () => {
			const pages = async (list: (query: ListQuery) => ReturnType<Desk["operator"]["listJobs"]>, query: Omit<ListQuery, "before">) => {
				const found: number[] = [];
				let before: number | undefined;
				for (let pages = 0; pages < 100; pages++) {
					const { jobs, next } = await list({ ...query, ...(before === undefined ? {} : { before }) });
					expect(jobs.length).toBeLessThanOrEqual(query.limit);
					found.push(...ids(jobs));
					if (next === null) return found;
					before = next;
				}
				throw new Error("the pages have no end");
			};
			const newestFirst = (numbers: Iterable<number>) => sorted(numbers).reverse();

			/** Jobs of two tenants in every state, task and tag. */
			const mix = async (q: Desk) => {
				await q.stock(240, i => ({
					tenant: ["acme", "other"][i % 2]!,
					task: TASKS[i % 3]!,
					...(i % 5 === 0 ? { tags: [`t${i % 4}`, "every"] } : {}),
					...(i % 7 === 0 ? { runAt: q.now + DAY } : {}),
					...(i % 11 === 0 ? { key: "k" } : {}),
					maxRetries: 0,
				}));
				const hows = [DONE, FAILED, retryIn(0), CANCELLED];
				const claimed = await q.claim({ limit: 130 });
				for (const [i, how] of hows.entries())
					await q.finish(
						claimed.filter((_, n) => n % 5 === i),
						how,
					);
				return q.all();
			};

			it("covers everything once, newest first, for every filter and page size", async q => {
				const all = await mix(q);
				const statusOf = (state: State) =>
					["ready", "delayed", "blocked"].includes(state) ? "pending" : state === "dead" ? "dead_letter" : state;
				const statuses = ["pending", "running", "done", "failed", "dead_letter", "cancelled"] as const;
				expect(new Set(all.map(job => statusOf(job.state)))).toEqual(new Set(statuses));
				const filters: Omit<ListQuery, "limit" | "before">[] = [
					{},
					...statuses.map(status => ({ statuses: [status] })),
					{ statuses: ["pending", "running"] },
					{ statuses: ["failed", "dead_letter"] },
					{ statuses: ["done", "dead_letter", "cancelled"] },
					{ statuses: [...statuses] },
					{ task: "b" },
					{ task: "none" },
					{ task: "c", statuses: ["done", "pending"] },
					{ tag: "every" },
					{ tag: "t1" },
					{ tag: "none" },
					{ tag: "every", statuses: ["pending"] },
					{ tag: "every", task: "a", statuses: ["done", "failed", "running"] },
				];
				for (const filter of filters)
					await Promise.all(
						(
							[
								["acme", (query: ListQuery) => q.tenant().listJobs(query)],
								["other", (query: ListQuery) => q.tenant("other").listJobs(query)],
								[null, (query: ListQuery) => q.operator.listJobs(query)],
							] as const
						).map(async ([who, list]) => {
							const expected = all.filter(
								job =>
									(who === null || job.tenant === who) &&
									(filter.statuses?.some(status => status === statusOf(job.state)) ?? true) &&
									(filter.task === undefined || job.task === filter.task) &&
									(filter.tag === undefined || job.tags.includes(filter.tag)),
							);
							for (const limit of [60, 1000])
								expect(await pages(list, { ...filter, limit }), `${who} ${JSON.stringify(filter)}`).toEqual(newestFirst(ids(expected)));
						}),
					);
			});

			it("answers nothing for a tenant that has nothing", async q => {
				await q.submit();
				expect(await q.tenant("nobody").listJobs({ limit: 10 })).toEqual({ jobs: [], next: null });
			});

			it("gives the jobs as they are", async q => {
				const { id } = await REACH.failed(q);
				const { jobs } = await q.tenant().listJobs({ limit: 10 });
				expect(jobs).toEqual([await q.get(id)]);
			});

			it("has no next page after a page that is exactly full", async q => {
				const oldest = Math.min(...(await q.fill(10)));
				expect((await q.tenant().listJobs({ limit: 10 })).next).toBeNull();
				expect((await q.operator.listJobs({ limit: 10 })).next).toBeNull();
				const { next } = await q.tenant().listJobs({ limit: 9 });
				expect(ids((await q.tenant().listJobs({ limit: 9, before: next! })).jobs)).toEqual([oldest]);
			});

			it("answers nothing for no status", async q => {
				await q.submit();
				expect(await q.tenant().listJobs({ statuses: [], limit: 10 })).toEqual({ jobs: [], next: null });
				expect(await q.operator.listJobs({ statuses: [], limit: 10 })).toEqual({ jobs: [], next: null });
			});

			it("finds what is rare in a store of many", async q => {
				const old = await q.fill(3, { tags: ["rare"], task: "b" });
				await q.stock(5100, { runAt: q.now + DAY });
				for (const filter of [{ tag: "rare" }, { task: "b" }])
					for (const list of [(query: ListQuery) => q.tenant().listJobs(query), (query: ListQuery) => q.operator.listJobs(query)])
						expect(await pages(list, { ...filter, limit: 50 })).toEqual(newestFirst(old));
			});

			it("finds what is common, newest first", async q => {
				const tagged = await q.stock(5100, { tags: ["common"] });
				expect(await pages(query => q.tenant().listJobs(query), { tag: "common", limit: 1000 })).toEqual(newestFirst(tagged));
			});

			for (const status of ["failed", "running"] as const)
				it(`shows what is ${status} once in a store of many`, async q => {
					const old = await q.fill(3);
					const jobs = await q.claim({ limit: 3 });
					if (status === "failed") await q.finish(jobs, FAILED);
					await q.stock(5100);
					expect(await pages(query => q.operator.listJobs(query), { statuses: [status], limit: 50 })).toEqual(newestFirst(old));
				});

			it("shows what waits once, newest first, when a tenant has very much of it", async q => {
				await q.operator.setLimits("acme", { concurrency: 100_000 });
				const few = await q.fill(10, { task: "b" });
				const waiting = newestFirst([...few, ...(await q.stock(5100, { task: "a", runAt: q.now + DAY }))]);
				await q.stock(5100, { task: "a", priority: 100 });
				for (let i = 0; i < 6; i++) await q.finish(await q.claim({ limit: 850 }));
				expect(await pages(query => q.tenant().listJobs(query), { statuses: ["pending"], limit: 1000 })).toEqual(waiting);
			});
		});

		describe("prune", () => {
			it("deletes what is past its retention, the oldest first, no more than it may", async q => {
				await q.fill(10, { tags: ["x"], maxRetries: 0 });
				const jobs = await q.claim({ limit: 10 });
				for (const [i, job] of jobs.entries()) {
					q.now = T0 + i;
					await q.finish(job, i === 0 ? FAILED : DONE);
				}
				q.now = T0 + DEFAULTS.keepDoneMs;
				expect(await q.worker.prune(100, q.now)).toBe(0);
				q.now += 6;
				expect(await q.worker.prune(4, q.now)).toBe(4);
				expect(await q.worker.prune(4, q.now)).toBe(2);
				expect(await q.worker.prune(4, q.now)).toBe(0);
				expect(sorted(ids(await q.all()))).toEqual(sorted([jobs[0]!, ...jobs.slice(7)].map(job => job.id)));
				q.now = T0 + DEFAULTS.keepDeadMs;
				expect(await q.worker.prune(100, q.now)).toBe(4);
				expect(await q.all()).toEqual([]);
			});

			it("takes history, tags and outlived keys along", async q => {
				const idempotency = { key: "i", fingerprint: "f", expiresAt: T0 + DAY };
				const id = await q.submit({ tags: ["x", "x", "y"], idempotency });
				await q.finish(await q.claimOne(), retryIn(0));
				await q.finish(await q.claimOne());
				const job = await q.get(id);
				q.now += 2 * DAY;
				expect(await q.worker.prune(10, q.now)).toBe(1);
				expect(await q.tenant().getJobById(id)).toBeNull();
				expect((await q.tenant().listJobs({ tag: "x", limit: 10 })).jobs).toEqual([]);
				expect((await q.tenant().historyOf(job)).map(event => event.kind)).not.toContain("retry");
				expect((await q.offer({ idempotency: { ...idempotency, fingerprint: "g" } })).status).toBe("created");
			});

			it("never touches what has not ended", async q => {
				await REACH.ready(q);
				await REACH.delayed(q);
				await REACH.blocked(q);
				await q.claim();
				const { id } = await REACH.failed(q);
				await q.retry(id);
				expect(await q.worker.prune(100, q.now + 1000 * DAY)).toBe(0);
			});

			it("never gives an id twice", async q => {
				const first = await q.submit();
				await q.finish(await q.claimOne());
				expect(await q.worker.prune(10, q.now + 2 * DAY)).toBe(1);
				expect(await q.submit()).toBeGreaterThan(first);
			});
		});

		describe("nextDue", () => {
			it("asks for no more claims when what is due belongs to a task that is paused or full", async q => {
				await q.operator.setTask("b", { concurrency: 1 });
				await q.submit({ task: "b" });
				await q.claimOne({ tasks: ["b"] });
				await q.operator.setTask("a", { paused: true });
				await q.submit({ task: "a", runAt: q.now + 10 });
				await q.submit({ task: "b", runAt: q.now + 10 });
				q.now += 10;
				expect(await q.claim({ tasks: ["a", "b"], limit: 5 })).toEqual([]);
				expect(await q.worker.nextDue(["a", "b"], q.now)).toMatchObject({ claim: false, reason: "lease" });
			});

			it("says what comes next, and when", async q => {
				const due = (more: object) => expect(q.worker.nextDue(TASKS, q.now)).resolves.toMatchObject(more);
				await due({ at: null, reason: "nothing" });
				const delayed = await q.submit({ runAt: q.now + 500, startBy: q.now + 900 });
				await due({ at: q.now + 500, reason: "delayed" });
				q.now += 500;
				await due({ reason: "delayed" });
				expect((await q.worker.nextDue(TASKS, q.now)).at).toBeLessThanOrEqual(q.now);
				const job = await q.claimOne({ leaseMs: 100 });
				await due({ at: q.now + 100, reason: "lease", leases: false });
				q.now += 100;
				await due({ at: q.now, leases: true });
				await q.expire();
				await due({ at: q.now, reason: "ready" });
				await expect(q.worker.nextDue(["b"], q.now)).resolves.toMatchObject({ at: T0 + 900, reason: "start_by", starts: false });
				q.now = T0 + 900;
				await due({ starts: true });
				await q.worker.cancelLate(10, q.now);
				const prune = await q.worker.nextDue(TASKS, q.now);
				expect(prune).toMatchObject({ reason: "prune", old: false });
				expect(prune.at).toBeGreaterThanOrEqual(q.now + DEFAULTS.keepDoneMs);
				q.now += DEFAULTS.keepDoneMs;
				await due({ old: true });
				expect([job.id, await q.worker.prune(10, q.now)]).toEqual([delayed, 1]);
				await due({ at: null, reason: "nothing" });
			});

			it("does not call for what is held", async q => {
				await q.operator.setLimits("acme", { concurrency: 1, tasks: { b: 0 } });
				await q.operator.setTask("c", { paused: true });
				await q.fill(2);
				await q.submit({ task: "b", tenant: "acme" });
				await q.submit({ task: "c", tenant: "other" });
				await q.claimOne();
				expect((await q.worker.nextDue(TASKS, q.now)).reason).toBe("lease");
			});

			it("is one statement", async q => {
				await q.fill(5);
				const before = q.worker.statements();
				await q.worker.nextDue(TASKS, q.now);
				expect(q.worker.statements() - before).toBe(1);
			});
		});

		describe("what is held", () => {
			it("is told by the hold that keeps it, after what could be taken", async q => {
				const held = async () => (await q.worker.rehearse(q.request({ limit: 100 }), 100, q.now)).held;
				expect(await held()).toEqual([]);
				await q.operator.setLimits("full", { concurrency: 1 });
				await q.operator.setLimits("paused", { paused: true });
				await q.operator.setTask("b", { paused: true });
				await q.operator.setTask("c", { concurrency: 0 });
				await q.fill(3, { tenant: "full" });
				await q.fill(2, { tenant: "paused" });
				await q.fill(2, { tenant: "x", task: "b" });
				await q.fill(1, { tenant: "x", task: "c" });
				await q.fill(1, { tenant: "y", task: "c" });
				await q.fill(3, { tenant: "z", runAt: q.now + 1, key: "k" });
				expect(Object.fromEntries((await held()).map(({ code, jobs, tenants }) => [code, [jobs, tenants]]))).toEqual({
					tenant_concurrency: [2, 1],
					tenant_paused: [2, 1],
					task_paused: [2, 1],
					task_concurrency: [2, 2],
					key_busy: [2, 1],
					delayed: [1, 1],
				});
			});
		});

		describe("rehearse", () => {
			it("writes nothing, and predicts what the sweeps and the next claim do", async q => {
				await q.operator.setLimits("t1", { concurrency: 3, weight: 2 });
				await q.stock(80, i => ({
					tenant: `t${i % 4}`,
					task: TASKS[i % 3]!,
					priority: i % 5,
					...(i % 6 === 0 ? { startBy: q.now + 500 } : {}),
					...(i % 7 === 0 ? { runAt: q.now + 700 } : {}),
					...(i % 13 === 0 ? { key: "k" } : {}),
				}));
				await q.finish(await q.claim({ limit: 5 }));
				await q.claim({ limit: 12, leaseMs: 100 });
				q.now += 1000;
				const request = q.request({ limit: 20 });
				const state = async () => [await q.all(), await q.operator.counts(), await q.worker.nextDue(TASKS, q.now)];
				const before = await state();
				const foretold = await q.worker.rehearse(request, 7, q.now);
				expect(await state()).toEqual(before);
				expect(byId(await q.expire(7))).toEqual(byId(foretold.lost));
				expect(byId(await q.worker.cancelLate(7, q.now))).toEqual(byId(foretold.late));
				expect(await q.worker.prune(7, q.now)).toBe(foretold.pruned);
				const claimed = await q.worker.claimDueJobs(request, q.now);
				expect(byId(claimed)).toEqual(byId(foretold.claimed));
				expect([foretold.lost.length, foretold.late.length, claimed.length]).toEqual([7, 7, 20]);
			});
		});

		describe("clocks", () => {
			it("may stand still: a whole life in one instant", async q => {
				await q.operator.setLimits("acme", { concurrency: 2 });
				await q.fill(10, i => ({ key: `k${i % 3}`, task: TASKS[i % 3]!, maxRetries: 1 }));
				let ended = 0;
				for (let i = 0; i < 100 && ended < 10; i++) {
					const jobs = await q.claim({ limit: 5, leaseMs: 0 });
					if (i % 3 === 0) await q.expire();
					else ended += (await q.finish(jobs, i % 2 === 0 ? DONE : retryIn(0))).filter(job => isEnded(job.state)).length;
				}
				expect((await q.operator.counts()).finished).toBe(10);
			});

			it("may jump far ahead and back", async q => {
				const submitted = await q.fill(20, i => ({ runAt: q.now + (i % 4) * MINUTE, key: i % 5 === 0 ? "k" : `${i}` }));
				const jumps = [10 * DAY, -20 * DAY, 365 * DAY, -400 * DAY, 1, -1, 30 * DAY];
				for (const jump of jumps) {
					q.now += jump;
					await q.expire();
					const jobs = await q.claim({ limit: 3 });
					await q.finish(jobs.slice(0, 1));
					await q.finish(jobs.slice(1, 2), retryIn(MINUTE));
					expect(await q.operator.verify()).toEqual([]);
				}
				q.now = T0 + 1000 * DAY;
				for (let i = 0; i < 60 && (await q.operator.counts()).activeTenants > 0; i++) {
					await q.expire();
					await q.finish(await q.claim({ limit: 10 }));
				}
				const states = count(await q.states(submitted));
				expect([...states.keys()].every(isEnded)).toBe(true);
			});

			it("that go back do not end a lease early, or give a job out again", async q => {
				await q.submit();
				await q.claimOne();
				q.now -= DAY;
				expect(await q.expire()).toEqual([]);
				expect(await q.claim()).toEqual([]);
			});
		});

		describe("a store", () => {
			it("answers a ping and closes with work in flight", async q => {
				await q.operator.ping();
				expect(await q.fill(10)).toHaveLength(10);
			});

			it("takes a new default for all tenants but those with limits of their own", async q => {
				await q.operator.setLimits("own", { concurrency: 2, backlog: 3 });
				await q.fill(3, { tenant: "own" });
				expect((await q.offer({ tenant: "own" })).status).toBe("backlog_full");
				await q.operator.setLimits("own", {});
				expect(await q.claim({ limit: 10 })).toHaveLength(2);
			});
		});

		describe("races", () => {
			const HOUR = 60 * MINUTE;
			const WAYS: readonly How[] = [DONE, FAILED, retryIn(0), retryIn(5), snooze(0), snooze(5), RELEASE, CANCELLED];
			const times = <T>(n: number, make: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => make(i));
			const allAtOnce = <T>(racers: readonly Desk[], act: (desk: Desk, i: number) => Promise<T>): Promise<T[]> =>
				Promise.all(racers.map(act));
			/** Gives what an act answers until it answers nothing. */
			const untilNone = async <T>(act: () => Promise<readonly T[]>): Promise<T[]> => {
				const found: T[] = [];
				for (let some = await act(); some.length > 0; some = await act()) found.push(...some);
				return found;
			};
			const claimRest = (q: Desk, claiming: Claiming = {}) => untilNone(() => q.claim({ limit: 100, ...claiming }));
			/** From the jobs themselves, not from any counter. */
			const running = async (q: Desk) => (await q.all()).filter(job => job.state === "running");
			const onlyOnce = (numbers: readonly number[], what: string) => expect(sorted(numbers), what).toEqual(sorted(new Set(numbers)));

			race("of claimers take no job twice, and all of them together", async (q, racers, chance) => {
				await q.stock(150, i => ({ tenant: `t${i % 7}`, task: TASKS[i % 3]! }));
				const given: Claimed[] = [];
				for (let round = 0; round < 4; round++)
					given.push(
						...(await allAtOnce([...racers, ...racers], (desk, i) => desk.claim({ limit: 2 + chance.upTo(6), worker: `w${i}` }))).flat(),
					);
				expect(given.length).toBeGreaterThan(20);
				given.push(...(await claimRest(q)));
				onlyOnce(ids(given), "jobs that were given");
				expect(given).toHaveLength(150);
				const holders = new Map((await running(q)).map(job => [job.id, job.worker]));
				for (const job of given) expect(holders.get(job.id)).toBe(job.worker);
			});

			const CAPS: readonly {
				what: string;
				tasks: readonly string[];
				set: (q: Desk, tenants: readonly string[]) => Promise<unknown>;
				most: (job: Claimed | Job) => readonly [group: string, most: number];
			}[] = [
				{
					what: "tenants' limits",
					tasks: TASKS,
					set: (q, tenants) => Promise.all(tenants.map((tenant, i) => q.operator.setLimits(tenant, { concurrency: 1 + (i % 3) }))),
					most: ({ tenant }) => [tenant, 1 + (Number(tenant.slice(1)) % 3)],
				},
				{
					what: "tenants' limits for a task",
					tasks: ["a", "b"],
					set: (q, tenants) => Promise.all(tenants.map(tenant => q.operator.setLimits(tenant, { tasks: { a: 2, b: 1 } }))),
					most: ({ tenant, task }) => [`${tenant} ${task}`, task === "a" ? 2 : 1],
				},
				{
					what: "tasks' limits over all tenants",
					tasks: ["a", "b"],
					set: async q => {
						await q.operator.setTask("a", { concurrency: 7 });
						await q.operator.setTask("b", { concurrency: 3 });
					},
					most: ({ task }) => [task, task === "a" ? 7 : 3],
				},
			];
			for (const { what, tasks, set, most } of CAPS)
				race(`of claimers and finishers keep ${what} exact while all are at them`, async (q, racers, chance) => {
					const tenants = times(6, i => `t${i}`);
					await set(q, tenants);
					await q.stock(360, i => ({ tenant: tenants[i % 6]!, task: TASKS[Math.floor(i / 6) % 3]! }));
					let held = await claimRest(q, { tasks });
					const full = count(held.map(job => most(job)[0]));
					for (const job of held) expect(full.get(most(job)[0])).toBe(most(job)[1]);
					for (let round = 0; round < 3; round++) {
						const ends = held.filter(() => chance.is(0.5));
						const given: Claimed[] = [];
						const accepted: number[] = [];
						const finish = (desk: Desk, part: number) => async () => {
							const endings = ends.filter((_, i) => i % 2 === part).map(job => ending(job, chance.pick([DONE, RELEASE, retryIn(0)])));
							accepted.push(...ids(await desk.worker.finishIfLeased(endings, q.now)));
						};
						const claim = (desk: Desk) => async () => void given.push(...(await desk.claim({ tasks, limit: 1 + chance.upTo(8) })));
						await chance.atOnce([...racers.map(claim), ...racers.map(claim), finish(racers[0]!, 0), finish(racers[1]!, 1)]);
						expect(sorted(accepted)).toEqual(sorted(ids(ends)));
						held = [...held.filter(job => !ends.includes(job)), ...given];
						const jobs = await running(q);
						expect(sorted(ids(jobs))).toEqual(sorted(ids(held)));
						const groups = count(jobs.map(job => most(job)[0]));
						for (const job of jobs) expect(groups.get(most(job)[0]), most(job)[0]).toBeLessThanOrEqual(most(job)[1]);
						held.push(...(await claimRest(q, { tasks })));
						expect(count(held.map(job => most(job)[0])), "the room is used").toEqual(full);
					}
				});

			race("of claimers of tasks apart give each what it asked for, and leave nothing", async (q, racers) => {
				const given = new Map<string, Claimed[]>();
				await q.stock(160, i => ({ tenant: `t${i % 9}`, task: TASKS[i % 3]! }));
				const asked = [["a"], ["b"], ["c"], ["c", "a"]];
				for (let round = 0; round < 4; round++)
					await allAtOnce(racers, async (desk, i) => {
						const jobs = await desk.claim({ tasks: asked[i]!, limit: 9 });
						for (const job of jobs) expect(asked[i]).toContain(job.task);
						given.set(String(asked[i]), [...(given.get(String(asked[i])) ?? []), ...jobs]);
					});
				const rest = await claimRest(q);
				const all = ids([...rest, ...[...given.values()].flat()]);
				onlyOnce(all, "jobs that were given");
				expect(all).toHaveLength(160);
				// Nobody else takes these, so nothing but their own limit keeps any from their claimer.
				expect(given.get("b")).toHaveLength(36);
			});

			// A claim that finds a tenant busy serves the others meanwhile, and the tags make up for it: what is left over is two claims' worth.
			race("of claimers keep to the weights within 15 % and two claims", async (q, racers) => {
				const weights = [1, 2, 3];
				const limit = 9;
				for (const weight of weights) await q.operator.setLimits(`w${weight}`, { weight });
				await q.stock(3 * 420, i => ({ tenant: `w${weights[i % 3]}`, task: TASKS[Math.floor(i / 3) % 3]! }));
				const given: Claimed[] = [];
				for (let round = 0; round < 16; round++) given.push(...(await allAtOnce(racers, desk => desk.claim({ limit }))).flat());
				const served = count(given.map(job => job.tenant));
				for (const weight of weights) {
					const share = (given.length * weight) / 6;
					expect(Math.abs(served.get(`w${weight}`)! - share), `w${weight} got ${served.get(`w${weight}`)} of ${share}`).toBeLessThan(
						0.15 * share + 2 * limit,
					);
				}
			});

			race("of endings of one lease accept one", async (q, racers, chance) => {
				for (let round = 0; round < 3; round++) {
					await q.fill(8, { maxRetries: round });
					const jobs = await q.claim({ limit: 100 });
					const accepted = (
						await allAtOnce(racers, (desk, i) =>
							desk.worker.finishIfLeased(
								(i % 2 === 0 ? jobs : [...jobs].reverse()).map(job => ending(job, chance.pick(WAYS))),
								q.now,
							),
						)
					).flat();
					// The first ends it; the others are answered as it stands then.
					expect(new Set(ids(accepted))).toEqual(new Set(ids(jobs)));
					const states = new Map((await q.all()).map(job => [job.id, [job.state, job.reason]]));
					for (const job of accepted) expect(states.get(job.id)).toEqual([job.state, job.reason]);
					for (const { id } of jobs) expect(await q.kinds(id)).toHaveLength(1 + 2 * (await q.get(id)).claims);
					q.now += 10;
				}
			});

			for (const how of [DONE, FAILED, RELEASE, retryIn(5)])
				race(`of a cancel and a ${how.outcome} leave one end`, async (q, racers, chance) => {
					await q.fill(5);
					const jobs = await q.claim({ limit: 5 });
					const cancelled: boolean[] = [];
					await chance.atOnce([
						...jobs.map((job, i) => async () => {
							cancelled[i] = (await racers[i % 2]!.cancel(job.id))!.changed;
						}),
						...jobs.map((job, i) => async () => expect(await racers[2 + (i % 2)]!.finish(job, how)).toHaveLength(1)),
					]);
					for (const [i, { id }] of jobs.entries()) {
						const job = await q.get(id);
						const asked = (await q.kinds(id)).filter(kind => kind === "cancel_requested").length;
						expect(asked).toBe(Number(job.cancelRequestedAt !== null));
						if (how === DONE || how === FAILED) {
							// The end wins: the request came before it and stands beside it, or came too late and changed nothing.
							expect(job.state).toBe(how.outcome);
							expect(cancelled[i]).toBe(asked === 1);
						} else {
							expect(job).toMatchObject({ state: "cancelled", reason: "requested" });
							expect(cancelled[i]).toBe(true);
						}
					}
				});

			race("of a cancel and a claim leave a job that is cancelled, or one that is asked to stop", async (q, racers, chance) => {
				const submitted = await q.fill(12);
				const given: Claimed[] = [];
				await chance.atOnce([
					...submitted.map((id, i) => async () => expect(await racers[i % 4]!.cancel(id)).toMatchObject({ changed: true })),
					...times(4, i => async () => void given.push(...(await racers[i]!.claim({ limit: 2 })))),
				]);
				onlyOnce(ids(given), "jobs that were given");
				for (const job of await q.all()) {
					const runs = given.some(({ id }) => id === job.id);
					expect(job).toMatchObject(
						runs ? { state: "running", cancelRequestedAt: q.now } : { state: "cancelled", cancelRequestedAt: null },
					);
				}
				expect(await q.finish(given, RELEASE)).toHaveLength(given.length);
				expect(await q.tenant().counts()).toMatchObject({ ready: 0, running: 0, cancelled: 12 });
			});

			race("of cancels and of retries change a job once, and give a key to one", async (q, racers) => {
				const submitted = [...(await q.fill(2)), ...(await q.fill(3, { key: "k" })), await q.submit({ runAt: q.now + DAY })];
				const jobs = await q.claim({ limit: 2 });
				const each = async (act: (desk: Desk, id: number) => ReturnType<Desk["cancel"]>) => {
					const answers = await allAtOnce(racers, (desk, i) =>
						Promise.all((i % 2 === 0 ? submitted : [...submitted].reverse()).map(id => act(desk, id))),
					);
					const changed = answers.flat().filter(answer => answer!.changed);
					expect(sorted(changed.map(answer => answer!.job.id))).toEqual(sorted(submitted));
				};
				await each((desk, id) => desk.cancel(id));
				expect(await q.finish(jobs, CANCELLED)).toHaveLength(2);
				expect(new Set(await q.states(submitted))).toEqual(new Set(["cancelled"]));
				await each((desk, id) => desk.retry(id));
				expect(count(await q.states(submitted))).toEqual(
					new Map<State, number>([
						["ready", 4],
						["blocked", 2],
					]),
				);
				expect((await q.kinds(submitted[0]!)).filter(kind => kind === "retried")).toHaveLength(1);
			});

			race("of first jobs make their tenants, tasks and lanes once, and all see them", async (q, racers) => {
				const names = times(5, i => `new${i}`);
				const answers = await allAtOnce(racers, (desk, i) =>
					Promise.all((i % 2 === 0 ? names : [...names].reverse()).map(name => desk.offer({ tenant: name, task: name }))),
				);
				expect(new Set(answers.flat().map(answer => answer.status))).toEqual(new Set(["created"]));
				await allAtOnce(racers, (desk, i) => desk.operator.setLimits("other", { concurrency: i, tasks: { other: i } }));
				await allAtOnce(racers, desk => desk.operator.setTask("other", { concurrency: 5 }));
				for (const [i, desk] of racers.entries()) {
					expect(await desk.tenant(names[i]).counts()).toMatchObject({ ready: RACERS });
					const jobs = await desk.claim({ tasks: [names[i]!, "other"], limit: 100 });
					expect(count(jobs.map(job => [job.tenant, job.task].join()))).toEqual(new Map([[[names[i], names[i]].join(), RACERS]]));
				}
				expect(await q.operator.counts()).toMatchObject({ submitted: 20, activeTenants: 5, running: 16 });
			});

			race("of submits with one idempotency key store one job, also where an older one has outlived its time", async (q, racers) => {
				let stored = 0;
				for (const tenant of ["acme", "acme", "other"]) {
					const idempotency = (key: string, fingerprint: string) => ({ key, fingerprint, expiresAt: q.now + 1000 });
					const offers = racers.flatMap((desk, i) =>
						times(4, n => ({ desk, idempotency: idempotency(`i${n % 2}`, i === 3 && n > 1 ? "other" : "f") })),
					);
					const answers = await Promise.all(offers.map(({ desk, idempotency }) => desk.offer({ tenant, idempotency })));
					for (const key of ["i0", "i1"]) {
						const mine = offers.map(({ idempotency }, i) => ({ ...idempotency, answer: answers[i]! })).filter(offer => offer.key === key);
						const first = mine.find(({ answer }) => answer.status === "created")!;
						for (const { answer, fingerprint } of mine)
							if (answer !== first.answer)
								expect(answer).toEqual({
									status: fingerprint === first.fingerprint ? "replayed" : "key_conflict",
									id: (first.answer as { id: number }).id,
								});
					}
					stored += 2;
					expect(await q.operator.counts()).toMatchObject({ submitted: stored });
					q.now += 1000;
				}
			});

			race("of submits and claims at the backlog limit are exact", async (q, racers, chance) => {
				await q.operator.setLimits("acme", { backlog: 10 });
				const submits = (n: number) =>
					times(n, i => () => racers[i % 4]!.offer(i % 3 === 0 ? { key: "k" } : i % 3 === 1 ? { runAt: q.now + 5 } : {}));
				const created = (answers: readonly { status: string }[]) => {
					for (const { status } of answers) expect(["created", "backlog_full"]).toContain(status);
					return answers.filter(({ status }) => status === "created").length;
				};
				expect(created(await chance.atOnce(submits(24)))).toBe(10);
				const given: Claimed[] = [];
				const answers: { status: string }[] = [];
				await chance.atOnce<unknown>([
					...submits(16).map(submit => async () => void answers.push(await submit())),
					...racers.map(desk => async () => void given.push(...(await desk.claim()))),
				]);
				const more = created(answers);
				expect(more).toBeLessThanOrEqual(given.length);
				expect(more + created(await chance.atOnce(submits(8)))).toBe(given.length);
				expect((await q.all()).filter(job => job.state !== "running")).toHaveLength(10);
			});

			race("of claimers and finishers never run two of a key, and keep their order", async (q, racers, chance) => {
				const keys = 8;
				await q.stock(keys * 6, i => ({ key: `k${i % 4}`, tenant: i % keys < 4 ? "one" : "two", task: TASKS[i % 3]! }));
				const orders = new Map<string, number[]>();
				const held = new Set<string>();
				let left = keys * 6;
				const step = async (desk: Desk, limit: number) => {
					const jobs = await desk.claim({ limit });
					for (const { id, tenant, key } of jobs) {
						const name = `${tenant} ${key}`;
						expect(held.has(name), `two of ${name}`).toBe(false);
						held.add(name);
						orders.set(name, [...(orders.get(name) ?? []), id]);
					}
					for (const { tenant, key } of jobs) held.delete(`${tenant} ${key}`);
					if (jobs.length === 0) return;
					const accepted = await desk.finish(jobs, chance.pick([DONE, FAILED, CANCELLED]));
					expect(accepted).toHaveLength(jobs.length);
					left -= jobs.length;
				};
				await allAtOnce(racers, async (desk, i) => {
					for (let turn = 0; turn < 10 && left > 0; turn++) {
						await step(desk, 1 + chance.upTo(3));
						if (i > 0 || turn % 3 > 0) continue;
						const names = (await running(q)).map(job => `${job.tenant} ${job.key}`);
						expect(names).toHaveLength(new Set(names).size);
					}
				});
				for (let turn = 0; turn < keys * 6 && left > 0; turn++) await step(q, 100);
				expect([left, orders.size]).toEqual([0, keys]);
				for (const order of orders.values()) expect(order).toEqual(sorted(new Set(order)));
			});

			for (const [what, act] of [
				["an ending", (desk: Desk, jobs: Claimed[]) => desk.finish(jobs)],
				["a heartbeat", (desk: Desk, jobs: Claimed[]) => desk.worker.extendLeases(jobs.map(leaseOf), LEASE_MS, desk.now)],
			] as const)
				race(`of ${what} and lost leases decide each job once`, async (q, racers, chance) => {
					await q.stock(24, i => ({ tenant: `t${i % 3}`, task: TASKS[i % 3]! }));
					const jobs = await q.claim({ limit: 24 });
					q.now += LEASE_MS;
					const kept: number[] = [];
					const lost: number[] = [];
					await chance.atOnce<unknown>([
						...[5, 7].map((limit, i) => async () => void lost.push(...ids(await racers[i]!.expire(limit)))),
						...times(4, i => async () => {
							const mine = jobs.filter((_, n) => n % 4 === i);
							kept.push(...ids(await act(racers[2 + (i % 2)]!, i % 2 === 0 ? mine : mine.reverse())));
						}),
					]);
					lost.push(...ids(await untilNone(() => q.expire(10))));
					expect(sorted([...kept, ...lost])).toEqual(sorted(ids(jobs)));
					const states = new Map((await q.all()).map(job => [job.id, job.state]));
					for (const id of kept) expect(states.get(id)).toBe(what === "an ending" ? "done" : "running");
					for (const id of lost) expect(states.get(id)).toBe("ready");
				});

			race("of sweepers take each job once", async (q, racers) => {
				await q.stock(30, i => ({ tenant: `t${i % 4}`, task: TASKS[i % 3]!, tags: ["x"], startBy: q.now + MINUTE, key: `k${i % 20}` }));
				const { length: leased } = await q.claim({ limit: 100, leaseMs: 1000 });
				const sweep = async (act: (desk: Desk) => Promise<readonly { id: number }[]>, most: number) => {
					const swept = await allAtOnce([...racers, ...racers], act);
					for (const jobs of swept) expect(jobs.length).toBeLessThanOrEqual(most);
					return ids([...swept.flat(), ...(await untilNone(() => act(q)))]);
				};
				q.now += 1000;
				const lost = await sweep(desk => desk.expire(3), 3);
				onlyOnce(lost, "leases that were taken back");
				expect(lost).toHaveLength(leased);
				q.now += MINUTE;
				const late = await sweep(desk => desk.worker.cancelLate(3, q.now), 3);
				onlyOnce(late, "jobs that were late");
				expect(late).toHaveLength(30);
				q.now += 2 * DAY;
				// With the one that brought them.
				expect(await sweep(async desk => times(await desk.worker.prune(3, q.now), id => ({ id })), 3)).toHaveLength(31);
				expect(await q.all()).toEqual([]);
			});

			race("of a prune and a retry keep a job or delete it", async (q, racers, chance) => {
				const submitted = await q.stock(20, i => ({ tags: ["x"], ...(i % 3 === 0 ? { key: `k${i % 2}` } : {}) }));
				await untilNone(async () => q.finish(await q.claim({ limit: 100 }), FAILED));
				q.now += DEFAULTS.keepDeadMs;
				let pruned = 0;
				const kept: number[] = [];
				await chance.atOnce<unknown>([
					...times(4, i => async () => {
						const some = await racers[i % 2]!.worker.prune(4, q.now);
						pruned += some;
					}),
					...submitted.map((id, i) => async () => {
						const answer = await racers[2 + (i % 2)]!.retry(id);
						if (answer !== null) kept.push(id);
						if (answer !== null) expect(answer).toMatchObject({ changed: true, job: { id, failures: 0, expiresAt: null } });
					}),
				]);
				for (let more = 1; more > 0; pruned += more) more = await q.worker.prune(4, q.now);
				expect(pruned).toBe(21 - kept.length);
				expect(sorted(ids(await q.all()))).toEqual(sorted(kept));
			});

			race("of limits and pauses with claims hold from the next claim on", async (q, racers, chance) => {
				const tenants = ["one", "two"];
				const caps = new Map(
					tenants.map(tenant => [tenant, { concurrency: DEFAULTS.concurrency, paused: false, tasks: { a: null as number | null } }]),
				);
				let task = { concurrency: null as number | null, paused: false };
				await q.stock(300, i => ({ tenant: tenants[i % 2]!, task: TASKS[Math.floor(i / 2) % 3]! }));
				let held: Claimed[] = [];
				/** What is full or paused now. */
				const closed = (job: Claimed) => {
					const mine = caps.get(job.tenant)!;
					const among = (where: (other: Claimed) => boolean) => held.filter(where).length;
					return (
						mine.paused ||
						among(other => other.tenant === job.tenant) >= mine.concurrency ||
						(job.task === "a" && among(other => other.tenant === job.tenant && other.task === "a") >= (mine.tasks.a ?? Infinity)) ||
						(job.task === "b" && (task.paused || among(other => other.task === "b") >= (task.concurrency ?? Infinity)))
					);
				};
				for (let round = 0; round < 6; round++) {
					const tenant = chance.pick(tenants);
					const mine = { concurrency: chance.upTo(12), paused: chance.is(0.2), tasks: { a: chance.is(0.5) ? null : chance.upTo(4) } };
					const others = { concurrency: chance.is(0.5) ? null : chance.upTo(6), paused: chance.is(0.2) };
					const ends = held.filter(() => chance.is(0.5));
					const given: Claimed[] = [];
					await chance.atOnce<unknown>([
						() => racers[1]!.operator.setLimits(tenant, mine),
						() => racers[2]!.operator.setTask("b", others),
						...racers.map(desk => async () => void given.push(...(await desk.claim({ limit: 4 })))),
						async () => expect(await racers[3]!.finish(ends)).toHaveLength(ends.length),
					]);
					caps.set(tenant, mine);
					task = others;
					held = [...held.filter(job => !ends.includes(job)), ...given];
					onlyOnce(ids(held), "jobs that run");
					for (const job of await racers[round % 4]!.claim({ limit: 8 })) {
						expect(closed(job), `${job.tenant} ${job.task} is closed`).toBe(false);
						held.push(job);
					}
					expect(sorted(ids(await running(q)))).toEqual(sorted(ids(held)));
				}
			});

			race("of parents whose follow-ups go to the same tenants in opposite orders store all of them", async (q, racers) => {
				await q.stock(8, i => ({ tenant: ["x", "y"][i % 2]! }));
				for (let round = 0; round < 4; round++) {
					const parents = await q.claim({ limit: 8 });
					expect(parents).toHaveLength(8);
					const { submitted } = await q.operator.counts();
					const idempotency = { key: `i${round}`, fingerprint: "f", expiresAt: q.now + DAY };
					const fresh = `fresh${round}`;
					const accepted = await Promise.all(
						parents.map((parent, i) => {
							const followUps = [
								q.followUp({ tenant: "x", task: TASKS[i % 3]! }),
								q.followUp({ tenant: "y", task: TASKS[(i + 1) % 3]!, key: "k" }),
								q.followUp({ tenant: fresh, task: fresh }),
								q.followUp({ tenant: "x", idempotency }),
							];
							return racers[i % 4]!.finish(parent, { ...DONE, followUps: i % 2 === 0 ? followUps : followUps.reverse() });
						}),
					);
					expect(sorted(ids(accepted.flat()))).toEqual(sorted(ids(parents)));
					expect((await q.operator.counts()).submitted - submitted).toBe(8 * 3 + 1);
					expect(await q.tenant(fresh).counts()).toMatchObject({ ready: 8 });
				}
				const holding = (await q.all()).filter(job => job.key === "k" && ["ready", "running", "delayed"].includes(job.state));
				expect(holding).toHaveLength(1);
			});

			race("of large mixed batches over many tenants in opposite orders all go through", async (q, racers, chance) => {
				const tenants = times(50, i => `t${i}`);
				const backwards = [...tenants].reverse();
				await q.stock(250, i => ({
					tenant: tenants[i % 50]!,
					task: TASKS[i % 3]!,
					...(i % 5 < 2 ? { key: `k${i % 5}` } : {}),
					startBy: q.now + HOUR,
				}));
				for (let round = 0; round < 2; round++) {
					const order = (jobs: Claimed[], by: readonly string[]) => jobs.sort((a, b) => by.indexOf(a.tenant) - by.indexOf(b.tenant));
					const first = order(await q.claim({ limit: 50 }), tenants);
					const second = order(await q.claim({ limit: 50 }), backwards);
					const waiting = (await q.all()).filter(job => job.state === "ready").slice(0, 5);
					const mixed = (jobs: Claimed[]) =>
						jobs.map((job, i) =>
							i % 9 === 0
								? ending(job, { ...DONE, followUps: backwards.slice(i, i + 5).map(tenant => q.followUp({ tenant, task: TASKS[i % 3]! })) })
								: ending(job, chance.pick(WAYS)),
						);
					const finish = (desk: Desk, jobs: Claimed[]) => async () =>
						expect(sorted(ids(await desk.worker.finishIfLeased(mixed(jobs), q.now)))).toEqual(sorted(ids(jobs)));
					const given: Claimed[] = [];
					await chance.atOnce<unknown>([
						finish(racers[0]!, first),
						finish(racers[1]!, second),
						() => Promise.all(backwards.slice(0, 16).map(tenant => racers[2]!.submit({ tenant, key: "k1" }))),
						() => racers[2]!.worker.extendLeases([...second, ...first].map(leaseOf), LEASE_MS, q.now),
						async () => void given.push(...(await racers[3]!.claim({ limit: 60 }))),
						() => racers[3]!.worker.cancelLate(100, q.now),
						() => racers[1]!.expire(100),
						() => racers[0]!.worker.rehearse(q.request({ limit: 20 }), 20, q.now),
						() => racers[2]!.operator.setLimits("t25", { concurrency: 40 + round, weight: 2 }),
						() => racers[0]!.worker.prune(100, q.now),
						() => racers[1]!.worker.nextDue(TASKS, q.now),
						...waiting.map((job, i) => () => racers[i % 4]!.tenant(job.tenant).cancelJob(job, q.now)),
					]);
					expect(sorted(ids(await running(q)))).toEqual(sorted(ids(given)));
					expect(await q.finish(given)).toHaveLength(given.length);
					q.now += 10;
				}
			});

			race("of claims of 100 over 50 tenants and their endings end every job once", async (q, racers) => {
				await q.stock(300, i => ({ tenant: `t${i % 50}`, task: TASKS[i % 3]! }));
				await Promise.all(times(10, i => q.operator.setLimits(`t${i}`, { concurrency: 2 })));
				const done: number[] = [];
				const work = async (desk: Desk) => {
					const jobs = await desk.claim({ limit: 100 });
					const half = Math.ceil(jobs.length / 2);
					const parts = [jobs.slice(0, half), jobs.slice(half).reverse()];
					done.push(...(await Promise.all(parts.map(part => desk.finish(part)))).flat().map(job => job.id));
					return jobs;
				};
				await allAtOnce(racers, async desk => {
					for (let turn = 0; turn < 3; turn++) await work(desk);
				});
				await untilNone(() => work(q));
				onlyOnce(done, "jobs that ended");
				expect(done).toHaveLength(300);
			});

			/** Lives of racers that claim, end, extend and lose, until nothing is left; what each was told must fit the jobs. */
			const liveOut = async (
				q: Desk,
				racers: readonly Desk[],
				chance: Chance,
				leaseMs: number,
				clock: () => number,
				jobs: () => Submit,
			) => {
				const given = new Map<number, number>();
				const ended: number[] = [];
				const note = (moved: readonly Moved[]) => ended.push(...ids(moved.filter(job => isEnded(job.state))));
				const claim = async (desk: Desk, limit: number, at: number) => {
					const claimed = await desk.worker.claimDueJobs(desk.request({ limit, leaseMs }), at);
					for (const { id } of claimed) given.set(id, (given.get(id) ?? 0) + 1);
					return claimed;
				};
				await allAtOnce(racers, async desk => {
					for (let turn = 0; turn < 4; turn++) {
						await Promise.all(times(2, () => desk.tenant().insertJob(desk.job(jobs()), clock())));
						const claimed = await claim(desk, 1 + chance.upTo(4), clock());
						if (chance.is(0.3)) await desk.worker.extendLeases(claimed.map(leaseOf), leaseMs, clock());
						const endings = claimed.filter(() => chance.is(0.7)).map(job => ending(job, chance.pick(WAYS)));
						note(await desk.worker.finishIfLeased(endings, clock()));
						note(await desk.worker.expireLeases(1 + chance.upTo(3), clock()));
					}
				});
				expect(await q.operator.counts()).toMatchObject({ submitted: 2 * 4 * RACERS });
				q.now += 1000 * DAY;
				note(await untilNone(() => q.expire()));
				await untilNone(async () => {
					const claimed = await claim(q, 100, q.now);
					note(await q.finish(claimed));
					return claimed;
				});
				const all = await q.all();
				onlyOnce(ended, "jobs that ended");
				expect(sorted(ended)).toEqual(sorted(ids(all)));
				for (const job of all) expect(job.claims, `claims of job ${job.id}`).toBe(given.get(job.id) ?? 0);
			};

			race("of clocks that are an hour behind or a day ahead lose no job and end none twice", async (q, racers, chance) => {
				await q.operator.setLimits("acme", { concurrency: 6 });
				await liveOut(
					q,
					racers,
					chance,
					MINUTE,
					() => q.now + chance.pick([0, -HOUR, DAY, chance.upTo(HOUR)]),
					() => ({
						task: chance.pick(TASKS),
						runAt: T0 + chance.pick([0, HOUR, -HOUR]),
						...(chance.is(0.3) ? { key: "k" } : {}),
					}),
				);
			});

			race("in one instant lose no job and end none twice", async (q, racers, chance) => {
				await q.operator.setLimits("acme", { concurrency: 6 });
				await liveOut(
					q,
					racers,
					chance,
					0,
					() => q.now,
					() => ({
						task: chance.pick(TASKS),
						runAt: T0,
						...(chance.is(0.3) ? { key: "k" } : {}),
					}),
				);
			});
		});

		describe("endings", () => {
			it("are accepted in any mix in one call, for jobs with keys too", async q => {
				const hows: How[] = [DONE, FAILED, retryIn(9), snooze(9), RELEASE, CANCELLED, { outcome: "expired" }];
				await q.stock(70, i => ({ key: `k${i % 14}`, maxRetries: i % 2, task: TASKS[i % 3]! }));
				for (let round = 0; round < 24; round++) {
					const jobs = await q.claim({ limit: 100 });
					const endings: Ending[] = jobs.map((job, i) => ending(job, hows[(job.id + i + round) % hows.length]));
					expect(await q.worker.finishIfLeased(endings, q.now)).toHaveLength(jobs.length);
					q.now += 5;
				}
				const left = await q.operator.counts();
				expect(left.running).toBe(0);
			});
		});

		vitestIt("leaves out no test but those that it has, each for a reason", () => {
			expect(wrongSkips(skip, titles)).toEqual([]);
		});
	});
}
