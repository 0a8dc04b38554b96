/** Many at once: connections at one tenant, processes on one database, and clients that submit. */
import { type Bench, number, perSecond, type Row, ratios } from "./measure.ts";
import { SLOTS } from "./postgresDrain.ts";
import { Crew } from "./postgresProcess.ts";
import {
	claimSome,
	dropSchema,
	finishAll,
	freshName,
	newJob,
	openPostgresQueue,
	type PostgresQueue,
	settle,
	submitJobs,
} from "./postgresQueue.ts";
import type { MeasuredServer } from "./postgresServer.ts";
import type { Order } from "./postgresWorker.ts";
import { mustAddUp, noopTasks } from "./queue.ts";

const TASKS = noopTasks(["noop"]);
const CONNECTIONS = 4;
const PROCESSES = 4;
const CLIENTS = 64;

/** Errors and deadlocks are said, and make a row whose figure is 0. */
interface Faults {
	deadlocks: number;
	errors: number;
	first: string;
}
function faulty(row: Row, { deadlocks, errors, first }: Faults): Row {
	const what = `${row.what}; ${deadlocks} deadlocks, ${errors} errors`;
	return deadlocks + errors === 0 ? { ...row, what } : { ...row, what: `${what} ${first.slice(0, 80)}`, value: 0 };
}

/** Many against one: the row of both kinds. */
const manyToOne = (what: string, rates: { readonly many: number[]; readonly one: number[] }, faults: Faults): Row =>
	faulty(
		{
			what,
			tickq: perSecond(rates.many, "job"),
			against: perSecond(rates.one, "job"),
			values: ratios(rates.many, rates.one),
			unit: "×",
			must: { atLeast: 1 },
			goal: { atLeast: 1.3 },
		},
		faults,
	);

/** Each connection submits, claims and finishes as many in turn, all of one tenant, for so long. Answers jobs per second. */
async function hotTenant({ url, admin }: MeasuredServer, connections: number, batch: number, ms: number, faults: Faults): Promise<number> {
	const schema = freshName("hot");
	const config = { tenantConcurrency: 1_000_000, tenantBacklog: 1_000_000_000 };
	const queues: PostgresQueue[] = [];
	for (let i = 0; i < connections; i++) queues.push(await openPostgresQueue(url, schema, TASKS, { config, pool: 1 }));
	// Nobody finds the store empty because the others were quicker.
	await submitJobs(queues[0]!.storage, 4 * connections * batch, 1, queues[0]!.deps.clock.now());
	await settle(admin, schema);
	let ended = 0;
	const startedAt = performance.now();
	await Promise.all(
		queues.map(async queue => {
			try {
				while (performance.now() < startedAt + ms) {
					await submitJobs(queue.storage, batch, 1, queue.deps.clock.now());
					const claimed = await claimSome(queue, batch);
					await finishAll(queue, claimed);
					ended += claimed.length;
				}
			} catch (error) {
				faults.errors++;
				faults.first ||= String(error);
			}
		}),
	);
	const rate = (ended * 1000) / (performance.now() - startedAt);
	await mustAddUp(queues[0]!.storage);
	for (const { storage } of queues) await storage.close();
	await dropSchema(admin, schema);
	return rate;
}

export async function hotRows(bench: Bench, server: MeasuredServer): Promise<Row[]> {
	const rows: Row[] = [];
	for (const batch of [100, 10]) {
		const faults: Faults = { deadlocks: 0, errors: 0, first: "" };
		const before = await server.deadlocks();
		const rates = { many: [] as number[], one: [] as number[] };
		for (let i = 0; i < (bench.quick ? 2 : 3); i++)
			for (const side of i % 2 === 0 ? (["many", "one"] as const) : (["one", "many"] as const))
				rates[side].push(await hotTenant(server, side === "many" ? CONNECTIONS : 1, batch, bench.quick ? 600 : 1500, faults));
		faults.deadlocks = (await server.deadlocks()) - before;
		rows.push(manyToOne(`one hot tenant, ${CONNECTIONS} connections / 1, lives in batches of ${batch}`, rates, faults));
	}
	return rows;
}

/** So many processes work on one database. Answers jobs per second, from the word to start to the last job's end. */
async function processes(
	bench: Bench,
	{ url, admin }: MeasuredServer,
	role: "drain" | "life",
	count: number,
	jobs: number,
	faults: Faults,
): Promise<number> {
	const schema = freshName(role);
	const config = { tenantBacklog: 1_000_000_000 };
	const queue = await openPostgresQueue(url, schema, TASKS, { config });
	if (role === "drain") await submitJobs(queue.storage, jobs, SLOTS, queue.deps.clock.now());
	await settle(admin, schema);
	const crew = new Crew(bench);
	const order: Order = { role, url, schema, jobs: jobs / count, tenants: SLOTS, slots: SLOTS };
	for (let i = 0; i < count; i++) await crew.add(order);
	const ms = await crew.workOff(jobs);
	const troubles = await crew.end();
	faults.errors += troubles.count;
	faults.first ||= troubles.first;
	await mustAddUp(queue.storage);
	await queue.storage.close();
	await dropSchema(admin, schema);
	return (jobs * 1000) / ms;
}

export async function processRows(bench: Bench, server: MeasuredServer): Promise<Row[]> {
	const rows: Row[] = [];
	for (const role of ["drain", "life"] as const) {
		const jobs = bench.quick ? 2_000 : 6_000;
		const faults: Faults = { deadlocks: 0, errors: 0, first: "" };
		const before = await server.deadlocks();
		const rates = { many: [] as number[], one: [] as number[] };
		for (let i = 0; i < (bench.quick ? 1 : 3); i++)
			for (const side of i % 2 === 0 ? (["many", "one"] as const) : (["one", "many"] as const)) {
				const rate = await processes(bench, server, role, side === "many" ? PROCESSES : 1, jobs, faults);
				bench.say(`  ${role} ${side}: ${number(rate)} job/s`);
				rates[side].push(rate);
			}
		faults.deadlocks = (await server.deadlocks()) - before;
		const work = role === "drain" ? `drain of ${number(jobs)}` : `${number(jobs)} whole lives`;
		rows.push(manyToOne(`${PROCESSES} processes / 1, ${work}, 100 tenants`, rates, faults));
	}
	return rows;
}

/** Clients of one process, each with one submit after the other, for so long. Answers accepted jobs per second. */
async function submits({ url, admin }: MeasuredServer, tenants: number, ms: number): Promise<number> {
	const schema = freshName("submit");
	const { storage, deps } = await openPostgresQueue(url, schema, TASKS, { config: { tenantBacklog: 1_000_000_000 } });
	await submitJobs(storage, CLIENTS, tenants, deps.clock.now());
	await settle(admin, schema);
	let accepted = 0;
	const startedAt = performance.now();
	await Promise.all(
		Array.from({ length: CLIENTS }, async (_, i) => {
			while (performance.now() < startedAt + ms) {
				const { status } = await storage.tenant(`tenant-${i % tenants}`).insertJob(newJob("noop"), deps.clock.now());
				if (status !== "created") throw new Error(`a submit was answered with ${status}`);
				accepted++;
			}
		}),
	);
	const rate = (accepted * 1000) / (performance.now() - startedAt);
	await mustAddUp(storage);
	await storage.close();
	await dropSchema(admin, schema);
	return rate;
}

export async function submitRows(bench: Bench, server: MeasuredServer): Promise<Row[]> {
	const rates = { spread: [] as number[], one: [] as number[] };
	for (let i = 0; i < (bench.quick ? 2 : 3); i++)
		for (const side of i % 2 === 0 ? (["spread", "one"] as const) : (["one", "spread"] as const))
			rates[side].push(await submits(server, side === "one" ? 1 : CLIENTS, bench.quick ? 700 : 1500));
	return [
		{
			what: `durable submits in process, ${CLIENTS} clients: each its own tenant / all the same`,
			tickq: perSecond(rates.spread, "job"),
			against: perSecond(rates.one, "job"),
			values: ratios(rates.spread, rates.one),
			unit: "×",
		},
	];
}
