/** How many jobs a claim could take now: by the lanes that the claim would walk (`turns`), or by those of one tenant. */
import type { Param, Statement } from "./driver.ts";
import { lanesOfTenant } from "./moves.ts";

const OPEN_TASK = "k.paused = 0 AND (k.reopen_at IS NULL OR k.reopen_at <= ?1) AND (k.concurrency IS NULL OR k.running < k.concurrency)";
const LANE = `l.lane_id >> 16 AS tenant_id, k.task_id, min(l.ready, coalesce(l.most - l.running, l.ready)) AS available, k.concurrency - k.running AS room`;

/** Lanes, ?2 at most: what each may give, and what its task has room for. */
const OF_ALL = (tasks: string) =>
	`SELECT ${LANE} FROM ${tasks} CROSS JOIN turns u ON u.task_id = k.task_id CROSS JOIN lanes l ON l.lane_id = u.lane_id WHERE ${OPEN_TASK} LIMIT ?2 + 0`;
const OF_TENANT = (tasks: string) =>
	`SELECT ${LANE} FROM ${tasks} CROSS JOIN lanes l ON l.lane_id = ?3 << 16 | k.task_id WHERE ${OPEN_TASK}
  AND l.ready > 0 AND (l.most IS NULL OR l.running < l.most) LIMIT ?2 + 0`;

/**
 * A lane gives no more than its tenant may start, its task no more than it has room for, and a tenant's lanes together what it may start:
 * first of tasks without a limit, so that the room of the others is for those who need it.
 */
const counted = (lanes: string): string => `
WITH lane AS MATERIALIZED (${lanes}),
tenant AS MATERIALIZED (
  SELECT t.tenant_id, d.roomy, CASE WHEN t.paused = 0 AND t.start_rate_full = 0
    THEN max(0, t.concurrency - (SELECT sum(running) FROM lanes WHERE ${lanesOfTenant("t.tenant_id")})) ELSE 0 END AS free
  FROM (SELECT tenant_id, sum(CASE WHEN room IS NULL THEN available ELSE 0 END) AS roomy FROM lane GROUP BY tenant_id) d CROSS JOIN tenants t ON t.tenant_id = d.tenant_id),
fits AS (
  SELECT tenant_id, free, CASE WHEN room IS NULL THEN n ELSE max(0, min(n, room - coalesce(before, 0))) END AS n
  FROM (SELECT tenant_id, free, room, n, sum(n) OVER (PARTITION BY task_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM (SELECT g.tenant_id, g.task_id, g.room, f.free,
        min(g.available, CASE WHEN g.room IS NULL THEN f.free ELSE max(0, f.free - f.roomy) END) AS n
      FROM lane g CROSS JOIN tenant f ON f.tenant_id = g.tenant_id)))
SELECT min(?2, coalesce(sum(n), 0)) AS jobs FROM (SELECT min(free, sum(n)) AS n FROM fits GROUP BY tenant_id)`;

export function runnableStatement(taskIds: readonly number[] | null, tenantId: number | null, most: number, nowMs: number): Statement {
	const params: Param[] = [nowMs, most, ...(tenantId === null ? [] : [tenantId])];
	const tasks =
		taskIds === null ? "tasks k" : `json_each(?${params.push(JSON.stringify(taskIds))}) e CROSS JOIN tasks k ON k.task_id = e.value`;
	return { sql: counted((tenantId === null ? OF_ALL : OF_TENANT)(tasks)), params };
}
