/**
 * The claim: which due jobs run next, and the lease on each.
 *
 * Tenants take turns. Each has a tag, its virtual time; whoever has the smallest is served and pays `step` for it, so that a tenant of
 * weight 2 pays half and comes twice as often. Within a tenant the smallest `ord` goes first, whatever the lane. Only lanes of the asked
 * tasks that are ready and not held are looked at, through one index: neither a backlog, nor tenants at their limit, nor tasks of
 * others cost anything.
 */
import { JOB_COLUMNS, S } from "../rows.ts";
import type { ClaimRequest } from "../storage.ts";
import type { Statement } from "./driver.ts";
import { countMoves } from "./moves.ts";

/** Parameters: ?1 now · ?2 limit · ?3 lease_until · ?4 token · ?5 task ids (JSON) · ?6 worker. `+?n` keeps the planner from planning anew. */
const ASK = `ask (task_id, room) AS MATERIALIZED (
  SELECT k.task_id, k.concurrency - k.running FROM json_each(?5) e CROSS JOIN tasks k ON k.task_id = e.value
  WHERE k.paused = 0 AND (k.concurrency IS NULL OR k.running < k.concurrency))`;

/** The `limit` tenants whose turn comes first, with what each may still start. */
const NEXT_TENANTS = `candidate (tenant_id, vt, step, free) AS MATERIALIZED (
  SELECT t.tenant_id, t.vt, t.step, t.concurrency - t.running
  FROM (SELECT DISTINCT lane_id >> 16 AS tenant_id FROM (
    SELECT l.lane_id FROM ask CROSS JOIN lanes l ON l.lane_id IN (
      SELECT lane_id FROM lanes WHERE task_id = ask.task_id AND ready > 0 AND held = 0 ORDER BY vt LIMIT ?2 + 0))) s
  CROSS JOIN tenants t ON t.tenant_id = s.tenant_id ORDER BY t.vt LIMIT +?2)`;

/** Their claimable lanes: how many jobs each may give, and the order of its first. */
const LANES = `lane (tenant_id, lane_id, available, head) AS MATERIALIZED (
  SELECT c.tenant_id, l.lane_id, min(l.ready, coalesce(l.concurrency - l.running, l.ready)),
    (SELECT ord FROM jobs WHERE lane_id = l.lane_id AND state = ${S.ready} ORDER BY ord LIMIT 1)
  FROM candidate c CROSS JOIN ask CROSS JOIN lanes l ON l.lane_id = c.tenant_id << 16 | ask.task_id WHERE l.ready > 0 AND l.held = 0)`;

/** One row a turn, the smallest tag first; the recursion is a priority queue. quota: how many turns each tenant got. */
const TURNS = `turn (tenant_id, vt, step, most, i) AS (
  SELECT c.tenant_id, c.vt, c.step, min(c.free, a.available), 1
  FROM (SELECT tenant_id, sum(available) AS available FROM lane GROUP BY tenant_id) a CROSS JOIN candidate c ON c.tenant_id = a.tenant_id
  UNION ALL
  SELECT tenant_id, vt + step, step, most, i + 1 FROM turn WHERE i < most ORDER BY 2, 1 LIMIT +?2),
quota (tenant_id, n) AS MATERIALIZED (SELECT tenant_id, count(*) FROM turn GROUP BY tenant_id)`;

/** The first jobs of each lane, at most as many as its tenant has turns: one index step each. */
const WALK = `walk (tenant_id, lane_id, n, most, i, ord) AS (
  SELECT lane.tenant_id, lane.lane_id, q.n, min(lane.available, q.n), 1, lane.head FROM quota q CROSS JOIN lane ON lane.tenant_id = q.tenant_id
  UNION ALL
  SELECT tenant_id, lane_id, n, most, i + 1,
    (SELECT ord FROM jobs WHERE lane_id = w.lane_id AND state = ${S.ready} AND ord > w.ord ORDER BY ord LIMIT 1)
  FROM walk w WHERE i < most AND w.ord IS NOT NULL),
ranked (lane_id, tenant_id, n, ord, place) AS (
  SELECT lane_id, tenant_id, n, ord, row_number() OVER (PARTITION BY tenant_id ORDER BY ord) FROM walk WHERE ord IS NOT NULL)`;

const CHOSEN = `WITH RECURSIVE ${ASK}, ${NEXT_TENANTS}, ${LANES}, ${TURNS}, ${WALK}`;
const ID = `(SELECT id FROM jobs WHERE lane_id = r.lane_id AND state = ${S.ready} AND ord = r.ord LIMIT 1)`;
/** Where a task has a limit over all tenants, its chosen are cut to its room, those whose turn came first before the others. */
const PICK = `${CHOSEN},
limited (lane_id, ord, place) AS (
  SELECT lane_id, ord, row_number() OVER (PARTITION BY lane_id & 65535 ORDER BY place, tenant_id) FROM ranked WHERE place <= n)
SELECT ${ID} FROM limited r CROSS JOIN ask ON ask.task_id = r.lane_id & 65535 WHERE ask.room IS NULL OR r.place <= ask.room`;

const LEASE = `
UPDATE jobs SET state = ${S.running}, seq = seq + 1, claims = claims + 1, started_at = ?1, lease_until = ?3, token = ?4, worker = ?6
WHERE id IN (${PICK}) RETURNING ${JOB_COLUMNS}`;

/** The jobs of this claim, by the index of running jobs. */
const CLAIMED = `FROM jobs WHERE state = ${S.running} AND lease_until = +?1 AND token = +?2`;
const COUNT_LANES = countMoves(`SELECT lane_id, ${S.ready} AS was, ${S.running} AS becomes ${CLAIMED}`, ["ready", "running"]);

/** After the tenants have paid: the tag of the latest turn, for each task that this claim asked for. Whoever wakes in one begins there. */
const ADVANCE_VIRTUAL_NOW = `
UPDATE tasks SET virtual_now = t.tag FROM (SELECT max(vt - step) AS tag FROM tenants WHERE tenant_id IN (SELECT tenant_id ${CLAIMED})) t
WHERE task_id IN (SELECT value FROM json_each(?3)) AND virtual_now < t.tag`;

/** Lanes with a delayed job that is due, the longest due first, a bounded number; and the bounded number of jobs that each may promote. */
const DUE_LANES = "SELECT lane_id FROM lanes WHERE next_due <= +?1 ORDER BY next_due LIMIT 64";
const DUE_JOBS = `
SELECT j.id, j.lane_id FROM (${DUE_LANES}) d CROSS JOIN jobs j ON j.id IN (
  SELECT id FROM jobs WHERE lane_id = d.lane_id AND state = ${S.delayed} AND run_at <= +?1 ORDER BY run_at LIMIT 32)`;
const ANY_DUE = "SELECT 1 FROM lanes WHERE next_due <= +?1 LIMIT 1";
const COUNT_DUE = countMoves(`SELECT lane_id, ${S.delayed} AS was, ${S.ready} AS becomes, NULL AS due FROM (${DUE_JOBS})`, [
	"delayed",
	"ready",
]);
const PROMOTE = `UPDATE jobs SET state = ${S.ready} WHERE id IN (SELECT id FROM (${DUE_JOBS}))`;
/** After the promotion: a lane with more that is due goes to the end of the line of due lanes. */
const NEXT_DUE = `
UPDATE lanes SET next_due = (SELECT max(?1, j.run_at) FROM jobs j WHERE j.lane_id = lanes.lane_id AND j.state = ${S.delayed} ORDER BY j.run_at LIMIT 1)
WHERE lane_id IN (${DUE_LANES})`;

/** The jobs that a claim has taken. */
export const claimedStatement = (request: ClaimRequest, nowMs: number): Statement => ({
	sql: `SELECT id, seq, claims, losses ${CLAIMED}`,
	params: [nowMs + request.leaseMs, request.token],
});

export interface ClaimStatements {
	readonly statements: Statement[];
	/** The statement whose rows are the claimed jobs. */
	readonly claimed: number;
}

/** The statements of one claim; promotion of due jobs comes first. */
export function claimStatements(request: ClaimRequest, taskIds: readonly number[], nowMs: number): ClaimStatements {
	const tasks = JSON.stringify(taskIds);
	const leaseUntil = nowMs + request.leaseMs;
	const due = { onlyIf: { sql: ANY_DUE, params: [nowMs] }, params: [nowMs] };
	const marker = [leaseUntil, request.token];
	const statements: Statement[] = [
		{ sql: COUNT_DUE, ...due },
		{ sql: PROMOTE, ...due },
		{ sql: NEXT_DUE, ...due },
	];
	const claimed =
		statements.push({
			sql: LEASE,
			params: [nowMs, request.limit, leaseUntil, request.token, tasks, request.worker],
		}) - 1;
	const onlyIf = { sql: `SELECT 1 ${CLAIMED} LIMIT 1`, params: marker };
	statements.push({ sql: COUNT_LANES, params: marker, onlyIf }, { sql: ADVANCE_VIRTUAL_NOW, params: [...marker, tasks], onlyIf });
	return { statements, claimed };
}
