/**
 * The claim: which due jobs run next, and the lease on each.
 *
 * Tenants take turns. Each has a tag, its virtual time; whoever has the smallest is served and pays `step` for it, so that a tenant of
 * weight 2 pays half and comes twice as often. Within a tenant the smallest `ord` goes first, whatever the lane. Only lanes of the asked
 * tasks that are ready and not held are looked at, in the order of `turns`: neither a backlog, nor tenants at their limit, nor tasks of
 * others cost anything.
 *
 * A tenant whose tag is behind that of the latest turn slept, or was held. It is treated as if it had the latest turn's: it has neither
 * saved up turns meanwhile, nor owes any that it had while it was alone.
 */
import { JOB_COLUMNS, S } from "../rows.ts";
import type { ClaimRequest } from "../storage.ts";
import type { Statement } from "./driver.ts";
import { lanesOfTenant } from "./moves.ts";

/** In the tags of the latest turns, that of one task. */
const virtualNow = (tags: string, taskId: string): string => `coalesce(${tags} ->> CAST(${taskId} AS TEXT), 0)`;

/** Parameters: ?1 now · ?2 limit · ?3 lease_until · ?4 token · ?5 task ids (JSON) · ?6 worker. `+?n` keeps the planner from planning anew. */
const ASK = `ask (task_id, room, virtual_now) AS MATERIALIZED (
  SELECT k.task_id, k.concurrency - k.running, ${virtualNow("q.virtual_now", "k.task_id")}
  FROM queue q CROSS JOIN json_each(?5) e CROSS JOIN tasks k ON k.task_id = e.value
  WHERE k.paused = 0 AND (k.reopen_at IS NULL OR k.reopen_at <= +?1) AND (k.concurrency IS NULL OR k.running < k.concurrency))`;

/** The `limit` tenants whose turn comes first. */
const NEXT_TENANTS = `candidate (tenant_id, vt) AS MATERIALIZED (
  SELECT lane_id >> 16, max(max(vt, virtual_now)) FROM ask CROSS JOIN turns u ON u.task_id = ask.task_id
    AND (u.vt, u.lane_id) IN (SELECT vt, lane_id FROM turns WHERE task_id = ask.task_id ORDER BY vt, lane_id LIMIT ?2 + 0)
  GROUP BY lane_id >> 16 ORDER BY 2, 1 LIMIT +?2)`;

/** Their claimable lanes: how many jobs each may give, and the order of its first. `free`: what the tenant may still start. */
const LANES = `lane (tenant_id, vt, step, free, lane_id, available, head) AS MATERIALIZED (
  SELECT c.tenant_id, c.vt, c.step, c.free, l.lane_id, min(l.ready, coalesce(l.most - l.running, l.ready)),
    (SELECT ord FROM jobs WHERE lane_id = l.lane_id AND state = ${S.ready} ORDER BY ord LIMIT 1)
  FROM (SELECT c.tenant_id, c.vt, t.step, t.concurrency - (SELECT sum(running) FROM lanes WHERE ${lanesOfTenant("c.tenant_id")}) AS free
    FROM candidate c CROSS JOIN tenants t ON t.tenant_id = c.tenant_id LIMIT -1) c
  CROSS JOIN lanes l ON ${lanesOfTenant("c.tenant_id", "l.lane_id")}
  WHERE l.ready > 0 AND (l.most IS NULL OR l.running < l.most) AND l.task_id IN (SELECT task_id FROM ask))`;

/** One row a turn, the smallest tag first; the recursion is a priority queue. quota: how many turns each tenant got. */
const TURNS = `turn (tenant_id, vt, step, most, i) AS (
  SELECT tenant_id, vt, step, min(free, sum(available)), 1 FROM lane GROUP BY tenant_id
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

const RANKED = `WITH RECURSIVE ${ASK}, ${NEXT_TENANTS}, ${LANES}, ${TURNS}, ${WALK}`;
const ID = `(SELECT id FROM jobs WHERE lane_id = r.lane_id AND state = ${S.ready} AND ord = r.ord LIMIT 1)`;
/** Where a task has a limit over all tenants, its chosen are cut to its room, those whose turn came first before the others. */
const PICK = `${RANKED},
limited (lane_id, ord, place) AS (
  SELECT lane_id, ord, row_number() OVER (PARTITION BY lane_id & 65535 ORDER BY place, tenant_id) FROM ranked WHERE place <= n)
SELECT ${ID} AS id FROM limited r CROSS JOIN ask ON ask.task_id = r.lane_id & 65535 WHERE ask.room IS NULL OR r.place <= ask.room`;

const LEASE = `
UPDATE jobs SET state = ${S.running}, seq = seq + 1, claims = claims + 1, started_at = ?1, lease_until = ?3, token = ?4, worker = ?6
FROM (${PICK} LIMIT -1) p WHERE jobs.id = +p.id RETURNING ${JOB_COLUMNS}`;

/** The jobs of this claim, by the index of running jobs. */
const CLAIMED = `FROM jobs WHERE state = ${S.running} AND lease_until = +?1 AND token = +?2`;
const CLAIMED_LANES = `SELECT lane_id, count(*) AS n ${CLAIMED} GROUP BY +lane_id`;

/** The lanes, and what their tenants pay for their turns. */
const COUNT_LANES = `
UPDATE lanes SET ready = ready - m.n, running = running + m.n, turn_from = m.tag, vt = m.vt, slots_left = m.slots_left
FROM (
  SELECT c.lane_id, c.n, c.tag, max(c.tag, max(c.virtual_now) OVER w) + sum(c.n) OVER w * t.step AS vt,
    t.concurrency - c.running - sum(c.n) OVER w AS slots_left
  FROM (SELECT s.lane_id, s.n, s.lane_id >> 16 AS tenant_id, ${virtualNow("q.virtual_now", "s.lane_id & 65535")} AS virtual_now,
      max(l.vt) AS tag, sum(l.running) AS running
    FROM queue q CROSS JOIN (${CLAIMED_LANES}) s CROSS JOIN lanes l ON ${lanesOfTenant("(s.lane_id >> 16)", "l.lane_id")}
    GROUP BY s.lane_id) c CROSS JOIN tenants t ON t.tenant_id = c.tenant_id
  WINDOW w AS (PARTITION BY c.tenant_id)) m
WHERE lanes.lane_id = +m.lane_id`;

/** Whatever of these tenants is still claimable goes to their new tag. (What is not has left.) */
const MOVE_TURNS = `
UPDATE turns SET vt = m.vt
FROM (SELECT l.task_id, c.turn_from, l.lane_id, c.vt
  FROM (SELECT DISTINCT s.lane_id >> 16 AS tenant_id, s.turn_from, s.vt FROM (${CLAIMED_LANES}) j CROSS JOIN lanes s ON s.lane_id = j.lane_id) c
  CROSS JOIN lanes l ON ${lanesOfTenant("c.tenant_id", "l.lane_id")} WHERE l.ready > 0 LIMIT -1) m
WHERE turns.task_id = +m.task_id AND turns.vt = +m.turn_from AND turns.lane_id = +m.lane_id`;

/** The queue; and the tag of the latest turn, for each task that this claim asked for. */
const COUNT_QUEUE = `
UPDATE queue SET version = version + 1, ready = ready - m.n, running = running + m.n,
  virtual_now = json_patch(virtual_now, (SELECT json_group_object(CAST(e.value AS TEXT), m.tag) FROM json_each(?3) e
    WHERE ${virtualNow("virtual_now", "e.value")} < m.tag))
FROM (SELECT count(*) AS n, max(l.vt - t.step) AS tag
  FROM (SELECT lane_id ${CLAIMED}) taken CROSS JOIN lanes l ON l.lane_id = taken.lane_id CROSS JOIN tenants t ON t.tenant_id = l.lane_id >> 16) m
WHERE m.n > 0`;

/** Lanes with a delayed job that is due, the longest due first, a bounded number; and the bounded number of jobs that each may promote. */
const DUE_LANES = "SELECT lane_id FROM lanes WHERE next_due <= +?1 ORDER BY next_due LIMIT 64";
const DUE_JOBS = `
SELECT j.id, j.lane_id FROM (${DUE_LANES}) d CROSS JOIN jobs j ON j.id IN (
  SELECT id FROM jobs WHERE lane_id = d.lane_id AND state = ${S.delayed} AND run_at <= +?1 ORDER BY run_at LIMIT 32)`;
const ANY_DUE = "SELECT 1 FROM lanes WHERE next_due <= +?1 LIMIT 1";
const COUNT_DUE = `
UPDATE lanes SET delayed = delayed - m.n, ready = ready + m.n
FROM (SELECT lane_id, count(*) AS n FROM (${DUE_JOBS}) GROUP BY +lane_id) m WHERE lanes.lane_id = m.lane_id`;
const COUNT_DUE_OF_QUEUE = `
UPDATE queue SET version = version + 1, delayed = delayed - m.n, ready = ready + m.n FROM (SELECT count(*) AS n FROM (${DUE_JOBS})) m WHERE m.n > 0`;
const PROMOTE = `UPDATE jobs SET state = ${S.ready} WHERE id IN (SELECT id FROM (${DUE_JOBS}))`;
/** After the promotion: a lane with more that is due goes to the end of the line of due lanes. */
const NEXT_DUE = `
UPDATE lanes SET next_due = (SELECT max(?1, j.run_at) FROM jobs j WHERE j.lane_id = lanes.lane_id AND j.state = ${S.delayed} ORDER BY j.run_at LIMIT 1)
WHERE lane_id IN (${DUE_LANES})`;

/** Lanes whose hold has ended, the longest ended first, a bounded number. The others stay due. */
const REOPENED = "SELECT lane_id FROM lanes WHERE reopen_at <= +?1 ORDER BY reopen_at LIMIT 64";
const ANY_REOPENED = "SELECT 1 FROM lanes WHERE reopen_at <= +?1 LIMIT 1";
const REOPEN = `UPDATE lanes SET reopen_at = NULL WHERE lane_id IN (${REOPENED})`;

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

/** The statements of one claim; jobs that are due and lanes whose hold has ended come in first. */
export function claimStatements(request: ClaimRequest, taskIds: readonly number[], nowMs: number): ClaimStatements {
	const tasks = JSON.stringify(taskIds);
	const leaseUntil = nowMs + request.leaseMs;
	const due = { onlyIf: { sql: ANY_DUE, params: [nowMs] }, params: [nowMs] };
	const marker = [leaseUntil, request.token];
	const statements: Statement[] =
		request.promote === false
			? []
			: [
					{ sql: COUNT_DUE, ...due },
					{ sql: COUNT_DUE_OF_QUEUE, ...due },
					{ sql: PROMOTE, ...due },
					{ sql: NEXT_DUE, ...due },
					{ sql: REOPEN, params: [nowMs], onlyIf: { sql: ANY_REOPENED, params: [nowMs] } },
				];
	const claimed =
		statements.push({
			sql: LEASE,
			params: [nowMs, request.limit, leaseUntil, request.token, tasks, request.worker],
		}) - 1;
	const onlyIf = { sql: `SELECT 1 ${CLAIMED} LIMIT 1`, params: marker };
	statements.push(
		{ sql: COUNT_LANES, params: marker, onlyIf },
		{ sql: MOVE_TURNS, params: marker, onlyIf },
		{ sql: COUNT_QUEUE, params: [...marker, tasks], onlyIf },
	);
	return { statements, claimed };
}
