/** A queue in a schema of its own on the measured server, put together as the emulator does it. */
import postgres from "postgres";
import { nodeClock, nodeDeps } from "../emulator/nodeDeps.ts";
import { openPostgres } from "../emulator/openPostgres.ts";
import { readAddress } from "../emulator/postgresPool.ts";
import { readSettings } from "../emulator/settings.ts";
import { type Config, storageDefaults } from "../lib/config.ts";
import type { Deps } from "../lib/context.ts";
import { createLog, type LogRecord } from "../lib/log.ts";
import { PostgresDriver, type PostgresHandle } from "../lib/storage/postgres/driver.ts";
import { PostgresEngine } from "../lib/storage/postgres/postgresEngine.ts";
import type { Claimed, NewJob, Storage } from "../lib/storage/storage.ts";
import { openStore } from "../lib/storage/store.ts";
import type { TaskRegistry } from "../lib/task.ts";
import type { TickDeps } from "../lib/tick.ts";
import { PAYLOAD } from "./queue.ts";

export interface PostgresQueue {
	readonly storage: Storage;
	readonly deps: Deps;
	readonly tickDeps: TickDeps;
	readonly hear: (ring: () => void) => () => void;
}

export interface QueueOptions {
	readonly config?: Partial<Config>;
	/** Connections at most; the default of the address otherwise. */
	readonly pool?: number;
	/** Told what the queue has to complain of; without it that ends the run. */
	readonly onTrouble?: (record: LogRecord) => void;
}

/** A queue that has something to complain of is not what is measured: the run ends, whoever waits for what. */
const complain = (record: LogRecord): void =>
	queueMicrotask(() => {
		throw new Error(JSON.stringify(record));
	});

function whole(url: string, config: Partial<Config>) {
	const { settings } = readSettings(["--database", url], {});
	return { ...settings, config: { ...settings.config, ...config } };
}

export function addressOf(url: string, schema: string, pool?: number): string {
	const address = new URL(url);
	address.searchParams.set("schema", schema);
	if (pool !== undefined) address.searchParams.set("pool", `${pool}`);
	return address.href;
}

/** Opens what is there already, or makes it. */
export async function openPostgresQueue(
	url: string,
	schema: string,
	tasks: TaskRegistry,
	{ config = {}, pool, onTrouble = complain }: QueueOptions = {},
): Promise<PostgresQueue> {
	const address = addressOf(url, schema, pool);
	const settings = whole(address, config);
	const { storage, hear } = await openPostgres(address, storageDefaults(settings.config), Object.keys(tasks));
	const deps = nodeDeps(settings, storage, tasks, createLog(onTrouble, nodeClock.now, "warn"));
	return { storage, deps, tickDeps: { ...deps, store: storage.worker }, hear };
}

/** The storage alone, over one connection that does not wait for the disk at a commit, so that this wait hides nothing. */
export async function openUnsynced(url: string, schema: string, tasks: readonly string[]): Promise<Storage> {
	const address = addressOf(url, schema);
	const { storage } = await openPostgres(address, storageDefaults(whole(address, {}).config), tasks);
	await storage.close();
	const sql = postgres(readAddress(address).url.href, {
		max: 1,
		fetch_types: false,
		onnotice: () => {},
		connection: { application_name: "tickq", synchronous_commit: "off" },
		types: { bigint: { to: 20, from: [20], serialize: String, parse: Number } },
	});
	const driver = new PostgresDriver(sql as unknown as PostgresHandle, { schema, defer: setImmediate });
	return openStore(new PostgresEngine(driver), storageDefaults(whole(address, {}).config), tasks);
}

let drawn = 0;
export const newJob = (task: string): NewJob => ({
	task,
	payload: PAYLOAD,
	maxRetries: 3,
	tail: drawn++ % 1_000_000,
	traceId: (++drawn).toString(16).padStart(32, "0"),
});

/** Submits jobs that go round the tenants, as many in one turn as share a call. */
export async function submitJobs(storage: Storage, jobs: number, tenants: number, nowMs: number, task = "noop"): Promise<void> {
	for (let at = 0; at < jobs; at += 200) {
		const answers = await Promise.all(
			Array.from({ length: Math.min(200, jobs - at) }, (_, i) =>
				storage.tenant(`tenant-${(at + i) % tenants}`).insertJob(newJob(task), nowMs),
			),
		);
		const odd = answers.find(({ status }) => status !== "created");
		if (odd !== undefined) throw new Error(`a submit was answered with ${odd.status}`);
	}
}

export async function claimSome({ storage, deps }: PostgresQueue, limit: number): Promise<Claimed[]> {
	const request = { tasks: Object.keys(deps.tasks), limit, leaseMs: deps.config.leaseMs, token: deps.random.token(), worker: deps.worker };
	return storage.worker.claimDueJobs(request, deps.clock.now());
}
export async function finishAll({ storage, deps }: PostgresQueue, jobs: readonly Claimed[]): Promise<void> {
	const endings = jobs.map(({ id, token }) => ({ id, token, outcome: "done", result: "null" }) as const);
	const moved = await storage.worker.finishIfLeased(endings, deps.clock.now());
	if (moved.length !== jobs.length) throw new Error(`${moved.length} of ${jobs.length} endings were accepted`);
}

/** As after a while of use: the planner knows the tables, nothing is left to vacuum, and no checkpoint is due. */
export async function settle(admin: postgres.Sql, schema: string): Promise<void> {
	const tables = await admin`SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname = ${schema}`;
	for (const { name } of tables) await admin.unsafe(`VACUUM (ANALYZE) ${name}`);
	await admin`CHECKPOINT`;
}
export const dropSchema = async (admin: postgres.Sql, schema: string): Promise<void> =>
	void (await admin`DROP SCHEMA IF EXISTS ${admin(schema)} CASCADE`);

let schemas = 0;
export const freshName = (what: string): string => `bench_${what}_${process.pid}_${schemas++}`;
