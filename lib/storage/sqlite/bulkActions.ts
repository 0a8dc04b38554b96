/** Bulk actions as rows. What they do to jobs is for lib/storage/bulk.ts. */
import type { BulkProgress } from "../engine.ts";
import type { NewBulkAction } from "../storage.ts";
import type { Statement } from "./driver.ts";

/** How long one that has ended can still be looked at. */
const KEEP_MS = 30 * 24 * 60 * 60_000;
const ALIVE = "status IN ('running', 'canary')";
const CHANGED: Statement = { sql: "UPDATE queue SET version = version + 1", params: [] };

/** The rows of the last statement are the new one, if there is room for one more. */
export const insertBulkActionStatements = (action: NewBulkAction, tenantId: number | null, most: number, nowMs: number): Statement[] => [
	{
		sql: "DELETE FROM bulk_actions WHERE id IN (SELECT id FROM bulk_actions WHERE ended_at <= ?1 ORDER BY id LIMIT 100)",
		params: [nowMs - KEEP_MS],
	},
	CHANGED,
	{
		sql: `INSERT INTO bulk_actions (tenant_id, action, name, status, filter, ids, rate_per_s, canary, cursor, created_at, updated_at, next_at)
SELECT ?1, ?2, ?3, 'running', ?4, ?5, ?6, ?7, last_job_id + 1, ?8, ?8, ?8 FROM queue
WHERE (SELECT count(*) FROM bulk_actions WHERE next_at IS NOT NULL AND tenant_id IS ?1) < ?9 RETURNING *`,
		params: [
			tenantId,
			action.action,
			action.name ?? null,
			action.filter === undefined ? null : JSON.stringify(action.filter),
			action.ids === undefined ? null : JSON.stringify(action.ids),
			action.ratePerS ?? null,
			action.canary ?? null,
			nowMs,
			most,
		],
	},
];

export const bulkActionStatement = (id: number): Statement => ({ sql: "SELECT * FROM bulk_actions WHERE id = ?1", params: [id] });
export const bulkActionsStatement = (tenantId: number | null, limit: number): Statement =>
	tenantId === null
		? { sql: "SELECT * FROM bulk_actions ORDER BY id DESC LIMIT ?1", params: [limit] }
		: { sql: "SELECT * FROM bulk_actions WHERE tenant_id = ?1 ORDER BY id DESC LIMIT ?2", params: [tenantId, limit] };

export const stopBulkActionStatements = (id: number, nowMs: number): Statement[] => [
	{
		sql: `UPDATE bulk_actions SET status = 'stopped', reason = 'requested', next_at = NULL, ended_at = ?2, updated_at = ?2 WHERE id = ?1 AND ${ALIVE}`,
		params: [id, nowMs],
	},
	CHANGED,
];

/** Its row, if any, is the one that is due first. */
export const takeBulkActionStatement = (nowMs: number, busyUntil: number): Statement => ({
	sql: `UPDATE bulk_actions SET next_at = ?2 WHERE id = (SELECT id FROM bulk_actions WHERE next_at <= ?1 ORDER BY next_at LIMIT 1) RETURNING *`,
	params: [nowMs, busyUntil],
});

/** One that was stopped meanwhile says what it has come to, and stays stopped. */
export const recordBulkActionStatements = (progress: BulkProgress, nowMs: number): Statement[] => [
	{
		sql: `UPDATE bulk_actions SET cursor = ?3, seen = ?4, changed = ?5, skipped = ?6, canary_ids = ?7, updated_at = ?8,
  status = CASE WHEN ${ALIVE} THEN ?9 ELSE status END, reason = CASE WHEN ${ALIVE} THEN ?10 ELSE reason END,
  next_at = CASE WHEN ${ALIVE} THEN ?11 END, ended_at = CASE WHEN ${ALIVE} THEN CASE WHEN ?11 IS NULL THEN ?8 END ELSE ended_at END
WHERE id = ?1 AND cursor IS ?2`,
		params: [
			progress.id,
			progress.from,
			progress.cursor,
			progress.seen,
			progress.changed,
			progress.skipped,
			JSON.stringify(progress.canaryIds),
			nowMs,
			progress.status,
			progress.reason,
			progress.nextAt,
		],
	},
	CHANGED,
];
