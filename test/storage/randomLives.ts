/**
 * Seeded random lives of a small store, held against a model that knows only what the callers were told: who holds which lease, what
 * was accepted, what the limits are. An engine's test file calls `randomLives` with a way to open a fresh, empty store.
 */
import { describe, expect, it } from "vitest";
import { isEnded, type Job, type State, TRANSITIONS } from "../../lib/job.ts";
import { ACTS_ON, type Claimed, type Ending, type Moved, type StorageDefaults } from "../../lib/storage/storage.ts";
import type { Opened } from "./conformance.ts";
import { createRandom, DEFAULTS, Desk, ending, type How, type Submit, T0, TASKS } from "./desk.ts";

const SHORT_LIVED = { ...DEFAULTS, keepDoneMs: 4000, keepDeadMs: 8000 };
const VERIFY_EVERY = 40;
const TENANTS = ["t0", "t1", "t2", "t3"];
const KEYS = ["k0", "k1", "k2"];

interface Known {
	readonly id: number;
	readonly tail: number;
	readonly tenant: string;
	readonly task: string;
	readonly key: string | null;
	state: State;
	lease: Claimed | null;
	leaseUntil: number;
	/** The token that its latest attempt was ended by: the same ending is answered again, until it is taken up, or put back in line. */
	endedBy: number | null;
	/** Ends that a caller was told of, since the job last came in. */
	ends: number;
}

class RandomRun {
	readonly q: Desk;
	readonly known = new Map<number, Known>();
	readonly used: Claimed[] = [];
	readonly caps = new Map<string, { concurrency: number; backlog: number; paused: boolean; tasks: Map<string, number | null> }>();
	readonly taskCaps = new Map<string, { concurrency: number | null; paused: boolean }>();
	/** Until when the jobs of a task, or of a tenant's task, are held. Tasks a and b have holds, and c has circuits. */
	readonly holds = new Map<string, number>();
	readonly idempotent = new Map<string, { id: number; fingerprint: string; expiresAt: number }>();
	readonly #random: () => number;
	pruned = 0;
	/** The latest instant that the store was told: what was due once stays ready when the clock goes back. */
	latest = T0;
	/** Moves that were seen: the states of each job after one operation and after the next. */
	readonly moves = new Set<string>();
	#states = new Map<number, State>();

	constructor(q: Desk, seed: number) {
		this.q = q;
		this.#random = createRandom(seed);
		for (const tenant of TENANTS)
			this.caps.set(tenant, { concurrency: DEFAULTS.concurrency, backlog: DEFAULTS.backlog, paused: false, tasks: new Map() });
		for (const task of TASKS) this.taskCaps.set(task, { concurrency: null, paused: false });
	}

	upTo(n: number): number {
		return Math.floor(this.#random() * n);
	}
	chance(p: number): boolean {
		return this.#random() < p;
	}
	pick<T>(items: readonly T[]): T {
		return items[this.upTo(items.length)]!;
	}
	some<T>(items: readonly T[], p: number): T[] {
		return items.filter(() => this.chance(p));
	}
	get jobs(): Known[] {
		return [...this.known.values()];
	}
	leased(): Known[] {
		return this.jobs.filter(job => job.lease !== null);
	}
	running(where: (job: Known) => boolean): number {
		return this.leased().filter(where).length;
	}
	// Operations.

	async submit(): Promise<void> {
		const { q } = this;
		const tenant = this.pick(TENANTS);
		const { ready, delayed, blocked } = await q.tenant(tenant).counts();
		const room = Math.max(0, this.caps.get(tenant)!.backlog - ready - delayed - blocked);
		let stored = 0;
		const offers: Submit[] = Array.from({ length: 1 + this.upTo(6) }, () => {
			const key = this.chance(0.3) ? this.pick(KEYS) : undefined;
			return {
				tenant,
				task: this.pick(TASKS),
				priority: this.upTo(5) - 2,
				maxRetries: this.upTo(3),
				...(this.chance(0.3) ? { runAt: q.now + this.upTo(3000) } : {}),
				...(this.chance(0.2) ? { startBy: q.now + this.upTo(5000) } : {}),
				...(this.chance(0.3) ? { tags: this.some(["x", "y"], 0.7) } : {}),
				...(key === undefined ? {} : { key }),
				...(this.chance(0.2)
					? {
							idempotency: {
								key: `i${this.upTo(8)}`,
								fingerprint: `f${this.upTo(4) === 0 ? 1 : 0}`,
								expiresAt: q.now + 1 + this.upTo(4000),
							},
						}
					: {}),
			};
		});
		const answers = await Promise.all(
			offers.map(async offer => {
				const job = q.job(offer);
				return { offer, job, answer: await q.tenant(tenant).insertJob(job, q.now) };
			}),
		);
		// A first job of its task takes a turn more than others of the same call.
		answers.sort((a, b) => Number(b.answer.status === "created") - Number(a.answer.status === "created"));
		for (const { offer, job, answer } of answers) {
			const slot = `${tenant} ${offer.idempotency?.key}`;
			const held = offer.idempotency === undefined ? undefined : this.idempotent.get(slot);
			// What has outlived its time once may be gone, or be there again when the clock goes back.
			const unsure = held !== undefined && held.expiresAt <= this.latest && held.expiresAt > q.now;
			const alive = held !== undefined && held.expiresAt > this.latest ? held : undefined;
			if (answer.status === "created") {
				stored++;
				expect(alive, "a key that is taken stores nothing").toBeUndefined();
				expect(this.known.has(answer.id), "an id is given once").toBe(false);
				if (offer.idempotency !== undefined) this.idempotent.set(slot, { ...offer.idempotency, id: answer.id });
				this.known.set(answer.id, {
					id: answer.id,
					tail: job.tail,
					tenant,
					task: job.task,
					key: job.key ?? null,
					state: "ready",
					lease: null,
					leaseUntil: 0,
					endedBy: null,
					ends: 0,
				});
			} else if (answer.status === "backlog_full") {
				expect(alive).toBeUndefined();
				expect(stored, "a refused job does not fit").toBe(room);
			} else if (!unsure) {
				expect(answer.id).toBe(alive?.id);
				expect(answer.status).toBe(alive!.fingerprint === offer.idempotency!.fingerprint ? "replayed" : "key_conflict");
			}
		}
		expect(stored).toBeLessThanOrEqual(room);
	}

	async claim(): Promise<void> {
		const { q } = this;
		const over = new Set(TENANTS.filter(tenant => this.running(job => job.tenant === tenant) >= this.caps.get(tenant)!.concurrency));
		const callers = 1 + this.upTo(3);
		const claims = await Promise.all(
			Array.from({ length: callers }, () => {
				const tasks = this.chance(0.5) ? TASKS : this.some(TASKS, 0.6);
				const limit = 1 + this.upTo(8);
				const request = q.request({ tasks, limit, leaseMs: this.upTo(3000), worker: `w${this.upTo(3)}` });
				return q.worker.claimDueJobs(request, q.now).then(jobs => ({ request, jobs }));
			}),
		);
		for (const { request, jobs } of claims) {
			expect(jobs.length).toBeLessThanOrEqual(request.limit);
			for (const job of jobs) {
				const known = this.known.get(job.id)!;
				expect(known.lease, `job ${job.id} is given to two callers`).toBeNull();
				expect(isEnded(known.state), `job ${job.id} is given out after its end`).toBe(false);
				expect(request.tasks).toContain(job.task);
				expect(job.runAt).toBeLessThanOrEqual(this.latest);
				expect(over.has(job.tenant), `${job.tenant} is at its limit`).toBe(false);
				expect(this.caps.get(job.tenant)!.paused || this.taskCaps.get(job.task)!.paused).toBe(false);
				for (const hold of [job.task, `${job.tenant} ${job.task}`])
					expect(this.holds.get(hold) ?? 0, `${hold} is held`).toBeLessThanOrEqual(this.latest);
				known.lease = job;
				known.endedBy = null;
				known.leaseUntil = q.now + request.leaseMs;
				known.state = "running";
				this.used.push(job);
				expect(this.running(other => other.tenant === job.tenant)).toBeLessThanOrEqual(this.caps.get(job.tenant)!.concurrency);
				const lane = this.caps.get(job.tenant)!.tasks.get(job.task) ?? Infinity;
				expect(this.running(other => other.tenant === job.tenant && other.task === job.task)).toBeLessThanOrEqual(lane);
				expect(this.running(other => other.task === job.task)).toBeLessThanOrEqual(this.taskCaps.get(job.task)!.concurrency ?? Infinity);
				if (job.key !== null)
					expect(
						this.running(other => other.tenant === job.tenant && other.key === job.key),
						`two of key ${job.key} run`,
					).toBe(1);
			}
		}
	}

	how(task: string): How {
		const { q } = this;
		const error = '"e"';
		const retry = (delayMs: number): How => {
			const fingerprint = `f${this.upTo(5) === 0 ? 1 : 0}`;
			if (task === "c") return { outcome: "retry", delayMs, error, fingerprint, ...(this.chance(0.9) ? { circuitFailures: 3 } : {}) };
			const hold = this.chance(0.15) ? { hold: this.chance(0.8) ? ("tenant" as const) : ("task" as const) } : {};
			return { outcome: "retry", delayMs, error, fingerprint, ...hold };
		};
		return this.pick<() => How>([
			() => ({ outcome: "done", result: "1" }),
			() => ({ outcome: "done", result: "1" }),
			() => retry(this.upTo(2000)),
			() => retry(0),
			() => ({ outcome: "failed", error, fingerprint: `f${this.upTo(3)}` }),
			() => ({ outcome: "snooze", delayMs: this.upTo(2000) }),
			() => ({ outcome: "release" }),
			() => ({ outcome: "cancelled" }),
			() => ({ outcome: "expired" }),
			() => ({ outcome: "done", result: q.draw().toString() }),
		])();
	}
	leave(moved: Moved): void {
		const known = this.known.get(moved.id)!;
		known.lease = null;
		known.state = moved.state;
		if (isEnded(moved.state)) {
			known.ends++;
			expect(known.ends, `job ${moved.id} ended twice`).toBe(1);
		}
	}
	/** What an ending that was accepted holds. */
	hold(ending: Ending, moved: Moved): void {
		if (ending.outcome !== "retry" || ending.hold === undefined || ending.delayMs === 0 || moved.state === "cancelled") return;
		const { task, tenant } = this.known.get(ending.id)!;
		const hold = ending.hold === "task" ? task : `${tenant} ${task}`;
		this.holds.set(hold, Math.max(this.holds.get(hold) ?? 0, this.q.now + ending.delayMs));
	}

	async finish(): Promise<void> {
		const endings: Ending[] = [];
		const how = (id: number) => this.how(this.known.get(id)?.task ?? "a");
		for (const job of this.some(this.leased(), 0.5)) {
			const lease = job.lease!;
			endings.push(ending(this.chance(0.1) ? { ...lease, token: lease.token + 1 } : lease, how(job.id)));
			if (this.chance(0.1)) endings.push(ending(lease, how(job.id)));
		}
		// Old leases, that others may hold by now.
		if (this.used.length > 0)
			for (let i = this.upTo(3); i > 0; i--) {
				const lease = this.pick(this.used);
				endings.push(ending(lease, how(lease.id)));
			}
		const calls = this.chance(0.3) ? [endings, this.some(endings, 0.5)] : [endings];
		const counts = ({ id, token }: Ending): boolean => [this.known.get(id)?.lease?.token, this.known.get(id)?.endedBy].includes(token);
		const right = calls.map(call => new Set(call.filter(counts).map(({ id }) => id)));
		const answers = await Promise.all(calls.map(call => this.q.worker.finishIfLeased(call, this.q.now)));
		for (const [i, answer] of answers.entries()) expect(answer.map(job => job.id).sort()).toEqual([...right[i]!].sort());
		for (const [i, answer] of answers.entries())
			for (const moved of answer) {
				const known = this.known.get(moved.id)!;
				const { lease } = known;
				if (lease !== null) {
					this.leave(moved);
					known.endedBy = lease.token;
					// Of calls at once any may have been the first: then what it holds is not known.
					const first = calls[i]!.find(({ id, token }) => id === moved.id && token === lease.token)!;
					if (calls.length === 1) this.hold(first, moved);
				} else expect((await this.q.operator.getJob(known))!.state, `job ${moved.id} is answered as it stands`).toBe(moved.state);
			}
	}

	async followUp(): Promise<void> {
		const job = this.leased()[0];
		if (job === undefined) return;
		const { q } = this;
		const followUp = q.followUp({
			tenant: this.pick(TENANTS),
			task: this.pick(TASKS),
			...(this.chance(0.4) ? { key: this.pick(KEYS) } : {}),
		});
		const wrong = this.chance(0.3);
		const before = (await q.operator.counts()).submitted;
		const answer = await q.finish(
			{ ...job.lease!, token: job.lease!.token + Number(wrong) },
			{ outcome: "done", result: "1", followUps: [followUp] },
		);
		expect(answer).toHaveLength(wrong ? 0 : 1);
		if (wrong) return expect((await q.operator.counts()).submitted).toBe(before);
		job.endedBy = job.lease!.token;
		this.leave(answer[0]!);
		const { jobs } = await q.operator.listJobs({ limit: 1 });
		expect(jobs[0]).toMatchObject({ parentId: job.id, tail: followUp.tail, tenant: followUp.tenant });
		this.adopt(jobs[0]!);
	}
	adopt(job: Job): void {
		const { id, tail, tenant, task, key, state } = job;
		this.known.set(id, { id, tail, tenant, task, key, state, lease: null, leaseUntil: 0, endedBy: null, ends: 0 });
	}

	async heartbeat(): Promise<void> {
		const { q } = this;
		const leases = [...this.some(this.leased(), 0.5).map(job => job.lease!), ...this.some(this.used.slice(-20), 0.2)].map(
			({ id, token }) => ({ id, token }),
		);
		const leaseMs = this.upTo(3000);
		const right = new Set(leases.filter(({ id, token }) => this.known.get(id)?.lease?.token === token).map(({ id }) => id));
		const answer = await q.worker.extendLeases(leases, leaseMs, q.now);
		expect(new Set(answer.map(job => job.id))).toEqual(right);
		for (const id of right) this.known.get(id)!.leaseUntil = q.now + leaseMs;
	}

	async expire(): Promise<void> {
		const { q } = this;
		if (this.chance(0.2)) {
			const worker = `w${this.upTo(3)}`;
			const mine = this.leased().filter(job => job.lease!.worker === worker && job.leaseUntil > q.now);
			expect(await q.worker.forfeitLeases(worker, q.now)).toBe(mine.length);
			for (const job of mine) job.leaseUntil = q.now;
		}
		const limit = 1 + this.upTo(10);
		const due = this.leased().filter(job => job.leaseUntil <= q.now);
		const lost = await q.worker.expireLeases(limit, q.now);
		expect(lost).toHaveLength(Math.min(limit, due.length));
		for (const moved of lost) {
			expect(due.map(job => job.id)).toContain(moved.id);
			this.leave(moved);
		}
	}

	async cancelLate(): Promise<void> {
		for (const moved of await this.q.worker.cancelLate(1 + this.upTo(10), this.q.now)) {
			expect(this.known.get(moved.id)!.lease).toBeNull();
			expect(moved).toMatchObject({ state: "cancelled", reason: "expired" });
			this.leave(moved);
		}
	}

	async change(): Promise<void> {
		if (this.known.size === 0) return;
		const { q } = this;
		const known = this.pick(this.jobs);
		const foreign = this.chance(0.1);
		const store = q.tenant(foreign ? "stranger" : known.tenant);
		const retries = this.chance(0.5);
		const before = (await q.operator.getJob(known))!;
		const answer = await (retries ? store.retryJob(known, q.now) : store.cancelJob(known, q.now));
		if (foreign) return expect(answer).toBeNull();
		const { job, changed } = answer!;
		if (retries) {
			expect(changed).toBe(["failed", "dead", "cancelled"].includes(before.state));
			if (changed) {
				known.ends = 0;
				known.endedBy = null;
			}
		} else {
			expect(changed).toBe(!isEnded(before.state) && before.cancelRequestedAt === null);
			if (changed && before.state !== "running") known.ends++;
			if (before.state === "running") expect(job.state).toBe("running");
		}
		known.state = job.state;
	}

	/** An action on many, carried on to its end. */
	async bulk(): Promise<void> {
		const { q } = this;
		const action = this.pick(["retry", "cancel", "delete"] as const);
		const tenant = this.chance(0.7) ? this.pick(TENANTS) : null;
		const filter = {
			task: this.pick(TASKS),
			...(this.chance(0.3) ? { tag: "x" } : {}),
			...(this.chance(0.2) ? { fingerprint: "f0" } : {}),
		};
		const store = tenant === null ? q.operator : q.tenant(tenant);
		const { value } = await store.countMatching({ ...filter, statuses: ACTS_ON[action] }, 1000);
		const { id } = await store.startBulkAction({ action, filter }, q.now);
		for (let i = 0; (await q.worker.nextDue([], q.now)).bulkActions; i++) {
			expect(i, "a bulk action does not come to its end").toBeLessThan(100);
			for (const moved of await q.worker.advanceBulkActions(1 + this.upTo(5), q.now)) {
				const known = this.known.get(moved.id)!;
				expect([known.task, tenant ?? known.tenant]).toEqual([filter.task, known.tenant]);
				if (action === "delete") this.known.delete(moved.id);
				else if (action === "retry") Object.assign(known, { ends: 0, endedBy: null, state: moved.state });
				else if (moved.state === "cancelled") this.leave(moved);
			}
		}
		const { seen, changed } = (await store.getBulkAction(id))!;
		expect(seen).toBe(value);
		if (action !== "cancel") expect(changed).toBe(value);
	}

	async limits(): Promise<void> {
		const { q } = this;
		if (this.chance(0.2)) {
			const task = this.pick(TASKS);
			const tenant = this.chance(0.5) ? this.pick(TENANTS) : null;
			await q.operator.resetCircuit(task, tenant);
			for (const hold of [...this.holds.keys()])
				if (tenant === null ? hold.endsWith(task) : hold === `${tenant} ${task}`) this.holds.delete(hold);
			return;
		}
		if (this.chance(0.3)) {
			const task = this.pick(TASKS);
			const settings = { concurrency: this.chance(0.5) ? null : this.upTo(8), paused: this.chance(0.1) };
			this.taskCaps.set(task, settings);
			return q.operator.setTask(task, settings);
		}
		const tenant = this.pick(TENANTS);
		const caps = this.caps.get(tenant)!;
		caps.concurrency = this.upTo(8);
		caps.backlog = 5 + this.upTo(20);
		caps.paused = this.chance(0.1);
		const task = this.pick(TASKS);
		caps.tasks.set(task, this.chance(0.5) ? null : this.upTo(4));
		const { concurrency, backlog, paused } = caps;
		await q.operator.setLimits(tenant, { concurrency, backlog, paused, weight: 1 + this.upTo(4), tasks: Object.fromEntries(caps.tasks) });
	}

	async prune(): Promise<void> {
		const { q } = this;
		const at = q.now;
		const before = await q.all();
		const limit = 1 + this.upTo(20);
		const old = before.filter(job => job.expiresAt !== null && job.expiresAt <= at);
		const count = await q.worker.prune(limit, at);
		expect(count).toBe(Math.min(limit, old.length));
		const left = new Set((await q.all()).map(job => job.id));
		const gone = before.filter(job => !left.has(job.id));
		expect(gone).toHaveLength(count);
		for (const job of gone) {
			expect(job.expiresAt).toBeLessThanOrEqual(at);
			this.known.delete(job.id);
		}
		this.pruned += count;
	}

	async rehearse(): Promise<void> {
		const { q } = this;
		const before = [await q.operator.counts(), await q.all()];
		await q.worker.rehearse(q.request({ limit: 5 }), 5, q.now);
		expect([await q.operator.counts(), await q.all()]).toEqual(before);
	}

	async operation(): Promise<void> {
		const { q } = this;
		const dice = this.upTo(100);
		if (this.chance(0.4)) q.now += this.chance(0.05) ? this.upTo(20_000) - 5_000 : this.upTo(400);
		this.latest = Math.max(this.latest, q.now);
		if (dice < 25) await this.submit();
		else if (dice < 50) await this.claim();
		else if (dice < 68) await this.finish();
		else if (dice < 71) await this.followUp();
		else if (dice < 76) await this.heartbeat();
		else if (dice < 82) await this.expire();
		else if (dice < 86) await this.cancelLate();
		else if (dice < 93) await this.change();
		else if (dice < 94) await this.bulk();
		else if (dice < 97) await this.limits();
		else if (dice < 99) await this.prune();
		else await this.rehearse();
	}

	async watch(): Promise<void> {
		const states = new Map((await this.q.all()).map(job => [job.id, job.state]));
		for (const [id, state] of states) {
			const before = this.#states.get(id) ?? "new";
			if (before !== state) this.moves.add(`${before} ${state}`);
		}
		this.#states = states;
	}

	/** The store adds up, nothing that was accepted is lost, and every lease is where the caller thinks it is. */
	async verify(): Promise<void> {
		const { q } = this;
		expect(await q.operator.verify()).toEqual([]);
		const jobs = new Map((await q.all()).map(job => [job.id, job]));
		expect([...jobs.keys()].sort()).toEqual([...this.known.keys()].sort());
		const holding = [...jobs.values()].filter(job => ["ready", "delayed", "running"].includes(job.state) && job.key !== null);
		const holders = new Set(holding.map(job => `${job.tenant} ${job.key}`));
		expect(holders.size, "a key has two holders").toBe(holding.length);
		for (const known of this.known.values()) {
			const job = jobs.get(known.id)!;
			expect(job.state === "running", `job ${job.id} is ${job.state}`).toBe(known.lease !== null);
			expect(isEnded(job.state)).toBe(known.ends === 1);
			if (known.lease !== null) expect([job.leaseUntil, job.worker]).toEqual([known.leaseUntil, known.lease.worker]);
			// One that is too late to start is passed over, and waits to be cancelled.
			if (job.state === "blocked" && (job.startBy ?? Infinity) > this.latest)
				expect(holders.has(`${job.tenant} ${job.key}`), `job ${job.id} waits for a key that nobody has`).toBe(true);
		}
		await Promise.all(
			[...jobs.values()].map(async job => {
				const history = await q.operator.historyOf(job);
				expect(history.map(event => event.seq)).toEqual(Array.from({ length: job.seq }, (_, i) => i + 1));
				expect(history.filter(event => event.kind === "claimed")).toHaveLength(job.claims);
				expect(history.filter(event => event.kind === "refused").length).toBeLessThanOrEqual(10);
			}),
		);
	}

	async drain(): Promise<void> {
		const { q } = this;
		for (const tenant of TENANTS)
			await q.operator.setLimits(tenant, { concurrency: 100, paused: false, tasks: Object.fromEntries(TASKS.map(task => [task, null])) });
		for (const task of TASKS) await q.operator.setTask(task, { concurrency: null, paused: false });
		for (const caps of this.caps.values()) Object.assign(caps, { concurrency: 100, paused: false, tasks: new Map() });
		for (const task of TASKS) this.taskCaps.set(task, { concurrency: null, paused: false });
		q.now += 1_000_000;
		for (let round = 0; (await q.operator.counts()).activeTenants > 0; round++) {
			expect(round, "the store does not drain").toBeLessThan(300);
			for (const moved of await q.expire()) this.leave(moved);
			for (const moved of await q.worker.cancelLate(100, q.now)) this.leave(moved);
			const jobs = await q.claim({ limit: 100 });
			for (const job of jobs) this.known.get(job.id)!.lease = job;
			for (const moved of await q.finish(jobs)) this.leave(moved);
		}
		await this.verify();
		q.now += SHORT_LIVED.keepDeadMs * 2;
		while ((await q.worker.prune(50, q.now)) > 0);
		expect(await q.operator.listJobs({ limit: 10 })).toEqual({ jobs: [], next: null });
		const { version: _, submitted, finished, activeTenants, ...left } = await q.operator.counts();
		expect(submitted).toBe(finished);
		expect([activeTenants, ...Object.values(left)]).toEqual(Array(9).fill(0));
		expect(await q.operator.verify()).toEqual([]);
	}
}

const LAWFUL = new Set<string>([
	...TRANSITIONS.map(({ from, to }) => `${from} ${to}`),
	// Due and claimed by one call.
	"delayed running",
	"new running",
]);

/** Lives of `steps` operations, one for each seed. A step costs six calls, half of them at once: 150 steps are some 900. */
export function randomLives(
	name: string,
	open: (defaults: StorageDefaults) => Promise<Opened>,
	{ seeds, steps }: { readonly seeds: number; readonly steps: number },
): void {
	describe(`a random life of ${name}`, () => {
		for (let seed = 1; seed <= seeds; seed++)
			it(`keeps every promise, makes no move that is not in the table, and ends with nothing left (seed ${seed})`, async () => {
				const { storage, close } = await open(SHORT_LIVED);
				const run = new RandomRun(new Desk(storage), seed);
				let step = 0;
				try {
					for (; step < steps; step++) {
						await run.operation();
						await run.watch();
						if (step % VERIFY_EVERY === 0) await run.verify();
					}
					await run.drain();
				} catch (error) {
					throw new Error(`seed ${seed}, step ${step}: ${(error as Error).message}`, { cause: error });
				} finally {
					await close();
				}
				expect([...run.moves].filter(move => !LAWFUL.has(move))).toEqual([]);
				expect(run.used.length).toBeGreaterThan(steps / 20);
				if (steps < 500) return;
				expect(run.moves.size).toBeGreaterThan(15);
				expect(run.pruned).toBeGreaterThan(steps / 50);
			}, 120_000);
	});
}
