/** What may go wrong between here and PostgreSQL: each has a clear error, the store goes on by itself, and nothing is lost or done twice. */
import { chownSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import postgres from "postgres";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { startLoop } from "../../emulator/loop.ts";
import { nodeClock, nodeDeps } from "../../emulator/nodeDeps.ts";
import { type Opened, type OpenOptions, openPostgres } from "../../emulator/openPostgres.ts";
import { readAddress } from "../../emulator/postgresPool.ts";
import { readSettings } from "../../emulator/settings.ts";
import type { Job } from "../../lib/job.ts";
import { createLog, type LogRecord } from "../../lib/log.ts";
import { type Migration, SchemaTooNew, SchemaTooOld, toMigration } from "../../lib/storage/migrate.ts";
import { isPassing, type Param, PostgresDriver, type PostgresHandle } from "../../lib/storage/postgres/driver.ts";
import { migratePostgres } from "../../lib/storage/postgres/migrate.ts";
import { PostgresEngine } from "../../lib/storage/postgres/postgresEngine.ts";
import { type Row, S } from "../../lib/storage/rows.ts";
import { type Claimed, type NewJob, type NewSchedule, PartlyRecorded, StorageUnavailable } from "../../lib/storage/storage.ts";
import { openStore } from "../../lib/storage/store.ts";
import type { TaskRegistry } from "../../lib/task.ts";
import { createCertificate } from "../support/certificate.ts";
import { freshSchema } from "../support/postgres.ts";
import { type Break, type PostgresProxy, startPostgresProxy } from "../support/postgresProxy.ts";
import { Release1 } from "../support/postgresRelease1.ts";
import { type PostgresServer, startPostgres } from "../support/postgresServer.ts";
import { CANCELLED, createRandom, DAY, DEFAULTS, Desk, DONE, LEASE_MS, MINUTE, retryIn, T0, TASKS } from "./desk.ts";

const closing: (() => unknown)[] = [];
async function closeAll(): Promise<void> {
	for (const close of closing.splice(0).reverse()) await close();
}
afterEach(closeAll);

/** The address with something else in it. */
function changed(address: string, change: (url: URL) => void): string {
	const url = new URL(address);
	change(url);
	return url.href;
}
const withParameter = (address: string, name: string, value: string | number): string =>
	changed(address, url => url.searchParams.set(name, String(value)));

/** A client of its own, with the numbers of the driver's. */
function client(address: string, options: postgres.Options<Record<string, never>> = {}): postgres.Sql {
	const sql = postgres(
		changed(address, url => (url.search = "")),
		{
			max: 1,
			onnotice: () => {},
			types: { bigint: { to: 20, from: [20], serialize: String, parse: Number } } as never,
			...options,
		},
	);
	closing.push(() => sql.end({ timeout: 1 }));
	return sql;
}
async function open(address: string, options?: OpenOptions): Promise<Opened> {
	const opened = await openPostgres(address, DEFAULTS, TASKS, options);
	closing.push(() => opened.storage.close());
	return opened;
}
/** An address of a schema of its own. */
function schema(): string {
	const { url, drop } = freshSchema();
	closing.push(drop);
	return url;
}
async function proxied(address: string): Promise<PostgresProxy> {
	const proxy = await startPostgresProxy(address);
	closing.push(() => proxy.close());
	return proxy;
}

/** One verb: `prepare` and `check` go directly to the store, `call` over the line that breaks. */
interface Verb {
	readonly name: string;
	// biome-ignore lint/suspicious/noExplicitAny: each has its own.
	readonly prepare?: (q: Desk, tenant: string) => Promise<any>;
	// biome-ignore lint/suspicious/noExplicitAny: each has its own.
	readonly call: (p: Desk, given: any, tenant: string) => Promise<unknown>;
	/** What holds once the verb was called until it answered: one effect, whatever was lost on the way. */
	// biome-ignore lint/suspicious/noExplicitAny: each has its own.
	readonly check?: (q: Desk, given: any, tenant: string) => Promise<void>;
}

/** A job that is not claimed here unless by name. */
const LATER = "later";
const waiting = (q: Desk, tenant: string): Promise<number> => q.submit({ tenant, task: LATER });
const leased = async (q: Desk, tenant: string, worker = "worker"): Promise<Claimed> => {
	await q.submit({ tenant });
	return q.claimOne({ worker });
};
const jobsOf = async (q: Desk, tenant: string): Promise<Job[]> => (await q.tenant(tenant).listJobs({ limit: 10 })).jobs;
const hourly = (nextAt: number): NewSchedule => ({
	name: "hourly",
	task: LATER,
	payload: "{}",
	cron: "0 * * * *",
	timezone: "UTC",
	missed: "skip",
	overlap: "skip",
	paused: false,
	maxRetries: 0,
	nextAt,
});
/** Out of the way of the next. */
const drop = async (q: Desk, { id }: { readonly id: number }): Promise<void> => {
	expect(await q.cancel(id)).toMatchObject({ changed: true });
};

const VERBS: readonly Verb[] = [
	{
		name: "insertJob: stored once, or once more where its answer was lost",
		call: (p, _, tenant) => p.submit({ tenant, task: LATER }),
		check: async (q, _, tenant) => expect([1, 2]).toContain((await jobsOf(q, tenant)).length),
	},
	{
		name: "insertJob with an idempotency key: stored once",
		prepare: async (q, tenant) => ({
			...q.job({ task: LATER, tags: ["x"], idempotency: { key: tenant, fingerprint: "f", expiresAt: q.now + DAY } }),
		}),
		call: (p, job: NewJob, tenant) => p.tenant(tenant).insertJob(job, p.now),
		check: async (q, job: NewJob, tenant) => {
			const [stored, ...more] = await jobsOf(q, tenant);
			expect(more).toEqual([]);
			expect(await q.tenant(tenant).insertJob(job, q.now)).toEqual({ status: "replayed", id: stored!.id });
		},
	},
	{
		name: "getJob",
		prepare: waiting,
		call: async (p, id: number, tenant) => {
			const job = await p.get(id);
			expect([await p.tenant(tenant).getJob(job), await p.operator.getJob(job)]).toEqual([job, job]);
		},
	},
	{
		name: "historyOf",
		prepare: waiting,
		call: async (p, id: number) => expect(await p.kinds(id)).toEqual(["submitted"]),
	},
	{
		name: "listJobs",
		prepare: waiting,
		call: async (p, id: number, tenant) => {
			expect((await p.tenant(tenant).listJobs({ statuses: ["pending", "done"], task: LATER, limit: 3 })).jobs.map(job => job.id)).toEqual([
				id,
			]);
			expect((await p.operator.listJobs({ limit: 1 })).jobs).toHaveLength(1);
		},
	},
	{
		name: "counts",
		prepare: waiting,
		call: async (p, _, tenant) => {
			expect(await p.tenant(tenant).counts()).toMatchObject({ ready: 1, submitted: 1 });
			await p.operator.counts();
		},
	},
	{
		name: "cancelJob of one that waits: cancelled once",
		prepare: waiting,
		call: (p, id: number) => p.cancel(id),
		check: async (q, id: number) => expect(await q.kinds(id)).toEqual(["submitted", "cancelled"]),
	},
	{
		name: "cancelJob of one that runs: asked once",
		prepare: leased,
		call: (p, { id }: Claimed) => p.cancel(id),
		check: async (q, lease: Claimed) => {
			expect(await q.kinds(lease.id)).toEqual(["submitted", "claimed", "cancel_requested"]);
			expect(await q.finish(lease, CANCELLED)).toHaveLength(1);
		},
	},
	{
		name: "retryJob: back in line once",
		prepare: async (q, tenant) => {
			const id = await waiting(q, tenant);
			await q.cancel(id);
			return id;
		},
		call: (p, id: number) => p.retry(id),
		check: async (q, id: number) => expect(await q.kinds(id)).toEqual(["submitted", "cancelled", "retried"]),
	},
	{
		name: "claimDueJobs: given once; where its answer was lost, again when the lease has run out",
		prepare: (q, tenant) => q.submit({ tenant }),
		call: p => p.claim(),
		check: async (q, id: number) => {
			expect(await q.get(id)).toMatchObject({ state: "running", claims: 1, losses: 0 });
			q.now += LEASE_MS;
			expect((await q.expire()).map(job => job.id)).toEqual([id]);
			const lease = await q.claimOne();
			expect(lease).toMatchObject({ id, claims: 2, losses: 1, failures: 0 });
			expect(await q.finish(lease)).toMatchObject([{ id, state: "done" }]);
		},
	},
	{
		name: "rehearse: changes nothing",
		prepare: async (q, tenant) => q.get(await q.submit({ tenant })),
		call: (p, { id }: Job) =>
			p.worker.rehearse(p.request(), 10, p.now).then(({ claimed }) => expect(claimed.map(job => job.id)).toEqual([id])),
		check: async (q, before: Job) => {
			expect(await q.get(before.id)).toEqual(before);
			await drop(q, before);
		},
	},
	{
		name: "extendLeases: extended",
		prepare: leased,
		call: (p, { id, token }: Claimed) =>
			p.worker
				.extendLeases([{ id, token, progress: "1" }], 2 * LEASE_MS, p.now)
				.then(held => expect(held).toEqual([{ id, cancelRequested: false, leaseUntil: p.now + 2 * LEASE_MS }])),
		check: async (q, lease: Claimed) => {
			expect(await q.get(lease.id)).toMatchObject({ leaseUntil: q.now + 2 * LEASE_MS, progress: "1" });
			expect(await q.finish(lease)).toHaveLength(1);
		},
	},
	{
		name: "finishIfLeased with follow-ups: ended once, submitted once",
		prepare: async (q, tenant) => ({ lease: await leased(q, tenant), followUp: q.followUp({ tenant: `${tenant}-next`, task: LATER }) }),
		call: (p, { lease, followUp }) => p.finish(lease, { ...DONE, followUps: [followUp] }),
		check: async (q, { lease }, tenant) => {
			expect(await q.kinds(lease.id)).toEqual(["submitted", "claimed", "done"]);
			expect(await q.tenant(tenant).counts()).toMatchObject({ done: 1, finished: 1, submitted: 1 });
			expect(await jobsOf(q, `${tenant}-next`)).toHaveLength(1);
		},
	},
	{
		name: "finishIfLeased with a failure: one attempt spent",
		prepare: leased,
		call: (p, lease: Claimed) => p.finish(lease, retryIn(1000)),
		check: async (q, { id }: Claimed) => {
			expect(await q.get(id)).toMatchObject({ state: "delayed", failures: 1 });
			await drop(q, { id });
		},
	},
	{
		name: "finishIfLeased that opens a circuit and holds a task: once",
		prepare: async (q, tenant) => {
			await q.submit({ tenant, task: `of ${tenant}` });
			return q.claimOne({ tasks: [`of ${tenant}`] });
		},
		call: (p, lease: Claimed) => p.finish(lease, retryIn(MINUTE, { circuitFailures: 1, hold: "task" })),
		check: async (q, { id, task, tenant }: Claimed) => {
			expect((await q.history(id)).map(({ kind, data }) => [kind, data.circuit])).toEqual([
				["submitted", undefined],
				["claimed", undefined],
				["retry", "opened"],
			]);
			expect(await q.operator.listTasks()).toContainEqual({
				task,
				concurrency: null,
				paused: false,
				heldUntil: q.now + MINUTE,
				circuitsOpen: 1,
				circuits: [{ tenant, probesAt: q.now + MINUTE }],
				seenAt: { process: null, remote: null },
			});
			expect(await q.operator.resetCircuit(task, tenant)).toBe(1);
			await drop(q, { id });
		},
	},
	{
		name: "finishIfLeased of an ending that is refused: refused, or once more where its answer was lost",
		prepare: async (q, tenant) => {
			const lease = await leased(q, tenant);
			await q.finish(lease);
			return lease.id;
		},
		call: (p, id: number) => p.finish({ id, token: 1 }).then(moved => expect(moved).toEqual([])),
		check: async (q, id: number) => {
			const [submitted, claimed, done, ...refused] = await q.kinds(id);
			expect([submitted, claimed, done]).toEqual(["submitted", "claimed", "done"]);
			expect(["refused", "refused,refused"]).toContain(refused.join());
		},
	},
	{
		name: "expireLeases: lost once",
		prepare: async (q, tenant) => {
			const lease = await leased(q, tenant);
			q.now += LEASE_MS;
			return lease;
		},
		call: p => p.expire(),
		check: async (q, { id }: Claimed) => {
			expect(await q.get(id)).toMatchObject({ state: "ready", losses: 1 });
			expect(await q.kinds(id)).toEqual(["submitted", "claimed", "lost"]);
			await drop(q, { id });
		},
	},
	{
		name: "cancelLate: cancelled once",
		prepare: async (q, tenant) => {
			const id = await q.submit({ tenant, task: LATER, startBy: q.now + 1 });
			q.now += 2;
			return id;
		},
		call: p => p.worker.cancelLate(10, p.now),
		check: async (q, id: number) => {
			expect(await q.get(id)).toMatchObject({ state: "cancelled", reason: "expired" });
			expect(await q.kinds(id)).toEqual(["submitted", "cancelled"]);
		},
	},
	{
		name: "prune: deleted",
		prepare: async (q, tenant) => {
			const lease = await leased(q, tenant);
			await q.finish(lease);
			q.now += 2 * DAY;
			return lease;
		},
		call: p => p.worker.prune(1000, p.now),
		check: async (q, { id }: Claimed, tenant) => {
			expect(await q.tenant(tenant).getJobById(id)).toBe(null);
			expect(await q.tenant(tenant).counts()).toMatchObject({ done: 0 });
		},
	},
	{
		name: "deleteJob: gone",
		prepare: async (q, tenant) => {
			const lease = await leased(q, tenant);
			await q.finish(lease);
			return q.get(lease.id);
		},
		call: (p, job: Job) => p.tenant(job.tenant).deleteJob(job, p.now),
		check: async (q, job: Job) => {
			expect(await q.tenant(job.tenant).getJobById(job.id)).toBe(null);
			expect(await q.tenant(job.tenant).counts()).toMatchObject({ done: 0 });
		},
	},
	{
		name: "a bulk action: started once, or once more where its answer was lost, and carried out",
		prepare: async (q, tenant) => {
			const id = await waiting(q, tenant);
			await q.cancel(id);
			return id;
		},
		call: async (p, id: number, tenant) => {
			await p.tenant(tenant).startBulkAction({ action: "retry", ids: [id] }, p.now);
			while ((await p.worker.nextDue([], p.now)).bulkActions) await p.worker.advanceBulkActions(10, p.now);
		},
		check: async (q, id: number, tenant) => {
			// One that broke off before it was recorded is busy for a while.
			q.now += MINUTE;
			while ((await q.worker.nextDue([], q.now)).bulkActions) await q.worker.advanceBulkActions(10, q.now);
			expect(await q.kinds(id)).toEqual(["submitted", "cancelled", "retried"]);
			for (const action of await q.tenant(tenant).listBulkActions(10)) expect(action).toMatchObject({ status: "done", seen: 1 });
			await drop(q, { id });
		},
	},
	{
		name: "putSchedule, changeSchedule, dueSchedules, moveSchedule, deleteSchedule: one of it",
		call: async (p, _, tenant) => {
			// Where the answer was lost it is there already.
			const made = await p.tenant(tenant).putSchedule(hourly(p.now), p.now, 10);
			expect(made === null || (await p.tenant(tenant).changeSchedule(hourly(p.now), p.now)) !== null).toBe(true);
			const put = (await p.tenant(tenant).getSchedule("hourly"))!;
			const due = (await p.worker.dueSchedules(10, p.now)).filter(schedule => schedule.tenant === tenant);
			for (const schedule of due)
				await p.worker.moveSchedule(schedule, { lastAt: schedule.nextAt, nextAt: p.now + 60 * MINUTE, lastJobId: null });
			expect(await p.tenant(tenant).getSchedule("hourly")).toEqual({ ...put, lastAt: p.now, nextAt: p.now + 60 * MINUTE });
			expect(await p.tenant(tenant).listSchedules(10)).toHaveLength(1);
		},
		check: async (q, _, tenant) => {
			expect(await q.tenant(tenant).deleteSchedule("hourly")).toBe(true);
			expect(await q.tenant(tenant).deleteSchedule("hourly")).toBe(false);
		},
	},
	{
		name: "setWebhook, untoldWebhooks, tellWebhooks: told",
		call: async (p, _, tenant) => {
			await p.tenant(tenant).setWebhook("https://example.com/");
			expect(await p.tenant(tenant).getWebhook()).toBe("https://example.com/");
			const id = await waiting(p, tenant);
			await p.cancel(id);
			await p.worker.tellWebhooks(await p.worker.untoldWebhooks(10));
		},
		check: async q => expect(await q.worker.untoldWebhooks(10)).toEqual([]),
	},
	{
		name: "seeWorker, listWorkers, deadLetterGroups",
		call: async (p, _, tenant) => {
			await p.worker.seeWorker({ name: tenant, kind: "remote", tasks: [LATER], version: "1" }, p.now);
			expect((await p.operator.listWorkers(100)).filter(({ name }) => name === tenant)).toHaveLength(1);
			expect(await p.tenant(tenant).deadLetterGroups({}, 10)).toEqual([]);
		},
	},
	{ name: "nextDue", call: p => p.worker.nextDue(TASKS, p.now) },
	{ name: "leaseHolders", call: p => p.worker.leaseHolders() },
	{
		name: "forfeitLeases: lost once",
		prepare: (q, tenant) => leased(q, tenant, tenant),
		call: (p, _, tenant) => p.worker.forfeitLeases(tenant, p.now),
		check: async (q, { id }: Claimed) => {
			expect((await q.expire()).map(job => job.id)).toEqual([id]);
			expect(await q.get(id)).toMatchObject({ state: "ready", losses: 1 });
			await drop(q, { id });
		},
	},
	{
		name: "setLimits: set",
		call: (p, _, tenant) => p.operator.setLimits(tenant, { concurrency: 2, weight: 3, tasks: { b: 1 } }),
		check: async (q, _, tenant) => {
			const ids = await q.fill(2, { tenant, task: "b" });
			const leases = await q.claim({ limit: 10 });
			expect(leases).toHaveLength(1);
			await q.finish(leases);
			await drop(q, { id: ids.find(id => id !== leases[0]!.id)! });
		},
	},
	{
		name: "setTask: set",
		call: (p, _, tenant) => p.operator.setTask(`of ${tenant}`, { concurrency: 1 }),
		check: async (q, _, tenant) => {
			const tasks = [`of ${tenant}`];
			const ids = await q.fill(2, { tenant, task: tasks[0]! });
			const leases = await q.claim({ limit: 10, tasks });
			expect(leases).toHaveLength(1);
			await q.finish(leases);
			await drop(q, { id: ids.find(id => id !== leases[0]!.id)! });
		},
	},
	{ name: "verify", call: p => p.operator.verify().then(violations => expect(violations).toEqual([])) },
	{ name: "ping", call: p => p.operator.ping() },
];

/** What a store that is away answers: in a sentence, without the password. */
async function unavailable(call: Promise<unknown>, address: string): Promise<void> {
	const error = await call.then(
		answer => new Error(`it was answered: ${answer}`),
		error => error,
	);
	if (!(error instanceof StorageUnavailable)) throw error;
	expect(error.message).not.toBe("");
	expect(error.message).not.toContain(new URL(address).password);
}

describe("a connection that is lost in the middle of a verb", () => {
	let proxy: PostgresProxy;
	let q: Desk;
	let p: Desk;
	let tenants = 0;
	let dropSchema: () => Promise<void>;
	beforeAll(async () => {
		const { url, drop } = freshSchema();
		dropSchema = drop;
		q = new Desk((await openPostgres(withParameter(url, "pool", 4), DEFAULTS, TASKS)).storage);
		proxy = await startPostgresProxy(withParameter(url, "pool", 2));
		p = new Desk((await openPostgres(proxy.url, DEFAULTS, TASKS)).storage, q);
	});
	afterAll(async () => {
		await p.storage.close();
		await q.storage.close();
		await proxy.close();
		await dropSchema();
	});

	/** So many statements of one verb are broken, each in its turn. */
	const BREAKS_MAX = 7;

	it.each(VERBS)("$name", async ({ prepare, call, check }) => {
		for (const how of ["before", "after"] satisfies Break[]) {
			let nth = 0;
			for (let goesOn = true; goesOn && nth < BREAKS_MAX; ) {
				const tenant = `t${++tenants}`;
				const given = await prepare?.(q, tenant);
				proxy.breakAt(++nth, how);
				const called = call(p, given, tenant);
				await called.catch(() => {});
				goesOn = proxy.broke();
				// What was to be taken back is gone with its connection.
				if (goesOn && proxy.statements.at(-1) !== "rollback") {
					await unavailable(called, proxy.url);
					await call(p, given, tenant);
				} else await called;
				await check?.(q, given, tenant);
			}
			expect(nth).toBeGreaterThan(1);
		}
		await q.audit();
	});
});

describe("a line to the server", () => {
	it("that hangs is given up after a while, for each verb that is on it and each that waits for one", async () => {
		const address = withParameter(schema(), "pool", 1);
		const direct = new Desk((await open(address)).storage);
		const proxy = await proxied(address);
		const p = new Desk((await open(proxy.url, { silenceMs: 1200 })).storage, direct);
		const job = p.job({ idempotency: { key: "k", fingerprint: "f", expiresAt: p.now + DAY } });
		await p.submit();
		proxy.breakAt(1, "hang");
		const startedAt = performance.now();
		const calls = [p.claim(), p.tenant().insertJob(job, p.now), p.worker.nextDue(TASKS, p.now)];
		const said = (await Promise.allSettled(calls)).map(ended => (ended.status === "rejected" ? `${ended.reason}` : "answered"));
		expect(said.toSorted()).toEqual([
			"StorageUnavailable: all 1 connections of the pool have been busy for 0.4 s",
			"StorageUnavailable: all 1 connections of the pool have been busy for 0.4 s",
			expect.stringMatching(/^StorageUnavailable: the database at 127\.0\.0\.1:\d+ has not answered for 1(\.\d)? s$/),
		]);
		expect(performance.now() - startedAt).toBeLessThan(3000);
		expect(proxy.broke()).toBe(true);
		expect(await p.tenant().insertJob(job, p.now)).toMatchObject({ status: "created" });
		expect(await p.claim({ limit: 10 })).toHaveLength(2);
		await direct.audit();
	});

	it("that is hung up on at once makes every verb fail soon, calls ever more rarely, and is back by itself", async () => {
		const address = schema();
		const proxy = await proxied(address);
		const p = new Desk((await open(proxy.url)).storage);
		await p.submit();
		proxy.accepts = false;
		proxy.cut();
		const dialled = proxy.dialled;
		const startedAt = performance.now();
		for (let i = 0; i < 4; i++) await Promise.all(Array.from({ length: 40 }, () => unavailable(p.worker.leaseHolders(), address)));
		expect(performance.now() - startedAt).toBeLessThan(5000);
		expect(proxy.dialled - dialled).toBeLessThan(250);
		proxy.accepts = true;
		expect(await p.claim()).toHaveLength(1);
		await p.audit();
	});

	it("is one of the pool's: one connection serves 50 verbs at once, and a rehearsal between them", async () => {
		const address = schema();
		const proxy = await proxied(withParameter(address, "pool", 1));
		const p = new Desk((await open(proxy.url)).storage);
		const dialled = proxy.dialled;
		const ids = await p.fill(20, i => ({ tenant: `t${i % 5}` }));
		const calls = ids.flatMap(id => [p.get(id), p.claim(), p.kinds(id)]);
		await Promise.all([
			...calls,
			p.worker.rehearse(p.request(), 10, p.now),
			p.operator.verify(),
			p.operator.setLimits("t1", { weight: 2 }),
		]);
		expect(proxy.dialled).toBe(dialled);
		expect(await p.operator.counts()).toMatchObject({ running: 20 });
		await p.audit();
	});

	it("keeps nothing of a session: each statement may go over another, which was reset before", async () => {
		const address = schema();
		const q = new Desk((await open(address)).storage);
		const random = createRandom(7);
		const sessions = Array.from({ length: 3 }, () => client(address, { prepare: false }));
		const any = async (): Promise<postgres.Sql> => {
			const sql = sessions[Math.floor(random() * sessions.length)]!;
			if (random() < 0.5) await sql.unsafe("DISCARD ALL");
			return sql;
		};
		const handle = {
			unsafe: async (text: string, params: Param[] = [], options: { prepare?: boolean } = {}) =>
				(await any()).unsafe(text, params, options),
			begin: async (work: (transaction: PostgresHandle) => Promise<unknown>) => (await any()).begin(sql => work(sql as never)),
			end: async () => {},
		} as unknown as PostgresHandle;
		const driver = new PostgresDriver(handle, { schema: readAddress(address).schema, prepare: false, defer: setImmediate });
		const p = new Desk(await openStore(new PostgresEngine(driver), DEFAULTS, TASKS), q);
		for (const [i, { prepare, call, check }] of VERBS.entries()) {
			const given = await prepare?.(q, `t${i}`);
			await call(p, given, `t${i}`);
			await check?.(q, given, `t${i}`);
		}
		await p.audit();
	});
});

describe("an address", () => {
	it.each([
		["?schema=a-b", /schema=a-b is no name of a schema/],
		["?schema=A", /no name of a schema/],
		['?schema=a"b', /no name of a schema/],
		["?schema=", /no name of a schema/],
		["?pool=0", /pool is not a whole number between 1 and 1000/],
		["?pool=many", /pool is not/],
		["?pool=2.5", /pool is not/],
		["?prepare=maybe", /prepare is neither true nor false/],
		["?sslmode=allow", /sslmode=allow is none of disable, prefer, require, verify-full/],
		["?statement_timeout=5&pool=3", /statement_timeout in the address is not known. Known: schema, pool, /],
		["?sslrootcert=/nowhere.pem", /nowhere.pem/],
	])("with %s is refused in a sentence", async (search, says) => {
		const address = `postgres://user:secret@127.0.0.1:1/db${search}`;
		const error: Error = await openPostgres(address, DEFAULTS, TASKS).then(
			() => new Error("it was opened"),
			error => error,
		);
		expect(error.message).toMatch(says);
		expect(error.message).not.toContain("secret");
	});

	it("names one host, which may be an IPv6 address", async () => {
		expect(() => readAddress("postgres://u:secret@a,b/db")).toThrow("the address names several hosts");
		await expect(openPostgres("postgres://u:secret@[::1]:1/db", DEFAULTS, TASKS)).rejects.toThrow(/ ::1/);
	});
});

/** Starts as the program does, and answers what it said meanwhile and how it ended. */
async function tryOpen(address: string, options: OpenOptions = {}): Promise<{ error: Error; said: string[] }> {
	const said: string[] = [];
	const error: Error = await openPostgres(address, DEFAULTS, TASKS, { say: line => said.push(line), ...options }).then(
		async ({ storage }) => {
			await storage.close();
			return new Error("it was opened");
		},
		error => error,
	);
	for (const text of [error.message, ...said]) expect(text).not.toContain(new URL(address).password || "no password");
	return { error, said };
}
const MIGRATIONS = new URL("../../lib/storage/migrations/postgres/", import.meta.url);
const migrations: readonly Migration[] = readdirSync(MIGRATIONS).map(name =>
	toMigration(name, readFileSync(new URL(name, MIGRATIONS), "utf8")),
);

describe("the start", () => {
	it("waits for a server that is not there, says so once a try, and ends with what is wrong", async () => {
		const proxy = await startPostgresProxy(schema());
		await proxy.close();
		const { error, said } = await tryOpen(proxy.url, { waitMs: 1000 });
		expect(error).toBeInstanceOf(StorageUnavailable);
		expect(error.message).toContain("ECONNREFUSED");
		expect(said.length).toBeGreaterThan(1);
		expect(said.length).toBeLessThan(5);
		for (const line of said) expect(line).toMatch(/^waiting for the database at 127\.0\.0\.1:\d+: connect ECONNREFUSED/);
		expect((await tryOpen(proxy.url)).said).toEqual([]);
	});

	it("goes on when the server has come", async () => {
		const proxy = await proxied(schema());
		proxy.accepts = false;
		const said: string[] = [];
		const opened = open(proxy.url, { waitMs: 10_000, say: line => said.push(line) });
		await sleep(300);
		proxy.accepts = true;
		await new Desk((await opened).storage).submit();
		expect(said[0]).toMatch(/^waiting for the database at .*: the database at .* closed the connection$/);
	});

	it("says that a host is not found", async () => {
		const { error } = await tryOpen(changed(schema(), url => (url.hostname = "nowhere.invalid")));
		expect(error).toBeInstanceOf(StorageUnavailable);
		expect(error.message).toContain("nowhere.invalid");
	});

	it("says that there is no such database", async () => {
		const { error } = await tryOpen(
			changed(schema(), url => (url.pathname = "/nowhere")),
			{ waitMs: 5000 },
		);
		expect(error).toMatchObject({ message: 'database "nowhere" does not exist', code: "3D000" });
	});

	it("says that who answers is no PostgreSQL, and does not wait for it to become one", async () => {
		const other = createServer((_, response) => response.end("hello")).listen(0, "127.0.0.1");
		closing.push(() => other.close());
		await new Promise(resolve => other.once("listening", resolve));
		for (const mode of ["disable", "prefer", "require"]) {
			const { error } = await tryOpen(`postgres://u:secret@127.0.0.1:${(other.address() as AddressInfo).port}/db?sslmode=${mode}`, {
				waitMs: 5000,
			});
			expect(error.message).toMatch(/^what answers at 127\.0\.0\.1:\d+ is no PostgreSQL$/);
		}
	});

	it("refuses a server without TLS where sslmode asks for it, and does without where it may", async () => {
		const address = schema();
		const [{ ssl }] = (await client(address).unsafe("SELECT current_setting('ssl') AS ssl")) as unknown as [{ ssl: string }];
		if (ssl === "off")
			for (const mode of ["require", "verify-full"]) {
				const { error } = await tryOpen(withParameter(address, "sslmode", mode), { waitMs: 5000 });
				expect(error.message).toMatch(/^the database at 127\.0\.0\.1:\d+ does not offer TLS, which sslmode asks for$/);
			}
		for (const mode of ["prefer", "disable"]) await new Desk((await open(withParameter(address, "sslmode", mode))).storage).submit();
	});

	it("refuses a schema that is somebody else's, and leaves it as it is", async () => {
		const address = schema();
		const { schema: name } = readAddress(address);
		const sql = client(address);
		await sql.unsafe(`CREATE SCHEMA ${name}; CREATE TABLE ${name}.jobs (title text)`);
		expect((await tryOpen(address, { waitMs: 5000 })).error.message).toMatch(
			/^the schema test_\w+ has tables of something else: name another one/,
		);
		await sql.unsafe(`DROP TABLE ${name}.jobs; CREATE TABLE ${name}.meta (name text, value text)`);
		expect((await tryOpen(address)).error.message).toMatch(/does not say which version it has/);
		const tables = await sql.unsafe(`SELECT table_name FROM information_schema.tables WHERE table_schema = '${name}'`);
		expect(tables.map(row => row.table_name)).toEqual(["meta"]);
	});

	it("refuses to migrate where it may not, and makes nothing", async () => {
		const address = schema();
		const { error } = await tryOpen(address, { migrate: false, waitMs: 5000 });
		expect(error).toBeInstanceOf(SchemaTooOld);
		expect(error.message).toMatch(/^the database is empty, this version of tickq needs schema \d+: run npm run migrate$/);
		expect(await client(address)`SELECT 1 FROM pg_namespace WHERE nspname = ${readAddress(address).schema}`).toEqual([]);
		await open(address);
		expect((await open(address, { migrate: false })).migrated).toEqual([]);
	});

	it.each([2, 8])("migrates once, however many (%i) start at the same time", async count => {
		const address = withParameter(schema(), "pool", 2);
		const opened = await Promise.all(Array.from({ length: count }, () => open(address)));
		const q = new Desk(opened[0]!.storage);
		await Promise.all(opened.map(({ storage }, i) => new Desk(storage, q).submit({ tenant: `t${i}` })));
		expect(await q.operator.counts()).toMatchObject({ ready: count });
		await q.audit();
	});

	it("takes back a migration that fails in the middle", async () => {
		const address = schema();
		const { schema: name } = readAddress(address);
		const sql = client(address);
		const next = migrations.length + 1;
		const broken = toMigration(`${String(next).padStart(4, "0")}_broken.sql`, "CREATE TABLE half (a int); SELECT * FROM nowhere;");
		const handle = sql as unknown as PostgresHandle;
		const migrate = (list: readonly Migration[]) => migratePostgres(handle, name, list, { dryRun: false });
		await expect(migrate([{ ...broken, number: 1 }])).rejects.toThrow('relation "nowhere" does not exist');
		expect(await sql`SELECT 1 FROM pg_namespace WHERE nspname = ${name}`).toEqual([]);
		await expect(migrate([...migrations, broken])).rejects.toThrow("nowhere");
		const state = () => sql.unsafe(`SELECT value, to_regclass('${name}.half')::text AS half FROM ${name}.meta WHERE name = 'schema'`);
		expect(await state()).toEqual([{ value: String(migrations.length), half: null }]);
		const mended = { ...broken, sql: `CREATE TABLE half (a int); UPDATE meta SET value = '${next}' WHERE name = 'schema'` };
		await migrate([...migrations, mended]);
		expect(await state()).toEqual([{ value: String(next), half: `${name}.half` }]);
	});

	it("refuses a server that is too old, and one with another isolation level", async () => {
		const stub = (row: Row): PostgresHandle => ({ unsafe: async () => [row], begin: () => Promise.reject(), end: async () => {} });
		const migrate = (row: Row) => migratePostgres(stub(row), "tickq", migrations, { dryRun: false });
		await expect(migrate({ version: "13.22", number: 130_022, isolation: "read committed" })).rejects.toThrow(
			"tickq needs PostgreSQL 14 or newer; this is 13.22",
		);
		await expect(migrate({ version: "18.1", number: 180_001, isolation: "serializable" })).rejects.toThrow(
			'default_transaction_isolation is "serializable" here',
		);
	});

	it("leaves a newer schema alone where that says that this code still may use it, else refuses it", async () => {
		const address = schema();
		const { schema: name } = readAddress(address);
		await open(address);
		const sql = client(address);
		await sql.unsafe(`UPDATE ${name}.meta SET value = '99' WHERE name = 'schema'`);
		const { storage, migrated } = await open(address);
		expect(migrated).toEqual([]);
		await storage.operator.ping();
		await new Desk(storage).submit();
		await sql.unsafe(`UPDATE ${name}.meta SET value = '99' WHERE name = 'oldest'`);
		const { error } = await tryOpen(address, { waitMs: 5000 });
		expect(error).toBeInstanceOf(SchemaTooNew);
		expect(error.message).toContain("the database has schema 99");
	});
});

describe("two releases side by side", () => {
	it("each have their functions: a newer schema leaves those of the older as they are", async () => {
		const address = schema();
		const { schema: name } = readAddress(address);
		const q = new Desk((await open(address)).storage);
		await q.fill(4);
		const sql = client(address);
		const functions = () =>
			sql.unsafe(`SELECT p.oid::regprocedure::text AS name, pg_get_functiondef(p.oid) AS text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
  WHERE n.nspname = '${name}' AND p.proname NOT LIKE '%\\_next' ORDER BY 1`);
		const before = await functions();
		expect(before.length).toBeGreaterThan(20);
		const next: Migration = {
			number: migrations.length + 1,
			name: "next",
			sql: `ALTER TABLE jobs ADD COLUMN colour text; CREATE INDEX jobs_colour ON jobs (colour) WHERE colour IS NOT NULL;
CREATE FUNCTION claim_next(most int) RETURNS SETOF jobs LANGUAGE sql AS $$ SELECT * FROM jobs WHERE state = 2 LIMIT most $$;
UPDATE meta SET value = '${migrations.length + 1}' WHERE name = 'schema'`,
		};
		const leases = await q.claim();
		await migratePostgres(sql as unknown as PostgresHandle, name, [...migrations, next], { dryRun: false });
		await q.finish(leases);
		expect(await functions()).toEqual(before);
		await q.finish(await q.claim());
		const again = new Desk((await open(address)).storage, q);
		await again.finish(await again.claim());
		await q.finish(await q.claim());
		await again.submit();
		expect(await again.operator.counts()).toMatchObject({ done: 4, ready: 1 });
		await q.audit();
	});
});

describe("the store of schema 1", () => {
	/** One with jobs in each state, by the code of that release. */
	async function older() {
		const address = schema();
		const { schema: name } = readAddress(address);
		const sql = client(address);
		const handle = sql as unknown as PostgresHandle;
		await migratePostgres(handle, name, migrations.slice(0, 1), { dryRun: false });
		const old = new Release1(sql, name);
		const migrate = () => migratePostgres(handle, name, migrations, { dryRun: false });
		return { address, name, sql, old, migrate };
	}
	const error = '{"message":"no"}';

	it("is brought here with jobs in every state, and goes on", async () => {
		const { address, old } = await older();
		const ended: number[] = [];
		const end = async (how: Record<string, unknown>, more = {}) => {
			const id = await old.submit("acme", "a", T0, more);
			await old.finish(await old.claim(["a"], 1, T0), how, T0);
			ended.push(id);
		};
		await end({ outcome: "done", result: "null" }, { tags: '["x"]' });
		await end({ outcome: "failed", error });
		await end({ outcome: "retry", delay_ms: 0, error }, { max_retries: 0 });
		const lost = await old.submit("acme", "a", T0);
		for (let i = 1; i <= 3; i++) {
			await old.claim(["a"], 1, T0 + i * LEASE_MS);
			await old.expire(T0 + (i + 1) * LEASE_MS);
		}
		const now = T0 + 5 * LEASE_MS;
		const cancelled = await old.submit("acme", "a", now);
		await old.cancel(cancelled, now);
		const delayed = await old.submit("acme", "a", now);
		await old.finish(await old.claim(["a"], 1, now), { outcome: "retry", delay_ms: MINUTE, error }, now);
		const blocked = await old.submit("acme", "b", now, { run_at: now + MINUTE, queue_key: "k" });
		await old.submit("acme", "b", now, { queue_key: "k", key: "once", fingerprint: "f", key_expires_at: now + DAY });
		const running = await old.submit("acme", "a", now);
		const [lease] = await old.claim(["a"], 1, now);
		await old.cancel(running, now);
		const ready = await old.submit("u", "a", now);

		const { storage, migrated } = await open(address);
		expect(migrated.map(({ number }) => number)).toEqual(migrations.slice(1).map(({ number }) => number));
		const q = new Desk(storage);
		q.now = now;
		await q.audit();
		expect((await q.tenant().deadLetterGroups({}, 10)).map(({ fingerprint, reason, count }) => [fingerprint, reason, count])).toEqual(
			[
				["lease_lost", "lease_lost", 1],
				["unknown", "retries_exhausted", 1],
				["unknown", "not_retryable", 1],
			].sort(),
		);
		const before = await q.tenant().getJobById(lost);
		expect(before).toMatchObject({ state: "dead", fingerprint: "lease_lost", copyOf: null, webhookUrl: null });
		const [done, failed, dead] = ended as [number, number, number];
		for (const id of [failed, dead, lost, cancelled]) {
			const kinds = (await q.tenant().historyOf((await q.tenant().getJobById(id))!)).map(({ kind }) => kind);
			expect(await q.retry(id)).toMatchObject({ changed: true });
			expect(await q.kinds(id)).toEqual([...kinds, "retried"]);
		}
		expect(await q.worker.finishIfLeased([{ ...lease!, ...CANCELLED }], q.now)).toMatchObject([{ id: running, state: "cancelled" }]);
		q.now += MINUTE;
		for (let leases = await q.claim({ limit: 10 }); leases.length > 0; leases = await q.claim({ limit: 10 }))
			expect(await q.finish(leases)).toHaveLength(leases.length);
		expect(new Set(await q.states([done, failed, dead, lost, cancelled, delayed, blocked]))).toEqual(new Set(["done"]));
		expect((await q.tenant("u").getJobById(ready))?.state).toBe("done");
		await q.audit();
	});

	it("is brought here also where a first version of it had another promote_1", async () => {
		const { address, name, sql, old, migrate } = await older();
		await sql.unsafe(`DROP FUNCTION ${name}.promote_1(bigint)`);
		await sql.unsafe(`CREATE FUNCTION ${name}.promote_1(now_ms bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN false; END $$`);
		await old.submit("acme", "a", T0, { run_at: T0 + MINUTE });
		await migrate();
		const q = new Desk((await open(address)).storage);
		q.now = T0 + MINUTE;
		expect(await q.finish(await q.claimOne())).toHaveLength(1);
		await q.audit();
	});

	it("lets processes of that release go on beside those of this one", async () => {
		const { address, old, migrate } = await older();
		await old.submit("acme", "a", T0);
		const [before] = await old.claim(["a"], 1, T0);
		await migrate();
		const q = new Desk((await open(address)).storage);
		// What it took before, and what was refused meanwhile.
		expect(await q.finish({ id: before!.id, token: 1 })).toEqual([]);
		expect(await old.extend([before!], q.now + LEASE_MS)).toEqual([true]);
		expect(await old.finish([before!], { outcome: "retry", delay_ms: 0, error }, q.now)).toEqual([S.delayed]);
		expect((await q.history(before!.id)).map(({ kind }) => kind)).toEqual(["submitted", "claimed", "refused", "retry"]);
		expect(await q.get(before!.id)).toMatchObject({ fingerprint: "unknown" });
		// A lost lease, with a refusal before it.
		const [again] = await old.claim(["a"], 1, q.now);
		await q.finish({ id: again!.id, token: 1 });
		q.now += LEASE_MS;
		expect(await old.expire(q.now)).toBe(1);
		const [last] = await old.claim(["a"], 1, q.now);
		expect(await old.finish([last!], { outcome: "failed", error }, q.now)).toEqual([S.failed]);
		await q.finish({ id: last!.id, token: 1 });
		expect(await old.retry(last!.id, q.now)).toBe(true);
		expect(await q.kinds(last!.id)).toEqual([
			"submitted",
			"claimed",
			"refused",
			"retry",
			"claimed",
			"refused",
			"lost",
			"claimed",
			"failed",
			"refused",
			"retried",
		]);
		await old.finish(await old.claim(["a"], 1, q.now), { outcome: "done", result: "null" }, q.now);
		// Holds and circuits keep its claims, too, and it wakes when they end.
		await q.fill(2, { tenant: "held" });
		await q.finish(await q.claim({ limit: 1 }), retryIn(DAY, { circuitFailures: 1 }));
		expect(await old.claim(["a"], 10, q.now)).toEqual([]);
		expect(await old.nextDelayed()).toBe(q.now + MINUTE);
		q.now += MINUTE;
		const [probe, ...others] = await old.claim(["a"], 10, q.now);
		expect(others).toEqual([]);
		expect(await old.finish([probe!], { outcome: "done", result: "null" }, q.now)).toEqual([S.done]);
		expect(await q.operator.listTasks()).toContainEqual(expect.objectContaining({ task: "a", circuitsOpen: 0 }));
		await q.submit({ tenant: "held" });
		await q.finish(await q.claim({ limit: 1 }), retryIn(DAY, { hold: "task" }));
		await q.submit({ tenant: "other" });
		expect(await old.claim(["a"], 10, q.now)).toEqual([]);
		expect(await q.operator.resetCircuit("a", null)).toBe(0);
		expect(await old.claim(["a"], 10, q.now)).toHaveLength(1);
		// What it submits is told to the tenant's webhook.
		await q.tenant("told").setWebhook("https://example.com/");
		const told = await old.submit("told", "b", q.now, { key: "i", fingerprint: "f", key_expires_at: q.now + DAY });
		expect(await q.tenant("told").getJobById(told)).toMatchObject({ webhookUrl: "https://example.com/" });
		expect(await old.submit("told", "b", q.now, { key: "i", fingerprint: "f", key_expires_at: q.now + DAY })).toBe(told);
		await old.prune(q.now + 100 * DAY);
		await q.audit();
	});

	it("is brought here while processes of that release work: none of their calls fails for good, and no job is lost", async () => {
		const { address, name, migrate } = await older();
		const ends = new AbortController();
		const troubles: string[] = [];
		let done = 0;
		const work = async (n: number) => {
			const old = new Release1(client(address), name);
			for (let i = 0; !ends.signal.aborted; i++) {
				try {
					await old.submit(`t${(n + i) % 5}`, "a", T0 + i);
					const leases = await old.claim(["a"], 5, T0 + i, `worker ${n}`);
					if (leases.length > 0) done += (await old.finish(leases, { outcome: "done", result: "null" }, T0 + i)).length;
				} catch (error) {
					if (!isPassing(error)) troubles.push(String(error));
				}
			}
		};
		const workers = [1, 2, 3].map(work);
		while (done < 20) await sleep(5);
		await migrate();
		const atMigration = done;
		while (done < atMigration + 20) await sleep(5);
		ends.abort();
		await Promise.all(workers);
		expect(troubles).toEqual([]);
		await new Desk((await open(address)).storage).audit();
	});
});

describe("a migration", () => {
	it("waits briefly for a backup that keeps the tables, and holds nobody up meanwhile", async () => {
		const address = schema();
		const { schema: name } = readAddress(address);
		const handle = client(address) as unknown as PostgresHandle;
		await migratePostgres(handle, name, migrations.slice(0, 1), { dryRun: false });
		const q = new Release1(client(address), name);
		const migrate = () => migratePostgres(handle, name, migrations, { dryRun: false });
		await client(address).begin(async sql => {
			await sql.unsafe(`SELECT count(*) FROM ${name}.lanes`);
			const migrated = expect(migrate()).rejects.toThrow("another transaction keeps its tables");
			for (let i = 0; i < 20; i++) await q.submit("t", "a", T0);
			await migrated;
		});
		expect((await migrate()).missing).toHaveLength(migrations.length - 1);
	});

	it("waits for whoever is at a view, and lets that one at the tables behind it meanwhile", async () => {
		const address = schema();
		const { schema: name } = readAddress(address);
		const handle = client(address) as unknown as PostgresHandle;
		await migratePostgres(handle, name, migrations.slice(0, 1), { dryRun: false });
		let migrated: Promise<unknown> = Promise.resolve();
		await client(address).begin(async sql => {
			// Locks the view alone, as a query does for a moment.
			await sql.unsafe(`COMMENT ON VIEW ${name}.lanes_now IS 'lanes'`);
			migrated = migratePostgres(handle, name, migrations, { dryRun: false });
			migrated.catch(() => {});
			await sleep(50);
			await sql.unsafe(`SELECT count(*) FROM ${name}.lanes`);
		});
		expect(await migrated).toMatchObject({ missing: migrations.slice(1) });
	});

	it("that adds a column breaks no verb that is on its way meanwhile", async () => {
		const address = schema();
		const { schema: name } = readAddress(address);
		const q = new Desk((await open(address)).storage);
		const sql = client(address);
		const tables = await sql.unsafe(
			`SELECT relname AS name FROM pg_class WHERE relnamespace = '${name}'::regnamespace AND relkind = 'r' ORDER BY 1`,
		);
		expect(tables.length).toBeGreaterThan(5);
		for (const { name: table } of tables) {
			const tenant = `t ${table}`;
			const [cancelled, retried] = [await waiting(q, tenant), await waiting(q, tenant)];
			await q.cancel(retried);
			const lease = await leased(q, tenant);
			await q.submit({ tenant, startBy: q.now + 1, task: LATER });
			// Of a tenant that no other verb here is at.
			await q.submit({ tenant: `${tenant} claimed` });
			const ended = await sql.begin(async sql => {
				await sql.unsafe(`ALTER TABLE ${name}.${table} ADD COLUMN colour text`);
				const verbs = {
					claim: q.claim(),
					submit: q.submit({
						tenant,
						task: LATER,
						key: "k",
						tags: ["x"],
						idempotency: { key: "i", fingerprint: "f", expiresAt: q.now + DAY },
					}),
					finish: q.finish(lease, { ...DONE, followUps: [q.followUp({ tenant, task: LATER })] }),
					cancel: q.cancel(cancelled),
					retry: q.retry(retried),
					expire: q.expire(),
					late: q.worker.cancelLate(10, q.now + 1),
					prune: q.worker.prune(10, q.now),
					limits: q.operator.setLimits(tenant, { weight: 2 }),
					next: q.worker.nextDue(TASKS, q.now),
					counts: q.operator.counts(),
				};
				for (const verb of Object.values(verbs)) verb.catch(() => {});
				await sleep(40);
				return verbs;
			});
			for (const [verb, answer] of Object.entries(ended))
				expect.soft([table, verb, await answer.then(() => "answered", String)]).toEqual([table, verb, "answered"]);
			await q.finish(await q.claim({ limit: 10 }));
		}
		await q.audit();
	});
});

describe("another transaction", () => {
	/** Holds the functions to a shorter wait than is set for them; each that is called from outside must have one. */
	async function shortenLockWaits(sql: postgres.Sql, name: string): Promise<void> {
		const called = await sql.unsafe(`SELECT p.oid::regprocedure::text AS name, array_to_string(p.proconfig, ' ') AS settings
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = '${name}' AND p.proconfig IS NOT NULL`);
		expect(called.length).toBeGreaterThan(10);
		for (const { name, settings } of called) {
			const [, number, unit] = /lock_timeout=(\d+)(ms|s)?\b/.exec(settings) ?? [];
			const ms = Number(number) * (unit === "s" ? 1000 : 1);
			expect.soft([name, ms > 0 && ms <= LOCK_MS_MAX]).toEqual([name, true]);
			await sql.unsafe(`ALTER FUNCTION ${name} SET lock_timeout = 200`);
		}
	}

	it("that keeps an old snapshot stops nobody", async () => {
		const address = schema();
		const q = new Desk((await open(address)).storage);
		const ids = await q.fill(50, i => ({ tenant: `t${i % 7}`, runAt: q.now + (i % 2) }));
		await client(address).begin("ISOLATION LEVEL REPEATABLE READ", async sql => {
			const seen = () => sql.unsafe(`SELECT count(*)::int AS jobs FROM ${readAddress(address).schema}.jobs WHERE state < 3`);
			expect(await seen()).toEqual([{ jobs: 50 }]);
			q.now += 1;
			for (let round = 0; round < 5; round++) expect(await q.finish(await q.claim({ limit: 10 }))).toHaveLength(10);
			await q.submit();
			expect(await seen()).toEqual([{ jobs: 50 }]);
		});
		expect(new Set(await q.states(ids))).toEqual(new Set(["done"]));
		await q.audit();
	});

	// What waits for a lock of somebody else waits for that long at most.
	const LOCK_MS_MAX = 10_000;

	it("that keeps a tenant locked holds up that tenant alone", async () => {
		const address = schema();
		const { schema: name } = readAddress(address);
		const q = new Desk((await open(address)).storage);
		await q.submit({ tenant: "locked" });
		const lease = await q.claimOne();
		await shortenLockWaits(client(address), name);
		await q.fill(3, { tenant: "locked" });
		const free = await q.fill(3, { tenant: "free" });
		await client(address).begin(async sql => {
			await sql.unsafe(
				`SELECT pg_advisory_xact_lock(${name}.lock_key_1('${name}.tenants', tenant_id)) FROM ${name}.tenants WHERE name = 'locked'`,
			);
			const claimed = await q.claim({ limit: 10 });
			expect(claimed.map(({ id }) => id)).toEqual(free);
			expect(await q.finish(claimed)).toHaveLength(3);
			await q.submit({ tenant: "free" });
			expect(await q.claim({ limit: 10 })).toHaveLength(1);
			expect(await q.tenant("locked").counts()).toMatchObject({ ready: 3, running: 1 });
			// What needs that tenant ends by itself, and changes nothing.
			const waiting = [
				q.claim({ limit: 10 }),
				q.finish(lease),
				q.submit({ tenant: "locked" }),
				q.operator.setLimits("locked", { weight: 2 }),
			];
			const ended = await Promise.race([Promise.allSettled(waiting), sleep(3000, "still waiting")]);
			expect(ended).not.toBe("still waiting");
			const [claim, ...others] = ended as PromiseSettledResult<unknown>[];
			if (claim!.status === "fulfilled") expect(claim!.value).toEqual([]);
			for (const each of others) expect(each).toMatchObject({ status: "rejected", reason: { name: "StorageUnavailable" } });
		});
		expect(await q.finish(lease)).toHaveLength(1);
		expect(await q.claim({ limit: 10 })).toHaveLength(3);
		await q.audit();
	});

	it("that keeps a tenant locked does not cost what goes in one call with it", async () => {
		const address = schema();
		const { schema: name } = readAddress(address);
		const q = new Desk((await open(address)).storage);
		await q.submit({ tenant: "locked" });
		const [locked] = await q.claim();
		const others = await q.fill(2, { tenant: "free" });
		const leases = await q.claim({ limit: 2 });
		await shortenLockWaits(client(address), name);
		await client(address).begin(async sql => {
			await sql.unsafe(
				`SELECT pg_advisory_xact_lock(${name}.lock_key_1('${name}.tenants', tenant_id)) FROM ${name}.tenants WHERE name = 'locked'`,
			);
			const [mine, yours] = await Promise.allSettled([q.submit({ tenant: "locked" }), q.submit({ tenant: "free" })]);
			expect(mine).toMatchObject({ status: "rejected", reason: { name: "StorageUnavailable" } });
			expect(yours!.status).toBe("fulfilled");
			// What was recorded is told, and what was not looked at.
			const error = await q.finish([locked!, ...leases]).catch((error: unknown) => error);
			expect(error).toBeInstanceOf(PartlyRecorded);
			expect((error as PartlyRecorded).moved.map(({ id }) => id).sort()).toEqual([...others].sort());
			expect((error as PartlyRecorded).left.map(({ id }) => id)).toEqual([locked!.id]);
			// An ending that waits in vain, and a claim in the same turn.
			const [ended, claimed] = await Promise.allSettled([q.finish(locked!), q.claim({ limit: 10 })]);
			expect(ended).toMatchObject({ status: "rejected", reason: { name: "StorageUnavailable" } });
			expect(claimed).toMatchObject({ status: "fulfilled", value: [{ tenant: "free" }] });
		});
		expect(await q.finish(locked!)).toHaveLength(1);
		await q.audit();
	});
});

describe("endings that hold tasks", () => {
	it("wait for a task that somebody else is at, and keep none behind it meanwhile", async () => {
		const address = schema();
		const { schema: name } = readAddress(address);
		const q = new Desk((await open(address)).storage);
		const MANY = ["s0", "s1", "s2", "s3", "s4", "s5"];
		for (const task of MANY) await q.submit({ tenant: "first", task });
		for (const task of MANY.slice(1)) await q.submit({ tenant: "second", task });
		const leases = await q.claim({ tasks: MANY, limit: 20 });
		const of = (tenant: string) => leases.filter(lease => lease.tenant === tenant);
		const waits = await client(address).begin(async sql => {
			await sql.unsafe(`SELECT 1 FROM ${name}.tasks WHERE name = 's0' FOR UPDATE`);
			const first = q.finish(of("first").reverse(), retryIn(2000, { hold: "task" }));
			await sleep(50);
			const second = q.finish(of("second"), retryIn(1000, { hold: "task" }));
			expect(await Promise.race([second, sleep(2000, "still waiting")])).toHaveLength(5);
			return { first };
		});
		expect(await waits.first).toHaveLength(6);
		expect((await q.operator.listTasks()).filter(({ task }) => MANY.includes(task)).map(({ heldUntil }) => heldUntil)).toEqual(
			MANY.map(() => q.now + 2000),
		);
		await q.audit();
	});

	it("in other orders, from several processes at once, wait for each other and for nobody else", async () => {
		const address = schema();
		const racers: Desk[] = [];
		for (let i = 0; i < 4; i++) racers.push(new Desk((await open(address)).storage, racers[0]));
		const [q] = racers as [Desk];
		const SHARED = Array.from({ length: 40 }, (_, i) => `s${i}`);
		const ROUNDS = 5;
		for (let round = 1; round <= ROUNDS; round++) {
			await q.fill(racers.length * SHARED.length, i => ({
				tenant: `t${i % racers.length}`,
				task: SHARED[Math.floor(i / racers.length)]!,
				maxRetries: 2 * ROUNDS,
			}));
			const leases = await q.claim({ tasks: SHARED, limit: 1000 });
			const ends = await Promise.all(
				racers.map((racer, r) => {
					const mine = leases.filter(({ tenant }) => tenant === `t${r}`).sort((a, b) => (r % 2 === 0 ? a.id - b.id : b.id - a.id));
					return racer.finish(mine, retryIn(round * 1000 + r, { hold: "task" }));
				}),
			);
			expect(ends.flat()).toHaveLength(leases.length);
			const heldUntil = q.now + round * 1000 + racers.length - 1;
			for (const task of await q.operator.listTasks()) if (SHARED.includes(task.task)) expect.soft(task).toMatchObject({ heldUntil });
			expect(await q.claim({ tasks: SHARED, limit: 1000 })).toEqual([]);
			q.now = heldUntil;
		}
		let claimed = 0;
		for (let jobs = await q.claim({ tasks: SHARED, limit: 1000 }); jobs.length > 0; jobs = await q.claim({ tasks: SHARED, limit: 1000 }))
			claimed += jobs.length;
		expect(claimed).toBe(racers.length * SHARED.length * ROUNDS);
		await q.audit();
	});
});

describe("a server of one's own", () => {
	let server: PostgresServer;
	let names = 0;
	beforeAll(async () => {
		server = await startPostgres();
	});
	afterAll(() => server.stop());

	/** As its superuser, on a connection of its own: the server may have been away. */
	async function admin(text: string): Promise<readonly Row[]> {
		const sql = postgres(server.url, { max: 1, onnotice: () => {} });
		try {
			return [...(await sql.unsafe(text))];
		} finally {
			await sql.end({ timeout: 1 });
		}
	}

	const dataFolder = async (): Promise<string> => (await admin("SELECT current_setting('data_directory') AS data"))[0]!.data;
	/** A file as the server's own. */
	async function writeData(name: string, text: string): Promise<void> {
		const data = await dataFolder();
		writeFileSync(join(data, name), text, { mode: 0o600 });
		chownSync(join(data, name), statSync(data).uid, statSync(data).gid);
	}
	const ownSchema = (address = server.url): string => withParameter(address, "schema", `s${++names}`);
	/** A role with its password, and an address that names both. */
	async function role(settings = ""): Promise<{ readonly name: string; readonly address: string }> {
		const name = `role${++names}`;
		await admin(
			`CREATE ROLE ${name} LOGIN PASSWORD 'pass${name}'; GRANT CREATE ON DATABASE postgres TO ${name}; ${settings.replaceAll("$", name)}`,
		);
		const address = changed(server.url, url => {
			url.username = name;
			url.password = `pass${name}`;
		});
		return { name, address: ownSchema(address) };
	}
	/** Calls until it is answered: what a caller does who was told to come back. */
	async function persistently<T>(call: () => Promise<T>, withinMs = 10_000): Promise<T> {
		for (const giveUpAt = performance.now() + withinMs; ; ) {
			try {
				return await call();
			} catch (error) {
				if (!(error instanceof StorageUnavailable) || performance.now() > giveUpAt) throw error;
				await sleep(20);
			}
		}
	}

	/** The program's loop over a store of this server: what it ran, and what it logged. */
	async function startWorker(address: string, { hears = true, backstop = "0 0 1 1 * *" } = {}) {
		const ran = new Map<string, number>();
		const tasks: TaskRegistry = {
			a: {
				async run(_, { jobId }) {
					ran.set(jobId, (ran.get(jobId) ?? 0) + 1);
					await sleep(5);
					return null;
				},
			},
		};
		const { storage, hear } = await openPostgres(address, DEFAULTS, Object.keys(tasks));
		const logs: LogRecord[] = [];
		const log = createLog(record => logs.push(record), nodeClock.now, "info");
		const deps = nodeDeps(
			readSettings(["--workers-min", "2", "--tasks-per-worker", "2", "--lease-ms", "1500"], {}).settings,
			storage,
			tasks,
			log,
		);
		const loop = startLoop(() => ({ ...deps, store: storage.worker }), { backstop });
		const stopHearing = hears ? hear(() => deps.wake.ring()) : () => {};
		let hasStopped = false;
		const stop = async () => {
			if (hasStopped) return;
			hasStopped = true;
			stopHearing();
			await loop.stop();
			await storage.close();
		};
		closing.push(stop);
		return { storage, ran, logs, stop };
	}
	const jobNow = (q: Desk, key = `k${q.draw()}`): NewJob =>
		q.job({ idempotency: { key, fingerprint: "f", expiresAt: Date.now() + DAY }, maxRetries: 20 });
	/** Waits until so many jobs are done, for as long as leases and retries may take. */
	async function doneWithin(q: Desk, jobs: number, withinMs: number): Promise<void> {
		for (const giveUpAt = performance.now() + withinMs; performance.now() < giveUpAt; await sleep(20))
			if ((await persistently(() => q.operator.counts())).done >= jobs) break;
		expect(await q.operator.counts()).toMatchObject({ done: jobs, submitted: jobs, finished: jobs });
	}
	async function eachDoneOnce(q: Desk, address: string): Promise<void> {
		const sql = client(address);
		const { schema: name } = readAddress(address);
		const [ends] = await sql.unsafe(`SELECT count(*) AS jobs FROM ${name}.jobs WHERE state <> 4 OR failures > 0`);
		expect(ends).toEqual({ jobs: 0 });
		await q.audit();
	}

	it("may be restarted, crash and throw everybody out under load: the loop goes on by itself, and every job is done once", {
		timeout: 40_000,
	}, async () => {
		const address = ownSchema();
		const worker = await startWorker(address);
		const q = new Desk((await open(address)).storage);
		const jobs = 200;
		let submitted = 0;
		const submitting = Array.from({ length: 4 }, async () => {
			while (submitted < jobs) {
				submitted++;
				const job = jobNow(q);
				const tenant = q.tenant(`t${submitted % 5}`);
				const answer = await persistently(() => tenant.insertJob(job, Date.now()));
				expect(["created", "replayed"]).toContain(answer.status);
				await sleep(10);
			}
		});
		const until = async (share: number) => {
			while (submitted < jobs * share) await sleep(5);
		};
		await until(0.2);
		await server.restart();
		await until(0.4);
		await server.stopNow();
		await sleep(700);
		await server.start();
		await until(0.6);
		await admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tickq'");
		await Promise.all(submitting);
		await doneWithin(q, jobs, 15_000);
		// Retried finds of a store that was away for a second at most.
		const lines = worker.logs.filter(({ level }) => level === "error" || level === "warn");
		expect(lines.length).toBeLessThan(60);
		for (const { message, error } of lines) expect(`${message} ${error}`).not.toContain(new URL(address).password);
		expect(worker.ran.size).toBe(jobs);

		// Another process's hint is heard again: nothing else would wake this loop.
		await sleep(500);
		const before = worker.ran.size;
		await q.tenant().insertJob(jobNow(q), Date.now());
		const startedAt = performance.now();
		while (worker.ran.size === before && performance.now() - startedAt < 5000) await sleep(5);
		expect(performance.now() - startedAt).toBeLessThan(1000);
		await doneWithin(q, jobs + 1, 3000);
		await worker.stop();
		await eachDoneOnce(q, address);
	});

	it("need not pass hints on: what another process submits is found when it is due, and with the backstop", async () => {
		const address = ownSchema();
		const q = new Desk((await open(address)).storage);
		const delayed = { ...jobNow(q), runAt: Date.now() + 500 };
		await q.tenant().insertJob(delayed, Date.now());
		const worker = await startWorker(address, { hears: false });
		await doneWithin(q, 1, 3000);
		await worker.stop();
		const other = await startWorker(address, { hears: false, backstop: "* * * * * *" });
		await sleep(100);
		await q.tenant().insertJob(jobNow(q), Date.now());
		await doneWithin(q, 2, 3000);
		await other.stop();
		await eachDoneOnce(q, address);
	});

	it("that only reads is told apart: what reads is answered, what writes is unavailable until it may", async () => {
		const { name, address } = await role();
		const q = new Desk((await open(address)).storage);
		const id = await q.submit();
		const readOnly = async (is: boolean) => {
			await admin(`ALTER ROLE ${name} SET default_transaction_read_only = ${is ? "on" : "off"}`);
			await admin(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${name}'`);
			await sleep(20);
		};
		await readOnly(true);
		const { storage } = await open(address);
		const p = new Desk(storage, q);
		expect(await p.get(id)).toMatchObject({ state: "ready" });
		expect((await p.tenant().listJobs({ limit: 5 })).jobs).toHaveLength(1);
		expect(await p.worker.nextDue(TASKS, p.now)).toMatchObject({ reason: "ready" });
		const writing = [p.submit(), p.submit({ tenant: "new" }), p.claim(), p.cancel(id), p.operator.setTask("a", { paused: true })];
		for (const ended of await Promise.allSettled(writing))
			expect(ended).toMatchObject({
				reason: {
					name: "StorageUnavailable",
					message: expect.stringMatching(/read-only transaction: the server only reads, as a standby does$/),
				},
			});
		await readOnly(false);
		await p.finish(await p.claimOne());
		await p.audit();
	});

	it("may be a standby that becomes the primary", async () => {
		const address = ownSchema();
		const q = new Desk((await open(address)).storage);
		const id = await q.submit();
		await writeData("standby.signal", "");
		await server.stopNow();
		const promoted = server.start();
		expect(await persistently(() => q.get(id))).toMatchObject({ state: "ready" });
		await expect(q.submit()).rejects.toThrow(StorageUnavailable);
		await admin("SELECT pg_promote()");
		await promoted;
		await persistently(() => q.submit());
		expect(await q.claim({ limit: 5 })).toHaveLength(2);
		await q.audit();
	});

	it("cuts statements short that take too long: unavailable, and nothing of them stays", async () => {
		const { name, address } = await role("ALTER ROLE $ SET statement_timeout = 250;");
		const q = new Desk((await open(address)).storage);
		await q.submit();
		const { schema: of } = readAddress(address);
		await client(server.url).begin(async sql => {
			await sql.unsafe(`LOCK TABLE ${of}.jobs IN ACCESS EXCLUSIVE MODE`);
			for (const ended of await Promise.allSettled([q.submit(), q.claim(), q.worker.nextDue(TASKS, q.now), q.operator.verify()]))
				expect(ended).toMatchObject({ reason: { name: "StorageUnavailable", message: "canceling statement due to statement timeout" } });
		});
		expect(await q.operator.counts()).toMatchObject({ ready: 1, submitted: 1 });
		await q.finish(await q.claimOne());
		await q.audit();
		expect(
			await admin(`SELECT count(*)::int AS waiting FROM pg_stat_activity WHERE usename = '${name}' AND wait_event_type = 'Lock'`),
		).toEqual([{ waiting: 0 }]);
	});

	it("that has no connection left: a start says so and waits, and verbs make do with those that there are", async () => {
		const { name, address } = await role("ALTER ROLE $ CONNECTION LIMIT 2;");
		const first = await open(withParameter(address, "pool", 2));
		const q = new Desk(first.storage);
		await q.fill(10, i => ({ tenant: `t${i}` }));
		await Promise.all([q.operator.counts(), q.operator.verify()]);
		const { error, said } = await tryOpen(address, { waitMs: 700 });
		expect(error).toBeInstanceOf(StorageUnavailable);
		expect(error.message).toBe(`too many connections for role "${name}"`);
		expect(said[0]).toBe(`waiting for the database at ${new URL(address).host}: too many connections for role "${name}"`);
		await first.storage.close();
		const p = new Desk((await open(withParameter(address, "pool", 10), { waitMs: 2000 })).storage, q);
		const claimed = await Promise.all(Array.from({ length: 30 }, () => p.claim()));
		expect(new Set(claimed.flat().map(({ id }) => id)).size).toBe(10);
		await p.audit();
	});

	it("lets nobody in with a wrong password, and says so", async () => {
		const address = changed(ownSchema(), url => (url.password = "guessed"));
		const { error } = await tryOpen(address, { waitMs: 5000 });
		expect(error).toMatchObject({ message: 'password authentication failed for user "postgres"', code: "28P01" });
	});

	it("gives rights: whoever may not make the schema is told the statement for it, which is enough", async () => {
		const { name, address } = await role("REVOKE CREATE ON DATABASE postgres FROM $;");
		const { schema: of } = readAddress(address);
		const { error } = await tryOpen(address, { waitMs: 5000 });
		expect(error).toMatchObject({
			message: `${name} may not make the schema ${of}: let somebody who may run  CREATE SCHEMA "${of}" AUTHORIZATION "${name}"`,
			code: "42501",
		});
		await admin(`CREATE SCHEMA "${of}"`);
		expect((await tryOpen(address)).error).toMatchObject({ message: `permission denied for schema ${of}`, code: "42501" });
		await admin(`GRANT USAGE ON SCHEMA "${of}" TO "${name}"`);
		expect((await tryOpen(address)).error).toMatchObject({ message: `permission denied for schema ${of}`, code: "42501" });
		expect(await admin(`SELECT 1 FROM pg_class WHERE relnamespace = '${of}'::regnamespace`)).toEqual([]);
		await admin(error.message.replace(/^.*run {2}/, `DROP SCHEMA "${of}"; `));
		const q = new Desk((await open(address)).storage);
		await q.finish(await q.submit().then(() => q.claimOne()));
		await q.audit();

		const stranger = await role();
		expect((await tryOpen(withParameter(stranger.address, "schema", of))).error).toMatchObject({
			message: `permission denied for schema ${of}`,
		});
	});

	it("with another isolation level for everybody is refused", async () => {
		const { address } = await role("ALTER ROLE $ SET default_transaction_isolation = 'repeatable read';");
		expect((await tryOpen(address, { waitMs: 5000 })).error.message).toBe(
			'tickq needs the isolation level "read committed"; default_transaction_isolation is "repeatable read" here',
		);
	});

	it("speaks TLS: without being known where that is enough, and by its certificate", async () => {
		const folder = mkdtempSync(join(tmpdir(), "tickq-"));
		closing.push(() => rmSync(folder, { recursive: true }));
		const { certificate, key } = createCertificate("localhost", "127.0.0.1");
		await writeData("server.crt", certificate);
		await writeData("server.key", key);
		const [known, unknown] = ["known.pem", "unknown.pem"].map(name => join(folder, name)) as [string, string];
		writeFileSync(known, certificate);
		writeFileSync(unknown, createCertificate("localhost", "127.0.0.1").certificate);
		await admin("ALTER SYSTEM SET ssl = on");
		await admin("SELECT pg_reload_conf()");
		const address = ownSchema();
		const local = changed(address, url => (url.hostname = "localhost"));
		const encrypted = () => admin("SELECT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.application_name = 'tickq'");
		for (const [at, mode, root, is] of [
			[address, "prefer", "", true],
			[address, "require", "", true],
			[address, "disable", "", false],
			[local, "verify-full", known, true],
			[address, "verify-full", known, true],
		] as const) {
			const { storage, hear } = await openPostgres(withParameter(withParameter(at, "sslmode", mode), "sslrootcert", root), DEFAULTS, TASKS);
			await new Promise<void>(resolve => {
				const stop = hear(() => {});
				setTimeout(() => {
					stop();
					resolve();
				}, 20);
			});
			await new Desk(storage).submit();
			expect(new Set((await encrypted()).map(({ ssl }) => ssl)), mode).toEqual(new Set([is]));
			await storage.close();
			await sleep(20);
		}
		// What is heard through TLS counts as heard: a connection that is in use stays, one that hangs does not.
		const proxy = await proxied(withParameter(withParameter(address, "sslmode", "require"), "pool", 1));
		const { storage } = await open(proxy.url, { silenceMs: 600 });
		const { dialled } = proxy;
		for (const until = performance.now() + 1500; performance.now() < until; await sleep(50)) await storage.operator.ping();
		expect(proxy.dialled).toBe(dialled);
		proxy.freeze();
		await unavailable(storage.operator.ping(), address);
		await storage.operator.ping();
		for (const [mode, root] of [
			["verify-full", ""],
			["require", unknown],
		] as const) {
			const { error } = await tryOpen(withParameter(withParameter(address, "sslmode", mode), "sslrootcert", root), { waitMs: 5000 });
			expect(error.message).toMatch(/self-signed|unable to verify|certificate/);
		}
	});
});
