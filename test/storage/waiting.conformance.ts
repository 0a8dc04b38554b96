/**
 * The part of the conformance suite (conformance.ts) about jobs that wait: how many a claim could take, what failures do while a circuit is
 * open, and why a job was given back.
 */
import { expect } from "vitest";
import { CIRCUIT_PROBE_MS, EVENTS_MAX, HOLD_MS_MAX, PROBES_FREE_MAX } from "../../lib/job.ts";
import { CIRCUITS_MAX, type Claimed } from "../../lib/storage/storage.ts";
import {
	createRandom,
	DAY,
	type Desk,
	DONE,
	ending,
	FAILED,
	type How,
	LEASE_MS,
	MINUTE,
	RELEASE,
	retryIn,
	snooze,
	T0,
	TASKS,
} from "./desk.ts";
import type { Suite } from "./execution.conformance.ts";

const failure = (delayMs = 1000): How => retryIn(delayMs, { circuitFailures: 3 });
const asks = (delayMs: number, hold?: "tenant" | "task"): How =>
	retryIn(delayMs, { fingerprint: "f_429", circuitFailures: 3, circuitCounts: false, ...(hold === undefined ? {} : { hold }) });
const runnable = (q: Desk, tasks: readonly string[] | null = null, most = 1000) => q.operator.runnable(tasks, most, q.now);
const taskState = async (q: Desk, task = "a") => (await q.operator.listTasks()).find(state => state.task === task)!;

/** Opens the circuit of a tenant's task a with jobs that are gone afterwards. */
async function open(q: Desk, tenant = "acme"): Promise<void> {
	for (let i = 0; i < 3; i++) {
		const id = await q.submit({ tenant, maxRetries: 100 });
		const job = (await q.claim({ tasks: ["a"], limit: 100 })).find(job => job.id === id)!;
		const [moved] = await q.finish(job, failure(DAY));
		expect(moved!.circuit).toBe(i === 2 ? "opened" : undefined);
		await q.cancel(id);
	}
}
/** The job that probes, when the time for it has come. */
async function probe(q: Desk): Promise<Claimed> {
	q.now += CIRCUIT_PROBE_MS;
	const jobs = await q.claim({ tasks: ["a"], limit: 10 });
	expect(jobs).toHaveLength(1);
	return jobs[0]!;
}
const circuitsIn = async (q: Desk, id: number) =>
	(await q.history(id)).filter(({ data }) => data.circuit !== undefined).map(({ kind, data }) => `${kind} ${data.circuit}`);

export function waitingConformance({ describe, it, race }: Suite): void {
	describe("what a claim could take", () => {
		it("is what is ready, of all tasks or some, of all tenants or one", async q => {
			expect(await runnable(q)).toBe(0);
			await q.fill(3);
			await q.fill(2, { task: "b", tenant: "other" });
			await q.submit({ runAt: q.now + 1000 });
			await q.fill(2, { task: "c", key: "k" });
			expect(await runnable(q)).toBe(6);
			expect(await runnable(q, ["a"])).toBe(3);
			expect(await runnable(q, ["b", "c"])).toBe(3);
			expect(await runnable(q, [])).toBe(0);
			const of = (tenant: string, tasks: readonly string[] | null = null) => q.tenant(tenant).runnable(tasks, 1000, q.now);
			expect([await of("acme"), await of("acme", ["c"]), await of("other"), await of("nobody")]).toEqual([4, 1, 2, 0]);
			await q.claim({ limit: 10 });
			expect(await runnable(q)).toBe(0);
		});

		it("is counted as far as one asks, and no further", async q => {
			await q.fill(20, i => ({ tenant: `t${i % 10}` }));
			await q.fill(50);
			expect(await Promise.all([1, 2, 11, 69, 70, 71].map(most => runnable(q, null, most)))).toEqual([1, 2, 11, 69, 70, 70]);
			expect(await q.tenant().runnable(null, 7, q.now)).toBe(7);
		});

		it("is not used up by lanes that can give little: of a tenant, or a task, that may start few", async q => {
			await q.operator.setTask("a", { concurrency: 1 });
			await q.fill(6, i => ({ tenant: `t${i}` }));
			await q.fill(5, { task: "b" });
			expect(await runnable(q, ["a"], 4)).toBe(1);
			expect(await runnable(q, null, 4)).toBe(4);
			await q.operator.setLimits("small", { concurrency: 1 });
			await q.fill(6, i => ({ tenant: "small", task: `few ${i}` }));
			await q.fill(5, { task: "few 5" });
			const few = Array.from({ length: 6 }, (_, i) => `few ${i}`);
			expect(await runnable(q, few.slice(0, 5), 4)).toBe(1);
			expect(await runnable(q, few, 4)).toBe(4);
		});

		it("leaves out what the limits of tenants, of their tasks, and of tasks hold", async q => {
			await q.operator.setLimits("small", { concurrency: 2 });
			await q.operator.setLimits("acme", { tasks: { a: 3 } });
			await q.fill(10, { tenant: "small" });
			await q.fill(10, { tenant: "small", task: "b" });
			await q.fill(10);
			await q.fill(10, { task: "b" });
			expect(await runnable(q)).toBe(2 + 3 + 10);
			expect(await runnable(q, ["a"])).toBe(2 + 3);
			await q.operator.setTask("b", { concurrency: 4 });
			expect(await runnable(q, ["b"])).toBe(4);
			expect(await runnable(q)).toBe(3 + 2 + 4);
			const jobs = await q.claim({ limit: 100, tasks: ["a"] });
			expect(jobs).toHaveLength(5);
			expect(await runnable(q, ["a"])).toBe(0);
			expect(await runnable(q)).toBe(4);
			expect(await q.tenant("small").runnable(null, 10, q.now)).toBe(0);
			expect(await q.claim({ limit: 100 })).toHaveLength(4);
			expect(await runnable(q)).toBe(0);
			await q.finish(jobs.find(job => job.tenant === "acme")!);
			expect(await runnable(q)).toBe(1);
		});

		it("leaves out what is paused, held, or waits for a circuit, but for its probe", async q => {
			await open(q, "broken");
			await q.fill(5, { tenant: "broken" });
			await q.fill(5, { tenant: "held" });
			await q.fill(5, { tenant: "paused" });
			await q.fill(5, { task: "b" });
			await q.fill(5, { task: "c" });
			const [job] = (await q.claim({ limit: 20, tasks: ["a"] })).filter(job => job.tenant === "held");
			await q.fill(3, { tenant: "held" });
			await q.fill(3, { tenant: "paused" });
			await q.finish(job!, retryIn(DAY, { hold: "tenant" }));
			await q.operator.setLimits("paused", { paused: true });
			await q.operator.setTask("b", { paused: true });
			expect(await runnable(q)).toBe(5);
			expect(await q.tenant("paused").runnable(null, 10, q.now)).toBe(0);
			await q.submit({ task: "c", tenant: "other" });
			const [other] = await q.claim({ limit: 1, tasks: ["c"] });
			await q.finish(other!, retryIn(2 * MINUTE, { hold: "task" }));
			expect(await runnable(q)).toBe(0);
			q.now += CIRCUIT_PROBE_MS;
			await q.claim({ limit: 1, tasks: ["none"] });
			expect(await runnable(q)).toBe(1);
			q.now += 2 * MINUTE;
			expect(await runnable(q, ["c"])).toBeGreaterThan(3);
		});

		for (const seed of [1, 2, 3, 4])
			it(`is what a claim takes (seed ${seed})`, async q => {
				const random = createRandom(seed);
				const upTo = (n: number) => Math.floor(random() * n);
				const tenants = Array.from({ length: 6 }, (_, i) => `t${i}`);
				const withRooms = seed > 2;
				for (let round = 0; round < 12; round++) {
					await q.fill(upTo(40), () => ({
						tenant: tenants[upTo(6)]!,
						task: TASKS[upTo(3)]!,
						...(random() < 0.2 ? { key: `k${upTo(2)}` } : {}),
					}));
					await q.operator.setLimits(tenants[upTo(6)]!, {
						concurrency: 1 + upTo(12),
						paused: random() < 0.2,
						tasks: { [TASKS[upTo(3)]!]: random() < 0.5 ? null : 1 + upTo(6) },
					});
					await q.operator.setTask(TASKS[upTo(3)]!, {
						paused: random() < 0.1,
						...(withRooms ? { concurrency: random() < 0.5 ? null : 1 + upTo(10) } : {}),
					});
					const tasks = TASKS.filter(() => random() < 0.8);
					const counted = await runnable(q, tasks);
					const jobs = await q.claim({ tasks, limit: 1000 });
					if (withRooms) expect(counted > 0, `round ${round}`).toBe(jobs.length > 0);
					else expect(counted, `round ${round}`).toBe(jobs.length);
					await q.finish(
						jobs.filter(() => random() < 0.6),
						random() < 0.8 ? DONE : RELEASE,
					);
				}
			});
	});

	describe("a failure while the circuit is open", () => {
		it("uses an attempt once so many claims have used none", async q => {
			const id = await q.submit({ maxRetries: 1 });
			for (let i = 0; i < PROBES_FREE_MAX - 3; i++) await q.finish(await q.claimOne(), RELEASE);
			await q.finish(await q.claimOne(), snooze(MINUTE));
			await open(q);
			for (let i = 0; i < 2; i++) await q.finish(await probe(q), failure());
			expect(await q.get(id)).toMatchObject({ state: "delayed", failures: 0, claims: PROBES_FREE_MAX });
			await q.finish(await probe(q), failure());
			expect(await q.get(id)).toMatchObject({ state: "delayed", failures: 1 });
			expect((await q.history(id)).at(-1)!.data).not.toHaveProperty("circuit");
			expect((await taskState(q)).circuits).toEqual([{ tenant: "acme", probesAt: q.now + CIRCUIT_PROBE_MS }]);
			expect(await q.finish(await probe(q), failure())).toMatchObject([{ state: "dead", reason: "retries_exhausted" }]);
			expect(await q.get(id)).toMatchObject({ failures: 2 });
			expect((await taskState(q)).circuitsOpen).toBe(1);
		});

		it("uses no attempt: a job without retries probes again and again", async q => {
			await open(q);
			const id = await q.submit({ maxRetries: 0 });
			for (let i = 0; i < 3; i++) {
				const job = await probe(q);
				expect(await q.finish(job, retryIn(1000, { fingerprint: `f_${i}`, circuitFailures: 3 }))).toEqual([
					expect.objectContaining({ id, state: "delayed", reason: null }),
				]);
				expect(await q.get(id)).toMatchObject({ state: "delayed", failures: 0, runAt: q.now + 1000, fingerprint: `f_${i}` });
				expect((await taskState(q)).circuitsOpen).toBe(1);
			}
			const history = await q.history(id);
			expect(history.map(({ kind, data }) => [kind, data.attempt, data.circuit])).toEqual([
				["submitted", undefined, undefined],
				["claimed", 1, undefined],
				["retry", undefined, "probe"],
				["claimed", 1, undefined],
				["retry", undefined, "probe"],
				["claimed", 1, undefined],
				["retry", undefined, "probe"],
			]);
			expect(history.at(-1)!.data).toEqual({ run_at: q.now + 1000, error: { message: "again" }, circuit: "probe" });
			await q.operator.resetCircuit("a", null);
			q.now += 1000;
			expect(await q.finish(await q.claimOne(), failure())).toMatchObject([{ state: "dead", reason: "retries_exhausted" }]);
			expect((await q.get(id)).failures).toBe(1);
		});

		it("lets another job of the lane probe the next time: they take turns", async q => {
			await open(q);
			const ids = await q.line(4, { maxRetries: 0 });
			const probed: number[] = [];
			for (let i = 0; i < 8; i++) {
				const job = await probe(q);
				probed.push(job.id);
				await q.finish(job, failure(i % 3 === 0 ? 0 : 2000));
			}
			expect(probed).toEqual([...ids, ...ids]);
			await q.finish(await probe(q));
			expect((await taskState(q)).circuitsOpen).toBe(0);
			expect(await q.claim({ limit: 10 })).toHaveLength(3);
		});

		it("uses none either of those that were running when it opened; those that opened it used theirs", async q => {
			await q.fill(6, { maxRetries: 0 });
			const jobs = await q.claim({ limit: 6 });
			expect((await q.finish(jobs.slice(0, 3), failure())).map(({ state }) => state)).toEqual(["dead", "dead", "dead"]);
			const moved = await q.worker.finishIfLeased(
				[ending(jobs[3]!, failure()), ending(jobs[4]!, FAILED), ending(jobs[5]!, snooze(5))],
				q.now,
			);
			expect(moved.map(({ id, state, circuit }) => [jobs.findIndex(job => job.id === id), state, circuit]).sort()).toEqual([
				[3, "delayed", undefined],
				[4, "failed", undefined],
				[5, "delayed", undefined],
			]);
			expect((await q.get(jobs[3]!.id)).failures).toBe(0);
			expect(await circuitsIn(q, jobs[3]!.id)).toEqual(["retry probe"]);
		});

		it("uses none beside one that is done, which closes it", async q => {
			await q.fill(5, { maxRetries: 0 });
			const jobs = await q.claim({ limit: 5 });
			await q.finish(jobs.slice(0, 3), failure());
			await q.worker.finishIfLeased([ending(jobs[3]!, failure()), ending(jobs[4]!)], q.now);
			expect(await q.get(jobs[3]!.id)).toMatchObject({ state: "delayed", failures: 0 });
			expect((await taskState(q)).circuitsOpen).toBe(0);
		});

		it("ends a job that is to be cancelled, and uses one where the task has circuits switched off by now", async q => {
			await open(q);
			const id = await q.submit({ maxRetries: 0 });
			const job = await probe(q);
			await q.cancel(id);
			await q.finish(job, failure());
			expect(await q.get(id)).toMatchObject({ state: "cancelled", failures: 0 });
			expect(await circuitsIn(q, id)).toEqual([]);
			await q.submit({ maxRetries: 0 });
			expect(await q.finish((await q.claim({ limit: 1 }))[0]!, retryIn(1000))).toMatchObject([{ state: "dead" }]);
			expect((await taskState(q)).circuitsOpen).toBe(0);
		});

		it("is left out of a history that is long: a circuit may be open for days", async q => {
			await open(q);
			const id = await q.submit({ maxRetries: 0 });
			for (let i = 0; i < EVENTS_MAX / 4; i++) {
				await q.cancel(id);
				await q.retry(id);
			}
			for (let i = 0; i < EVENTS_MAX / 4 + 10; i++) await q.finish(await probe(q), failure());
			const { seq, claims, failures } = await q.get(id);
			expect([claims, failures]).toEqual([EVENTS_MAX / 4 + 10, 0]);
			expect(seq).toBeLessThanOrEqual(EVENTS_MAX + 2);
			expect((await q.history(id)).map(event => event.seq)).toEqual(Array.from({ length: seq }, (_, i) => i + 1));
			await q.finish(await probe(q));
			expect((await q.kinds(id)).slice(-3)).toEqual(["retry", "claimed", "done"]);
		});

		it("is answered alike when it is sent again", async q => {
			await open(q);
			await q.submit({ maxRetries: 0 });
			const job = await probe(q);
			const first = await q.finish(job, failure());
			expect(await q.finish(job, failure())).toEqual(first);
			expect((await q.history(job.id)).length).toBe(3);
		});

		it("keeps the history in order also where late endings were refused before", async q => {
			await open(q);
			const id = await q.submit({ maxRetries: 0 });
			const lost = await probe(q);
			q.now += LEASE_MS;
			await q.expire();
			const [job] = await q.claim({ limit: 1 });
			await q.finish(lost);
			await q.finish(job!, failure());
			expect(await q.kinds(id)).toEqual(["submitted", "claimed", "lost", "claimed", "refused", "retry"]);
			expect(await q.get(id)).toMatchObject({ state: "delayed", failures: 0, losses: 0 });
		});

		race("never ends a job that has failures left, nor uses one", async (q, racers, chance) => {
			await q.operator.setLimits("acme", { tasks: { a: 7 } });
			await open(q);
			const ids = await q.fill(30, { maxRetries: 0 });
			for (let round = 0; round < 10; round++) {
				q.now += CIRCUIT_PROBE_MS;
				await Promise.all(
					racers.map(async desk => {
						for (const job of await desk.claim({ limit: 5 })) await desk.finish(job, chance.is(0.8) ? failure(0) : asks(0));
					}),
				);
			}
			for (const id of ids) expect(await q.get(id)).toMatchObject({ failures: 0, reason: null });
			expect((await taskState(q)).circuitsOpen).toBe(1);
		});
	});

	describe("a failure whose dependency says when to come back", () => {
		it("counts neither for nor against the opening of a circuit", async q => {
			const fail = async (how: How) => {
				await q.submit({ maxRetries: 0 });
				return q.finish(await q.claimOne(), how);
			};
			for (let i = 0; i < 5; i++) expect(await fail(asks(0))).toMatchObject([{ state: "dead" }]);
			expect((await taskState(q)).circuitsOpen).toBe(0);
			await fail(failure());
			await fail(failure());
			await fail(asks(0));
			expect((await taskState(q)).circuitsOpen).toBe(0);
			expect(await fail(failure())).toMatchObject([{ circuit: "opened" }]);
		});

		it("opens none with those beside it", async q => {
			await q.fill(5, { maxRetries: 0 });
			const jobs = await q.claim({ limit: 5 });
			await q.worker.finishIfLeased(
				jobs.map((job, i) => ending(job, i < 2 ? failure() : asks(0))),
				q.now,
			);
			expect((await taskState(q)).circuitsOpen).toBe(0);
		});

		for (const [hold, delayMs, opensAfterMs] of [
			[undefined, 5 * MINUTE, CIRCUIT_PROBE_MS],
			["tenant", 5 * MINUTE, 5 * MINUTE],
			["tenant", 1000, CIRCUIT_PROBE_MS],
		] as const)
			it(`keeps a circuit open as a probe, and uses no attempt: scope ${hold ?? "job"}, ${delayMs} ms`, async q => {
				await open(q);
				const [first] = await q.line(2, { maxRetries: 0 });
				expect(await q.finish(await probe(q), asks(delayMs, hold))).toMatchObject([{ id: first, state: "delayed" }]);
				expect(await q.get(first!)).toMatchObject({ failures: 0, runAt: q.now + delayMs });
				expect((await taskState(q)).circuits).toEqual([{ tenant: "acme", probesAt: q.now + opensAfterMs }]);
				q.now += opensAfterMs - 1;
				expect(await q.claim({ limit: 10 })).toEqual([]);
				q.now += 1;
				expect(await q.claim({ limit: 10 })).toHaveLength(1);
			});
	});

	describe("a hold", () => {
		for (const hold of ["tenant", "task"] as const)
			for (const [name, before] of [
				["", false],
				[", as a probe", true],
			] as const)
				it(`keeps others waiting for an hour at most, and its own job as long as it asked: ${hold}${name}`, async q => {
					if (before) await open(q);
					const [own, other] = await q.line(2, { maxRetries: 0 });
					const job = before ? await probe(q) : await q.claimOne();
					expect(job.id).toBe(own);
					await q.finish(job, { ...asks(DAY, hold), ...(before ? {} : { circuitFailures: 1 }) } as How);
					const from = q.now;
					q.now = from + HOLD_MS_MAX - 1;
					expect(await q.claim({ limit: 10 })).toEqual([]);
					q.now = from + HOLD_MS_MAX;
					expect((await q.claim({ limit: 10 })).map(({ id }) => id)).toEqual([other]);
					if (before) expect((await q.get(own!)).runAt).toBe(from + DAY);
				});
	});

	describe("a circuit that opens", () => {
		it("is told of the one ending that did it, whatever ends beside it", async q => {
			await q.fill(4, { maxRetries: 0, tenant: "other" });
			await q.fill(6, { maxRetries: 5 });
			const jobs = await q.claim({ limit: 20 });
			const moved = await q.worker.finishIfLeased(
				jobs.map(job => ending(job, failure())),
				q.now,
			);
			const opened = moved.filter(({ circuit }) => circuit !== undefined);
			expect(opened.map(({ state }) => state).sort()).toEqual(["dead", "delayed"]);
			for (const { id } of opened) expect((await circuitsIn(q, id)).length).toBe(1);
			expect((await Promise.all(jobs.map(({ id }) => circuitsIn(q, id)))).flat()).toHaveLength(2);
		});

		it("is named among those of its task, with the time of its probe, until it probes", async q => {
			await open(q, "b");
			q.now += 1000;
			await open(q, "a");
			await q.fill(1, { tenant: "b" });
			expect((await taskState(q)).circuits).toEqual([
				{ tenant: "a", probesAt: q.now + CIRCUIT_PROBE_MS },
				{ tenant: "b", probesAt: q.now + CIRCUIT_PROBE_MS - 1000 },
			]);
			expect((await taskState(q, "b")).circuits).toEqual([]);
			q.now += CIRCUIT_PROBE_MS - 1000;
			await q.claim({ limit: 1 });
			expect((await taskState(q)).circuits).toEqual([
				{ tenant: "a", probesAt: q.now + 1000 },
				{ tenant: "b", probesAt: null },
			]);
		});

		it("is one of the first twenty by name that are named", async q => {
			const tenants = Array.from({ length: CIRCUITS_MAX + 3 }, (_, i) => `t${String(i).padStart(2, "0")}`);
			await q.fill(tenants.length, i => ({ tenant: tenants[tenants.length - 1 - i]!, maxRetries: 0 }));
			await q.finish(await q.claim({ limit: 100 }), retryIn(1000, { circuitFailures: 1 }));
			const { circuits, circuitsOpen } = await taskState(q);
			expect(circuitsOpen).toBe(tenants.length);
			expect(circuits).toEqual(tenants.slice(0, CIRCUITS_MAX).map(tenant => ({ tenant, probesAt: T0 + CIRCUIT_PROBE_MS })));
		});
	});

	describe("a job that is given back", () => {
		const why = { ...RELEASE, error: '{"message":"its thread ran out of memory"}' } as const;

		it("has the reason in its history, and keeps the error that it had", async q => {
			const id = await q.submit();
			await q.finish(await q.claimOne(), why);
			expect(await q.get(id)).toMatchObject({ state: "ready", error: null, fingerprint: null, failures: 0 });
			await q.finish(await q.claimOne(), retryIn(0, { fingerprint: "f_own" }));
			await q.finish(await q.claimOne(), why);
			expect(await q.get(id)).toMatchObject({ error: '{"message":"again"}', fingerprint: "f_own", failures: 1 });
			const released = (await q.history(id)).filter(({ kind }) => kind === "released");
			expect(released.map(({ data }) => data)).toEqual(Array(2).fill({ error: { message: "its thread ran out of memory" } }));
			await q.finish(await q.claimOne(), RELEASE);
			expect((await q.history(id)).at(-1)).toMatchObject({ kind: "released", data: {} });
		});

		it("beside circuits as well, and a cancel that was asked for ends it without", async q => {
			await q.fill(2, { maxRetries: 0 });
			const id = await q.submit();
			const jobs = await q.claim({ limit: 3 });
			await q.cancel(id);
			await q.worker.finishIfLeased(
				jobs.map((job, i) => ending(job, i === 0 ? failure() : why)),
				q.now,
			);
			expect((await q.history(jobs[1]!.id)).at(-1)).toMatchObject({ kind: "released", data: { error: { message: expect.any(String) } } });
			expect(await q.get(id)).toMatchObject({ state: "cancelled", error: null });
		});

		it("too late has the reason in what was refused", async q => {
			const id = await q.submit();
			const job = await q.claimOne();
			q.now += LEASE_MS;
			await q.expire();
			await q.finish(job, why);
			await q.finish(job, RELEASE);
			expect((await q.history(id)).filter(({ kind }) => kind === "refused").map(({ data }) => data)).toEqual([
				{ outcome: "release", error: { message: "its thread ran out of memory" } },
				{ outcome: "release" },
			]);
		});
	});
}
