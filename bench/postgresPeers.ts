/** The queues on PostgreSQL that tickq is measured beside, each used as its own documentation says for throughput. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import type postgres from "postgres";
import { dropSchema, freshName, settle } from "./postgresQueue.ts";
import type { MeasuredServer } from "./postgresServer.ts";
import { PAYLOAD } from "./queue.ts";

const data = JSON.parse(PAYLOAD);
const { resolve } = createRequire(import.meta.url);

/** The version that is installed, whatever package.json asks for. */
export function versionOf(name: string): string {
	const path = resolve(name).replace(new RegExp(`(node_modules/${name}/).*$`), "$1package.json");
	return JSON.parse(readFileSync(path, "utf8")).version;
}
export const PG_BOSS = versionOf("pg-boss");
export const GRAPHILE = versionOf("graphile-worker");
/** The versions that the bars were set for: reached against another one, they say nothing. */
const BARS_FOR = [
	["pg-boss", "12", PG_BOSS],
	["graphile-worker", "0.18", GRAPHILE],
] as const;
export const strangers = (): string[] =>
	BARS_FOR.filter(([, wanted, found]) => !found.startsWith(`${wanted}.`)).map(
		([name, wanted, found]) => `${name} ${found} is installed, the bars are for ${wanted}: its rows have none`,
	);
export const isStranger = (name: (typeof BARS_FOR)[number][0]): boolean => strangers().some(text => text.startsWith(`${name} `));
const BATCH = 100;
const ROWS_AT_ONCE = 1000;

/** What is used of pg-boss; its two ways to be imported, and to insert, changed between 10 and 12. */
interface Boss {
	on(event: "error", listener: (error: Error) => void): unknown;
	start(): Promise<unknown>;
	stop(options: { graceful: boolean }): Promise<void>;
	createQueue(name: string): Promise<unknown>;
	insert(...args: unknown[]): Promise<unknown>;
	fetch(name: string, options: { batchSize: number }): Promise<{ id: string }[]>;
	complete(name: string, ids: string[]): Promise<unknown>;
}
type BossClass = new (options: Record<string, unknown>) => Boss;

/** From the first fetch to the last completion, in milliseconds. `overlap`: a batch is completed while the next is fetched. */
export async function drainBoss({ url, admin }: MeasuredServer, jobs: number, overlap: boolean): Promise<number> {
	const module = (await import("pg-boss")) as unknown as { PgBoss?: BossClass; default?: BossClass };
	const schema = freshName("boss");
	const boss = new (module.PgBoss ?? module.default!)({ connectionString: url, schema, supervise: false, schedule: false });
	boss.on("error", error => {
		throw error;
	});
	await boss.start();
	await boss.createQueue("noop");
	const perQueue = Number.parseInt(PG_BOSS, 10) > 10;
	for (let at = 0; at < jobs; at += ROWS_AT_ONCE) {
		const some = Array.from({ length: Math.min(ROWS_AT_ONCE, jobs - at) }, () => ({ name: "noop", data }));
		await (perQueue
			? boss.insert(
					"noop",
					some.map(({ data }) => ({ data })),
				)
			: boss.insert(some));
	}
	await settle(admin, schema);

	const startedAt = performance.now();
	let completing: Promise<unknown> = Promise.resolve();
	for (let fetched = 0; ; ) {
		const batch = await boss.fetch("noop", { batchSize: BATCH });
		await completing;
		if (batch.length === 0) break;
		fetched += batch.length;
		completing = boss.complete(
			"noop",
			batch.map(({ id }) => id),
		);
		if (!overlap || fetched >= jobs) await completing;
		if (fetched >= jobs) break;
	}
	const ms = performance.now() - startedAt;
	const [row] = await admin`SELECT count(*)::int AS done FROM ${admin(schema)}.job WHERE state = 'completed'`;
	if (row!.done !== jobs) throw new Error(`${row!.done} of ${jobs} pg-boss jobs are completed`);
	await boss.stop({ graceful: false });
	await dropSchema(admin, schema);
	return ms;
}

interface Graphile {
	run(options: Record<string, unknown>): Promise<{ stop(): Promise<void> }>;
	makeWorkerUtils(options: Record<string, unknown>): Promise<{
		migrate(): Promise<void>;
		addJobs(jobs: readonly { identifier: string; payload: unknown }[]): Promise<unknown>;
		release(): Promise<void>;
	}>;
}

/** From the first task's start to the last job's removal, in milliseconds. */
export async function drainGraphile({ url, admin }: MeasuredServer, jobs: number): Promise<number> {
	const { makeWorkerUtils, run, Logger } = (await import("graphile-worker")) as unknown as Graphile & {
		Logger: new (factory: () => (level: string, message: string) => void) => unknown;
	};
	const schema = freshName("graphile");
	const logger = new Logger(() => (level, message) => {
		if (level === "error") throw new Error(message);
	});
	const utils = await makeWorkerUtils({ connectionString: url, schema, logger });
	await utils.migrate();
	for (let at = 0; at < jobs; at += ROWS_AT_ONCE)
		await utils.addJobs(Array.from({ length: Math.min(ROWS_AT_ONCE, jobs - at) }, () => ({ identifier: "noop", payload: data })));
	await utils.release();
	await settle(admin, schema);

	let left = jobs;
	let startedAt = 0;
	const { promise, resolve } = Promise.withResolvers<void>();
	const noop = async (): Promise<void> => {
		if (left === jobs) startedAt = performance.now();
		if (--left === 0) resolve();
	};
	const runner = await run({
		taskList: { noop },
		noHandleSignals: true,
		preset: {
			worker: {
				connectionString: url,
				schema,
				logger,
				concurrentJobs: 24,
				maxPoolSize: 25,
				localQueue: { size: 500, refetchDelay: { durationMs: 10 } },
				completeJobBatchDelay: 0,
				failJobBatchDelay: 0,
			},
		},
	});
	await promise;
	while (await hasJobs(admin, schema)) await sleep(1);
	const ms = performance.now() - startedAt;
	await runner.stop();
	await dropSchema(admin, schema);
	return ms;
}
const hasJobs = async (admin: postgres.Sql, schema: string): Promise<boolean> =>
	(await admin`SELECT EXISTS (SELECT 1 FROM ${admin(schema)}._private_jobs) AS yes`)[0]!.yes;
