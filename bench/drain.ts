/** How fast a backlog is worked off, beside another queue on SQLite. */
import Database from "better-sqlite3";
import { better, defineQueue, defineWorker } from "plainjob";
import { startLoop } from "../emulator/loop.ts";
import { type Bench, type Measure, number, perSecond, type Row, ratios } from "./measure.ts";
import { noopTasks, openQueue, PAYLOAD } from "./queue.ts";

type Synchronous = "FULL" | "NORMAL";
const SLOTS = 100;
const jobsOf = (bench: Bench): number => (bench.quick ? 5_000 : 20_000);

export const drain: Measure = {
	about: `draining a backlog of no-op jobs in the emulator's loop, ${SLOTS} slots, against plainjob 0.0.14 on the same disk with the same synchronous`,
	async run(bench) {
		const jobs = jobsOf(bench);
		const rows: Row[] = [];
		for (const [tenants, synchronous] of [
			[100, "FULL"],
			[1, "FULL"],
			[100, "NORMAL"],
		] as const) {
			const rates = { tickq: [] as number[], plainjob: [] as number[] };
			const repeats = bench.quick ? 3 : 5;
			for (let i = 0; i < repeats; i++)
				for (const side of i % 2 === 0 ? (["tickq", "plainjob"] as const) : (["plainjob", "tickq"] as const)) {
					const file = bench.file(`drain-${side}-${tenants}-${synchronous}-${i}.db`);
					const ms = side === "tickq" ? await drainTickq(file, jobs, tenants, synchronous) : await drainPlainjob(file, jobs, synchronous);
					rates[side].push((jobs * 1000) / ms);
				}
			rows.push({
				what: `${number(jobs)} jobs, ${tenants === 1 ? "1 tenant" : `${tenants} tenants`}, ${synchronous}`,
				tickq: perSecond(rates.tickq, "job"),
				against: perSecond(rates.plainjob, "job"),
				values: ratios(rates.tickq, rates.plainjob),
				unit: "×",
				...(synchronous === "FULL" ? { must: { atLeast: 8 }, goal: { atLeast: 15 } } : {}),
			});
		}
		return rows;
	},
};

/** From the start of the loop to the last job's end being recorded, in milliseconds. */
async function drainTickq(file: string, jobs: number, tenants: number, synchronous: Synchronous): Promise<number> {
	const config = { workersMin: 1, tasksPerWorker: SLOTS, tenantConcurrency: tenants === 1 ? SLOTS : 5, tenantBacklog: jobs };
	const { storage, database, deps, tickDeps, close } = await openQueue(file, noopTasks(["noop"]), config);
	database.pragma(`synchronous = ${synchronous}`);
	for (let at = 0; at < jobs; at += 500)
		await Promise.all(
			Array.from({ length: 500 }, (_, i) =>
				storage
					.tenant(`tenant-${(at + i) % tenants}`)
					.insertJob(
						{ task: "noop", payload: PAYLOAD, maxRetries: 3, tail: deps.random.tail(), traceId: deps.random.traceId() },
						deps.clock.now(),
					),
			),
		);
	let left = jobs;
	const startedAt = performance.now();
	const { promise, resolve } = Promise.withResolvers<number>();
	const onOutcome = ({ outcome }: { outcome: string }): void => {
		if (outcome === "done" && --left === 0) resolve(performance.now() - startedAt);
	};
	const loop = startLoop(() => ({ ...tickDeps, onOutcome }), { backstop: "*/5 * * * * *" });
	const ms = await promise;
	await loop.stop();
	const { done } = await storage.operator.counts();
	if (done !== jobs) throw new Error(`${done} of ${jobs} jobs are done`);
	await close();
	return ms;
}

const silent = { error: console.error, warn() {}, info() {}, debug() {} };

/** One worker takes its jobs one by one and awaits each: for jobs that do nothing more workers in one process only add turns. */
async function drainPlainjob(file: string, jobs: number, synchronous: Synchronous): Promise<number> {
	const connection = better(new Database(file));
	const queue = defineQueue({ connection, logger: silent });
	connection.pragma(`synchronous = ${synchronous}`);
	queue.addMany(
		"noop",
		Array.from({ length: jobs }, () => JSON.parse(PAYLOAD)),
	);
	let left = jobs;
	const startedAt = performance.now();
	const { promise, resolve } = Promise.withResolvers<number>();
	const onCompleted = (): void => {
		if (--left === 0) resolve(performance.now() - startedAt);
	};
	const worker = defineWorker("noop", () => {}, { queue, logger: silent, onCompleted });
	const running = worker.start();
	const ms = await promise;
	await worker.stop();
	await running;
	const done = queue.countJobs({ status: 2 });
	if (done !== jobs) throw new Error(`${done} of ${jobs} plainjob jobs are done`);
	queue.close();
	return ms;
}
