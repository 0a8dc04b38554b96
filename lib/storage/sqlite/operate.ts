/** What operators look at and set right: workers, tasks, circuits. */
import { S } from "../rows.ts";
import { CIRCUITS_MAX, type NewWorker, REMOTE_WORKERS_MAX } from "../storage.ts";
import type { Statement } from "./driver.ts";

/** How long a worker that was not there is still shown. */
const WORKER_KEEP_MS = 7 * 24 * 60 * 60_000;

export const seeWorkerStatements = ({ name, kind, tasks, version }: NewWorker, nowMs: number): Statement[] => [
	{
		sql: `INSERT INTO workers (name, kind, tasks, version, first_seen_at, last_seen_at) VALUES (?1, ?2, ?3, ?4, ?5, ?5)
ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, tasks = excluded.tasks, version = excluded.version, last_seen_at = max(last_seen_at, excluded.last_seen_at)`,
		params: [name, kind, JSON.stringify(tasks), version, nowMs],
	},
	{
		// Who is too many is looked for when one has come.
		sql: `DELETE FROM workers WHERE name IN (
  SELECT name FROM (SELECT name FROM workers WHERE last_seen_at < +?1 ORDER BY last_seen_at LIMIT 100)
  UNION ALL SELECT name FROM (
    SELECT name FROM workers WHERE kind = 'remote' AND name <> ?2 AND (SELECT kind = 'remote' AND first_seen_at = ?3 FROM workers WHERE name = ?2)
    ORDER BY last_seen_at DESC, name DESC LIMIT 100 OFFSET ${REMOTE_WORKERS_MAX - 1}))`,
		params: [nowMs - WORKER_KEEP_MS, name, nowMs],
	},
];
export const workersStatement = (limit: number): Statement => ({
	sql: `SELECT w.*, coalesce(r.jobs, 0) AS running FROM (SELECT * FROM workers ORDER BY last_seen_at DESC, name LIMIT ?1) w
LEFT JOIN (SELECT worker, count(*) AS jobs FROM jobs WHERE state = ${S.running} GROUP BY +worker) r ON r.worker = w.name
ORDER BY w.last_seen_at DESC, w.name`,
	params: [limit],
});

export const taskStatesStatement: Statement = {
	sql: `SELECT name AS task, concurrency, paused, reopen_at, (SELECT count(*) FROM lanes l WHERE l.task_id = k.task_id AND l.circuit = 1) AS circuits_open,
  (SELECT json_group_array(json_object('tenant', c.name, 'probes_at', c.reopen_at)) FROM (
    SELECT t.name, l.reopen_at FROM lanes l CROSS JOIN tenants t ON t.tenant_id = l.lane_id >> 16
    WHERE l.task_id = k.task_id AND l.circuit = 1 ORDER BY t.name LIMIT ${CIRCUITS_MAX}) c) AS circuits, s.process_at, s.remote_at
FROM tasks k LEFT JOIN (
  SELECT t.value AS task, max(CASE w.kind WHEN 'process' THEN w.last_seen_at END) AS process_at, max(CASE w.kind WHEN 'remote' THEN w.last_seen_at END) AS remote_at
  FROM workers w CROSS JOIN json_each(w.tasks) t GROUP BY t.value) s ON s.task = k.name ORDER BY k.name`,
	params: [],
};

const CLOSED = "circuit = 0, reopen_at = NULL, streak = 0, streak_fingerprint = NULL";
/** The rows of all statements together are the lanes that had an open circuit, or a hold. */
export const resetCircuitStatements = (taskId: number, tenantId: number | null): Statement[] => [
	...(tenantId === null
		? [
				{ sql: `UPDATE lanes SET ${CLOSED} WHERE task_id = ?1 AND circuit = 1 RETURNING lane_id`, params: [taskId] },
				{ sql: `UPDATE lanes SET ${CLOSED} WHERE reopen_at > 0 AND task_id = +?1 RETURNING lane_id`, params: [taskId] },
				{ sql: "UPDATE tasks SET reopen_at = NULL WHERE task_id = ?1", params: [taskId] },
			]
		: [
				{
					sql: `UPDATE lanes SET ${CLOSED} WHERE lane_id = ?2 << 16 | ?1 AND (circuit = 1 OR reopen_at IS NOT NULL) RETURNING lane_id`,
					params: [taskId, tenantId],
				},
			]),
	{ sql: "UPDATE queue SET version = version + 1", params: [] },
];
