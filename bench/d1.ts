/** What a job costs on Cloudflare D1, in what it bills: rows read and rows written, as its own `meta` tells them. */
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { readMigrations } from "../emulator/openStorage.ts";
import { CONFIG_DEFAULT } from "../lib/config.ts";
import { type D1Answer, type D1Like, type D1Prepared, d1Driver } from "../lib/storage/sqlite/d1.ts";
import type { Param } from "../lib/storage/sqlite/driver.ts";
import { SqliteEngine } from "../lib/storage/sqlite/sqliteEngine.ts";
import type { Claimed, Ending, NewJob, Storage } from "../lib/storage/storage.ts";
import { openStore } from "../lib/storage/store.ts";
import { type Bench, type Measure, number, type Row } from "./measure.ts";
import { mustAddUp, PAYLOAD } from "./queue.ts";

const TASKS = ["mail", "image", "report"];
const TENANTS = 100;
const KEEP_MS = 7 * 24 * 3_600_000;
const HOUR_MS = 3_600_000;
const START_MS = Date.UTC(2026, 5, 1);

export const d1: Measure = {
	about: `D1's own rows_read and rows_written per job, in Miniflare: submit, claim and finish with history, in a store with a backlog of ${TENANTS} tenants × ${TASKS.length} tasks; a verb's share is the mean of its batches`,
	async run(bench) {
		const rows: Row[] = [];
		const backlog = bench.quick ? 10_000 : 50_000;
		for (const tenants of [TENANTS, 1]) {
			const where = tenants === 1 ? "all within one tenant" : "each in another tenant";
			const queue = await openQueue(bench, tenants, backlog);
			for (const batch of [100, 10, 1]) {
				const costs = await queue.life(batch, bench.quick ? 10 : 30);
				const bars = batch === 100;
				rows.push(
					costRow(`written: batches of ${batch}, ${where}`, costs, "written", bars ? (tenants === 1 ? [10, 6] : [24, 12]) : null),
					costRow(`  read`, costs, "read", bars ? [150, 60] : null),
				);
			}
			for (const [what, costs] of await queue.apart())
				rows.push(costRow(`  apart: ${what}`, costs, "written", null), costRow("    read", costs, "read", null));
			await mustAddUp(queue.storage);
			await queue.close();
		}
		const idle = await openQueue(bench, TENANTS, 0);
		const costs = await idle.life(100, 10);
		rows.push(costRow("written: the only job of each of 100 tenants", costs, "written", null), costRow("  read", costs, "read", null));
		await mustAddUp(idle.storage);
		await idle.close();
		return rows;
	},
};

interface Cost {
	readonly verb: string;
	readonly jobs: number;
	read: number;
	written: number;
	statements: number;
}

function costRow(what: string, costs: readonly Cost[], of: "read" | "written", bars: readonly [must: number, goal: number] | null): Row {
	const each = costs.map(cost => cost[of] / cost.jobs);
	const total = each.reduce((sum, value) => sum + value, 0);
	const detail = costs.map(({ verb }, i) => `${verb} ${each[i]!.toFixed(each[i]! < 100 ? 2 : 0)}`).join(" · ");
	return {
		what,
		tickq: detail,
		values: [total],
		unit: "rows",
		...(bars === null ? {} : { must: { atMost: bars[0] }, goal: { atMost: bars[1] } }),
	};
}

const WORKER = `export default {
	async fetch(request, { DB }) {
		const answers = await DB.batch((await request.json()).map(({ sql, params }) => DB.prepare(sql).bind(...params)));
		return Response.json(answers);
	},
};`;

interface Prepared extends D1Prepared {
	readonly sql: string;
	readonly params: readonly Param[];
}

interface Spent {
	times: number;
	read: number;
	written: number;
}

async function openQueue(bench: Bench, tenants: number, backlog: number) {
	const miniflare = new Miniflare(
		convertV4MiniflareOptions({ compatibilityDate: "2026-11-01", modules: true, script: WORKER, d1Databases: { DB: "tickq" }, cf: false }),
	);
	bench.atEnd(() => void miniflare.dispose());
	const url = await miniflare.ready;
	let spent = new Map<string, Spent>();
	async function send(statements: readonly Prepared[]): Promise<D1Answer[]> {
		const response = await fetch(url, { method: "POST", body: JSON.stringify(statements) });
		if (!response.ok) throw new Error(await response.text());
		const answers = (await response.json()) as D1Answer[];
		answers.forEach(({ meta }, i) => {
			const { sql } = statements[i]!;
			const entry = spent.get(sql) ?? { times: 0, read: 0, written: 0 };
			spent.set(sql, entry);
			entry.times++;
			entry.read += meta.rows_read ?? 0;
			entry.written += meta.rows_written ?? 0;
		});
		return answers;
	}
	const prepared = (sql: string, params: readonly Param[]): Prepared => ({
		sql,
		params,
		bind: (...given) => prepared(sql, given),
		all: async () => (await send([prepared(sql, params)]))[0]!,
	});
	const database: D1Like = { prepare: sql => prepared(sql, []), batch: statements => send(statements as Prepared[]) };
	for (const { sql } of readMigrations()) await send([prepared(sql, [])]);
	// Many tenants have the limits that they have by default; one alone has to be given more than a batch.
	const { tenantConcurrency, tenantBacklog } = CONFIG_DEFAULT;
	const limits = tenants === 1 ? { concurrency: 1000, backlog: 1_000_000 } : { concurrency: tenantConcurrency, backlog: tenantBacklog };
	const defaults = { ...limits, keepDoneMs: KEEP_MS, keepDeadMs: KEEP_MS };
	const storage: Storage = await openStore(new SqliteEngine(d1Driver(database)), defaults, TASKS);

	let now = START_MS;
	let drawn = 0;
	const submit = (count: number, more: (n: number) => Partial<NewJob> = () => ({})): Promise<unknown> =>
		Promise.all(
			Array.from({ length: count }, (_, i) => {
				const n = drawn++;
				return storage.tenant(`tenant-${i % tenants}`).insertJob(
					{
						task: TASKS[(tenants === 1 ? i : i + Math.floor(n / count)) % TASKS.length]!,
						payload: PAYLOAD,
						maxRetries: 3,
						tail: n,
						traceId: n.toString(16).padStart(32, "0"),
						...more(n),
					},
					now,
				);
			}),
		);
	async function claim(limit: number): Promise<Claimed[]> {
		const jobs = await storage.worker.claimDueJobs({ tasks: TASKS, limit, leaseMs: 30_000, token: ++drawn, worker: "bench" }, now);
		if (jobs.length !== limit) throw new Error(`a claim of ${limit} took ${jobs.length}`);
		return jobs;
	}
	async function finish(jobs: readonly Claimed[], how: Omit<Ending, "id" | "token">): Promise<void> {
		const endings = jobs.map(({ id, token }) => ({ id, token, ...how }) as Ending);
		const moved = await storage.worker.finishIfLeased(endings, now);
		if (moved.length !== jobs.length) throw new Error(`${moved.length} of ${jobs.length} endings were accepted`);
	}
	const DONE = { outcome: "done", result: "null" } as Omit<Ending, "id" | "token">;
	const RETRY = { outcome: "retry", delayMs: 1000, error: '{"message":"no"}' } as Omit<Ending, "id" | "token">;

	/** What a verb spends in one call is added to `cost`, and told statement by statement on stderr. */
	async function metered<T>(cost: Cost, told: Map<string, Spent & { jobs: number }>, work: () => Promise<T>): Promise<T> {
		spent = new Map();
		const answer = await work();
		for (const [sql, { times, read, written }] of spent) {
			cost.read += read;
			cost.written += written;
			cost.statements += times;
			const key = `${cost.verb.padEnd(8)} ${sql.replace(/\s+/g, " ").trim().slice(0, 100)}`;
			const sum = told.get(key) ?? { times: 0, read: 0, written: 0, jobs: cost.jobs };
			told.set(key, sum);
			sum.times += times;
			sum.read += read;
			sum.written += written;
		}
		return answer;
	}
	function tell(what: string, costs: readonly Cost[], told: ReadonlyMap<string, Spent & { jobs: number }>): void {
		bench.say(`\n${what}: rows read and written per job, statement by statement`);
		for (const [sql, { read, written, jobs }] of told)
			bench.say(`${(read / jobs).toFixed(2).padStart(9)} ${(written / jobs).toFixed(2).padStart(7)}  ${sql}`);
		for (const { verb, jobs, read, written } of costs)
			bench.say(`${(read / jobs).toFixed(2).padStart(9)} ${(written / jobs).toFixed(2).padStart(7)}  = ${verb}`);
	}

	for (let left = backlog; left > 0; left -= 500) await submit(Math.min(500, left));

	return {
		storage,
		close: () => miniflare.dispose(),
		async life(batch: number, batches: number): Promise<Cost[]> {
			const costs = ["submit", "claim", "finish"].map(verb => ({ verb, jobs: batch * batches, read: 0, written: 0, statements: 0 }));
			const told = new Map<string, Spent & { jobs: number }>();
			// The first round finds what a round leaves behind.
			await submit(batch);
			await finish(await claim(batch), DONE);
			for (let i = 0; i < batches; i++) {
				now += 10;
				await metered(costs[0]!, told, () => submit(batch));
				const jobs = await metered(costs[1]!, told, () => claim(batch));
				await metered(costs[2]!, told, () => finish(jobs, DONE));
			}
			tell(`batches of ${batch}, ${tenants} tenants, backlog ${number(backlog)}`, costs, told);
			return costs;
		},
		/** What not every job costs, in batches of 100. */
		async apart(): Promise<[string, Cost[]][]> {
			const found: [string, Cost[]][] = [];
			const part = async (what: string, ...verbs: [verb: string, jobs: number, work: () => Promise<unknown>][]): Promise<void> => {
				const told = new Map<string, Spent & { jobs: number }>();
				const costs: Cost[] = [];
				for (const [verb, jobs, work] of verbs) {
					const cost = { verb, jobs, read: 0, written: 0, statements: 0 };
					await metered(cost, told, work);
					costs.push(cost);
				}
				tell(`${what}, ${tenants} tenants`, costs, told);
				found.push([what, costs]);
			};
			await part("submit with an idempotency key", [
				"submit",
				100,
				() => submit(100, n => ({ idempotency: { key: `order-${n}`, fingerprint: "f", expiresAt: now + 24 * HOUR_MS } })),
			]);
			await part("submit with an ordering key", ["submit", 100, () => submit(100, n => ({ key: `account-${n % 100}` }))]);
			await part("submit with a delay", ["submit", 100, () => submit(100, () => ({ runAt: now + HOUR_MS }))]);
			const failing = await claim(100);
			await part("a failed attempt", ["retry", 100, () => finish(failing, RETRY)]);
			now += 2000;
			let again: Claimed[] = [];
			await part(
				"the attempt after it",
				[
					"claim",
					100,
					async () => {
						again = await claim(100);
					},
				],
				["finish", 100, () => finish(again, DONE)],
			);
			const beating = await claim(100);
			await part("a heartbeat", [
				"extend",
				100,
				() =>
					storage.worker.extendLeases(
						beating.map(({ id, token }) => ({ id, token })),
						30_000,
						now + 10_000,
					),
			]);
			await finish(beating, DONE);
			const claimNothing = () =>
				storage.worker.claimDueJobs({ tasks: ["nobody's"], limit: 10, leaseMs: 1, token: 1, worker: "bench" }, now);
			// The first time makes the task known.
			await claimNothing();
			await part("a claim that finds nothing", ["claim", 1, claimNothing]);
			now += KEEP_MS + HOUR_MS;
			await part("prune", ["prune", 100, () => storage.worker.prune(100, now)]);
			return found;
		},
	};
}
