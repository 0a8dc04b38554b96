/** Ending attempts: the fence, where each job goes from running, and what its history keeps. */
import { S } from "../rows.ts";
import type { Ending, LeaseExtension, StorageDefaults } from "../storage.ts";
import type { Statement } from "./driver.ts";
import { counting, elementsOf, ordOf } from "./moves.ts";

/** What an ending holds in the JSON parameter ?1, by position. ?2 is now. */
const FIELDS = ["id", "token", "outcome", "delay_ms", "result", "error"] as const;
const field = (name: (typeof FIELDS)[number]): string => `e.value->>${FIELDS.indexOf(name)}`;

/** The fence: only attempts whose lease is still held by that token. */
const held = (endings: string): string =>
	`FROM ${endings} e CROSS JOIN jobs j ON j.id = ${field("id")} AND j.state = ${S.running} AND j.token = ${field("token")}`;

/** The rows of the transition table for what leaves running. */
const BECOMES = `CASE ${field("outcome")} WHEN 'done' THEN ${S.done} WHEN 'failed' THEN ${S.failed} WHEN 'cancelled' THEN ${S.cancelled} WHEN 'expired' THEN ${S.cancelled}
  ELSE CASE WHEN j.cancel_requested_at IS NOT NULL THEN ${S.cancelled} WHEN ${field("outcome")} = 'release' THEN ${S.ready}
    WHEN ${field("outcome")} = 'retry' AND j.failures >= j.max_retries THEN ${S.dead} ELSE ${S.delayed} END END`;
const REASON = `CASE x.becomes WHEN ${S.failed} THEN 'not_retryable' WHEN ${S.dead} THEN 'retries_exhausted'
  WHEN ${S.cancelled} THEN CASE x.outcome WHEN 'expired' THEN 'expired' ELSE 'requested' END END`;

const ENDINGS = `
SELECT j.id, j.lane_id, ${S.running} AS was, ${BECOMES} AS becomes, ?2 + ${field("delay_ms")} AS due, ${field("outcome")} AS outcome,
  ${field("result")} AS result, ${field("error")} AS error ${held(elementsOf("?1"))}`;
const DONE = `SELECT j.id, j.lane_id, ${S.running} AS was, ${S.done} AS becomes, NULL AS due ${held("json_each(?1)")}`;

const countEndings = counting(ENDINGS);
const countDone = counting(DONE, ["running", "done"]);

/** When an ended job may be deleted: its tenant's own retention, else ?3 for what is done or cancelled and ?4 for what a person may want to see. */
const expiresAt = (becomes: string): string =>
	`?2 + coalesce((SELECT CASE WHEN ${becomes} IN (${S.failed}, ${S.dead}) THEN keep_dead_ms ELSE keep_done_ms END FROM tenants WHERE tenant_id = jobs.tenant_id),
  CASE WHEN ${becomes} IN (${S.failed}, ${S.dead}) THEN ?4 ELSE ?3 END)`;

const FINISH_DONE = `
UPDATE jobs SET state = ${S.done}, seq = seq + 1, completed_at = ?2, lease_until = NULL, losses = 0, error = NULL,
  result = ${field("result")}, expires_at = ?2 + coalesce((SELECT keep_done_ms FROM tenants WHERE tenant_id = jobs.tenant_id), ?3)
FROM ${elementsOf("?1")} e WHERE jobs.id = ${field("id")} AND jobs.state = ${S.running} AND jobs.token = ${field("token")}
RETURNING id, tail, state, reason`;

const FINISH = `
UPDATE jobs SET state = x.becomes, seq = seq + 1, lease_until = NULL, token = CASE WHEN x.becomes IN (${S.ready}, ${S.delayed}) THEN NULL ELSE token END,
  failures = failures + (x.outcome IN ('retry', 'failed') AND x.becomes <> ${S.cancelled}), losses = 0, reason = ${REASON},
  error = CASE WHEN x.outcome = 'done' THEN NULL ELSE coalesce(x.error, jobs.error) END, result = x.result,
  run_at = CASE WHEN x.becomes = ${S.delayed} THEN x.due ELSE run_at END,
  ord = CASE WHEN x.becomes = ${S.delayed} THEN ${ordOf("x.due", "priority", "jobs.id")} ELSE ord END,
  completed_at = CASE WHEN x.becomes > ${S.running} THEN ?2 END, expires_at = CASE WHEN x.becomes > ${S.running} THEN ${expiresAt("x.becomes")} END
FROM (${ENDINGS}) x WHERE jobs.id = x.id RETURNING id, tail, state, reason`;

/**
 * What a running job's row is about to forget: its claim, and the end of that attempt.
 * @param from a SELECT of (id, becomes, kind, data) over jobs that leave running
 */
export const keepAttempt = (from: string, now: string): string => `
INSERT INTO job_events (job_id, seq, at, kind, data)
SELECT j.id, j.seq, j.started_at, 'claimed', json_object('worker', j.worker, 'attempt', j.failures + 1)
FROM (${from}) x CROSS JOIN jobs j ON j.id = x.id WHERE x.becomes IN (${S.ready}, ${S.delayed})
UNION ALL
SELECT j.id, j.seq + 1, ${now}, x.kind, x.data FROM (${from}) x CROSS JOIN jobs j ON j.id = x.id WHERE x.becomes IN (${S.ready}, ${S.delayed})`;

const RUN_AT = `CASE WHEN becomes = ${S.delayed} THEN json_object('run_at', due) ELSE '{}' END`;
const KEEP_ATTEMPTS = keepAttempt(
	`SELECT id, becomes, CASE outcome WHEN 'retry' THEN 'retry' WHEN 'snooze' THEN 'snoozed' ELSE 'released' END AS kind,
  CASE WHEN error IS NULL THEN ${RUN_AT} ELSE json_insert(${RUN_AT}, '$.error', json(error)) END AS data FROM (${ENDINGS})`,
	"?2",
);

/** The statements that end attempts, each of which stands once; the rows of the last one are {id, tail, state, reason} of what was accepted. */
export function finishStatements(endings: readonly Ending[], defaults: StorageDefaults, nowMs: number): Statement[] {
	const json = JSON.stringify(
		endings.map(ending => [
			ending.id,
			ending.token,
			ending.outcome,
			"delayMs" in ending ? Math.max(0, Math.round(ending.delayMs)) : null,
			"result" in ending ? ending.result : null,
			"error" in ending ? ending.error : null,
		]),
	);
	const params = [json, nowMs];
	if (endings.every(ending => ending.outcome === "done"))
		return [...countDone([json]), { sql: FINISH_DONE, params: [json, nowMs, defaults.keepDoneMs] }];
	return [
		...countEndings(params),
		{ sql: KEEP_ATTEMPTS, params },
		{ sql: FINISH, params: [json, nowMs, defaults.keepDoneMs, defaults.keepDeadMs] },
	];
}

const EXTEND = `
UPDATE jobs SET lease_until = ?2, losses = 0, progress = coalesce(${"e.value->>2"}, progress)
FROM ${elementsOf("?1")} e WHERE jobs.id = e.value->>0 AND jobs.state = ${S.running} AND jobs.token = e.value->>1
RETURNING id, cancel_requested_at`;

/** Heartbeats: the rows are {id, cancel_requested_at} of the leases that are still held. */
export const extendStatement = (leases: readonly LeaseExtension[], leaseUntil: number): Statement => ({
	sql: EXTEND,
	params: [JSON.stringify(leases.map(lease => [lease.id, lease.token, lease.progress ?? null])), leaseUntil],
});
