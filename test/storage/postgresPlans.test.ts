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
import type { Claimed, Lease } from "../../lib/storage/storage.ts";
import { openStore } from "../../lib/storage/store.ts";
import { freshSchema } from "../support/postgres.ts";
import { DAY, DEFAULTS, Desk, DONE, FAILED, LEASE_MS, LISTS, MINUTE, RELEASE, retryIn, T0, TASKS } from "./desk.ts";

/** Tables that stay small: as many rows as there are tasks, workers, or writers at once. */
const SMALL = ["meta", "tasks", "totals", "turns", "workers"];
/** Indexes that hold only what a sweep or a claim looks for, in its order: they are walked from their beginning. */
const SWEPT = ["jobs_running", "jobs_start_by", "jobs_expiry", "lanes_due", "keys_expiry"];
/** Rows of a table that grows that one node of a plan may read, where the verb asks for 20 jobs at most; pages look at more. */
const ROWS_MAX = 200;
const PAGE_ROWS_MAX = 5000 * 4;
/** Called at a start or by a person, not by ticks: costs the leases that are held, or all schedules. */
const RARE = ["leaseHolders", "forfeit", "schedules of all"];
/** As long as nothing is known of a table, 5,000 rows in order are rightly expected to cost more than all of it, up to some 100,000. */
const WIDE = ["list all", "list all by what went wrong"];

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

const leaseOf = ({ id, token }: Claimed): Lease => ({ id, token });

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
	name("runnable");
	for (const tasks of [null, TASKS])
		for (const store of [q.operator, q.tenant("t1")]) expect(await store.runnable(tasks, 20, q.now)).toBeGreaterThan(0);
	name("claim");
	const jobs = await q.claim({ limit: 20 });
	expect(jobs).toHaveLength(20);
	name("extend within bounds");
	await q.worker.extendLeases(jobs.map(leaseOf), LEASE_MS, q.now, { heldMsMax: DAY, graceMs: 1000 });
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
	name("finish again");
	await q.finish(jobs.slice(0, 2));
	await q.finish(jobs.slice(5, 8), retryIn(5));
	name("refuse");
	await q.finish(jobs.slice(0, 10).map(({ id }) => ({ id, token: 1 })));
	name("finish, hold, open a circuit and close it");
	await q.fill(3, { tenant: "held", task: "h", maxRetries: 5, webhookUrl: "https://example.com/" });
	const [first, second, third] = await q.claim({ limit: 3, tasks: ["h"] });
	await q.finish(first!, retryIn(1, { circuitFailures: 1, hold: "tenant" }));
	await q.finish(second!, retryIn(1, { circuitFailures: 1, hold: "task" }));
	await q.worker.nextDue(["h"], q.now);
	expect(await q.operator.listTasks()).toContainEqual(expect.objectContaining({ task: "h", circuitsOpen: 1 }));
	q.now += 2 * MINUTE;
	await q.finish([third!, ...(await q.claim({ limit: 3, tasks: ["h"] }))]);
	expect(await q.operator.listTasks()).toContainEqual(expect.objectContaining({ task: "h", circuitsOpen: 0 }));
	await q.finish(await q.claim({ limit: 3, tasks: ["h"] }));
	name("webhooks");
	const untold = await q.worker.untoldWebhooks(20);
	expect(untold).not.toEqual([]);
	await q.worker.tellWebhooks(untold);
	await q.tenant("held").setWebhook("https://example.com/");
	await q.tenant("held").getWebhook();
	name("resetCircuit");
	await q.operator.resetCircuit("h", "held");
	await q.operator.resetCircuit("h", null);
	name("tasks and workers");
	await q.worker.seeWorker({ name: `w${q.draw()}`, kind: "remote", tasks: ["a"], version: "1" }, q.now);
	await q.operator.listWorkers(20);
	await q.operator.listTasks();
	name("schedules");
	const nightly = {
		name: "nightly",
		task: "a",
		payload: "{}",
		cron: "0 0 * * *",
		timezone: "UTC",
		missed: "one",
		overlap: "skip",
		paused: false,
	} as const;
	await q.tenant("t1").putSchedule({ ...nightly, maxRetries: 0, nextAt: q.now }, q.now, 100);
	await q.tenant("t1").putSchedule({ ...nightly, name: `n${q.draw()}`, maxRetries: 0, nextAt: null }, q.now, 100);
	await q.tenant("t1").changeSchedule({ ...nightly, maxRetries: 1, nextAt: q.now }, q.now);
	const [due] = await q.worker.dueSchedules(20, q.now);
	await q.worker.moveSchedule(due!, { lastAt: q.now, nextAt: q.now + DAY, lastJobId: first!.id });
	await q.tenant("t1").getSchedule("nightly");
	await q.tenant("t1").listSchedules(20);
	await q.tenant("t1").deleteSchedule("nightly");
	name("schedules of all");
	await q.operator.listSchedules(20);
	for (const store of [q.tenant("t1"), q.operator]) {
		name(store === q.operator ? "list all by what went wrong" : "list by what went wrong");
		for (const more of [
			{ fingerprint: "f_no" },
			{ reason: "retries_exhausted" },
			{ createdAfter: q.now - DAY },
			{ createdBefore: q.now },
		] as const)
			for (const rest of [{}, { task: "a" }, { statuses: ["failed", "dead_letter"] }, { tag: "x" }] as const)
				await store.listJobs({ ...more, ...rest, limit: 20 });
		await store.deadLetterGroups({}, 20);
		await store.deadLetterGroups({ task: "a", reason: "not_retryable", fingerprint: "f_no" }, 20);
	}
	name("list for bulk actions");
	const filter = { statuses: ["dead_letter", "failed"], fingerprint: "f_no" } as const;
	await q.operator.startBulkAction({ action: "retry", filter }, q.now);
	const { id: bulk } = await q.tenant("t1").startBulkAction({ action: "delete", filter: { task: "b", statuses: ["done"] } }, q.now);
	for (let i = 0; i < 4; i++) await q.worker.advanceBulkActions(20, q.now);
	await q.tenant("t1").getBulkAction(bulk);
	await q.tenant("t1").stopBulkAction(bulk, q.now);
	await q.tenant("t1").listBulkActions(20);
	await q.operator.listBulkActions(20);
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
				`SELECT attname AS name FROM pg_attribute WHERE attrelid = '${schema}.jobs'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`,
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
		await sql.unsafe(
			`INSERT INTO ${schema}.bulk_actions (tenant_id, action, status, created_at, updated_at, ended_at) SELECT n % 10, 'retry', 'done', n, n, ${T0} + n FROM generate_series(1, 3000) n;
INSERT INTO ${schema}.schedules (tenant_id, name, task, payload, cron, timezone, missed, overlap, paused, max_retries, next_at, created_at, updated_at)
  SELECT tenant_id, name, 'a', '{}', '0 0 * * *', 'UTC', 'one', 'skip', 0, 0, ${T0 + 400 * DAY} + tenant_id, 0, 0 FROM ${schema}.tenants`,
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
