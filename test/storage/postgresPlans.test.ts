/**
 * The plans of what PostgreSQL really does for every request or tick, inside the functions too: none may walk what grows with the store.
 * auto_explain tells them, as notices, each with the statement that it is of.
 */
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openPostgres } from "../../emulator/openPostgres.ts";
import { readAddress } from "../../emulator/postgresPool.ts";
import { type Param, PostgresDriver, type PostgresHandle } from "../../lib/storage/postgres/driver.ts";
import { PostgresEngine } from "../../lib/storage/postgres/postgresEngine.ts";
import { openStore } from "../../lib/storage/store.ts";
import { freshSchema } from "../support/postgres.ts";
import { DAY, DEFAULTS, Desk, DONE, FAILED, LEASE_MS, LISTS, RELEASE, retryIn, TASKS } from "./desk.ts";

/** Tables that stay small: as many rows as there are tasks, or writers at once. */
const SMALL = ["meta", "tasks", "totals", "turns"];
/** Indexes that hold only what a sweep or a claim looks for, in its order: they are walked from their beginning. */
const SWEPT = ["jobs_running", "jobs_start_by", "jobs_expiry", "lanes_due", "keys_expiry"];
/** Rows of a table that grows that one node of a plan may read, where the verb asks for 20 jobs at most; pages look at more. */
const ROWS_MAX = 200;
const PAGE_ROWS_MAX = 5000 * 4;
/** Called at a start, not by ticks: costs the leases that are held. */
const RARE = ["leaseHolders", "forfeit"];
/** As long as nothing is known of a table, 5,000 rows in order are rightly expected to cost more than all of it, up to some 100,000. */
const WIDE = ["list all"];

/** Of a statement that is found to walk: its end says more than its columns. */
const TEXT_LENGTH_MAX = 400;

interface Node {
	readonly "Node Type": string;
	readonly "Relation Name"?: string;
	readonly "Index Name"?: string;
	readonly "Index Cond"?: string;
	readonly "Actual Rows"?: number;
	readonly "Actual Loops"?: number;
	readonly "Rows Removed by Filter"?: number;
	readonly Plans?: readonly Node[];
}
interface Explained {
	readonly verb: string;
	readonly text: string;
	readonly plan: Node;
}
interface Finding {
	readonly verb: string;
	readonly walks: string;
	readonly text: string;
}

/** Every verb that is called by requests and ticks, once in each of its forms. */
async function live(q: Desk, name: (verb: string) => void): Promise<void> {
	name("submit");
	await q.fill(12, i => ({
		tenant: `t${i % 3}`,
		tags: ["x"],
		task: TASKS[i % 3]!,
		runAt: q.now + (i % 4) * 10,
		maxRetries: 0,
		priority: 10,
	}));
	name("submit keyed");
	await q.fill(6, i => ({
		key: `k${i % 3}`,
		idempotency: { key: `i${q.draw()}`, fingerprint: "f", expiresAt: q.now + DAY },
		startBy: q.now + DAY,
		priority: 10,
	}));
	name("submit of a new tenant");
	await q.submit({ tenant: `new${q.draw()}` });
	name("nextDue");
	q.now += 100;
	await q.worker.nextDue(TASKS, q.now);
	name("claim");
	const jobs = await q.claim({ limit: 20 });
	expect(jobs).toHaveLength(20);
	name("extend");
	await q.worker.extendLeases(
		jobs.map(({ id, token }) => ({ id, token, progress: "1" })),
		LEASE_MS,
		q.now,
	);
	name("finish");
	await q.finish(jobs.slice(0, 2));
	await q.finish(jobs.slice(2, 3), { ...DONE, followUps: [q.followUp({ task: "b" }), q.followUp({ tenant: "t9" })] });
	await q.finish(jobs.slice(3, 5), FAILED);
	await q.finish(jobs.slice(5, 6), RELEASE);
	await q.finish(jobs.slice(6, 8), retryIn(5));
	name("cancel");
	const waiting = await q.submit({ tenant: "t5" });
	await q.cancel(jobs[8]!.id);
	await q.cancel(waiting);
	name("retry");
	await q.retry(waiting);
	name("get");
	const job = await q.get(waiting);
	await q.operator.getJob(job);
	await q.tenant("t5").historyOf(job);
	name("counts");
	await q.operator.counts();
	await q.tenant("t5").counts();
	await q.operator.ping();
	name("list");
	for (const query of LISTS) await q.tenant("t1").listJobs({ ...query, limit: 20 });
	name("list all");
	for (const query of LISTS) await q.operator.listJobs({ ...query, limit: 20 });
	name("leaseHolders");
	await q.worker.leaseHolders();
	name("forfeit");
	await q.worker.forfeitLeases("worker", q.now);
	name("expire");
	expect(await q.expire(20)).not.toEqual([]);
	name("cancelLate");
	await q.submit({ startBy: q.now + 1 });
	expect(await q.worker.cancelLate(5, q.now + 1)).toHaveLength(1);
	name("prune");
	await q.worker.prune(5, q.now + 8 * DAY);
	name("setLimits");
	await q.operator.setLimits("t1", { concurrency: 50, tasks: { a: 50 } });
	name("setTask");
	await q.operator.setTask("c", { concurrency: 5000 });
}

// In this order: an analyzed store stays one.
describe("query plans", { shuffle: false }, () => {
	const { url, drop } = freshSchema();
	const { schema } = readAddress(url);
	const explained: Explained[] = [];
	let verb = "";
	let sql: postgres.Sql;
	let q: Desk;
	let growing: string[];

	beforeAll(async () => {
		const bare = new URL(url);
		bare.search = "";
		sql = postgres(bare.href, {
			max: 1,
			fetch_types: false,
			types: { bigint: { to: 20, from: [20], serialize: String, parse: Number } } as never,
			onnotice({ message }) {
				const start = message!.indexOf("{");
				if (!/plan:/.test(message!.slice(0, start))) return;
				const { "Query Text": text, Plan: plan } = JSON.parse(message!.slice(start));
				explained.push({ verb, text, plan });
			},
		});
		const { storage } = await openPostgres(url, DEFAULTS, TASKS);
		const filling = new Desk(storage);
		// Many tenants, many of whom wait, and one with many jobs.
		await filling.fill(3000, i => ({ tenant: `t${i}`, task: TASKS[i % 3]!, ...(i % 3 === 0 ? { runAt: filling.now + DAY } : {}) }));
		await filling.fill(600, i => ({
			tenant: "t1",
			task: TASKS[i % 3]!,
			tags: ["x"],
			idempotency: { key: `k${i}`, fingerprint: "f", expiresAt: filling.now + DAY },
		}));
		for (let i = 0; i < 4; i++) await filling.finish(await filling.claim({ limit: 100 }), i % 2 === 0 ? DONE : retryIn(DAY));
		await storage.close();
		const tables = await sql.unsafe(
			`SELECT relname AS name FROM pg_class WHERE relnamespace = '${schema}'::regnamespace AND relkind = 'r' ORDER BY relname`,
		);
		growing = tables.map(({ name }) => name).filter(name => !SMALL.includes(name));
		expect(growing.length).toBeGreaterThan(5);
		for (const table of growing) await sql.unsafe(`ALTER TABLE ${schema}.${table} SET (autovacuum_enabled = off)`);
		// And a long past.
		const columns = (
			await sql.unsafe(
				`SELECT attname AS name FROM pg_attribute WHERE attrelid = '${schema}.jobs'::regclass AND attnum > 0 ORDER BY attnum`,
			)
		)
			.map(({ name }) => name as string)
			.filter(name => name !== "id");
		await sql.unsafe(`INSERT INTO ${schema}.jobs (id, ${columns.join(", ")})
  SELECT j.id - n * 100000, ${columns.map(name => `j.${name}`).join(", ")} FROM ${schema}.jobs j, generate_series(1, 100) n WHERE state = 4`);
		await sql.unsafe(
			`INSERT INTO ${schema}.job_events (job_id, seq, at, kind) SELECT id, 1, 0, 'claimed' FROM ${schema}.jobs ON CONFLICT DO NOTHING`,
		);
		await sql.unsafe(`INSERT INTO ${schema}.job_tags (tenant_id, tag, job_id) SELECT tenant_id, 'y', id FROM ${schema}.jobs`);
		await sql.unsafe(
			`INSERT INTO ${schema}.keys (tenant_id, kind, key, job_id, expires_at) SELECT tenant_id, 1, 'old' || id, id, expires_at FROM ${schema}.jobs WHERE state = 4`,
		);

		const handle = {
			unsafe: (text: string, params: Param[] = [], options: { prepare?: boolean } = {}) => sql.unsafe(text, params, options),
			begin: (work: (transaction: PostgresHandle) => Promise<unknown>) => sql.begin(sql => work(sql as never)),
			end: async () => {},
		} as unknown as PostgresHandle;
		const driver = new PostgresDriver(handle, { schema, defer: setImmediate });
		q = new Desk(await openStore(new PostgresEngine(driver), { ...DEFAULTS, backlog: 1_000_000 }, TASKS), filling);
		await sql.unsafe(`LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
  SET auto_explain.log_analyze = on; SET auto_explain.log_timing = off; SET auto_explain.log_format = json; SET auto_explain.log_level = notice`);
	});
	afterAll(async () => {
		await sql.end({ timeout: 1 });
		await drop();
	});

	/** What it read, kept or not. */
	const rowsOf = (node: Node): number => ((node["Actual Rows"] ?? 0) + (node["Rows Removed by Filter"] ?? 0)) * (node["Actual Loops"] ?? 0);

	/** What walks a table, or an index from its beginning, that grows. */
	function walksOf({ verb, text, plan }: Explained): Finding[] {
		const found: Finding[] = [];
		const look = (node: Node, isBounded: boolean): void => {
			const { "Node Type": type, "Relation Name": table, "Index Name": index, "Index Cond": condition, Plans: below = [] } = node;
			const walks =
				type.endsWith("Seq Scan") && growing.includes(table!)
					? `${type} on ${table}`
					: type.startsWith("Index") && growing.includes(table!) && condition === undefined && !(isBounded || SWEPT.includes(index!))
						? `${type} of all of ${index}`
						: growing.includes(table!) && rowsOf(node) > (verb.startsWith("list") ? PAGE_ROWS_MAX : ROWS_MAX)
							? `${rowsOf(node)} rows of ${table} by ${index}`
							: null;
			if (walks !== null) found.push({ verb, walks, text: text.replaceAll(/\s+/g, " ").slice(-TEXT_LENGTH_MAX) });
			for (const child of below) look(child, isBounded || type === "Limit");
		};
		look(plan, false);
		return found;
	}

	// Plans of prepared statements may change after their fifth use.
	const ROUNDS = 7;

	for (const state of ["not analyzed", "analyzed"] as const)
		it(`walk nothing that grows, in a store that is ${state}`, async () => {
			if (state === "analyzed") for (const table of growing) await sql.unsafe(`ANALYZE ${schema}.${table}`);
			explained.length = 0;
			for (let round = 0; round < ROUNDS; round++)
				await live(q, next => {
					verb = next;
				});
			expect(new Set(explained.map(each => each.verb)).size).toBeGreaterThan(15);
			expect(explained.length).toBeGreaterThan(500);
			const found = new Map(
				explained
					.flatMap(walksOf)
					.filter(finding => !(RARE.includes(finding.verb) || (state === "not analyzed" && WIDE.includes(finding.verb))))
					.map(finding => [`${finding.verb} ${finding.walks} ${finding.text}`, finding]),
			);
			expect([...found.values()]).toEqual([]);
		});
});
