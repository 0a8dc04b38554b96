/** What an accepted job costs over HTTP, beside the least that a JSON API on the same server can do. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { fromJobId } from "../lib/jobId.ts";
import { type Bench, type Measure, median, number, perSecond, type Row, ratios } from "./measure.ts";
import { PAYLOAD } from "./queue.ts";
import type { Load, LoadAnswer } from "./submitLoad.ts";

const CONNECTIONS = 64;
const BODY = `{"task":"echo","payload":${PAYLOAD}}`;

export const submit: Measure = {
	about: `durable submits over HTTP (201 after the commit, FULL), ${CONNECTIONS} keep-alive connections, against a bare Hono c.json(await c.req.json()) of the same body (${BODY.length} B); server and load in processes of their own`,
	async run(bench) {
		const rows: Row[] = [];
		for (const tenants of [1, CONNECTIONS]) rows.push(...(await compare(bench, tenants)));
		return rows;
	},
};

async function child(bench: Bench, script: string, args: readonly string[] = []): Promise<ChildProcess> {
	const process = fork(fileURLToPath(new URL(script, import.meta.url)), args, { execArgv: [] });
	bench.atEnd(() => process.kill());
	return process;
}
async function server(bench: Bench, kind: string, file: string): Promise<{ process: ChildProcess; port: number }> {
	const process = await child(bench, "submitServer.ts", [kind, file]);
	const { port } = await said<{ port: number }>(process);
	return { process, port };
}
/** The next message of a child; rejects when it ends instead. */
async function said<T>(process: ChildProcess): Promise<T> {
	const over = new AbortController();
	const ended = once(process, "exit", over).then(([code]) => Promise.reject(new Error(`${process.spawnargs[1]} ended with ${code}`)));
	try {
		const [message] = await Promise.race([once(process, "message", over), ended]);
		return message as T;
	} finally {
		over.abort();
	}
}
async function end(process: ChildProcess): Promise<void> {
	const gone = once(process, "exit");
	process.disconnect();
	await gone;
}

async function compare(bench: Bench, tenants: number): Promise<Row[]> {
	const file = bench.file(`submit-${tenants}.db`);
	const tickq = await server(bench, "tickq", file);
	const bare = await server(bench, "bare", file);
	const load = await child(bench, "submitLoad.ts");
	const run = async (port: number, ms: number): Promise<LoadAnswer> => {
		load.send({ port, ms, connections: CONNECTIONS, tenants, body: BODY } satisfies Load);
		const answer = await said<LoadAnswer>(load);
		const odd = Object.keys(answer.statuses).find(status => status !== (port === tickq.port ? "201" : "200"));
		if (odd !== undefined) throw new Error(`${answer.statuses[odd]} requests were answered with ${odd}`);
		return answer;
	};

	const repeats = bench.quick ? 5 : 9;
	const ms = bench.quick ? 700 : 1500;
	const accepted: string[][] = [];
	const rates = { tickq: [] as number[], bare: [] as number[] };
	const busy = { tickq: [] as number[], bare: [] as number[] };
	for (let i = -2; i < repeats; i++) {
		// The first two rounds warm both up.
		for (const side of i % 2 === 0 ? (["tickq", "bare"] as const) : (["bare", "tickq"] as const)) {
			const answer = await run(side === "tickq" ? tickq.port : bare.port, ms);
			if (side === "tickq") accepted.push(answer.jobIds);
			if (i < 0) continue;
			rates[side].push(answer.requests / answer.seconds);
			busy[side].push(answer.busy);
		}
	}
	await Promise.all([end(tickq.process), end(bare.process), end(load)]);
	const jobs = mustBeStored(file, accepted.flat());
	const percent = (values: readonly number[]): string => `${(median(values) * 100).toFixed(0)} %`;
	return [
		{
			what: tenants === 1 ? "all of one tenant" : "each connection another tenant",
			tickq: perSecond(rates.tickq, "req"),
			against: perSecond(rates.bare, "req"),
			values: ratios(rates.tickq, rates.bare),
			unit: "×",
			...(tenants === 1 ? {} : { must: { atLeast: 0.45 }, goal: { atLeast: 0.7 } }),
		},
		{
			what: `  the load's processor time; all ${number(jobs)} answered 201 were in the store`,
			tickq: percent(busy.tickq),
			against: percent(busy.bare),
			values: ratios(busy.tickq, busy.bare),
			unit: "×",
		},
	];
}

/** Every 201 is a job of that very id, and there are no others. Answers how many. */
function mustBeStored(file: string, ids: readonly string[]): number {
	const database = new Database(file, { readonly: true });
	const stored = new Map(database.prepare("SELECT id, tail FROM jobs").raw().all() as [number, number][]);
	database.close();
	if (stored.size !== ids.length) throw new Error(`${ids.length} jobs were accepted, ${stored.size} are stored`);
	for (const text of ids) {
		const ref = fromJobId(text);
		if (ref === null || stored.get(ref.id) !== ref.tail) throw new Error(`job ${text} was accepted and is not stored`);
		stored.delete(ref.id);
	}
	if (stored.size > 0) throw new Error(`${stored.size} answers named a job that another had named`);
	return ids.length;
}
