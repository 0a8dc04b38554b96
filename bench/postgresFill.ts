/** Fills a schema with very many jobs at once, with the counters that belong to them. */
import type postgres from "postgres";
import { CONFIG_DEFAULT } from "../lib/config.ts";
import type { State } from "../lib/job.ts";
import { S } from "../lib/storage/rows.ts";
import type { Group } from "./fill.ts";
import { settle } from "./postgresQueue.ts";
import { PAYLOAD } from "./queue.ts";

const DAY_MS = 24 * 3_600_000;
const isIn = (...states: State[]): string => `state IN (${states.map(state => S[state]).join(", ")})`;
const ENDED = `(state > ${S.running})`;
const STARTED = `(${isIn("running", "done", "failed", "dead")})`;

/**
 * The schema is made, knows the tasks, and is empty; afterwards it adds up, is vacuumed and analysed. Who fills checks that with
 * `verify()`. Lanes are made and jobs are counted by the schema's own functions.
 */
export async function fillPostgres(admin: postgres.Sql, schema: string, groups: readonly Group[], nowMs: number): Promise<void> {
	await admin.begin(async sql => {
		await sql`SET LOCAL search_path = ${sql(schema)}`;
		await sql`SET LOCAL synchronous_commit = off`;
		await sql`SET LOCAL jit = off`;
		let last = 0;
		for (const { prefix, tenants, tasks, jobs, states, concurrency = CONFIG_DEFAULT.tenantConcurrency } of groups) {
			await sql`
SELECT count(*) FROM make_lanes_1(ARRAY(SELECT ${prefix}::text || i FROM generate_series(0, ${tenants}::int - 1) i CROSS JOIN unnest(${tasks}::text[]) k ORDER BY i),
  ARRAY(SELECT k FROM generate_series(0, ${tenants}::int - 1) i CROSS JOIN unnest(${tasks}::text[]) k ORDER BY i), ${concurrency}::int, 1000000000)`;
			await sql`UPDATE tenants SET own_concurrency = 1, own_backlog = 1`;
			// Made together, so their numbers follow each other.
			const [first] = await sql`SELECT tenant_id::int AS id FROM tenants WHERE name = ${`${prefix}0`}`;
			const known = await sql`SELECT task_id, name FROM tasks`;
			const taskIds = tasks.map(task => known.find(({ name }) => name === task)!.task_id as number);
			const stateIds = states.map(state => S[state]);
			await sql.unsafe(
				`
WITH job AS (
  SELECT k, ${last} + 1 + k AS id, ${first!.id} + k % ${tenants} AS tenant_id,
    (ARRAY[${taskIds}])[(k / ${tenants}) % ${taskIds.length} + 1] AS task_id,
    (ARRAY[${stateIds}])[(k / ${tenants * taskIds.length}) % ${stateIds.length} + 1] AS state, ${nowMs}::bigint - ${jobs} + k AS created_at
  FROM generate_series(0::bigint, ${jobs - 1}) k)
INSERT INTO jobs (id, tenant_id, lane_id, state, ord, seq, created_at, run_at, started_at, completed_at, expires_at, failures, claims,
  max_retries, lease_until, token, tail, worker, reason, trace_id, error, result, payload)
SELECT id, tenant_id, (tenant_id << 16) | task_id, state, ord_1(due, 0, id), CASE WHEN ${ENDED} THEN 2 ELSE 1 END + ${STARTED}::int, created_at, due,
  CASE WHEN ${STARTED} THEN created_at END, CASE WHEN ${ENDED} THEN created_at END,
  CASE WHEN ${isIn("failed", "dead")} THEN created_at + ${CONFIG_DEFAULT.keepDeadMs} WHEN ${ENDED} THEN created_at + ${CONFIG_DEFAULT.keepDoneMs} END,
  ${isIn("failed", "dead")}::int, ${STARTED}::int, CASE WHEN state = ${S.dead} THEN 0 ELSE 3 END,
  CASE WHEN state = ${S.running} THEN ${nowMs}::bigint + ${DAY_MS} END, CASE WHEN ${STARTED} THEN id END, id & 1048575, CASE WHEN ${STARTED} THEN 'bench' END,
  CASE state WHEN ${S.failed} THEN 'not_retryable' WHEN ${S.dead} THEN 'retries_exhausted' WHEN ${S.cancelled} THEN 'requested' END,
  lpad(to_hex(id), 32, '0'), CASE WHEN ${isIn("failed", "dead")} THEN '{"message":"no such address","attempt":1,"name":"Error"}' END,
  CASE WHEN state = ${S.done} THEN 'null' END, $1::text
FROM (SELECT *, CASE WHEN state = ${S.delayed} THEN ${nowMs}::bigint + ${DAY_MS} + k ELSE created_at END AS due FROM job) job`,
				[PAYLOAD],
			);
			await sql.unsafe(
				`SELECT count_moves_1(ARRAY(SELECT jsonb_populate_record(NULL::move_1, jsonb_build_object('lane_id', lane_id, 'becomes', state, 'ord', ord, 'due', run_at)) FROM jobs WHERE id > ${last}))`,
			);
			last += jobs;
		}
		await sql`SELECT setval('job_ids', ${last})`;
	});
	await settle(admin, schema);
}
