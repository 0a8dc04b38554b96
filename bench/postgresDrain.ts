/** How fast a backlog is worked off: beside other queues on the same server, and while somebody holds an old snapshot. */
import postgres from "postgres";
import { startLoop } from "../emulator/loop.ts";
import { type Bench, number, perSecond, type Row, ratios } from "./measure.ts";
import { drainBoss, drainGraphile, GRAPHILE, isStranger, PG_BOSS } from "./postgresPeers.ts";
import { claimSome, dropSchema, finishAll, freshName, openPostgresQueue, settle, submitJobs } from "./postgresQueue.ts";
import type { MeasuredServer } from "./postgresServer.ts";
import { mustAddUp, noopTasks } from "./queue.ts";

export const SLOTS = 100;

interface Backlog {
	readonly jobs: number;
	readonly tenants: number;
	/** `loop`: the program's own. `verbs`: endings and the next claim, sent together as a tick sends them, one after the other. */
	readonly by: "loop" | "verbs";
	/** Half of them are submitted while they are worked off. */
	readonly during?: boolean;
	/** Another connection has a transaction open that saw the store before the first job. */
	readonly held?: boolean;
}

/** From the start to the last job's end being recorded, in milliseconds. */
export async function drainTickq({ url, admin }: MeasuredServer, { jobs, tenants, by, during, held }: Backlog): Promise<number> {
	const schema = freshName("drain");
	const config = { workersMin: 1, tasksPerWorker: SLOTS, tenantConcurrency: tenants === 1 ? SLOTS : 5, tenantBacklog: jobs };
	const queue = await openPostgresQueue(url, schema, noopTasks(["noop"]), { config });
	const { storage, deps, tickDeps } = queue;
	const letGo = held ? await holdSnapshot(url, schema) : async () => {};
	let submitted = during ? jobs / 2 : jobs;
	await submitJobs(storage, submitted, tenants, deps.clock.now());
	await settle(admin, schema);

	const startedAt = performance.now();
	let ms: number;
	if (by === "verbs") {
		for (let left = jobs, running = await claimSome(queue, SLOTS); left > 0; ) {
			left -= running.length;
			const finished = finishAll(queue, running);
			running = await claimSome(queue, SLOTS);
			await finished;
		}
		ms = performance.now() - startedAt;
	} else {
		let left = jobs;
		let ended = 0;
		const { promise, resolve } = Promise.withResolvers<number>();
		let submitting: Promise<void> = Promise.resolve();
		const onOutcome = ({ outcome }: { outcome: string }): void => {
			if (outcome !== "done") return;
			if (--left === 0) resolve(performance.now() - startedAt);
			if (submitted === jobs || ++ended % SLOTS > 0) return;
			submitted += SLOTS;
			submitting = submitting.then(() => submitJobs(storage, SLOTS, tenants, deps.clock.now())).then(() => deps.wake.ring());
		};
		const loop = startLoop(() => ({ ...tickDeps, onOutcome }), { backstop: "*/5 * * * * *" });
		ms = await promise;
		await submitting;
		await loop.stop();
	}
	const { done } = await storage.operator.counts();
	if (done !== jobs) throw new Error(`${done} of ${jobs} jobs are done`);
	await letGo();
	await mustAddUp(storage);
	await storage.close();
	await dropSchema(admin, schema);
	return ms;
}

/** Opens a transaction that goes on seeing the store as it is now. Answers how to end it. */
async function holdSnapshot(url: string, schema: string): Promise<() => Promise<void>> {
	const sql = postgres(url, { max: 1, onnotice: () => {} });
	await sql.unsafe("BEGIN ISOLATION LEVEL REPEATABLE READ");
	await sql`SELECT 1 FROM ${sql(schema)}.jobs LIMIT 1`;
	return async () => {
		await sql.unsafe("COMMIT");
		await sql.end();
	};
}

export async function drainRows(bench: Bench, server: MeasuredServer): Promise<Row[]> {
	const jobs = bench.quick ? 4_000 : 20_000;
	const repeats = bench.quick ? 2 : 4;
	const sides = {
		loop100: () => drainTickq(server, { jobs, tenants: 100, by: "loop" }),
		loop1: () => drainTickq(server, { jobs, tenants: 1, by: "loop" }),
		verbs100: () => drainTickq(server, { jobs, tenants: 100, by: "verbs" }),
		verbs1: () => drainTickq(server, { jobs, tenants: 1, by: "verbs" }),
		bossOverlapping: () => drainBoss(server, jobs, true),
		boss: () => drainBoss(server, jobs, false),
		graphile: () => drainGraphile(server, jobs),
	};
	type Side = keyof typeof sides;
	const names = Object.keys(sides) as Side[];
	const rates = Object.fromEntries(names.map(name => [name, [] as number[]])) as Record<Side, number[]>;
	for (let i = 0; i < repeats; i++)
		for (const name of i % 2 === 0 ? names : names.toReversed()) {
			const rate = (jobs * 1000) / (await sides[name]());
			bench.say(`  drain ${name}: ${number(rate)} job/s`);
			rates[name].push(rate);
		}
	const row = (what: string, side: Side, against: Side, must: number, goal: number): Row => ({
		what,
		tickq: perSecond(rates[side], "job"),
		against: perSecond(rates[against], "job"),
		values: ratios(rates[side], rates[against]),
		unit: "×",
		...(isStranger(against === "graphile" ? "graphile-worker" : "pg-boss") ? {} : { must: { atLeast: must }, goal: { atLeast: goal } }),
	});
	return [
		row(`drain of ${number(jobs)}, loop, 100 tenants, against pg-boss ${PG_BOSS}`, "loop100", "bossOverlapping", 1, 1.5),
		row("  the same, 1 tenant", "loop1", "bossOverlapping", 1, 1.5),
		row("  claim(100) and finish(100) sent together, 100 tenants, against fetch and complete in turn", "verbs100", "boss", 1, 1.5),
		row("  the same, 1 tenant", "verbs1", "boss", 1, 1.5),
		row(`drain of ${number(jobs)}, loop, 100 tenants, against graphile-worker ${GRAPHILE}`, "loop100", "graphile", 0.7, 1),
		row("  the same, 1 tenant", "loop1", "graphile", 0.7, 1),
	];
}

export async function snapshotRows(bench: Bench, server: MeasuredServer): Promise<Row[]> {
	const jobs = bench.quick ? 6_000 : 20_000;
	const rates = { held: [] as number[], free: [] as number[] };
	for (let i = 0; i < (bench.quick ? 1 : 2); i++)
		for (const side of i % 2 === 0 ? (["held", "free"] as const) : (["free", "held"] as const)) {
			const ms = await drainTickq(server, { jobs, tenants: 100, by: "loop", during: true, held: side === "held" });
			rates[side].push((jobs * 1000) / ms);
			bench.say(`  snapshot ${side}: ${number((jobs * 1000) / ms)} job/s`);
		}
	return [
		{
			what: `drain of ${number(jobs)}, half submitted meanwhile, with a snapshot held from before the first / without`,
			tickq: perSecond(rates.held, "job"),
			against: perSecond(rates.free, "job"),
			values: ratios(rates.held, rates.free),
			unit: "×",
			must: { atLeast: 0.5 },
		},
	];
}
