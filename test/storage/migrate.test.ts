import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { openStorage, readMigrations } from "../../emulator/openStorage.ts";
import { type Migration, migrate, SchemaTooNew, toMigration } from "../../lib/storage/migrate.ts";
import { migrateBetterSqlite3 } from "../../lib/storage/sqlite/betterSqlite3.ts";
import { ordOf } from "../../lib/storage/sqlite/moves.ts";
import { SCHEMA } from "../../lib/storage/sqlite/sqliteEngine.ts";
import { DEFAULTS, Desk, T0 } from "./desk.ts";

const step = (number: number): Migration => ({ number, name: `step${number}`, sql: `-- ${number}` });
const database = (schema: number, failAt?: number) => {
	const applied: number[] = [];
	return {
		applied,
		schema: () => schema,
		apply({ number }: Migration) {
			if (number === failAt) throw new Error("disk full");
			applied.push(number);
			schema = number;
		},
	};
};

describe("toMigration", () => {
	it("reads number and name from the file's name", () => {
		expect(toMigration("0012_add_tags.sql", "SELECT 1;")).toEqual({ number: 12, name: "add_tags", sql: "SELECT 1;" });
	});
	it("refuses other names", () => {
		for (const name of ["1_first.sql", "0001-first.sql", "0001_first.txt", "0001_.sql", "x0001_first.sql", "0001_first.sql.bak"])
			expect(() => toMigration(name, "")).toThrow(`${name} is not named like 0001_first.sql`);
	});
});

describe("migrate", () => {
	it("applies all to a new database, in order, whatever order they are given in", () => {
		const target = database(0);
		expect(migrate(target, [step(2), step(3), step(1)]).map(({ number }) => number)).toEqual([1, 2, 3]);
		expect(target.applied).toEqual([1, 2, 3]);
	});
	it("applies only what is missing, and nothing the second time", () => {
		const target = database(1);
		expect(migrate(target, [step(1), step(2)]).map(({ number }) => number)).toEqual([2]);
		expect(migrate(target, [step(1), step(2)])).toEqual([]);
		expect(target.applied).toEqual([2]);
	});
	it("refuses a database of newer code, and does not touch it", () => {
		const target = database(3);
		expect(() => migrate(target, [step(1), step(2)])).toThrow(SchemaTooNew);
		expect(() => migrate(target, [step(1), step(2)])).toThrow(/has schema 3.*knows 2.*newer version/);
		expect(target.applied).toEqual([]);
	});
	it("refuses a row of migrations with a gap or a double, before anything is applied", () => {
		for (const migrations of [[step(1), step(3)], [step(2)], [step(1), step(1)]]) {
			const target = database(0);
			expect(() => migrate(target, migrations)).toThrow(/migration \d is missing/);
			expect(target.applied).toEqual([]);
		}
	});
	it("keeps what was applied before one fails, and goes on from there", () => {
		const target = database(0, 2);
		expect(() => migrate(target, [step(1), step(2), step(3)])).toThrow("disk full");
		expect(target.applied).toEqual([1]);
	});
});

describe("the migrations of this code", () => {
	it("number from 1 without a gap, up to the schema that the code speaks", () => {
		const migrations = readMigrations();
		expect(migrations.map(({ number }) => number).sort()).toEqual(Array.from({ length: SCHEMA }, (_, i) => i + 1));
	});
});

/** Jobs of a store of schema 1, by tenant, task and state (0 blocked, 1 delayed, 2 ready, 3 running, 4 done, 5 failed, 6 dead, 7 cancelled). */
const OLD_JOBS = `
INSERT INTO tasks (task_id, name, concurrency, virtual_now) VALUES (1, 'a', NULL, 7000000), (2, 'b', 5, 0), (3, 'c', NULL, 0);
INSERT INTO tenants (tenant_id, name, concurrency, own_concurrency, backlog, paused, vt) VALUES
  (1, 'early', 10, 1, 1000, 0, 8000000), (2, 'late', 10, 1, 1000, 0, 7500000), (3, 'full', 2, 1, 1000, 0, 0), (4, 'paused', 10, 1, 1000, 1, 0),
  (5, 'idle', 10, 1, 1000, 0, 0);
INSERT INTO lanes (lane_id, task_id, concurrency) SELECT tenant_id << 16 | task_id, task_id, CASE WHEN tenant_id = 1 AND task_id = 3 THEN 1 END
FROM tenants CROSS JOIN tasks;
INSERT INTO jobs (id, tenant_id, lane_id, state, ord, created_at, run_at, seq, claims, max_retries, tail, trace_id, payload, started_at, completed_at, expires_at,
  lease_until, token, queue_key, reason)
SELECT n, tenant, tenant << 16 | task, state, ${ordOf("at", "0", "n")}, @now, at, 1 + (state > 2) + (state > 3), state > 2, 3, n, 't', '{}',
  CASE WHEN state > 2 THEN @now END, CASE WHEN state > 3 THEN @now END, CASE WHEN state > 3 THEN @now + 1000 * n END,
  CASE WHEN state = 3 THEN @now + 30000 END, CASE WHEN state > 2 THEN n END, key, CASE state WHEN 5 THEN 'not_retryable' WHEN 6 THEN 'lease_lost' WHEN 7 THEN 'requested' END
FROM (SELECT key + 1 AS n, value->>0 AS tenant, value->>1 AS task, value->>2 AS state, value->>3 AS key,
  CASE WHEN value->>2 = 1 THEN @now + 1000 ELSE @now END AS at FROM json_each(@jobs));
UPDATE lanes SET next_due = (SELECT min(run_at) FROM jobs WHERE lane_id = lanes.lane_id AND state = 1),
${["blocked", "delayed", "ready", "running", "done", "failed", "dead", "cancelled"].map((state, i) => `  ${state} = (SELECT count(*) FROM jobs WHERE lane_id = lanes.lane_id AND state = ${i})`).join(",\n")};
UPDATE queue SET last_job_id = (SELECT max(id) FROM jobs)`;

describe.each([1, 2])("a store of schema %i", schema => {
	it("comes over as it is: jobs, limits, turns, counters", async () => {
		const folder = mkdtempSync(join(tmpdir(), "tickq-"));
		const file = join(folder, "queue.db");
		const old = new Database(file);
		migrateBetterSqlite3(old, readMigrations().slice(0, 1));
		const jobs = [
			...[2, 2, 2, 1, 4, 5, 6, 7].map(state => [1, 1, state]),
			...[3, 2].map(state => [1, 3, state]),
			...[2, 2, 3, 4].map(state => [2, 1, state]),
			...[3, 0].map(state => [2, 2, state, "key"]),
			...[3, 3, 2, 2].map(state => [3, 1, state]),
			...[2, 2].map(state => [4, 2, state]),
		];
		for (const sql of OLD_JOBS.split(";\n")) old.prepare(sql).run(sql.includes("@jobs") ? { now: T0, jobs: JSON.stringify(jobs) } : {});
		migrateBetterSqlite3(old, readMigrations().slice(0, schema));
		const before = old.prepare("SELECT * FROM queue").get();
		old.close();

		const { storage, migrated } = await openStorage(file, DEFAULTS, ["a", "b", "c"]);
		expect(migrated.map(({ number }) => number)).toEqual(Array.from({ length: SCHEMA - schema }, (_, i) => i + 1 + schema));
		const q = new Desk(storage);
		await q.audit();
		const { activeTenants, ...counts } = await storage.operator.counts();
		expect(before).toMatchObject({ ...counts, active_tenants: activeTenants });
		expect(activeTenants).toBe(4);
		// What failed before errors had fingerprints stands in groups, too; what ended before webhooks has none to tell.
		expect(
			(await storage.operator.deadLetterGroups({}, 10)).map(({ fingerprint, reason, count }) => `${fingerprint} ${reason} ${count}`).sort(),
		).toEqual(["lease_lost lease_lost 1", "unknown not_retryable 1"]);
		expect(await storage.worker.nextDue([], T0)).toMatchObject({ webhooks: false, bulkActions: false, schedules: false });
		// The next turns are those that would have come: of two that may run, the one with the smaller tag.
		const next: string[] = [];
		for (let i = 0; i < 5; i++) for (const job of await q.claim()) next.push(`${job.tenant} ${job.task}`);
		expect(next).toEqual(["early a", "late a", "early a", "late a", "early a"]);
		expect(await q.claim()).toEqual([]);
		// What is held comes in as soon as its hold ends.
		await q.operator.setLimits("paused", { paused: false });
		await q.operator.setLimits("full", { concurrency: 3 });
		await q.operator.setLimits("early", { tasks: { c: null } });
		expect((await q.claim({ limit: 10 })).map(job => `${job.tenant} ${job.task}`).sort()).toEqual([
			"early c",
			"full a",
			"paused b",
			"paused b",
		]);
		await q.audit();
		q.now += 1_000_000;
		for (let i = 0; i < 20 && (await storage.operator.counts()).activeTenants > 0; i++) {
			await q.expire();
			await q.finish(await q.claim({ limit: 100 }));
		}
		expect(await storage.operator.counts()).toMatchObject({ activeTenants: 0, done: jobs.length - 3, failed: 1, dead: 1, cancelled: 1 });
		while ((await q.worker.prune(5, q.now + 1000 * T0)) > 0);
		expect(await q.all()).toEqual([]);
		await q.audit();
		await storage.close();
		rmSync(folder, { recursive: true });
	});
});
