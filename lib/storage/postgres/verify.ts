/** Recounting the store on PostgreSQL; the checks of sqlite/verify.ts. Each is a SELECT whose rows are violations, with a column `what`. */
import { STATES } from "../../job.ts";
import { S } from "../rows.ts";

const counters = STATES.map(state => `count(*) FILTER (WHERE state = ${S[state]}) AS ${state}`).join(", ");
const differs = (a: string, b: string): string => STATES.map(state => `${a}.${state} <> coalesce(${b}.${state}, 0)`).join(" OR ");
const sums = STATES.map(state => `coalesce(sum(${state}), 0) AS ${state}`).join(", ");

export const checks = (at: string): string[] => [
	`SELECT 'lane ' || l.lane_id || ' counts other jobs than it has' AS what FROM ${at}lanes_now l
   LEFT JOIN (SELECT lane_id, ${counters} FROM ${at}jobs GROUP BY lane_id) c ON c.lane_id = l.lane_id WHERE ${differs("l", "c")}`,
	`SELECT 'job ' || j.id || ' is in no lane' AS what FROM ${at}jobs j LEFT JOIN ${at}lanes l ON l.lane_id = j.lane_id
   WHERE l.lane_id IS NULL OR j.tenant_id <> j.lane_id >> 16`,
	`SELECT 'tenant ' || t.name || ' is not the sum of its lanes' AS what FROM ${at}tenants_now t
   LEFT JOIN (SELECT lane_id >> 16 AS tenant_id, ${sums} FROM ${at}lanes_now GROUP BY 1) c ON c.tenant_id = t.tenant_id WHERE ${differs("t", "c")}`,
	`SELECT 'task ' || coalesce(n.task_id, c.task_id) || ' is not the sum of its lanes' AS what
   FROM (SELECT task_id, ${sums} FROM ${at}totals WHERE task_id > 0 GROUP BY task_id) n
   FULL JOIN (SELECT task_id, ${sums} FROM ${at}lanes_now GROUP BY task_id) c ON c.task_id = n.task_id
   WHERE ${STATES.map(state => `coalesce(n.${state}, 0) <> coalesce(c.${state}, 0)`).join(" OR ")}`,
	`SELECT 'active_tenants is wrong' AS what WHERE (SELECT coalesce(sum(active_tenants), 0) FROM ${at}totals)
   <> (SELECT count(*) FROM ${at}tenants_now WHERE waiting + running > 0)`,
	`SELECT 'submitted - finished is not what lives' AS what
   WHERE (SELECT coalesce(sum(submitted - finished - ready - delayed - blocked - running), 0) FROM ${at}totals) <> 0`,
	`SELECT 'ready lane ' || l.lane_id || ' has another tag or hold than its tenant' AS what FROM ${at}lanes_now l JOIN ${at}tenants_now t ON t.tenant_id = l.lane_id >> 16
   WHERE l.ready > 0 AND (l.vt <> t.vt OR (l.held & 1) <> (t.held <> 0)::int)`,
	`SELECT 'lane ' || lane_id || ' has its own limit or hold wrong' AS what FROM ${at}lanes_now
   WHERE (held & 2 <> 0) <> coalesce(running >= may_run, false) OR (held & 4 <> 0) <> (reopen_at IS NOT NULL)`,
	`SELECT 'lane ' || lane_id || ' has a circuit that cannot be' AS what FROM ${at}lanes_now
   WHERE circuit NOT IN (0, 1) OR streak < 0 OR (streak > 0) <> (streak_fingerprint IS NOT NULL)`,
	`SELECT 'lane ' || lane_id || ' would never open again' AS what FROM ${at}lanes_now WHERE reopen_at IS NOT NULL AND coalesce(next_due > reopen_at, true)`,
	`SELECT 'lane ' || lane_id || ' would never wake for its delayed jobs' AS what FROM ${at}lanes_now WHERE delayed > 0 AND next_due IS NULL`,
	`SELECT 'lane ' || lane_id || ' has ' || count(*) || ' versions that count' AS what FROM ${at}lane_state GROUP BY lane_id HAVING count(*) > 1`,
	`SELECT 'tenant ' || tenant_id || ' has ' || count(*) || ' versions that count' AS what FROM ${at}tenant_state GROUP BY tenant_id HAVING count(*) > 1`,
	`SELECT 'ready job ' || j.id || ' lies before the head of its lane' AS what FROM ${at}jobs j JOIN ${at}lanes_now l ON l.lane_id = j.lane_id
   WHERE j.state = ${S.ready} AND j.ord < l.head`,
	`SELECT 'job ' || id || ' has a lease that does not fit its state' AS what FROM ${at}jobs
   WHERE (state = ${S.running}) <> (lease_until IS NOT NULL) OR state = ${S.running} AND token IS NULL`,
	`SELECT 'job ' || id || ' has an end that does not fit its state' AS what FROM ${at}jobs
   WHERE (state > ${S.running}) <> (completed_at IS NOT NULL AND expires_at IS NOT NULL)`,
	`SELECT 'job ' || id || ' is out of order' AS what FROM ${at}jobs WHERE state IN (${S.ready}, ${S.delayed}) AND (ord & 4194303) <> (id & 4194303)`,
	`SELECT 'job ' || id || ' has more failures than attempts' AS what FROM ${at}jobs WHERE failures > max_retries + 1 OR failures + losses > claims`,
	`SELECT 'job ' || id || ' is overdue and does not run' AS what FROM ${at}jobs WHERE overdue <> 0 AND (overdue <> 1 OR state <> ${S.running})`,
	`SELECT 'job ' || id || ' failed of nothing' AS what FROM ${at}jobs WHERE state IN (${S.failed}, ${S.dead}) AND (fingerprint IS NULL OR reason IS NULL)`,
	`SELECT 'job ' || id || ' has told what it cannot' AS what FROM ${at}jobs
   WHERE webhook_told <> 0 AND (webhook_told <> 1 OR webhook_url IS NULL OR state <= ${S.running})`,
	`SELECT 'bulk action ' || id || ' does not know whether it has ended' AS what FROM ${at}bulk_actions
   WHERE (status IN ('running', 'canary')) <> (next_at IS NOT NULL) OR (next_at IS NULL) <> (ended_at IS NOT NULL) OR seen <> changed + skipped`,
	`SELECT 'schedule ' || s.name || ' is of no tenant' AS what FROM ${at}schedules s WHERE NOT EXISTS (SELECT 1 FROM ${at}tenants t WHERE t.tenant_id = s.tenant_id)`,
	`SELECT 'key ' || w.queue_key || ' of tenant ' || w.tenant_id || ' has jobs waiting and no holder' AS what FROM ${at}jobs w
   WHERE w.state = ${S.blocked} AND w.start_by IS NULL AND NOT EXISTS (
     SELECT 1 FROM ${at}jobs h WHERE h.tenant_id = w.tenant_id AND h.queue_key = w.queue_key AND h.state > ${S.blocked} AND h.state <= ${S.running})`,
	`SELECT 'job ' || j.id || ' has lost history' AS what FROM ${at}jobs j
   LEFT JOIN (SELECT job_id, count(*) AS n FROM ${at}job_events GROUP BY job_id) e ON e.job_id = j.id
   WHERE coalesce(e.n, 0) >= j.seq OR j.seq - coalesce(e.n, 0) > 3`,
	`SELECT 'event of job ' || e.job_id || ' outlived it' AS what FROM ${at}job_events e WHERE NOT EXISTS (SELECT 1 FROM ${at}jobs j WHERE j.id = e.job_id)`,
	`SELECT 'tag of job ' || g.job_id || ' outlived it' AS what FROM ${at}job_tags g WHERE NOT EXISTS (SELECT 1 FROM ${at}jobs j WHERE j.id = g.job_id)`,
];
