/** Fills a store with very many jobs at once, with the counters that belong to them. */
import type Database from "better-sqlite3";
import { CONFIG_DEFAULT } from "../lib/config.ts";
import type { State } from "../lib/job.ts";
import { S } from "../lib/storage/rows.ts";
import { countMoves, countQueue, ordOf } from "../lib/storage/sqlite/moves.ts";
import { PAYLOAD } from "./queue.ts";

/** Jobs that go round the tenants, then the tasks, then the states. */
export interface Group {
	/** Their names are this and a number. */
	readonly prefix: string;
	readonly tenants: number;
	/** Known to the store already. */
	readonly tasks: readonly string[];
	readonly jobs: number;
	readonly states: readonly State[];
	readonly concurrency?: number;
}

const HOUR_MS = 3_600_000;

const INSERT_TENANTS = `
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < @tenants)
INSERT INTO tenants (name, concurrency, backlog, own_concurrency, own_backlog) SELECT @prefix || i, @concurrency, 1000000000, 1, 1 FROM n WHERE true
ON CONFLICT DO NOTHING`;
const INSERT_LANES = `
INSERT INTO lanes (lane_id, task_id) SELECT t.tenant_id << 16 | e.value, e.value
FROM tenants t CROSS JOIN json_each(@tasks) e WHERE t.tenant_id >= @tenant AND t.tenant_id < @tenant + @tenants
ON CONFLICT DO NOTHING`;

const isIn = (...states: State[]): string => `state IN (${states.map(state => S[state]).join(", ")})`;
const ENDED = `state > ${S.running}`;
const STARTED = `(${isIn("running", "done", "failed", "dead")})`;
const INSERT_JOBS = `
WITH RECURSIVE n (k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM n WHERE k + 1 < @jobs),
job (k, id, tenant_id, task_id, state, created_at) AS (
  SELECT k, @last + 1 + k, @tenant + k % @tenants, @tasks->>(k / @tenants % json_array_length(@tasks)),
    @states->>(k / (@tenants * json_array_length(@tasks)) % json_array_length(@states)), @now - @jobs + k FROM n)
INSERT INTO jobs (id, tenant_id, lane_id, state, ord, seq, created_at, run_at, started_at, completed_at, expires_at, failures, claims,
  max_retries, lease_until, token, tail, worker, reason, trace_id, fingerprint, error, result, payload)
SELECT id, tenant_id, tenant_id << 16 | task_id, state, ${ordOf(`CASE WHEN state = ${S.delayed} THEN @now + ${24 * HOUR_MS} + k ELSE created_at END`, "0", "id")},
  CASE WHEN ${ENDED} THEN 2 ELSE 1 END + ${STARTED}, created_at, CASE WHEN state = ${S.delayed} THEN @now + ${24 * HOUR_MS} + k ELSE created_at END,
  CASE WHEN ${STARTED} THEN created_at END, CASE WHEN ${ENDED} THEN created_at END,
  CASE WHEN ${isIn("failed", "dead")} THEN created_at + ${CONFIG_DEFAULT.keepDeadMs} WHEN ${ENDED} THEN created_at + ${CONFIG_DEFAULT.keepDoneMs} END,
  CASE state WHEN ${S.failed} THEN 1 WHEN ${S.dead} THEN 1 ELSE 0 END, ${STARTED}, CASE WHEN state = ${S.dead} THEN 0 ELSE 3 END,
  CASE WHEN state = ${S.running} THEN @now + ${24 * HOUR_MS} END, CASE WHEN ${STARTED} THEN id END, id & 1048575, CASE WHEN ${STARTED} THEN 'bench' END,
  CASE state WHEN ${S.failed} THEN 'not_retryable' WHEN ${S.dead} THEN 'retries_exhausted' WHEN ${S.cancelled} THEN 'requested' END, printf('%032x', id),
  CASE WHEN ${isIn("failed", "dead")} THEN 'f_bench' END,
  CASE WHEN ${isIn("failed", "dead")} THEN '{"message":"no such address","attempt":1,"name":"Error"}' END, CASE WHEN state = ${S.done} THEN 'null' END, @payload
FROM job`;
const FILLED = "SELECT lane_id, NULL AS was, state AS becomes, run_at AS due FROM jobs WHERE id > @last";

/** The store adds up afterwards; whoever fills it checks that with `verify()`. */
export function fill(database: Database.Database, groups: readonly Group[], nowMs: number): void {
	database.pragma("synchronous = OFF");
	for (const { prefix, tenants, tasks, jobs, states, concurrency = CONFIG_DEFAULT.tenantConcurrency } of groups) {
		database.exec("BEGIN IMMEDIATE");
		database.prepare(INSERT_TENANTS).run({ prefix, tenants, concurrency });
		const taskId = database.prepare("SELECT task_id FROM tasks WHERE name = ?").pluck();
		const params = {
			// A number would be bound as a REAL, and divided as one.
			tenants: BigInt(tenants),
			jobs: BigInt(jobs),
			now: BigInt(nowMs),
			payload: PAYLOAD,
			last: database.prepare("SELECT last_job_id FROM queue").pluck().safeIntegers().get(),
			tenant: database.prepare("SELECT tenant_id FROM tenants WHERE name = ?").pluck().safeIntegers().get(`${prefix}0`),
			tasks: JSON.stringify(tasks.map(task => taskId.get(task))),
			states: JSON.stringify(states.map(state => S[state])),
		};
		database.prepare(INSERT_LANES).run(params);
		database.prepare(INSERT_JOBS).run(params);
		database.prepare(countMoves(FILLED)).run(params);
		database.prepare(countQueue(FILLED)).run(params);
		database.prepare("UPDATE queue SET last_job_id = last_job_id + ?").run(jobs);
		database.exec("COMMIT");
		database.pragma("wal_checkpoint(TRUNCATE)");
	}
	database.pragma("synchronous = FULL");
}
