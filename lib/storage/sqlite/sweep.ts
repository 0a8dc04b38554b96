/** What a tick does beside claiming: lost leases, missed start deadlines, old jobs. Every sweep is bounded per call. */
import { LEASE_LOST_FINGERPRINT, LOSSES_MAX, PROBES_FREE_MAX, TIMED_OUT_FINGERPRINT } from "../../job.ts";
import { S } from "../rows.ts";
import type { StorageDefaults } from "../storage.ts";
import { CIRCUIT_STAYS } from "./circuit.ts";
import type { Statement } from "./driver.ts";
import { IS_LEFT_OUT, keepAttempt } from "./history.ts";
import { counting, countMoves, countQueue, ordOf } from "./moves.ts";
import { IS_TOLD } from "./webhooks.ts";

/** An attempt that was overdue: no attempt is used while the circuit is open, as with any other failure (lib/storage/sqlite/finish.ts). */
const PROBES = `(overdue AND cancel_requested_at IS NULL AND claims - failures <= ${PROBES_FREE_MAX}
  AND (SELECT circuit FROM lanes WHERE lane_id = jobs.lane_id) = 1)`;
/** An attempt that was overdue has failed: its worker was there. The wait doubles; what hung has waited for long, and needs no more jitter. */
const LOST = `
SELECT id, tail, lane_id, ${S.running} AS was, overdue AND cancel_requested_at IS NULL AS failed, ${PROBES} AS probes, ?1 + min(300000, 2000 << min(failures, 8)) AS due,
  CASE WHEN cancel_requested_at IS NOT NULL THEN ${S.cancelled} WHEN overdue THEN CASE WHEN failures < max_retries OR ${PROBES} THEN ${S.delayed} ELSE ${S.dead} END
    WHEN losses + 1 < ${LOSSES_MAX} THEN ${S.ready} ELSE ${S.dead} END AS becomes,
  json_object('message', 'timed out after ' || CAST(?1 - started_at AS INTEGER) || ' ms', 'attempt', failures + 1, 'fingerprint', '${TIMED_OUT_FINGERPRINT}') AS timed_out
FROM jobs WHERE state = ${S.running} AND lease_until <= +?1 ORDER BY lease_until LIMIT +?2`;
const LOST_REASON = `CASE becomes WHEN ${S.dead} THEN CASE WHEN failed THEN 'retries_exhausted' ELSE 'lease_lost' END WHEN ${S.cancelled} THEN 'requested' END`;
const LOST_STATES = ["running", "ready", "delayed", "dead", "cancelled"] as const;
const COUNT_LOST = countMoves(LOST, LOST_STATES, CIRCUIT_STAYS);
const COUNT_LOST_OF_QUEUE = countQueue(LOST, LOST_STATES);
const KEEP_LOST = keepAttempt(
	`SELECT id, becomes, CASE becomes WHEN ${S.ready} THEN 'lost' WHEN ${S.delayed} THEN 'retry' END AS kind,
  CASE WHEN probes THEN json_object('run_at', due, 'error', json(timed_out), 'circuit', 'probe')
    WHEN becomes = ${S.delayed} THEN json_object('run_at', due, 'error', json(timed_out)) END AS data FROM (${LOST})`,
	"?1",
);
/** One that failed before keeps the error of that attempt. */
const LOST_ERROR = "json_object('message', 'its worker went away three times in a row', 'attempt', failures + 1)";
const EXPIRE_LEASES = `
UPDATE jobs SET state = x.becomes, seq = seq + CASE WHEN (x.becomes = ${S.ready} OR x.probes) AND ${IS_LEFT_OUT("jobs", "x")} THEN -1 ELSE 1 END,
  failures = failures + (x.failed AND NOT x.probes), losses = CASE WHEN x.failed THEN 0 ELSE losses + 1 END, overdue = 0, lease_until = NULL, token = NULL,
  reason = ${LOST_REASON.replaceAll(/becomes|failed/g, "x.$&")},
  fingerprint = CASE WHEN x.failed THEN '${TIMED_OUT_FINGERPRINT}' WHEN x.becomes = ${S.dead} THEN '${LEASE_LOST_FINGERPRINT}' ELSE fingerprint END,
  error = CASE WHEN x.failed THEN x.timed_out WHEN x.becomes = ${S.dead} THEN coalesce(error, ${LOST_ERROR}) ELSE error END,
  run_at = CASE x.becomes WHEN ${S.delayed} THEN x.due ELSE run_at END,
  ord = CASE x.becomes WHEN ${S.delayed} THEN ${ordOf("x.due", "priority", "jobs.id")} ELSE ord END,
  completed_at = CASE WHEN x.becomes > ${S.running} THEN ?1 END,
  expires_at = CASE x.becomes WHEN ${S.dead} THEN ?1 + coalesce((SELECT keep_dead_ms FROM tenants WHERE tenant_id = jobs.tenant_id), ?4)
    WHEN ${S.cancelled} THEN ?1 + coalesce((SELECT keep_done_ms FROM tenants WHERE tenant_id = jobs.tenant_id), ?3) END
FROM (${LOST}) x WHERE jobs.id = x.id RETURNING id, tail, state, reason`;

/** What the sweeps would take, without taking it: {id, tail, state, reason}. */
export const lostStatement = (limit: number, nowMs: number): Statement => ({
	sql: `SELECT id, tail, becomes AS state, ${LOST_REASON} AS reason FROM (${LOST})`,
	params: [nowMs, limit],
});

/** The rows of the last statement are {id, tail, state, reason} of the leases taken back. */
export const expireLeasesStatements = (limit: number, defaults: StorageDefaults, nowMs: number): Statement[] => [
	{ sql: COUNT_LOST, params: [nowMs, limit] },
	{ sql: COUNT_LOST_OF_QUEUE, params: [nowMs, limit] },
	{ sql: KEEP_LOST, params: [nowMs, limit] },
	{ sql: EXPIRE_LEASES, params: [nowMs, limit, defaults.keepDoneMs, defaults.keepDeadMs] },
];

export const forfeitStatement = (worker: string, nowMs: number): Statement => ({
	sql: `UPDATE jobs SET lease_until = ?2 WHERE state = ${S.running} AND worker = ?1 AND lease_until > ?2 RETURNING id`,
	params: [worker, nowMs],
});

const LATE = `
SELECT id, tail, lane_id, state AS was, ${S.cancelled} AS becomes, NULL AS due
FROM jobs WHERE start_by IS NOT NULL AND state < ${S.running} AND start_by <= +?1 ORDER BY start_by LIMIT +?2`;
const countLate = counting(LATE, ["delayed", "ready", "blocked", "cancelled"]);
const CANCEL_LATE = `
UPDATE jobs SET state = ${S.cancelled}, seq = seq + 1, reason = 'expired', completed_at = ?1,
  expires_at = ?1 + coalesce((SELECT keep_done_ms FROM tenants WHERE tenant_id = jobs.tenant_id), ?3)
WHERE id IN (SELECT id FROM (${LATE})) RETURNING id, tail, state, reason`;

export const lateStatement = (limit: number, nowMs: number): Statement => ({
	sql: `SELECT id, tail, becomes AS state, 'expired' AS reason FROM (${LATE})`,
	params: [nowMs, limit],
});

/** The rows of the last statement are {id, tail, state, reason} of the jobs that were too late. */
export const cancelLateStatements = (limit: number, defaults: StorageDefaults, nowMs: number): Statement[] => [
	...countLate([nowMs, limit]),
	{ sql: CANCEL_LATE, params: [nowMs, limit, defaults.keepDoneMs] },
];

/** Deletes jobs with all that is theirs. @param which a SELECT of their ids, all of which have ended */
const deleting = (which: string) => {
	const count = counting(`SELECT lane_id, state AS was, NULL AS becomes FROM jobs WHERE id IN (${which})`, [
		"done",
		"failed",
		"dead",
		"cancelled",
	]);
	const texts = [
		`DELETE FROM job_events WHERE job_id IN (${which})`,
		`DELETE FROM job_tags WHERE (tenant_id, tag, job_id) IN (
  SELECT j.tenant_id, g.value, j.id FROM jobs j CROSS JOIN json_each(j.tags) g WHERE j.id IN (${which}) AND j.tags IS NOT NULL)`,
		`DELETE FROM jobs WHERE id IN (${which}) RETURNING id`,
	];
	return (params: Statement["params"], onlyIf?: Statement["onlyIf"]): Statement[] => [
		...count(params, onlyIf),
		...texts.map(sql => (onlyIf === undefined ? { sql, params } : { sql, params, onlyIf })),
	];
};

const OLD = `SELECT id FROM jobs WHERE expires_at <= +?1 AND ${IS_TOLD} ORDER BY expires_at LIMIT +?2`;
const deleteOld = deleting(OLD);
const deleteEnded = deleting(`SELECT id FROM jobs WHERE id IN (SELECT value FROM json_each(?1)) AND state > ${S.running} AND ${IS_TOLD}`);

export const oldStatement = (limit: number, nowMs: number): Statement => ({ sql: OLD, params: [nowMs, limit] });

/** The rows of the last statement are the ids of the deleted jobs. */
export const pruneStatements = (limit: number, nowMs: number): Statement[] => [
	{
		sql: "DELETE FROM keys WHERE (tenant_id, kind, key) IN (SELECT tenant_id, kind, key FROM keys WHERE expires_at <= +?1 ORDER BY expires_at LIMIT +?2)",
		params: [nowMs, limit],
	},
	...deleteOld([nowMs, limit], { sql: "SELECT 1 FROM jobs WHERE expires_at <= +?1 LIMIT 1", params: [nowMs] }),
];
/** The same for these ids, as far as they have ended and are told. */
export const deleteStatements = (ids: readonly number[]): Statement[] => deleteEnded([JSON.stringify(ids)]);
