/** What running tasks in threads costs, and what it is good for. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { startLoop } from "../emulator/loop.ts";
import { createPool, type Pool, type PoolOptions } from "../emulator/pool/pool.ts";
import { serve } from "../emulator/serve.ts";
import { functions } from "../functions/all.ts";
import type { Config } from "../lib/config.ts";
import { ALLOW_NOTHING } from "../lib/outside.ts";
import { startAttempt } from "../lib/runJob.ts";
import type { Claimed } from "../lib/storage/storage.ts";
import type { HealthLoad } from "./healthLoad.ts";
import { type Bench, type Measure, median, ms, number, perSecond, quantile, type Row, ratios } from "./measure.ts";
import { tasks } from "./poolTasks.ts";
import { type BenchQueue, openQueue, PAYLOAD } from "./queue.ts";

const REPEATS = 5;

export const pool: Measure = {
	about: "tasks in worker threads against the same in the main thread (inline), in the emulator's loop (FULL)",
	async run(bench) {
		return [
			await drained(bench, { workersMin: 2, workersMax: 2, tasksPerWorker: 5 }),
			await drained(bench, { workersMin: 2, workersMax: 2, tasksPerWorker: 50 }),
			...(await entered(bench)),
			...(await healthy(bench)),
		];
	},
};

export const poolOptions = ({ deps }: BenchQueue): PoolOptions => ({
	...deps,
	onLog: record => {
		throw new Error(JSON.stringify(record));
	},
	logLevel: "warn",
	tasks: () => tasks,
	tasksIndex: new URL("poolTasks.ts", import.meta.url).href,
	outsideAllow: ALLOW_NOTHING,
});
const poolOf = (queue: BenchQueue): Pool => createPool(poolOptions(queue));

export const insert = ({ storage, deps }: BenchQueue, task: string, payload: string, tenant = "tenant") =>
	storage
		.tenant(tenant)
		.insertJob({ task, payload, maxRetries: 3, tail: deps.random.tail(), traceId: deps.random.traceId() }, deps.clock.now());

async function drained(bench: Bench, slots: Pick<Config, "workersMin" | "workersMax" | "tasksPerWorker">): Promise<Row> {
	const jobs = bench.quick ? 5_000 : 20_000;
	const rates = { pool: [] as number[], inline: [] as number[] };
	for (let i = 0; i < (bench.quick ? 3 : REPEATS); i++)
		for (const side of i % 2 === 0 ? (["pool", "inline"] as const) : (["inline", "pool"] as const)) {
			const queue = await openQueue(bench.file(`pool-${side}-${slots.tasksPerWorker}-${i}.db`), tasks, { ...slots, tenantBacklog: jobs });
			rates[side].push((jobs * 1000) / (await drain(queue, jobs, side === "pool")));
		}
	return {
		what: `${number(jobs)} no-op jobs, ${slots.workersMin} threads, ${slots.tasksPerWorker} jobs each`,
		tickq: perSecond(rates.pool, "job"),
		against: perSecond(rates.inline, "job"),
		values: ratios(rates.pool, rates.inline),
		unit: "×",
	};
}

/** From the start of the loop to the last job's end being recorded, in milliseconds; the threads are there before. */
async function drain(queue: BenchQueue, jobs: number, inThreads: boolean): Promise<number> {
	const { storage, tickDeps, close } = queue;
	const threads = inThreads ? poolOf(queue) : null;
	if (threads !== null) await Promise.all(Array.from({ length: 20 }, () => threads.execute(claimedNoop()).ending));
	for (let at = 0; at < jobs; at += 500)
		await Promise.all(Array.from({ length: 500 }, (_, i) => insert(queue, "noop", PAYLOAD, `tenant-${i % 100}`)));
	let left = jobs;
	const { promise, resolve } = Promise.withResolvers<number>();
	const startedAt = performance.now();
	const onOutcome = ({ outcome }: { outcome: string }): void => {
		if (outcome === "done" && --left === 0) resolve(performance.now() - startedAt);
	};
	const execute = threads === null ? {} : { execute: threads.execute };
	const loop = startLoop(() => ({ ...tickDeps, onOutcome, ...execute }), { backstop: "*/5 * * * * *" });
	const took = await promise;
	await loop.stop();
	await threads?.close();
	const { done } = await storage.operator.counts();
	if (done !== jobs) throw new Error(`${done} of ${jobs} jobs are done`);
	await close();
	return took;
}

let ids = 0;
/** A job as a claim hands it over, of which no store knows. */
const claimed = (task: string): Claimed =>
	({
		id: ++ids,
		tail: 1,
		token: 1,
		tenant: "t",
		task,
		payload: "null",
		traceId: "0".repeat(32),
		startBy: null,
		timeoutMs: null,
		failures: 0,
		maxRetries: 3,
	}) as Partial<Claimed> as Claimed;
const claimedNoop = (): Claimed => claimed("noop");

/** From the claim, which hands the job over, to the first line of run(): one job at a time, threads warm. */
async function entered(bench: Bench): Promise<Row[]> {
	const queue = await openQueue(bench.file("pool-latency.db"), tasks, { workersMin: 1 });
	const threads = poolOf(queue);
	const needs = { ...queue.deps, tasks };
	const once = async (execute: (job: Claimed) => ReturnType<typeof startAttempt>): Promise<number> => {
		const from = process.hrtime.bigint();
		const ending = await execute(claimed("stamp")).ending;
		if (ending?.outcome !== "done") throw new Error("a job was not done");
		const took = Number(BigInt(JSON.parse(ending.result)) - from) / 1e6;
		await new Promise(resolve => setTimeout(resolve, 2));
		return took;
	};
	const sides = { pool: [] as number[][], inline: [] as number[][] };
	for (let i = 0; i < 50; i++) await once(threads.execute);
	for (let block = 0; block < REPEATS; block++)
		for (const [side, execute] of [
			["pool", threads.execute],
			["inline", (job: Claimed) => startAttempt(job, needs)],
		] as const) {
			const times: number[] = [];
			for (let i = 0; i < (bench.quick ? 60 : 200); i++) times.push(await once(execute));
			sides[side].push(times);
		}
	await threads.close();
	await queue.close();
	const added = (q: number): number[] => sides.pool.map((times, i) => quantile(times, q) - quantile(sides.inline[i]!, q));
	const row = (q: number) => ({
		tickq: ms(sides.pool.map(times => quantile(times, q))),
		against: ms(sides.inline.map(times => quantile(times, q))),
		values: added(q),
		unit: "ms" as const,
	});
	return [
		{ what: "added between claim and first line of run(), p50", ...row(0.5), must: { atMost: 0.5 } },
		{ what: "  p99", ...row(0.99) },
	];
}

const SPINNERS = 4;

/** How soon /health answers a client in another process, while nothing runs and while tasks spin in endless loops. */
async function healthy(bench: Bench): Promise<Row[]> {
	const queue = await openQueue(bench.file("pool-health.db"), tasks, {
		workersMin: SPINNERS,
		workersMax: SPINNERS,
		tenantConcurrency: SPINNERS,
	});
	const threads = poolOf(queue);
	const deps = { ...queue.deps, execute: threads.execute, pool: threads };
	const serving = await serve(functions, () => deps, 0);
	const client = fork(fileURLToPath(new URL("healthLoad.ts", import.meta.url)), { execArgv: [] });
	bench.atEnd(() => client.kill());
	const ask = async (): Promise<number[]> => {
		client.send({ port: serving.port, requests: bench.quick ? 300 : 1000, pauseMs: 3 } satisfies HealthLoad);
		const [times] = await once(client, "message");
		return times as number[];
	};
	await ask();
	const idle = await ask();
	const spinning = Array.from({ length: SPINNERS }, () => threads.execute({ ...claimed("spin"), timeoutMs: 600_000 }));
	await new Promise(resolve => setTimeout(resolve, 1000));
	const busy: number[][] = [];
	for (let i = 0; i < 3; i++) busy.push(await ask());
	client.disconnect();
	await threads.close();
	await Promise.all(spinning.map(({ ending }) => ending));
	await serving.close();
	await queue.close();
	const row = (q: number) => ({
		tickq: ms([median(busy.map(times => quantile(times, q)))]),
		against: ms([quantile(idle, q)]),
		values: busy.map(times => quantile(times, q)),
		unit: "ms" as const,
	});
	return [
		{ what: `GET /health while ${SPINNERS} tasks spin, against while nothing runs, p50`, ...row(0.5) },
		{ what: "  p99", ...row(0.99), must: { atMost: 50 } },
	];
}
