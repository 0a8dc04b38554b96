/** What a person does to one job: cancel it, or put it back in line. `?1` is a JSON list of ids, so that many cost one batch. */
import { S } from "../rows.ts";
import type { StorageDefaults } from "../storage.ts";
import type { Statement } from "./driver.ts";
import { keepTold } from "./history.ts";
import { counting, ordOf } from "./moves.ts";
import { IS_TOLD } from "./webhooks.ts";

/** Jobs that wait for their key go first: one that is passed its key while it is being cancelled would be counted twice. */
const cancelWaiting = (states: string) => {
	const which = `id IN (SELECT value FROM json_each(?1)) AND ${states}`;
	const moves = `SELECT lane_id, state AS was, ${S.cancelled} AS becomes, NULL AS due FROM jobs WHERE ${which}`;
	return {
		count: counting(moves, ["delayed", "ready", "blocked", "cancelled"]),
		cancel: `
UPDATE jobs SET state = ${S.cancelled}, seq = seq + 1, reason = 'requested', completed_at = ?2,
  expires_at = ?2 + coalesce((SELECT keep_done_ms FROM tenants WHERE tenant_id = jobs.tenant_id), ?3) WHERE ${which} RETURNING id`,
	};
};
const BLOCKED = cancelWaiting(`state = ${S.blocked}`);
const OTHERS = cancelWaiting(`state > ${S.blocked} AND state < ${S.running}`);

const RUNNING = `id IN (SELECT value FROM json_each(?1)) AND state = ${S.running} AND cancel_requested_at IS NULL`;
const KEEP_REQUEST = `INSERT INTO job_events (job_id, seq, at, kind) SELECT id, seq + 1, ?2, 'cancel_requested' FROM jobs WHERE ${RUNNING}`;
/** A request moves no counter, and is a change all the same. */
const CHANGED = `UPDATE queue SET version = version + 1 WHERE EXISTS (SELECT 1 FROM jobs WHERE ${RUNNING})`;
const REQUEST = `UPDATE jobs SET cancel_requested_at = ?2, seq = seq + 1 WHERE ${RUNNING} RETURNING id`;

/** A waiting job ends, a running one is asked to. The rows of all statements together are the ids that changed. */
export const cancelStatements = (ids: readonly number[], defaults: StorageDefaults, nowMs: number): Statement[] => {
	const json = JSON.stringify(ids);
	return [
		...[BLOCKED, OTHERS].flatMap(({ count, cancel }) => [...count([json]), { sql: cancel, params: [json, nowMs, defaults.keepDoneMs] }]),
		{ sql: CHANGED, params: [json] },
		{ sql: KEEP_REQUEST, params: [json, nowMs] },
		{ sql: REQUEST, params: [json, nowMs] },
	];
};

const ENDED = `j.id IN (SELECT value FROM json_each(?1)) AND j.state > ${S.done} AND ${IS_TOLD}`;
/** Without a key: ready. With one: it takes the key if nobody has it and no other of this call comes before it, else it waits. */
const RETRIED = `
SELECT j.id, j.lane_id, j.state AS was, NULL AS due, CASE WHEN j.queue_key IS NULL THEN ${S.ready}
  WHEN row_number() OVER (PARTITION BY j.tenant_id, coalesce(j.queue_key, j.id) ORDER BY j.id) = 1 AND NOT EXISTS (
    SELECT 1 FROM jobs h WHERE h.tenant_id = j.tenant_id AND h.queue_key = j.queue_key AND h.state > ${S.blocked} AND h.state < ${S.done})
  THEN ${S.ready} ELSE ${S.blocked} END AS becomes
FROM jobs j WHERE ${ENDED}`;
const countRetried = counting(RETRIED, ["ready", "blocked", "failed", "dead", "cancelled"]);

const [KEEP_CLAIM, KEEP_END] = keepTold(ENDED);
const KEEP_RETRY = `INSERT INTO job_events (job_id, seq, at, kind) SELECT j.id, j.seq + 1, ?2, 'retried' FROM jobs j WHERE ${ENDED}`;
const RETRY = `
UPDATE jobs SET state = x.becomes, seq = seq + 1, failures = 0, losses = 0, run_at = ?2, ord = ${ordOf("?2", "priority", "jobs.id")},
  start_by = NULL, completed_at = NULL, expires_at = NULL, token = NULL, cancel_requested_at = NULL, reason = NULL, error = NULL, progress = NULL,
  fingerprint = NULL, webhook_told = 0
FROM (${RETRIED}) x WHERE jobs.id = x.id RETURNING jobs.id`;

/** The rows of the last statement are the ids that changed. */
export const retryStatements = (ids: readonly number[], nowMs: number): Statement[] => {
	const json = JSON.stringify(ids);
	return [
		...countRetried([json]),
		{ sql: KEEP_CLAIM, params: [json] },
		{ sql: KEEP_END, params: [json] },
		{ sql: KEEP_RETRY, params: [json, nowMs] },
		{ sql: RETRY, params: [json, nowMs] },
	];
};
