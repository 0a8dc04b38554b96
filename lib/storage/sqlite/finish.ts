/** Ending attempts: the fence, where each job goes from running, and what its history keeps. */
import { HOLD_MS_MAX, PROBES_FREE_MAX } from "../../job.ts";
import { S } from "../rows.ts";
import type { Ending, LeaseBounds, LeaseExtension, StorageDefaults } from "../storage.ts";
import { CIRCUIT, CIRCUIT_CLOSES, openers, WAS_OPEN } from "./circuit.ts";
import type { Statement } from "./driver.ts";
import { IS_LEFT_OUT, keepAttempt } from "./history.ts";
import { countMoves, countQueue, elementsOf, ordOf } from "./moves.ts";

/** What an ending holds in the JSON parameter ?1, by position. ?2 is now. */
const FIELDS = [
	"id",
	"token",
	"outcome",
	"delay_ms",
	"result",
	"error",
	"fingerprint",
	"hold",
	"circuit_failures",
	"circuit_counts",
] as const;
const field = (name: (typeof FIELDS)[number]): string => `e.value->>${FIELDS.indexOf(name)}`;

/** The fence: only attempts whose lease is still held by that token. */
const held = (endings: string): string =>
	`FROM ${endings} e CROSS JOIN jobs j ON j.id = ${field("id")} AND j.state = ${S.running} AND j.token = ${field("token")}`;

/** The rows of the transition table for what leaves running. @param probes whether a retry uses no attempt */
const becomesOf = (
	probes: string,
): string => `CASE ${field("outcome")} WHEN 'done' THEN ${S.done} WHEN 'failed' THEN ${S.failed} WHEN 'cancelled' THEN ${S.cancelled} WHEN 'expired' THEN ${S.cancelled}
  ELSE CASE WHEN j.cancel_requested_at IS NOT NULL THEN ${S.cancelled} WHEN ${field("outcome")} = 'release' THEN ${S.ready}
    WHEN ${field("outcome")} = 'retry' AND j.failures >= j.max_retries AND NOT ${probes} THEN ${S.dead} ELSE ${S.delayed} END END`;
const REASON = `CASE x.becomes WHEN ${S.failed} THEN 'not_retryable' WHEN ${S.dead} THEN 'retries_exhausted'
  WHEN ${S.cancelled} THEN CASE x.outcome WHEN 'expired' THEN 'expired' ELSE 'requested' END END`;

const endingsWhere = (probes: string): string => `
SELECT e.key AS place, j.id, j.lane_id, ${S.running} AS was, ${becomesOf(probes)} AS becomes, ${probes} AS probes, ?2 + ${field("delay_ms")} AS due, ${field("outcome")} AS outcome,
  ${field("result")} AS result, ${field("error")} AS error, ${field("fingerprint")} AS fingerprint, ${field("hold")} AS hold,
  ${field("circuit_failures")} AS circuit_failures, ${field("circuit_counts")} AS circuit_counts ${held(elementsOf("?1"))}`;
/** Where circuits count. What fails while one is open, or as its probe, is called a probe here, as long as that is free (PROBES_FREE_MAX). */
const withProbes = (wasOpen: string): string =>
	endingsWhere(
		`(${field("outcome")} = 'retry' AND ${field("circuit_failures")} IS NOT NULL AND j.claims - j.failures <= ${PROBES_FREE_MAX} AND ${wasOpen})`,
	);
/** The same endings, before their lanes are counted and afterwards. */
const PLAIN = endingsWhere("0");
const ENDINGS = {
	plain: { before: PLAIN, after: PLAIN },
	circuit: { before: withProbes(WAS_OPEN.before), after: withProbes(WAS_OPEN.after) },
};
const DONE = `SELECT j.id, j.lane_id, ${S.running} AS was, ${S.done} AS becomes, NULL AS due ${held("json_each(?1)")}`;

const COUNT_DONE = countMoves(DONE, ["running", "done"], CIRCUIT_CLOSES);
const COUNT_DONE_OF_QUEUE = countQueue(DONE, ["running", "done"]);

/** When an ended job may be deleted: its tenant's own retention, else ?3 for what is done or cancelled and ?4 for what a person may want to see. */
const expiresAt = (becomes: string): string =>
	`?2 + coalesce((SELECT CASE WHEN ${becomes} IN (${S.failed}, ${S.dead}) THEN keep_dead_ms ELSE keep_done_ms END FROM tenants WHERE tenant_id = jobs.tenant_id),
  CASE WHEN ${becomes} IN (${S.failed}, ${S.dead}) THEN ?4 ELSE ?3 END)`;

const FINISH_DONE = `
UPDATE jobs SET state = ${S.done}, seq = seq + 1, completed_at = ?2, lease_until = NULL, losses = 0, error = NULL, fingerprint = NULL,
  result = ${field("result")}, expires_at = ?2 + coalesce((SELECT keep_done_ms FROM tenants WHERE tenant_id = jobs.tenant_id), ?3)
FROM ${elementsOf("?1")} e WHERE jobs.id = ${field("id")} AND jobs.state = ${S.running} AND jobs.token = ${field("token")}
RETURNING id, tail, state, reason`;

/** The token stays, so that the same ending sent again is known. What is given back keeps the error that it had. */
const finish = (endings: string): string => `
UPDATE jobs SET state = x.becomes, seq = seq + CASE WHEN (x.outcome IN ('snooze', 'release') OR x.probes) AND ${IS_LEFT_OUT("jobs", "x")} THEN -1 ELSE 1 END,
  lease_until = NULL, overdue = 0, failures = failures + (x.outcome IN ('retry', 'failed') AND x.becomes <> ${S.cancelled} AND NOT x.probes), losses = 0, reason = ${REASON},
  error = CASE WHEN x.outcome = 'done' THEN NULL WHEN x.fingerprint IS NULL THEN jobs.error ELSE x.error END,
  fingerprint = CASE WHEN x.outcome = 'done' THEN NULL ELSE coalesce(x.fingerprint, jobs.fingerprint) END, result = x.result,
  run_at = CASE WHEN x.becomes = ${S.delayed} THEN x.due ELSE run_at END,
  ord = CASE WHEN x.becomes = ${S.delayed} THEN ${ordOf("x.due", "priority", "jobs.id")} ELSE ord END,
  completed_at = CASE WHEN x.becomes > ${S.running} THEN ?2 END, expires_at = CASE WHEN x.becomes > ${S.running} THEN ${expiresAt("x.becomes")} END
FROM (${endings}) x WHERE jobs.id = x.id RETURNING id, tail, state, reason`;

const holdTasks = (endings: string): string => `
UPDATE tasks SET reopen_at = max(coalesce(reopen_at, 0), h.due)
FROM (SELECT lane_id & 65535 AS task_id, min(max(due), ?2 + ${HOLD_MS_MAX}) AS due FROM (${endings}) WHERE hold = 'task' AND due > ?2 AND becomes <> ${S.cancelled} GROUP BY 1) h
WHERE tasks.task_id = h.task_id`;

const RUN_AT = `CASE WHEN becomes = ${S.delayed} THEN json_object('run_at', due) ELSE '{}' END`;
const ERROR = `CASE WHEN error IS NULL THEN ${RUN_AT} ELSE json_insert(${RUN_AT}, '$.error', json(error)) END`;
const KIND = "CASE outcome WHEN 'retry' THEN 'retry' WHEN 'snooze' THEN 'snoozed' ELSE 'released' END";
const WAITS_AGAIN = `becomes IN (${S.ready}, ${S.delayed})`;
const KEEP_ATTEMPTS = {
	plain: keepAttempt(
		`SELECT id, becomes, CASE WHEN ${WAITS_AGAIN} THEN ${KIND} END AS kind, ${ERROR} AS data FROM (${ENDINGS.plain.before})`,
		"?2",
	),
	/** Before the lanes are counted: whether an attempt was a probe, or has opened the circuit, is told by what the lane was. */
	circuit: `${keepAttempt(
		`SELECT id, becomes, CASE WHEN ${WAITS_AGAIN} THEN ${KIND} WHEN opened THEN 'dead_letter' END AS kind, CASE WHEN probes THEN json_insert(${ERROR}, '$.circuit', 'probe') WHEN NOT opened THEN ${ERROR}
    WHEN becomes = ${S.dead} THEN json_object('reason', 'retries_exhausted', 'error', json(error), 'circuit', 'opened')
    ELSE json_insert(${ERROR}, '$.circuit', 'opened') END AS data
  FROM (SELECT *, place IN (${openers("ended")}) AS opened FROM ended)`,
		"?2",
		`ended AS MATERIALIZED (${ENDINGS.circuit.before})`,
	)} RETURNING job_id, data->>'circuit' AS circuit`,
};
const afterKeeping = ({ before, after }: (typeof ENDINGS)["plain" | "circuit"]) => ({
	count: countMoves(before, undefined, CIRCUIT),
	countQueue: countQueue(after),
	holdTasks: holdTasks(after),
	finish: finish(after),
});
const AFTER = { plain: afterKeeping(ENDINGS.plain), circuit: afterKeeping(ENDINGS.circuit) };

const toElement = (ending: Ending, result: string | null) => [
	ending.id,
	ending.token,
	ending.outcome,
	"delayMs" in ending ? Math.max(0, Math.round(ending.delayMs)) : null,
	result,
	"error" in ending ? (ending.error ?? null) : null,
	ending.outcome === "retry" || ending.outcome === "failed" ? (ending.fingerprint ?? "unknown") : null,
	"hold" in ending ? (ending.hold ?? null) : null,
	"circuitFailures" in ending ? (ending.circuitFailures ?? null) : null,
	"circuitCounts" in ending ? 0 : 1,
];
/** Results are large, and only what writes them needs them. */
const withoutResults = (endings: readonly Ending[]): string => JSON.stringify(endings.map(ending => toElement(ending, null)));
const withResults = (endings: readonly Ending[]): string =>
	JSON.stringify(endings.map(ending => toElement(ending, "result" in ending ? ending.result : null)));

/**
 * The statements that end attempts, each of which stands once, but for the last: one for each part. The rows of these are {id, tail, state,
 * reason} of what was accepted; those of the first statement may tell {job_id, circuit}.
 */
export function finishStatements(parts: readonly (readonly Ending[])[], defaults: StorageDefaults, nowMs: number): Statement[] {
	const endings = parts.flat();
	const json = withoutResults(endings);
	const params = [json, nowMs];
	if (endings.every(ending => ending.outcome === "done"))
		return [
			{ sql: COUNT_DONE, params },
			{ sql: COUNT_DONE_OF_QUEUE, params: [json] },
			...parts.map(part => ({ sql: FINISH_DONE, params: [withResults(part), nowMs, defaults.keepDoneMs] })),
		];
	const which = endings.some(ending => "circuitFailures" in ending && ending.circuitFailures !== undefined) ? "circuit" : "plain";
	const holdsTask = endings.some(ending => "hold" in ending && ending.hold === "task");
	return [
		{ sql: KEEP_ATTEMPTS[which], params },
		{ sql: AFTER[which].count, params },
		{ sql: AFTER[which].countQueue, params },
		...(holdsTask ? [{ sql: AFTER[which].holdTasks, params }] : []),
		...parts.map(part => ({ sql: AFTER[which].finish, params: [withResults(part), nowMs, defaults.keepDoneMs, defaults.keepDeadMs] })),
	];
}

/** {id, tail, state, reason} of jobs that were ended by these tokens, as they are now. */
export const endedStatement = (endings: readonly Ending[]): Statement => ({
	sql: `SELECT j.id, j.tail, j.state, j.reason FROM ${elementsOf("?1")} e
CROSS JOIN jobs j ON j.id = e.value->>0 AND j.token = e.value->>1 AND j.state <> ${S.running}`,
	params: [JSON.stringify(endings.map(({ id, token }) => [id, token]))],
});

const extend = (sets: string, held: string): string => `
UPDATE jobs SET ${sets}, progress = coalesce(e.value->>2, progress)
FROM ${elementsOf("?1")} e WHERE jobs.id = e.value->>0 AND jobs.state = ${S.running} AND jobs.token = e.value->>1
RETURNING id, cancel_requested_at, lease_until, ${held} AS held`;
const EXTEND = extend("lease_until = ?2", "1");
/** ?3 now · ?4 held for at most · ?5 grace */
const TIME_OVER = "started_at + min(coalesce(timeout_ms, ?4), ?4)";
const BOUND = `min(${TIME_OVER} + ?5, coalesce(cancel_requested_at + ?5, ?2))`;
const EXTEND_BOUNDED = extend(
	`lease_until = max(lease_until, min(?2, ${BOUND})), overdue = max(overdue, ${TIME_OVER} <= ?3)`,
	`${BOUND} > ?3`,
);

/** Heartbeats: the rows are {id, cancel_requested_at, lease_until, held}; held (0, 1): not for too long already. */
export function extendStatement(leases: readonly LeaseExtension[], leaseUntil: number, nowMs: number, bounds?: LeaseBounds): Statement {
	const params = [JSON.stringify(leases.map(lease => [lease.id, lease.token, lease.progress ?? null])), leaseUntil];
	return bounds === undefined
		? { sql: EXTEND, params }
		: { sql: EXTEND_BOUNDED, params: [...params, nowMs, bounds.heldMsMax, bounds.graceMs] };
}
