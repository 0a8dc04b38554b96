/**
 * The part of the conformance suite (conformance.ts) about what follows from how attempts end: endings that come twice or too late,
 * fingerprints, holds, circuits.
 */
import { expect } from "vitest";
import {
	CIRCUIT_PROBE_MS,
	EVENTS_MAX,
	HOLD_MS_MAX,
	LEASE_LOST_FINGERPRINT,
	LOSSES_MAX,
	PROBES_FREE_MAX,
	type State,
	TIMED_OUT_FINGERPRINT,
} from "../../lib/job.ts";
import type { Claimed, Storage } from "../../lib/storage/storage.ts";
import {
	CANCELLED,
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

export interface Suite {
	readonly describe: (title: string, body: () => void) => void;
	readonly it: (title: string, body: (q: Desk, opened: { readonly storage: Storage }) => Promise<void>) => void;
	readonly race: (
		title: string,
		body: (q: Desk, racers: readonly Desk[], chance: { upTo(n: number): number; is(p: number): boolean }) => Promise<void>,
	) => void;
}

const ids = (jobs: readonly { readonly id: number }[]): number[] => jobs.map(job => job.id);
const sorted = (numbers: Iterable<number>): number[] => [...numbers].sort((a, b) => a - b);

/** Fails of one lane, alike. */
const failure = (more: { fingerprint?: string; delayMs?: number; circuitFailures?: number; hold?: "tenant" | "task" } = {}): How => {
	const { delayMs = 1000, ...rest } = more;
	return retryIn(delayMs, { circuitFailures: 3, ...rest });
};
/** Fails `count` jobs of task a of a tenant, one after the other. */
async function failInARow(q: Desk, count: number, how: How = failure(), tenant = "acme"): Promise<Claimed[]> {
	const failed: Claimed[] = [];
	for (let i = 0; i < count; i++) {
		await q.submit({ tenant, maxRetries: 100 });
		const [job] = (await q.claim({ tasks: ["a"], limit: 100 })).filter(job => job.tenant === tenant);
		await q.finish(job!, how);
		failed.push(job!);
	}
	return failed;
}
const taskState = async (q: Desk, task = "a") => (await q.operator.listTasks()).find(state => state.task === task)!;
const reset = (q: Desk, tenant: string | null = null) => q.operator.resetCircuit("a", tenant);

/** A lane's circuit and hold, as endings make them. */
class LaneModel {
	circuit = false;
	streak = 0;
	fingerprint: string | null = null;
	reopenAt: number | null = null;

	reopen(nowMs: number): void {
		if (this.reopenAt !== null && this.reopenAt <= nowMs) this.reopenAt = null;
	}
	end(hows: readonly How[], nowMs: number): void {
		const fails = hows.filter(how => how.outcome === "retry");
		const done = hows.some(how => how.outcome === "done");
		const close = (): void => {
			if (this.circuit && this.reopenAt !== null && this.reopenAt <= nowMs + CIRCUIT_PROBE_MS) this.reopenAt = null;
			this.circuit = false;
		};
		const hold = (until: number): void => {
			this.reopenAt = Math.max(this.reopenAt ?? 0, until);
		};
		if (done) {
			this.streak = 0;
			this.fingerprint = null;
			close();
		} else if (fails.length > 0) {
			const counted = fails.filter(({ circuitCounts }) => circuitCounts !== false);
			const [first] = counted;
			if (first !== undefined) {
				const alike = counted.every(({ fingerprint }) => fingerprint === first.fingerprint);
				this.streak = !alike ? 0 : counted.length + (first.fingerprint === this.fingerprint ? this.streak : 0);
				this.fingerprint = alike ? first.fingerprint : null;
			}
			const isOn = fails.some(({ circuitFailures }) => circuitFailures !== undefined);
			if (isOn && (this.circuit || (counted.length > 0 && this.streak >= 3))) {
				this.circuit = true;
				hold(nowMs + CIRCUIT_PROBE_MS);
			} else close();
		}
		for (const fail of fails) if (fail.hold === "tenant") hold(nowMs + fail.delayMs);
	}
}

export function executionConformance({ describe, it, race }: Suite): void {
	describe("an ending that is sent twice", () => {
		const cases: [string, How, { maxRetries?: number; cancel?: boolean }, State][] = [
			["done", DONE, {}, "done"],
			["failed", FAILED, {}, "failed"],
			["retry", retryIn(5), {}, "delayed"],
			["retry that was the last", retryIn(5), { maxRetries: 0 }, "dead"],
			["snooze", snooze(5), {}, "delayed"],
			["release", RELEASE, {}, "ready"],
			["retry of a job that is to be cancelled", retryIn(5), { cancel: true }, "cancelled"],
			["cancelled", CANCELLED, {}, "cancelled"],
			["expired", { outcome: "expired" }, {}, "cancelled"],
		];
		for (const [name, how, { maxRetries = 3, cancel = false }, state] of cases)
			it(`is answered as it stands, and counts once: ${name}`, async q => {
				const id = await q.submit({ maxRetries });
				const job = await q.claimOne();
				if (cancel) await q.cancel(id);
				const first = await q.finish(job, how);
				const before = [await q.get(id), await q.operator.counts()];
				expect(first).toMatchObject([{ id, state }]);
				expect(await q.finish(job, how)).toEqual(first);
				expect([await q.get(id), await q.operator.counts()]).toEqual(before);
			});

		it("is answered with the job as it is now, also beside others", async q => {
			await q.fill(3);
			const jobs = await q.claim({ limit: 3 });
			await q.finish(jobs[0]!, RELEASE);
			await q.finish(jobs[1]!);
			await q.cancel(jobs[0]!.id);
			const moved = await q.finish(jobs);
			expect(new Map(moved.map(({ id, state, reason }) => [id, `${state} ${reason}`]))).toEqual(
				new Map([
					[jobs[0]!.id, "cancelled requested"],
					[jobs[1]!.id, "done null"],
					[jobs[2]!.id, "done null"],
				]),
			);
		});

		it("stores its follow-ups once", async q => {
			await q.submit();
			const job = await q.claimOne();
			const how = { ...DONE, followUps: [q.followUp({ task: "b" })] };
			for (let i = 0; i < 3; i++) expect(await q.finish(job, how)).toHaveLength(1);
			expect(await q.all()).toHaveLength(2);
		});

		it("is not known any more when the job has been taken up again, lost or put back in line", async q => {
			const first = await q.submit();
			const released = await q.claimOne();
			await q.finish(released, RELEASE);
			await q.claimOne();
			expect(await q.finish(released, RELEASE)).toEqual([]);
			q.now += LEASE_MS;
			await q.expire();
			expect(await q.finish(released, RELEASE)).toEqual([]);
			await q.cancel(first);

			const id = await q.submit();
			const job = await q.claimOne();
			await q.finish(job, FAILED);
			await q.retry(id);
			expect(await q.finish(job, FAILED)).toEqual([]);
		});
	});

	describe("an ending that is refused", () => {
		const kinds = async (q: Desk, id: number) =>
			(await q.history(id)).map(({ kind, data }) => (kind === "refused" ? `refused ${data.outcome}` : kind));
		/** Takes a job's lease away. */
		const lose = async (q: Desk): Promise<Claimed> => {
			const job = await q.claimOne();
			q.now += LEASE_MS;
			expect(await q.expire()).toHaveLength(1);
			return job;
		};

		it("stands in the history of a job that waits again", async q => {
			const id = await q.submit();
			const job = await lose(q);
			const before = await q.operator.counts();
			q.now += 7;
			expect(await q.finish(job, { outcome: "done", result: '{"sum":3}' })).toEqual([]);
			const history = await q.history(id);
			expect(history.map(event => event.kind)).toEqual(["submitted", "claimed", "lost", "refused"]);
			expect(history.at(-1)).toEqual({ seq: 4, at: q.now, kind: "refused", data: { outcome: "done", result: { sum: 3 } } });
			expect(await q.get(id)).toMatchObject({ state: "ready", seq: 4, result: null });
			const { version, ...counts } = await q.operator.counts();
			expect(counts).toEqual((({ version: _, ...rest }) => rest)(before));
			expect(version).toBeGreaterThan(before.version);
		});

		it("stands in the history of a job that runs elsewhere, which goes on", async q => {
			const id = await q.submit();
			const first = await lose(q);
			const second = await q.claimOne();
			expect(await q.finish(first, FAILED)).toEqual([]);
			expect(await kinds(q, id)).toEqual(["submitted", "claimed", "lost", "claimed", "refused failed"]);
			expect((await q.history(id)).at(-1)!.data).toEqual({ outcome: "failed", error: { message: "no" } });
			expect(ids(await q.finish(second))).toEqual([id]);
			expect(await kinds(q, id)).toEqual(["submitted", "claimed", "lost", "claimed", "refused failed", "done"]);
			expect(await q.get(id)).toMatchObject({ state: "done", error: null });
		});

		for (const [name, how, waits] of [
			["retried", retryIn(0), "retry"],
			["given back", RELEASE, "released"],
			["put off", snooze(0), "snoozed"],
		] as const)
			it(`keeps its place when the attempt elsewhere is ${name}`, async q => {
				const id = await q.submit();
				const first = await lose(q);
				const second = await q.claimOne();
				await q.finish(first);
				await q.finish(second, how);
				const third = await q.claimOne();
				await q.finish(second, how);
				await q.finish(third, FAILED);
				expect(await kinds(q, id)).toEqual([
					"submitted",
					"claimed",
					"lost",
					"claimed",
					"refused done",
					waits,
					"claimed",
					`refused ${how.outcome}`,
					"failed",
				]);
			});

		it("keeps its place when the lease elsewhere is lost, too", async q => {
			const id = await q.submit();
			const first = await lose(q);
			const second = await q.claimOne();
			await q.finish(first);
			q.now += LEASE_MS;
			await q.expire();
			await q.finish([first, second]);
			expect(await kinds(q, id)).toEqual([
				"submitted",
				"claimed",
				"lost",
				"claimed",
				"refused done",
				"lost",
				"refused done",
				"refused done",
			]);
			await q.finish(await q.claimOne());
			expect((await kinds(q, id)).slice(-2)).toEqual(["claimed", "done"]);
		});

		for (const [end, how, kind] of [
			["is done", DONE, "done"],
			["has failed", FAILED, "failed"],
			["is a dead letter", retryIn(0), "dead_letter"],
			["is cancelled", CANCELLED, "cancelled"],
		] as const)
			it(`stands behind the end of a job that ${end}, also when it is put back in line`, async q => {
				const id = await q.submit({ maxRetries: 0 });
				const first = await lose(q);
				await q.finish(await q.claimOne(), how);
				const told = await q.history(id);
				await q.finish(first);
				expect(await kinds(q, id)).toEqual(["submitted", "claimed", "lost", "claimed", kind, "refused done"]);
				// What was told by the row, and is written now, says the same.
				expect((await q.history(id)).slice(0, -1)).toEqual(told);
				await q.finish(first, FAILED);
				if (kind === "done") return;
				await q.retry(id);
				await q.finish(first);
				await q.finish(await q.claimOne());
				expect((await kinds(q, id)).slice(4)).toEqual([
					kind,
					"refused done",
					"refused failed",
					"retried",
					"refused done",
					"claimed",
					"done",
				]);
				expect((await q.history(id)).slice(0, 5)).toEqual(told);
			});

		for (const order of [
			["cancel", "refuse"],
			["refuse", "cancel"],
			["refuse", "cancel", "refuse"],
		] as const)
			it(`and a request to cancel keep their order: ${order.join(", ")}`, async q => {
				const id = await q.submit();
				const first = await lose(q);
				const second = await q.claimOne();
				for (const what of order) await (what === "cancel" ? q.cancel(id) : q.finish(first));
				await q.finish(second, CANCELLED);
				await q.finish(first);
				const expected = [
					"submitted",
					"claimed",
					"lost",
					"claimed",
					...order.map(what => (what === "cancel" ? "cancel_requested" : "refused done")),
					"cancelled",
					"refused done",
				];
				expect(await kinds(q, id)).toEqual(expected);
				await q.retry(id);
				expect(await kinds(q, id)).toEqual([...expected, "retried"]);
				await q.finish(await q.claimOne());
				expect(await kinds(q, id)).toEqual([...expected, "retried", "claimed", "done"]);
			});

		it("is written ten times at most, each in the order of the call", async q => {
			const id = await q.submit();
			const job = await lose(q);
			const all = Array.from({ length: 7 }, (_, i) => ending({ ...job, token: job.token + 1000 + i }, { outcome: "done", result: `${i}` }));
			for (let i = 0; i < 2; i++) expect(await q.worker.finishIfLeased(all, q.now)).toEqual([]);
			const refused = (await q.history(id)).filter(event => event.kind === "refused");
			expect(refused.map(event => event.data.result)).toEqual([0, 1, 2, 3, 4, 5, 6, 0, 1, 2]);
			expect((await q.get(id)).seq).toBe(3 + 10);
		});

		it("leaves a result out that is large, and writes nothing for a job that is not there", async q => {
			const id = await q.submit();
			const job = await lose(q);
			const text = (bytes: number) => JSON.stringify("x".repeat(bytes - 2));
			await q.finish(job, { outcome: "done", result: text(4096) });
			await q.finish(job, { outcome: "done", result: text(4097) });
			await q.finish({ id: id + 1000, token: 1 });
			const [kept, left] = (await q.history(id)).filter(event => event.kind === "refused");
			expect(kept!.data).toEqual({ outcome: "done", result: "x".repeat(4094) });
			expect(left!.data).toEqual({ outcome: "done" });
		});

		it("goes beside endings that are accepted", async q => {
			await q.fill(6);
			const jobs = await q.claim({ limit: 6 });
			const moved = await q.worker.finishIfLeased(
				jobs.map((job, i) => ending(i % 2 === 0 ? job : { ...job, token: 1 }, i % 3 === 0 ? FAILED : DONE)),
				q.now,
			);
			expect(sorted(ids(moved))).toEqual(sorted(ids(jobs.filter((_, i) => i % 2 === 0))));
			for (const [i, job] of jobs.entries())
				expect((await kinds(q, job.id)).filter(kind => kind.startsWith("refused"))).toHaveLength(i % 2);
		});

		it("is nobody's where the id names another tail, and is not noted of a job that was never taken up", async q => {
			const id = await q.submit();
			const job = await lose(q);
			await q.submit({ task: "b" });
			const { id: fresh, tail } = (await q.all()).find(({ task }) => task === "b")!;
			const late = (more: object) => q.worker.finishIfLeased([{ ...ending(job), ...more }], q.now);
			expect(await late({ tail: job.tail + 1 })).toEqual([]);
			expect(await late({ id: fresh, token: 1, tail })).toEqual([]);
			expect(await kinds(q, id)).toEqual(["submitted", "claimed", "lost"]);
			expect(await kinds(q, fresh)).toEqual(["submitted"]);
			expect(await late({ tail: job.tail })).toEqual([]);
			expect((await kinds(q, id)).at(-1)).toBe("refused done");
		});

		it("is gone with its job", async q => {
			const id = await q.submit();
			const job = await lose(q);
			await q.finish(job);
			await q.cancel(id);
			q.now += 2 * DAY;
			expect(await q.worker.prune(10, q.now)).toBe(1);
			expect(await q.finish(job)).toEqual([]);
		});

		race("while others end, cancel and take up the job leaves one whole history", async (q, racers, chance) => {
			const id = await q.submit({ maxRetries: 1000 });
			const old: Claimed[] = [];
			for (let round = 0; round < 6; round++) {
				const job = (await q.claim())[0];
				if (job === undefined) break;
				await Promise.all(
					racers.map(desk => {
						const lease = chance.is(0.4) || old.length === 0 ? job : old[chance.upTo(old.length)]!;
						return chance.is(0.1) ? desk.cancel(id) : desk.finish(lease, chance.is(0.5) ? RELEASE : retryIn(0));
					}),
				);
				old.push(job);
				q.now += LEASE_MS;
				await q.expire();
			}
			const job = await q.get(id);
			const history = await q.history(id);
			expect(history.map(event => event.seq)).toEqual(Array.from({ length: job.seq }, (_, i) => i + 1));
			expect(history.filter(event => event.kind === "claimed")).toHaveLength(job.claims);
		});
	});

	describe("a history that grows", () => {
		const until = async (q: Desk, id: number, seq: number): Promise<void> => {
			while ((await q.get(id)).seq < seq) await q.finish(await q.claimOne(), RELEASE);
		};
		const whole = async (q: Desk, id: number): Promise<string[]> => {
			const history = await q.history(id);
			expect(history.map(event => event.seq)).toEqual(Array.from({ length: (await q.get(id)).seq }, (_, i) => i + 1));
			return history.map(event => event.kind);
		};

		it("writes the first attempts that come to nothing one by one, and no more of them beyond a bound", async q => {
			const id = await q.submit({ maxRetries: 5 });
			await until(q, id, EVENTS_MAX);
			const bound = (await q.get(id)).seq;
			for (let i = 0; i < 20; i++) {
				const job = await q.claimOne();
				if (i % 3 === 0) {
					q.now += LEASE_MS;
					await q.expire();
				} else await q.finish(job, i % 3 === 1 ? RELEASE : snooze(0));
			}
			expect(await q.get(id)).toMatchObject({ seq: bound, claims: (bound - 1) / 2 + 20, failures: 0 });
			const kinds = await whole(q, id);
			expect(kinds).toHaveLength(bound);
			// What uses an attempt is written, and so is the end.
			await q.finish(await q.claimOne(), retryIn(0));
			await q.finish(await q.claimOne());
			expect(await whole(q, id)).toEqual([...kinds, "claimed", "retry", "claimed", "done"]);
		});

		it("keeps an attempt behind which something was written", async q => {
			const id = await q.submit();
			const old = await q.claimOne();
			await q.finish(old, RELEASE);
			await until(q, id, EVENTS_MAX + 1);
			const { seq } = await q.get(id);
			const job = await q.claimOne();
			await q.finish(old);
			await q.finish(job, RELEASE);
			expect((await whole(q, id)).slice(seq)).toEqual(["claimed", "refused", "released"]);
			await q.finish(await q.claimOne(), RELEASE);
			const last = await q.claimOne();
			await q.cancel(id);
			await q.finish(last, RELEASE);
			expect((await whole(q, id)).slice(seq)).toEqual(["claimed", "refused", "released", "claimed", "cancel_requested", "cancelled"]);
		});
	});

	describe("an attempt whose time is over", () => {
		const BOUNDS = { heldMsMax: 10 * MINUTE, graceMs: 20_000 };
		/** A worker that beats three times as often as its lease ends, until it is told that it has lost it; and then its lease ends. */
		async function overrun(q: Desk, id: number, how: { beats?: number } = {}): Promise<void> {
			const { token } = await q.claimOne();
			for (let beats = 0; beats < (how.beats ?? Infinity); beats++) {
				q.now += LEASE_MS / 3;
				if ((await q.worker.extendLeases([{ id, token }], LEASE_MS, q.now, BOUNDS)).length === 0) break;
			}
			q.now = (await q.get(id)).leaseUntil ?? q.now;
			expect(ids(await q.expire())).toEqual([id]);
		}

		it("has failed, and is tried again later", async q => {
			const id = await q.submit({ timeoutMs: MINUTE });
			await overrun(q, id);
			const job = await q.get(id);
			expect(job).toMatchObject({
				state: "delayed",
				failures: 1,
				losses: 0,
				reason: null,
				fingerprint: TIMED_OUT_FINGERPRINT,
				runAt: q.now + 2000,
			});
			expect(JSON.parse(job.error!)).toEqual({ message: "timed out after 80000 ms", attempt: 1, fingerprint: TIMED_OUT_FINGERPRINT });
			expect(await q.kinds(id)).toEqual(["submitted", "claimed", "retry"]);
			expect((await q.history(id)).at(-1)!.data).toEqual({ run_at: job.runAt, error: JSON.parse(job.error!) });
			expect(await q.claim()).toEqual([]);
			q.now += 2000;
			await overrun(q, id);
			expect(await q.get(id)).toMatchObject({ failures: 2, runAt: q.now + 4000 });
		});

		it("is a dead letter when the retries are spent, also where its job has no timeout", async q => {
			const id = await q.submit({ maxRetries: 1 });
			await overrun(q, id);
			q.now += 2000;
			await overrun(q, id);
			expect(await q.get(id)).toMatchObject({
				state: "dead",
				reason: "retries_exhausted",
				failures: 2,
				losses: 0,
				fingerprint: TIMED_OUT_FINGERPRINT,
				completedAt: q.now,
			});
			expect(await q.kinds(id)).toEqual(["submitted", "claimed", "retry", "claimed", "dead_letter"]);
			await q.retry(id);
			await q.finish(await q.claimOne());
			expect(await q.get(id)).toMatchObject({ state: "done", error: null, fingerprint: null });
		});

		it("is cancelled where that was asked for", async q => {
			const id = await q.submit({ timeoutMs: MINUTE });
			const { token } = await q.claimOne();
			for (let i = 0; i < 7; i++) {
				q.now += LEASE_MS / 3;
				await q.worker.extendLeases([{ id, token }], LEASE_MS, q.now, BOUNDS);
			}
			await q.cancel(id);
			q.now += LEASE_MS;
			expect(await q.expire()).toMatchObject([{ id, state: "cancelled", reason: "requested" }]);
			expect(await q.get(id)).toMatchObject({ failures: 0 });
		});

		it("is no failure when its worker went away before, or when it ends after all", async q => {
			const id = await q.submit({ timeoutMs: MINUTE });
			await overrun(q, id, { beats: 5 });
			expect(await q.get(id)).toMatchObject({ state: "ready", failures: 0, losses: 1 });
			const { token } = await q.claimOne();
			for (let i = 0; i < 7; i++) {
				q.now += LEASE_MS / 3;
				expect(await q.worker.extendLeases([{ id, token }], LEASE_MS, q.now, BOUNDS)).toHaveLength(1);
			}
			await q.finish({ id, token }, RELEASE);
			await overrun(q, id, { beats: 1 });
			expect(await q.get(id)).toMatchObject({ state: "ready", failures: 0, losses: 1 });
		});

		it("is told apart when its worker says so only after the end of a long lease", async q => {
			const id = await q.submit({ timeoutMs: 1000 });
			const { token } = await q.claimOne({ leaseMs: MINUTE });
			q.now += MINUTE / 2;
			expect(await q.worker.extendLeases([{ id, token }], MINUTE, q.now, BOUNDS)).toEqual([]);
			expect(await q.get(id)).toMatchObject({ state: "running", leaseUntil: T0 + MINUTE });
			q.now = T0 + MINUTE;
			expect(await q.expire()).toMatchObject([{ id, state: "delayed" }]);
		});

		describe("while the circuit is open", () => {
			async function opened(q: Desk, more: { maxRetries?: number; claims?: number } = {}): Promise<number> {
				const id = await q.submit({ timeoutMs: MINUTE, maxRetries: more.maxRetries ?? 0 });
				for (let i = 1; i < (more.claims ?? 1); i++) await q.finish(await q.claimOne(), RELEASE);
				await q.finish(await q.claimOne(), snooze(1000));
				const broken = await q.submit({ maxRetries: 0 });
				expect(await q.finish(await q.claimOne(), retryIn(0, { circuitFailures: 1 }))).toMatchObject([{ id: broken, circuit: "opened" }]);
				q.now += CIRCUIT_PROBE_MS;
				return id;
			}
			const circuits = async (q: Desk) => (await q.operator.listTasks()).find(({ task }) => task === "a")!.circuits;

			it("uses no attempt either, and keeps it open: the next probe comes a minute later", async q => {
				const id = await opened(q);
				for (let i = 1; i <= 2; i++) {
					await overrun(q, id);
					expect(await q.get(id)).toMatchObject({
						state: "delayed",
						failures: 0,
						losses: 0,
						reason: null,
						fingerprint: TIMED_OUT_FINGERPRINT,
					});
					const { data } = (await q.history(id)).at(-1)!;
					expect(data).toMatchObject({ circuit: "probe", run_at: q.now + 2000, error: { message: "timed out after 80000 ms" } });
					expect(await circuits(q)).toEqual([{ tenant: "acme", probesAt: q.now + CIRCUIT_PROBE_MS }]);
					q.now += CIRCUIT_PROBE_MS - 1;
					expect(await q.claim()).toEqual([]);
					q.now += 1;
				}
				await q.finish(await q.claimOne());
				expect(await circuits(q)).toEqual([]);
			});

			it("uses one once so many claims have used none", async q => {
				const id = await opened(q, { claims: PROBES_FREE_MAX });
				await overrun(q, id);
				expect(await q.get(id)).toMatchObject({ state: "dead", failures: 1, reason: "retries_exhausted" });
				expect(await circuits(q)).toEqual([{ tenant: "acme", probesAt: q.now + CIRCUIT_PROBE_MS }]);
			});

			it("is left out of a history that is long", async q => {
				const id = await opened(q);
				for (let i = 0; i < EVENTS_MAX / 2; i++) {
					await q.cancel(id);
					await q.retry(id);
				}
				const { seq } = await q.get(id);
				await overrun(q, id);
				expect(await q.get(id)).toMatchObject({ state: "delayed", failures: 0, seq });
				expect((await q.history(id)).map(event => event.seq)).toEqual(Array.from({ length: seq }, (_, i) => i + 1));
			});

			it("is a loss like any other where its worker went away", async q => {
				const id = await opened(q);
				await overrun(q, id, { beats: 1 });
				expect(await q.get(id)).toMatchObject({ state: "ready", failures: 0, losses: 1 });
				expect(await circuits(q)).toEqual([{ tenant: "acme", probesAt: null }]);
			});
		});

		it("opens no circuit", async q => {
			const jobs = await q.line(12, { timeoutMs: 1000, maxRetries: 0 });
			for (const id of jobs) {
				const { token } = await q.claimOne();
				q.now += 1000;
				await q.worker.extendLeases([{ id, token }], LEASE_MS, q.now, BOUNDS);
				q.now += LEASE_MS;
				await q.expire();
			}
			expect(new Set(await q.states(jobs))).toEqual(new Set(["dead"]));
			expect((await q.operator.listTasks()).find(({ task }) => task === "a")!.circuitsOpen).toBe(0);
		});

		it("is rehearsed as it is then done", async q => {
			await q.line(2, i => ({ timeoutMs: 1000, maxRetries: i }));
			const jobs = await q.claim({ limit: 2 });
			q.now += 10_000;
			await q.worker.extendLeases(
				jobs.map(({ id, token }) => ({ id, token })),
				LEASE_MS,
				q.now,
				BOUNDS,
			);
			q.now = T0 + 2 * LEASE_MS;
			const { lost } = await q.worker.rehearse(q.request(), 10, q.now);
			const key = (moved: { id: number; state: string; reason: string | null }) => `${moved.id} ${moved.state} ${moved.reason}`;
			expect(lost.map(key).sort()).toEqual([`${jobs[0]!.id} dead retries_exhausted`, `${jobs[1]!.id} delayed null`].sort());
			expect((await q.expire()).map(key).sort()).toEqual(lost.map(key).sort());
		});

		it("is bound by the longest that a lease is held, whatever its job says", async q => {
			const id = await q.submit({ timeoutMs: DAY });
			const { token } = await q.claimOne();
			q.now += 10 * MINUTE;
			expect(await q.worker.extendLeases([{ id, token }], DAY, q.now, BOUNDS)).toMatchObject([{ leaseUntil: q.now + BOUNDS.graceMs }]);
			q.now += BOUNDS.graceMs;
			expect(await q.worker.extendLeases([{ id, token }], DAY, q.now, BOUNDS)).toEqual([]);
			expect(ids(await q.expire())).toEqual([id]);
		});
	});

	describe("fingerprints", () => {
		it("are those of the latest attempt that failed, and go with a success or a retry by hand", async q => {
			const id = await q.submit();
			await q.finish(await q.claimOne(), retryIn(0, { fingerprint: "f_one" }));
			expect(await q.get(id)).toMatchObject({ state: "delayed", fingerprint: "f_one" });
			await q.finish(await q.claimOne(), snooze(0));
			expect(await q.get(id)).toMatchObject({ fingerprint: "f_one" });
			await q.finish(await q.claimOne(), { ...FAILED, fingerprint: "f_two" });
			expect(await q.get(id)).toMatchObject({ state: "failed", fingerprint: "f_two" });
			await q.retry(id);
			expect(await q.get(id)).toMatchObject({ fingerprint: null, error: null });
			await q.finish(await q.claimOne(), retryIn(0, { fingerprint: "f_three" }));
			await q.finish(await q.claimOne());
			expect(await q.get(id)).toMatchObject({ state: "done", fingerprint: null });
		});

		it("go with a success that is recorded beside other endings", async q => {
			const [one, two] = [await q.submit(), await q.submit()];
			await q.finish(await q.claim({ limit: 2 }), retryIn(0, { fingerprint: "f_one" }));
			const jobs = await q.claim({ limit: 2 });
			await q.worker.finishIfLeased([ending(jobs[0]!), ending(jobs[1]!, FAILED)], q.now);
			const states = new Map([await q.get(one), await q.get(two)].map(job => [job.state, job.fingerprint]));
			expect(states).toEqual(
				new Map([
					["done", null],
					["failed", FAILED.fingerprint],
				]),
			);
		});

		it("and errors say of a dead letter that its leases were lost", async q => {
			const plain = await q.submit();
			await q.lose(LOSSES_MAX);
			expect(await q.get(plain)).toMatchObject({ state: "dead", reason: "lease_lost", fingerprint: LEASE_LOST_FINGERPRINT });
			expect(JSON.parse((await q.get(plain)).error!)).toEqual({ message: "its worker went away three times in a row", attempt: 1 });
			const failed = await q.submit();
			await q.finish(await q.claimOne(), retryIn(0));
			await q.lose(LOSSES_MAX);
			expect(await q.get(failed)).toMatchObject({
				state: "dead",
				reason: "lease_lost",
				fingerprint: LEASE_LOST_FINGERPRINT,
				error: '{"message":"again"}',
			});
		});
	});

	describe("a hold of a tenant", () => {
		it("keeps its jobs of the task waiting for as long, and nobody else's", async q => {
			await q.submit();
			const job = await q.claimOne();
			await q.fill(3);
			const other = await q.submit({ tenant: "other" });
			const task = await q.submit({ task: "b" });
			await q.finish(job, retryIn(5000, { hold: "tenant" }));
			expect(sorted(ids(await q.claim({ limit: 10 })))).toEqual([other, task]);
			q.now += 4999;
			expect(await q.claim({ limit: 10 })).toEqual([]);
			expect(await q.worker.nextDue(TASKS, q.now)).toMatchObject({ at: q.now + 1, claim: false });
			q.now += 1;
			expect(await q.worker.nextDue(TASKS, q.now)).toMatchObject({ claim: true, delayedAt: q.now });
			expect(await q.claim({ limit: 10 })).toHaveLength(4);
		});

		it("lasts an hour at most, whatever its job asks for; that one waits for as long as it asks", async q => {
			await q.fill(2);
			await q.finish(await q.claimOne(), retryIn(10 * DAY, { hold: "tenant" }));
			expect(await q.worker.nextDue(TASKS, q.now)).toMatchObject({ at: T0 + HOLD_MS_MAX, claim: false });
			q.now += HOLD_MS_MAX;
			expect(await q.claim({ limit: 10 })).toHaveLength(1);
		});

		it("is the reason to wake where nothing else is due, also for jobs that come while it lasts", async q => {
			await q.submit({ maxRetries: 0 });
			await q.finish(await q.claimOne(), retryIn(5000, { hold: "tenant" }));
			const id = await q.submit();
			expect(await q.worker.nextDue(TASKS, q.now)).toMatchObject({ at: T0 + 5000, reason: "reopen", delayedAt: T0 + 5000, claim: false });
			expect(await q.claim()).toEqual([]);
			q.now += 5000;
			expect(ids(await q.claim())).toEqual([id]);
			expect(await q.worker.nextDue(TASKS, q.now)).toMatchObject({ reason: "lease" });
		});

		it("ends with the latest of several, however they come", async q => {
			await q.fill(6);
			const jobs = await q.claim({ limit: 6 });
			await q.worker.finishIfLeased(
				[ending(jobs[0]!, retryIn(2000, { hold: "tenant" })), ending(jobs[1]!, retryIn(9000, { hold: "tenant" }))],
				q.now,
			);
			await q.finish(jobs[2]!, retryIn(3000, { hold: "tenant" }));
			await q.finish(jobs[3]!);
			await q.worker.finishIfLeased([ending(jobs[4]!), ending(jobs[5]!, retryIn(100, { hold: "tenant" }))], q.now);
			const id = await q.submit();
			for (const ms of [2000, 1000, 5999]) {
				q.now += ms;
				expect(await q.claim({ limit: 10 })).toEqual([]);
			}
			q.now += 1;
			expect(ids(await q.claim({ limit: 10 }))).toContain(id);
		});

		it("comes with a dead letter, not with a retry that is cancelled or does not wait", async q => {
			await q.fill(3, { maxRetries: 0 });
			const jobs = await q.claim({ limit: 3 });
			await q.cancel(jobs[0]!.id);
			await q.finish(jobs[0]!, retryIn(5000, { hold: "tenant" }));
			expect(await q.state(jobs[0]!.id)).toBe("cancelled");
			await q.finish(jobs[1]!, retryIn(0, { hold: "tenant" }));
			const id = await q.submit();
			expect(await q.worker.nextDue(TASKS, q.now)).toMatchObject({ reason: "ready", delayedAt: null });
			await q.finish(jobs[2]!, retryIn(5000, { hold: "tenant" }));
			expect(await q.state(jobs[2]!.id)).toBe("dead");
			expect(await q.claim()).toEqual([]);
			q.now += 5000;
			expect(ids(await q.claim())).toEqual([id]);
		});

		it("leaves what runs alone, and limits as they are", async q => {
			await q.operator.setLimits("acme", { tasks: { a: 2 } });
			await q.fill(5);
			const jobs = await q.claim({ limit: 5 });
			expect(jobs).toHaveLength(2);
			await q.finish(jobs[0]!, retryIn(5000, { hold: "tenant" }));
			await q.operator.setLimits("acme", { tasks: { a: 3 } });
			await q.operator.setLimits("acme", { paused: true });
			await q.operator.setLimits("acme", { paused: false });
			expect(await q.claim({ limit: 5 })).toEqual([]);
			expect(await q.finish(jobs[1]!)).toHaveLength(1);
			expect(await q.claim({ limit: 5 })).toEqual([]);
			q.now += 5000;
			expect(await q.claim({ limit: 5 })).toHaveLength(3);
		});

		it("is ended by an operator", async q => {
			await failInARow(q, 1, retryIn(5000, { hold: "tenant" }));
			const id = await q.submit();
			expect(await reset(q, "nobody")).toBe(0);
			expect(await q.operator.resetCircuit("nothing", null)).toBe(0);
			expect(await reset(q, "acme")).toBe(1);
			expect(ids(await q.claim())).toEqual([id]);
			expect(await reset(q, "acme")).toBe(0);
		});

		it("of many lanes ends with a few claims", async q => {
			await q.fill(200, i => ({ tenant: `t${i}`, maxRetries: 0 }));
			const jobs = await q.claim({ limit: 200 });
			await q.finish(jobs, retryIn(1000, { hold: "tenant" }));
			await q.fill(200, i => ({ tenant: `t${i}` }));
			q.now += 1000;
			let taken = 0;
			for (let i = 0; i < 4; i++) taken += (await q.claim({ limit: 200 })).length;
			expect(taken).toBe(200);
		});
	});

	describe("a hold of a task", () => {
		it("keeps everybody's jobs of it waiting, and no other task's", async q => {
			await q.submit();
			const job = await q.claimOne();
			await q.fill(4, i => ({ tenant: `t${i}` }));
			const other = await q.submit({ task: "b" });
			await q.finish(job, retryIn(5000, { hold: "task" }));
			expect(ids(await q.claim({ limit: 10 }))).toEqual([other]);
			await q.submit({ tenant: "late" });
			expect((await taskState(q)).heldUntil).toBe(T0 + 5000);
			expect(await q.worker.nextDue(["a"], q.now)).toMatchObject({ at: T0 + 5000, claim: false });
			expect((await q.worker.nextDue(["b"], q.now)).reason).not.toBe("reopen");
			q.now += 4999;
			expect(await q.claim({ limit: 10 })).toEqual([]);
			q.now += 1;
			expect(await q.worker.nextDue(["a"], q.now)).toMatchObject({ at: q.now, claim: true });
			expect(await q.claim({ limit: 10 })).toHaveLength(6);
		});

		it("lasts an hour at most, whatever its job asks for", async q => {
			await q.fill(2, i => ({ tenant: `t${i}` }));
			await q.finish(await q.claimOne(), retryIn(10 * DAY, { hold: "task" }));
			expect((await taskState(q)).heldUntil).toBe(T0 + HOLD_MS_MAX);
			q.now += HOLD_MS_MAX;
			expect(await q.claim({ limit: 10 })).toHaveLength(1);
		});

		it("is not shortened by one that ends before it, and is ended by an operator", async q => {
			await q.fill(2, { maxRetries: 0 });
			const jobs = await q.claim({ limit: 2 });
			await q.finish(jobs[0]!, retryIn(5000, { hold: "task" }));
			await q.finish(jobs[1]!, retryIn(1000, { hold: "task" }));
			await q.submit();
			q.now += 1000;
			expect(await q.claim()).toEqual([]);
			await reset(q, "acme");
			expect(await q.claim()).toEqual([]);
			await reset(q);
			expect((await taskState(q)).heldUntil).toBeNull();
			expect(await q.claim()).toHaveLength(1);
		});

		it("does not come with a retry that is cancelled, or does not wait", async q => {
			await q.fill(2);
			const jobs = await q.claim({ limit: 2 });
			await q.cancel(jobs[0]!.id);
			await q.finish(jobs[0]!, retryIn(5000, { hold: "task" }));
			await q.finish(jobs[1]!, retryIn(0, { hold: "task" }));
			expect((await taskState(q)).heldUntil).toBeNull();
			expect(await q.claim()).toHaveLength(1);
		});

		it("does not wake a queue in which nobody waits for its end", async q => {
			await q.submit({ maxRetries: 0 });
			await q.finish(await q.claimOne(), retryIn(5000, { hold: "task" }));
			expect(await q.worker.nextDue(TASKS, q.now)).toMatchObject({ reason: "prune", delayedAt: null });
			await q.submit();
			expect(await q.worker.nextDue(TASKS, q.now)).toMatchObject({ reason: "reopen", at: T0 + 5000 });
		});
	});

	describe("a circuit", () => {
		it("opens with the third failure in a row that is alike, and keeps the other jobs of its tenant waiting", async q => {
			await q.fill(10, { maxRetries: 100 });
			const other = await q.submit({ tenant: "other" });
			for (let i = 0; i < 3; i++) {
				expect((await taskState(q)).circuitsOpen).toBe(0);
				const [job] = (await q.claim({ limit: 2 })).filter(job => job.tenant === "acme");
				await q.finish(job!, failure());
			}
			expect((await taskState(q)).circuitsOpen).toBe(1);
			q.now += 1000;
			expect(await q.claim({ limit: 100 })).toEqual([]);
			expect(await q.state(other)).toBe("running");
			expect(await q.worker.nextDue(TASKS, q.now)).toMatchObject({ claim: false });
		});

		it("opens by failures of one call as well, and counts those of a call before", async q => {
			await q.fill(9, { maxRetries: 100 });
			const jobs = await q.claim({ limit: 5 });
			await q.finish(jobs.slice(0, 2), failure());
			expect((await taskState(q)).circuitsOpen).toBe(0);
			await q.finish(jobs.slice(2, 4), failure());
			expect((await taskState(q)).circuitsOpen).toBe(1);
			expect(await q.claim({ limit: 10 })).toEqual([]);
			// What runs goes on; a failure beside the others keeps it open.
			q.now += 1000;
			await q.finish(jobs[4]!, failure());
			q.now += CIRCUIT_PROBE_MS - 1;
			expect(await q.claim({ limit: 10 })).toEqual([]);
		});

		it("does not open by failures that are not alike", async q => {
			for (const fingerprint of ["f_1", "f_1", "f_2", "f_2", "f_1", "f_1"]) await failInARow(q, 1, failure({ fingerprint }));
			await q.fill(6, { maxRetries: 100 });
			const jobs = await q.claim({ limit: 6 });
			await q.worker.finishIfLeased(
				jobs.map((job, i) => ending(job, failure({ fingerprint: `f_${i % 2}` }))),
				q.now,
			);
			expect((await taskState(q)).circuitsOpen).toBe(0);
			await failInARow(q, 2, failure({ fingerprint: "f_1" }));
			expect((await taskState(q)).circuitsOpen).toBe(0);
			await failInARow(q, 1, failure({ fingerprint: "f_1" }));
			expect((await taskState(q)).circuitsOpen).toBe(1);
		});

		it("does not open where one was done between, or beside them", async q => {
			await failInARow(q, 2);
			await q.submit();
			await q.finish(await q.claimOne());
			await failInARow(q, 2);
			await q.fill(5, { maxRetries: 100 });
			const jobs = await q.claim({ limit: 5 });
			await q.worker.finishIfLeased(
				jobs.map((job, i) => ending(job, i === 2 ? DONE : failure())),
				q.now,
			);
			await failInARow(q, 2);
			expect((await taskState(q)).circuitsOpen).toBe(0);
		});

		it("counts no other ending, and none that was cancelled or lost", async q => {
			await failInARow(q, 2);
			for (const how of [FAILED, snooze(DAY), RELEASE, CANCELLED, { outcome: "expired" } as const]) {
				const id = await q.submit();
				await q.finish(await q.claimOne(), how);
				await q.cancel(id);
			}
			const id = await q.submit();
			const job = await q.claimOne();
			await q.cancel(id);
			await q.finish(job, failure());
			expect(await q.state(id)).toBe("cancelled");
			await q.submit();
			await q.lose();
			expect((await taskState(q)).circuitsOpen).toBe(0);
			await q.finish(await q.claimOne(), failure());
			expect((await taskState(q)).circuitsOpen).toBe(1);
		});

		it("counts a failure that was the last of its job", async q => {
			await q.fill(3, { maxRetries: 0 });
			for (const job of await q.claim({ limit: 3 })) await q.finish(job, failure());
			expect((await q.operator.counts()).dead).toBe(3);
			expect((await taskState(q)).circuitsOpen).toBe(1);
		});

		it("never opens where a task has it switched off", async q => {
			await failInARow(q, 8, retryIn(0));
			expect((await taskState(q)).circuitsOpen).toBe(0);
			expect(await q.claim()).toHaveLength(1);
		});

		it("probes with one job a minute, whatever the limits, and closes when it is done", async q => {
			await q.operator.setLimits("acme", { tasks: { a: 5 } });
			await failInARow(q, 3);
			await q.fill(5, { maxRetries: 100 });
			q.now += CIRCUIT_PROBE_MS - 1;
			expect(await q.claim({ limit: 10 })).toEqual([]);
			expect((await q.worker.nextDue(TASKS, q.now)).at).toBe(q.now + 1);
			q.now += 1;
			expect((await q.worker.nextDue(TASKS, q.now)).claim).toBe(true);
			const probe = await q.claim({ limit: 10 });
			expect(probe).toHaveLength(1);
			expect(await q.claim({ limit: 10 })).toEqual([]);
			expect((await taskState(q)).circuitsOpen).toBe(1);
			// It fails in another way: open for another minute, with its first failure.
			await q.finish(probe[0]!, failure({ fingerprint: "f_other" }));
			q.now += CIRCUIT_PROBE_MS - 1;
			expect(await q.claim({ limit: 10 })).toEqual([]);
			q.now += 1;
			const [second] = await q.claim({ limit: 10 });
			await q.finish(second!);
			expect((await taskState(q)).circuitsOpen).toBe(0);
			expect(await q.claim({ limit: 10 })).toHaveLength(5);
		});

		for (const [name, how] of [
			["given back", RELEASE],
			["put off", snooze(0)],
			["failed for good", FAILED],
		] as const)
			it(`lets the next one probe at once where its probe is ${name}`, async q => {
				await failInARow(q, 3);
				await q.fill(3);
				q.now += CIRCUIT_PROBE_MS;
				const [probe] = await q.claim({ limit: 10 });
				await q.finish(probe!, how);
				expect((await taskState(q)).circuitsOpen).toBe(1);
				expect(await q.claim({ limit: 10 })).toHaveLength(1);
			});

		it("lets the next one probe where the lease of its probe is lost", async q => {
			await failInARow(q, 3);
			q.now += CIRCUIT_PROBE_MS;
			await q.claimOne();
			q.now += LEASE_MS;
			await q.expire();
			expect(await q.claim({ limit: 10 })).toHaveLength(1);
		});

		it("does not probe beside what has run since it was closed", async q => {
			await q.fill(6, { maxRetries: 100 });
			const jobs = await q.claim({ limit: 5 });
			await q.finish(jobs.slice(0, 3), failure());
			q.now += CIRCUIT_PROBE_MS;
			expect(await q.claim({ limit: 10 })).toEqual([]);
			await q.finish(jobs[3]!, FAILED);
			expect(await q.claim({ limit: 10 })).toEqual([]);
			await q.finish(jobs[4]!, FAILED);
			expect(await q.claim({ limit: 10 })).toHaveLength(1);
		});

		it("is closed by one that was running and is done, though it is open", async q => {
			await q.fill(6, { maxRetries: 100 });
			const jobs = await q.claim({ limit: 4 });
			await q.finish(jobs.slice(0, 3), failure({ delayMs: DAY }));
			expect(await q.claim({ limit: 10 })).toEqual([]);
			await q.finish(jobs[3]!);
			expect(await q.claim({ limit: 10 })).toHaveLength(2);
		});

		it("is closed by a failure of a task that has it switched off by now", async q => {
			await q.fill(6, { maxRetries: 100 });
			const jobs = await q.claim({ limit: 4 });
			await q.finish(jobs.slice(0, 3), failure({ delayMs: DAY }));
			await q.finish(jobs[3]!, retryIn(DAY));
			expect((await taskState(q)).circuitsOpen).toBe(0);
			expect(await q.claim({ limit: 10 })).toHaveLength(2);
		});

		it("that closes leaves a hold that lasts longer", async q => {
			await q.fill(6, { maxRetries: 100 });
			const jobs = await q.claim({ limit: 4 });
			await q.finish(jobs.slice(0, 3), failure({ hold: "tenant", delayMs: 5 * MINUTE }));
			await q.finish(jobs[3]!);
			expect((await taskState(q)).circuitsOpen).toBe(0);
			q.now += 2 * MINUTE;
			expect(await q.claim({ limit: 10 })).toEqual([]);
			q.now += 3 * MINUTE;
			expect(await q.claim({ limit: 10 })).toHaveLength(5);
		});

		it("is each tenant's and each task's own", async q => {
			await failInARow(q, 2);
			await failInARow(q, 2, failure(), "other");
			await q.fill(2, { task: "b", maxRetries: 100 });
			await q.finish(await q.claim({ tasks: ["b"], limit: 2 }), failure());
			expect((await taskState(q)).circuitsOpen).toBe(0);
			await failInARow(q, 1);
			expect((await taskState(q)).circuitsOpen).toBe(1);
			expect((await taskState(q, "b")).circuitsOpen).toBe(0);
			await q.submit({ tenant: "other" });
			await q.submit({ task: "b" });
			expect(await q.claim({ limit: 10 })).toHaveLength(2);
		});

		it("is closed by an operator, for one tenant or for all", async q => {
			for (const tenant of ["t1", "t2", "t3"]) await failInARow(q, 3, failure({ delayMs: DAY }), tenant);
			await q.fill(3, i => ({ tenant: `t${i + 1}` }));
			expect((await taskState(q)).circuitsOpen).toBe(3);
			expect(await q.claim({ limit: 10 })).toEqual([]);
			expect(await reset(q, "t2")).toBe(1);
			expect((await q.claim({ limit: 10 })).map(job => job.tenant)).toEqual(["t2"]);
			expect(await reset(q)).toBe(2);
			expect((await q.claim({ limit: 10 })).map(job => job.tenant).sort()).toEqual(["t1", "t3"]);
			// It counts from the beginning.
			await failInARow(q, 2, failure({ delayMs: DAY }), "t1");
			expect((await taskState(q)).circuitsOpen).toBe(0);
		});

		it("that opens stands in the history of the attempt that opened it", async q => {
			const opened = async (id: number) => (await q.history(id)).filter(event => event.data.circuit === "opened").map(event => event.kind);
			const jobs = await failInARow(q, 3);
			expect(await Promise.all(jobs.map(({ id }) => opened(id)))).toEqual([[], [], ["retry"]]);
			q.now += CIRCUIT_PROBE_MS;
			const probe = await q.claimOne();
			await q.finish(probe, failure());
			expect(await opened(probe.id)).toEqual(probe.id === jobs[2]!.id ? ["retry"] : []);
			expect((await q.history(probe.id)).at(-1)!.data.circuit).toBe("probe");

			await q.fill(4, { tenant: "other", maxRetries: 0 });
			const dead = await q.claim({ limit: 4 });
			await q.finish(dead.slice(0, 3), failure());
			expect(await Promise.all(dead.slice(0, 3).map(({ id }) => opened(id)))).toEqual([[], [], ["dead_letter"]]);
			expect((await q.history(dead[2]!.id)).at(-1)!.data).toEqual({
				reason: "retries_exhausted",
				error: { message: "again" },
				circuit: "opened",
			});
			// One beside it finds it open.
			await q.finish(dead[3]!, failure());
			expect(await opened(dead[3]!.id)).toEqual([]);
			await q.retry(dead[2]!.id);
			expect(await q.kinds(dead[2]!.id)).toEqual(["submitted", "claimed", "dead_letter", "retried"]);
			expect(await opened(dead[2]!.id)).toEqual(["dead_letter"]);
		});

		it("and a hold are told by what is held", async q => {
			const held = async () =>
				Object.fromEntries(
					(await q.worker.rehearse(q.request({ limit: 10 }), 10, q.now)).held.map(({ code, jobs, tenants }) => [code, [jobs, tenants]]),
				);
			await failInARow(q, 3, failure({ delayMs: DAY }));
			await failInARow(q, 1, retryIn(DAY, { hold: "tenant" }), "slow");
			await q.fill(2);
			await q.fill(3, { tenant: "slow" });
			expect(await held()).toEqual({ circuit_open: [2, 1], retry_after: [3, 1], delayed: [4, 2] });
			await q.submit({ tenant: "third" });
			const [job] = await q.claim();
			await q.fill(5, { tenant: "third", task: "a" });
			await q.finish(job!, retryIn(DAY, { hold: "task" }));
			expect(await held()).toEqual({ retry_after: [10, 3], delayed: [5, 3] });
		});

		it("that probes is told by what is held, too", async q => {
			await failInARow(q, 3, failure({ delayMs: DAY }));
			await q.fill(3);
			q.now += CIRCUIT_PROBE_MS;
			expect(await q.claim({ tasks: ["b"] })).toEqual([]);
			expect((await q.worker.rehearse(q.request({ limit: 10 }), 10, q.now)).claimed).toHaveLength(1);
			await q.claimOne();
			expect((await q.worker.rehearse(q.request({ limit: 10 }), 10, q.now)).held).toContainEqual({
				code: "circuit_open",
				jobs: 2,
				tenants: 1,
			});
		});

		for (const seed of [1, 2, 3])
			it(`and holds do what a model of them says (seed ${seed})`, async q => {
				const random = createRandom(seed);
				const upTo = (n: number) => Math.floor(random() * n);
				const LIMIT = 6;
				const lanes = new Map(["acme", "other"].map(tenant => [tenant, new LaneModel()]));
				for (const tenant of lanes.keys()) {
					await q.operator.setLimits(tenant, { tasks: { a: LIMIT } });
					await q.fill(50, { tenant, maxRetries: 1000 });
				}
				let running: Claimed[] = [];
				let opened = 0;
				/** Attempts that jobs have used: none by a failure while the circuit was open. */
				const used = new Map<number, number>();
				for (let step = 0; step < 80; step++) {
					if (random() < 0.4) q.now += upTo(45_000);
					if (random() < 0.03) {
						await reset(q, "acme");
						Object.assign(lanes.get("acme")!, new LaneModel());
					}
					for (const lane of lanes.values()) lane.reopen(q.now);
					const jobs = await q.claim({ limit: 100 });
					for (const [tenant, lane] of lanes) {
						const before = running.filter(job => job.tenant === tenant).length;
						const most = lane.reopenAt !== null ? 0 : lane.circuit ? 1 : LIMIT;
						expect(jobs.filter(job => job.tenant === tenant).length, `step ${step}: ${tenant} ${JSON.stringify(lane)}`).toBe(
							Math.max(0, most - before),
						);
					}
					running.push(...jobs);
					const ending = new Map(
						running
							.filter(() => random() < 0.5)
							.map(job => {
								const fingerprint = `f_${upTo(5) === 0 ? 1 : 0}`;
								const fails = () => retryIn(0, { fingerprint, ...(random() < 0.9 ? { circuitFailures: 3 } : {}) });
								const holds = () =>
									retryIn(1 + upTo(90_000), {
										fingerprint,
										hold: "tenant",
										circuitFailures: 3,
										...(random() < 0.5 ? { circuitCounts: false } : {}),
									});
								const asks = () => retryIn(0, { fingerprint, circuitFailures: 3, circuitCounts: false });
								const ways: (() => How)[] = [
									asks,
									fails,
									fails,
									fails,
									fails,
									random() < 0.3 ? holds : fails,
									() => DONE,
									() => FAILED,
									() => RELEASE,
								];
								return [job, ways[upTo(ways.length)]!()];
							}),
					);
					const moved = await q.worker.finishIfLeased(
						[...ending].map(([{ id, token }, how]) => ({ id, token, ...how })),
						q.now,
					);
					expect(moved).toHaveLength(ending.size);
					for (const [job, how] of ending) {
						const probes = how.outcome === "retry" && how.circuitFailures !== undefined && lanes.get(job.tenant)!.circuit;
						if (how.outcome === "failed" || (how.outcome === "retry" && !probes)) used.set(job.id, (used.get(job.id) ?? 0) + 1);
					}
					for (const [tenant, lane] of lanes)
						lane.end(
							[...ending].filter(([job]) => job.tenant === tenant).map(([, how]) => how),
							q.now,
						);
					running = running.filter(job => !ending.has(job));
					const { circuitsOpen } = await taskState(q);
					expect(circuitsOpen).toBe([...lanes.values()].filter(lane => lane.circuit).length);
					opened += circuitsOpen;
					if ((await q.operator.counts()).done > 30) await q.fill(30, { maxRetries: 1000, tenant: upTo(2) === 0 ? "acme" : "other" });
				}
				expect(opened).toBeGreaterThan(5);
				for (const { id, failures } of await q.all()) expect(failures, `attempts of job ${id}`).toBe(used.get(id) ?? 0);
			});

		race("opens and closes the same for all", async (q, racers, chance) => {
			await q.operator.setLimits("acme", { tasks: { a: 7 } });
			await q.fill(150, i => ({ tenant: i % 3 === 0 ? "other" : "acme", maxRetries: 1000 }));
			const ways: How[] = [
				DONE,
				failure({ delayMs: 0 }),
				failure({ delayMs: 0 }),
				failure({ delayMs: 500, hold: "tenant" }),
				RELEASE,
				retryIn(0),
			];
			for (let round = 0; round < 12; round++) {
				await Promise.all(
					racers.map(async desk => {
						const jobs = await desk.claim({ limit: 6 });
						for (const tenant of ["acme", "other"]) {
							const open = jobs.filter(job => job.tenant === tenant);
							await desk.worker.finishIfLeased(
								open.map(job => ending(job, ways[chance.upTo(ways.length)]!)),
								q.now,
							);
						}
						if (chance.is(0.1)) await desk.operator.resetCircuit("a", chance.is(0.5) ? null : "acme");
					}),
				);
				expect(await q.operator.verify()).toEqual([]);
				q.now += chance.upTo(40_000);
			}
			q.now += CIRCUIT_PROBE_MS;
			for (let i = 0; i < 100 && (await q.operator.counts()).activeTenants > 0; i++) await q.finish(await q.claim({ limit: 100 }));
			expect(await q.operator.counts()).toMatchObject({ done: 150, activeTenants: 0 });
		});
	});
}
