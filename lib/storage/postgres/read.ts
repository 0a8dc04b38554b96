/** Reading on PostgreSQL beside pages of jobs: counts, groups of dead letters, what is next due, what is held. `at` stands before every name: the schema. */
import type { GroupQuery } from "../engine.ts";
import { PRUNE_LATENESS_MS, S } from "../rows.ts";
import { GROUPS_INDEX, lanesOf, Params, type Statement } from "./list.ts";
import { UNTOLD } from "./records.ts";

const SUMS = [
	"version",
	"submitted",
	"finished",
	"active_tenants",
	"ready",
	"delayed",
	"blocked",
	"running",
	"done",
	"failed",
	"dead",
	"cancelled",
]
	.map(name => `coalesce(sum(${name}), 0)::bigint AS ${name}`)
	.join(", ");
/** The totals of the queue: a row for each task, and for each change since they were last added up. */
export const queueCounts = (at: string): string => `SELECT ${SUMS} FROM ${at}totals`;

export const tenantCounts = (at: string): string => `
SELECT t.ready, t.delayed, t.blocked, t.running, t.done, t.failed, t.dead, t.cancelled, t.waiting,
  (SELECT sum(version) FROM ${at}totals)::bigint AS version, t.waiting + t.running + t.done + t.failed + t.dead + t.cancelled AS submitted,
  t.done + t.failed + t.dead + t.cancelled AS finished, (t.waiting + t.running > 0)::int AS active_tenants
FROM ${at}tenants_now t WHERE t.tenant_id = $1::bigint`;

/** `$1`: task ids, or null, `$2`: tenant, or null, `$3`: limit, `$4`: now. */
export const runnableLanes = (at: string): string =>
	`SELECT tenant_id, task_id, available, room, free FROM ${at}runnable_lanes_2($1::text::int[], $2::bigint, $3::bigint, $4::bigint)`;

/** `$1`: task ids, `$2`: now. A lane's `next_due` is also when it opens again. Of a task that is held, that counts if somebody waits for it. */
export const nextDue = (at: string): string => {
	const claimable = `SELECT 1 FROM ${at}lane_state WHERE task_id = k.task_id AND claimable ORDER BY vt LIMIT 1`;
	const asked = `${at}tasks k CROSS JOIN LATERAL (${claimable}) l WHERE k.task_id = ANY($1::text::int[]) AND k.paused = 0`;
	return `
SELECT coalesce((
    SELECT 1 FROM ${asked} AND (k.reopen_at IS NULL OR k.reopen_at <= $2::bigint)
      AND (k.concurrency IS NULL OR k.concurrency > (SELECT coalesce(sum(running), 0) FROM ${at}totals WHERE task_id = k.task_id)) LIMIT 1), 0) AS ready,
  CASE WHEN d.opens THEN NULL ELSE d.next_due END AS delayed,
  least(CASE WHEN d.opens THEN d.next_due END, (SELECT min(k.reopen_at) FROM ${asked} AND k.reopen_at > $2::bigint)) AS reopen,
  (SELECT lease_until FROM ${at}jobs WHERE state = ${S.running} ORDER BY lease_until LIMIT 1) AS lease,
  (SELECT start_by FROM ${at}jobs WHERE start_by IS NOT NULL AND state < ${S.running} ORDER BY start_by LIMIT 1) AS start_by,
  (SELECT expires_at FROM ${at}jobs WHERE expires_at IS NOT NULL ORDER BY expires_at LIMIT 1) + ${PRUNE_LATENESS_MS} AS prune,
  (SELECT next_at FROM ${at}schedules WHERE paused = 0 AND next_at IS NOT NULL ORDER BY next_at LIMIT 1) AS schedule,
  (SELECT next_at FROM ${at}bulk_actions WHERE next_at IS NOT NULL ORDER BY next_at LIMIT 1) AS bulk_action,
  coalesce((SELECT 1 FROM ${at}jobs WHERE ${UNTOLD} ORDER BY completed_at, id LIMIT 1), 0) AS webhook
FROM (SELECT 1) one LEFT JOIN (
  SELECT next_due, coalesce(reopen_at = next_due, false) AS opens FROM ${at}lane_state WHERE next_due IS NOT NULL ORDER BY next_due LIMIT 1) d ON true`;
};

/** Dead letters and failed jobs that one look at their groups counts. */
const GROUPED_MAX = 100_000;

/** Of one tenant by its lanes; of all by the index that holds all that a group says. */
export function groupsStatement(at: string, { tenantId, taskId, reason, fingerprint, limit }: GroupQuery): Statement {
	const params = new Params();
	const most = params.add(limit, "int");
	const columns = "SELECT j.id, j.lane_id, j.fingerprint, j.reason, j.completed_at";
	const where: string[] = [];
	if (fingerprint !== null) where.push(` AND j.fingerprint = ${params.add(fingerprint, "text")}`);
	if (reason !== null) where.push(` AND j.reason = ${params.add(reason, "text")}`);
	if (tenantId === null && taskId !== null) where.push(` AND j.lane_id & 65535 = ${taskId}`);
	const rows =
		tenantId === null
			? `${columns} FROM ${at}jobs j WHERE j.${GROUPS_INDEX}${where.join("")}`
			: `SELECT g.* FROM (${lanesOf(at, taskId, params.add(tenantId, "bigint"))}) l CROSS JOIN LATERAL (${[S.failed, S.dead]
					.map(
						state =>
							`${columns} FROM ${at}jobs j WHERE j.lane_id = l.lane_id AND j.state > ${S.done} AND j.state = ${state}${where.join("")}`,
					)
					.join(" UNION ALL ")}) g`;
	return {
		sql: `SELECT (lane_id & 65535)::int AS task_id, fingerprint, reason, count(*) AS jobs, count(DISTINCT lane_id >> 16) AS tenants,
  min(completed_at) AS first_at, max(completed_at) AS last_at, max(id) AS example
FROM (${rows} LIMIT ${GROUPED_MAX}) x GROUP BY 1, 2, 3 ORDER BY jobs DESC, last_at DESC LIMIT ${most}`,
		params: params.all,
	};
}

/** Jobs that are ready or due and yet not taken, by the same bits that the claim goes by. `$1` is now. Cost: the tenants and lanes that are held. */
export const held = (at: string): string => `
WITH lane AS MATERIALIZED (
  SELECT l.lane_id, l.ready, CASE WHEN k.reopen_at > $1::bigint THEN 'retry_after' WHEN l.circuit = 1 AND l.held & 6 <> 0 THEN 'circuit_open'
    WHEN l.held & 4 <> 0 THEN 'retry_after'
    WHEN l.held & 2 <> 0 OR (SELECT coalesce(sum(running), 0) FROM ${at}totals n WHERE n.task_id = k.task_id) >= k.concurrency THEN 'task_concurrency' END AS code
  FROM ${at}lanes_now l JOIN ${at}tasks k ON k.task_id = l.task_id WHERE l.ready > 0 AND l.held & 1 = 0 AND k.paused = 0)
SELECT 'tenant_paused' AS code, sum(ready)::bigint AS jobs, count(*) AS tenants FROM ${at}tenants_now WHERE ready > 0 AND held & 2 <> 0
UNION ALL SELECT 'tenant_concurrency', sum(ready)::bigint, count(*) FROM ${at}tenants_now WHERE ready > 0 AND held & 1 <> 0 AND held & 2 = 0
UNION ALL SELECT code, sum(ready)::bigint, count(DISTINCT lane_id >> 16) FROM lane WHERE code IS NOT NULL GROUP BY code
UNION ALL SELECT 'task_paused', sum(ready)::bigint, count(DISTINCT lane_id >> 16) FROM ${at}lanes_now l JOIN ${at}tasks k ON k.task_id = l.task_id
  WHERE l.ready > 0 AND k.paused = 1
UNION ALL SELECT 'key_busy', sum(blocked)::bigint, count(*) FROM ${at}tenants_now WHERE blocked > 0
UNION ALL SELECT 'delayed', sum(delayed)::bigint, count(*) FROM ${at}tenants_now WHERE delayed > 0`;
