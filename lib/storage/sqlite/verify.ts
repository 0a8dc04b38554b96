/**
 * Recounting the store against what it says of itself. Every storage test ends with this, and doctor asks it: an empty answer is the
 * only good one. Each check is a SELECT whose rows are violations, with a column `what`.
 */
import { STATES } from "../../job.ts";
import { S } from "../rows.ts";
import { lanesOfTenant } from "./moves.ts";

const counters = STATES.map(state => `sum(state = ${S[state]}) AS ${state}`).join(", ");
const differs = (a: string, b: string): string => STATES.map(state => `${a}.${state} <> coalesce(${b}.${state}, 0)`).join(" OR ");
const sums = STATES.map(state => `sum(${state}) AS ${state}`).join(", ");

/** What may be claimed, by the lanes and limits alone: a copy of it, in order, is `turns`. */
const CLAIMABLE = `
SELECT l.task_id, c.vt, l.lane_id FROM (SELECT lane_id >> 16 AS tenant_id, max(vt) AS vt, sum(running) AS running FROM lanes GROUP BY 1) c
JOIN tenants t ON t.tenant_id = c.tenant_id JOIN lanes l ON ${lanesOfTenant("t.tenant_id", "l.lane_id")}
WHERE c.running < t.concurrency AND t.paused = 0 AND t.start_rate_full = 0 AND l.ready > 0 AND (l.most IS NULL OR l.running < l.most)`;

export const CHECKS: readonly string[] = [
	`SELECT 'lane ' || l.lane_id || ' counts other jobs than it has' AS what FROM lanes l
   LEFT JOIN (SELECT lane_id, ${counters} FROM jobs GROUP BY lane_id) c ON c.lane_id = l.lane_id WHERE ${differs("l", "c")}`,
	"SELECT 'job ' || id || ' is in no lane' AS what FROM jobs WHERE lane_id NOT IN (SELECT lane_id FROM lanes) OR tenant_id <> lane_id >> 16",
	"SELECT 'lane ' || lane_id || ' is of no tenant' AS what FROM lanes WHERE lane_id >> 16 NOT IN (SELECT tenant_id FROM tenants) OR task_id <> lane_id & 65535",
	`SELECT 'the queue is not the sum of its lanes' AS what FROM queue q CROSS JOIN (SELECT ${sums} FROM lanes) c WHERE ${differs("q", "c")}`,
	`SELECT 'active_tenants is wrong' AS what FROM queue WHERE active_tenants <> (
   SELECT count(DISTINCT lane_id >> 16) FROM lanes WHERE ready + delayed + blocked + running > 0)`,
	`SELECT 'submitted - finished is not what lives' AS what FROM queue WHERE submitted - finished <> ready + delayed + blocked + running`,
	`SELECT 'task ' || k.name || ' counts ' || k.running || ' running' AS what FROM tasks k
   WHERE k.concurrency IS NOT NULL AND k.running <> coalesce((SELECT sum(running) FROM lanes WHERE task_id = k.task_id), 0)`,
	`WITH claimable AS MATERIALIZED (${CLAIMABLE})
   SELECT 'lane ' || lane_id || ' is not where its turn is' AS what FROM (SELECT task_id, vt, lane_id FROM claimable EXCEPT SELECT task_id, vt, lane_id FROM turns)
   UNION ALL SELECT 'a turn of lane ' || lane_id || ' is not its own' FROM (SELECT task_id, vt, lane_id FROM turns EXCEPT SELECT task_id, vt, lane_id FROM claimable)`,
	"SELECT 'lane ' || lane_id || ' would never wake for its delayed jobs' AS what FROM lanes WHERE delayed > 0 AND next_due IS NULL",
	`SELECT 'job ' || id || ' has a lease that does not fit its state' AS what FROM jobs
   WHERE (state = ${S.running}) <> (lease_until IS NOT NULL) OR state = ${S.running} AND token IS NULL`,
	`SELECT 'job ' || id || ' has an end that does not fit its state' AS what FROM jobs
   WHERE (state > ${S.running}) <> (completed_at IS NOT NULL AND expires_at IS NOT NULL)`,
	`SELECT 'job ' || id || ' is out of order' AS what FROM jobs WHERE state IN (${S.ready}, ${S.delayed}) AND ord & 4194303 <> id & 4194303`,
	`SELECT 'job ' || id || ' has more failures than attempts' AS what FROM jobs WHERE failures > max_retries + 1 OR failures + losses > claims`,
	"SELECT 'lane ' || lane_id || ' has a circuit that cannot be' AS what FROM lanes WHERE circuit NOT IN (0, 1) OR streak < 0 OR (streak > 0) <> (streak_fingerprint IS NOT NULL)",
	// A job that is done is written as little as possible.
	`SELECT 'job ' || id || ' is overdue and does not run' AS what FROM jobs WHERE overdue <> 0 AND (overdue <> 1 OR state NOT IN (${S.running}, ${S.done}))`,
	`SELECT 'job ' || id || ' failed of nothing' AS what FROM jobs WHERE state IN (${S.failed}, ${S.dead}) AND (fingerprint IS NULL OR reason IS NULL)`,
	`SELECT 'job ' || id || ' has told what it cannot' AS what FROM jobs WHERE webhook_told <> 0 AND (webhook_told <> 1 OR webhook_url IS NULL OR state <= ${S.running})`,
	`SELECT 'bulk action ' || id || ' does not know whether it has ended' AS what FROM bulk_actions
   WHERE (status IN ('running', 'canary')) <> (next_at IS NOT NULL) OR (next_at IS NULL) <> (ended_at IS NOT NULL) OR seen <> changed + skipped`,
	"SELECT 'schedule ' || name || ' is of no tenant' AS what FROM schedules WHERE tenant_id NOT IN (SELECT tenant_id FROM tenants)",
	`SELECT 'key ' || w.queue_key || ' of tenant ' || w.tenant_id || ' has jobs waiting and no holder' AS what FROM jobs w WHERE w.state = ${S.blocked} AND w.start_by IS NULL
   AND NOT EXISTS (SELECT 1 FROM jobs h WHERE h.tenant_id = w.tenant_id AND h.queue_key = w.queue_key AND h.state > ${S.blocked} AND h.state <= ${S.running})`,
	"SELECT 'job ' || j.id || ' has lost history' AS what FROM jobs j WHERE (SELECT count(*) FROM job_events WHERE job_id = j.id) > j.seq OR j.seq - (SELECT count(*) FROM job_events WHERE job_id = j.id) > 3",
	"SELECT 'event of job ' || job_id || ' outlived it' AS what FROM job_events WHERE job_id NOT IN (SELECT id FROM jobs)",
	"SELECT 'tag of job ' || job_id || ' outlived it' AS what FROM job_tags WHERE job_id NOT IN (SELECT id FROM jobs)",
	"SELECT 'an id is above the last one given' AS what FROM queue WHERE last_job_id < coalesce((SELECT max(id) FROM jobs), 0)",
];
