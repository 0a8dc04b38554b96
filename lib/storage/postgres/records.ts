/** What the store keeps beside jobs, on PostgreSQL: bulk actions, schedules, webhooks, workers. `at` stands before every name: the schema. */
import { JOB_COLUMNS, S } from "../rows.ts";
import { CIRCUITS_MAX, REMOTE_WORKERS_MAX } from "../storage.ts";

/** Bulk actions that have ended stay so long; workers that were not seen. */
const BULK_KEPT_MS = 30 * 24 * 60 * 60_000;
const WORKER_KEPT_MS = 7 * 24 * 60 * 60_000;
/** Of these, forgotten in one call at most. */
const FORGET_MAX = 100;

/** A change that moves no job. */
const touched = (at: string, by: string): string => `INSERT INTO ${at}totals (task_id, version) SELECT 0, 1 FROM ${by}`;

/** `$1` tenant, `$2` the action, `$3` most, `$4` now. */
export const insertBulkAction = (at: string): string =>
	`SELECT ${at}start_bulk_action_2($1::bigint, $2::text::jsonb, $3::bigint, ${BULK_KEPT_MS}, $4::bigint) AS action`;
export const bulkAction = (at: string): string => `SELECT * FROM ${at}bulk_actions WHERE id = $1::bigint`;
export const bulkActions = (at: string, ofTenant: boolean): string =>
	`SELECT * FROM ${at}bulk_actions ${ofTenant ? "WHERE tenant_id = $2::bigint ORDER BY tenant_id DESC, id DESC" : "ORDER BY id DESC"} LIMIT $1::int`;
/** `$1` id, `$2` now. */
export const stopBulkAction = (at: string): string => `
WITH u AS (
  UPDATE ${at}bulk_actions SET status = 'stopped', reason = 'requested', next_at = NULL, updated_at = $2::bigint, ended_at = $2::bigint
  WHERE id = $1::bigint AND status IN ('running', 'canary') RETURNING id)
${touched(at, "u")}`;
/** `$1` now, `$2` busy until. One that somebody else is just taking is passed over. */
export const takeBulkAction = (at: string): string => `
UPDATE ${at}bulk_actions SET next_at = $2::bigint WHERE id = ANY(ARRAY(
  SELECT id FROM ${at}bulk_actions WHERE next_at <= $1::bigint ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED)) RETURNING *`;
/** `$1` id, `$2` from, `$3` cursor, `$4` status, `$5` reason, `$6` seen, `$7` changed, `$8` skipped, `$9` canary ids, `$10` next, `$11` now. What was stopped meanwhile stays so. */
export const recordBulkAction = (at: string): string => `
WITH u AS (
  UPDATE ${at}bulk_actions SET cursor = $3::bigint, seen = $6::bigint, changed = $7::bigint, skipped = $8::bigint, canary_ids = $9::text, updated_at = $11::bigint,
    status = CASE WHEN next_at IS NULL THEN status ELSE $4::text END, reason = CASE WHEN next_at IS NULL THEN reason ELSE $5::text END,
    ended_at = CASE WHEN next_at IS NULL THEN ended_at WHEN $10::bigint IS NULL THEN $11::bigint END,
    next_at = CASE WHEN next_at IS NOT NULL THEN $10::bigint END
  WHERE id = $1::bigint AND cursor IS NOT DISTINCT FROM $2::bigint RETURNING id)
${touched(at, "u")}`;

/** Schedules as they are found, with what the public ids of their latest jobs are made of. */
const withJobs = (at: string, schedules: string): string => `
SELECT s.*, j.tail AS last_job_tail, j.created_at AS last_job_created_at, coalesce(j.state <= ${S.running}, false)::int AS last_job_open
FROM (${schedules}) s LEFT JOIN ${at}jobs j ON j.id = s.last_job_id`;
/** `$1` limit, `$2` name of the last one before, `$3` its tenant's name, or the number of the one tenant. */
export const schedules = (at: string, ofTenant: boolean): string =>
	ofTenant
		? `${withJobs(at, `SELECT * FROM ${at}schedules WHERE tenant_id = $3::bigint AND name > $2::text ORDER BY name LIMIT $1::int`)} ORDER BY s.name`
		: `${withJobs(
				at,
				`SELECT s.*, t.name COLLATE "C" AS tenant FROM ${at}schedules s JOIN ${at}tenants t ON t.tenant_id = s.tenant_id
  WHERE (t.name COLLATE "C", s.name) > ($3::text, $2::text) ORDER BY t.name COLLATE "C", s.name LIMIT $1::int`,
			)} ORDER BY s.tenant, s.name`;
/** `$1` tenant, `$2` name. */
export const schedule = (at: string): string =>
	withJobs(at, `SELECT * FROM ${at}schedules WHERE tenant_id = $1::bigint AND name = $2::text`);
/** `$1` tenant, `$2` the schedule, `$3` most, `$4` now. */
export const putSchedule = (at: string): string =>
	`SELECT ${at}put_schedule_2($1::bigint, $2::text::jsonb, $3::bigint, $4::bigint) AS schedule`;
/** `$1` tenant, `$2` the schedule, `$3` now. */
export const changeSchedule = (at: string): string => `
WITH u AS (
  UPDATE ${at}schedules s SET task = g.task, payload = g.payload, cron = g.cron, timezone = g.timezone, missed = g.missed, overlap = g.overlap,
    paused = g.paused, max_retries = g.max_retries, next_at = g.next_at, updated_at = $3::bigint
  FROM jsonb_to_record($2::text::jsonb) AS g (name text, task text, payload text, cron text, timezone text, missed text, overlap text, paused smallint,
    max_retries int, next_at bigint)
  WHERE s.tenant_id = $1::bigint AND s.name = g.name RETURNING s.*),
t AS (${touched(at, "u")})
${withJobs(at, "SELECT * FROM u")}`;
/** `$1` tenant, `$2` name. */
export const deleteSchedule = (at: string): string => `
WITH d AS (DELETE FROM ${at}schedules WHERE tenant_id = $1::bigint AND name = $2::text RETURNING id),
t AS (${touched(at, "d")})
SELECT id FROM d`;
/** `$1` limit, `$2` now. */
export const dueSchedules = (at: string): string =>
	`${withJobs(at, `SELECT * FROM ${at}schedules WHERE paused = 0 AND next_at IS NOT NULL AND next_at <= $2::bigint ORDER BY next_at LIMIT $1::int`)} ORDER BY s.next_at`;
/** `$1` id, `$2` from, `$3` last, `$4` next, `$5` last job. */
export const moveSchedule = (at: string): string =>
	`UPDATE ${at}schedules SET last_at = $3::bigint, next_at = $4::bigint, last_job_id = $5::bigint WHERE id = $1::bigint AND next_at = $2::bigint`;

/** As the partial index is defined. */
export const UNTOLD = `webhook_url IS NOT NULL AND webhook_told = 0 AND state > ${S.running}`;
export const webhookOf = (at: string): string => `SELECT webhook_url FROM ${at}tenants WHERE tenant_id = $1::bigint`;
/** `$1` tenant, `$2` url. */
export const setWebhook = (at: string): string => `
WITH u AS (UPDATE ${at}tenants SET webhook_url = $2::text WHERE tenant_id = $1::bigint RETURNING tenant_id)
${touched(at, "u")}`;
export const untoldWebhooks = (at: string): string =>
	`SELECT ${JOB_COLUMNS} FROM ${at}jobs WHERE ${UNTOLD} ORDER BY completed_at, id LIMIT $1::int`;

/** `$1` name, `$2` kind, `$3` tasks, `$4` version, `$5` now. Nobody waits for whoever forgets the same workers. Who is too many is looked for when one has come. */
export const seeWorker = (at: string): string => `
WITH old AS (
  DELETE FROM ${at}workers WHERE name = ANY(ARRAY(
    SELECT name FROM ${at}workers WHERE last_seen_at < $5::bigint - ${WORKER_KEPT_MS} AND name <> $1::text ORDER BY last_seen_at LIMIT ${FORGET_MAX} FOR UPDATE SKIP LOCKED))
  OR name = ANY(ARRAY(
    SELECT name FROM ${at}workers WHERE kind = 'remote' AND name <> $1::text AND $2::text = 'remote' AND NOT EXISTS (SELECT 1 FROM ${at}workers WHERE name = $1::text)
    ORDER BY last_seen_at DESC, name LIMIT ${FORGET_MAX} OFFSET ${REMOTE_WORKERS_MAX - 1} FOR UPDATE SKIP LOCKED)))
INSERT INTO ${at}workers AS w (name, kind, tasks, version, first_seen_at, last_seen_at)
VALUES ($1::text, $2::text, $3::text, $4::text, $5::bigint, $5::bigint)
ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, tasks = excluded.tasks, version = excluded.version,
  last_seen_at = greatest(w.last_seen_at, excluded.last_seen_at)`;
export const workers = (at: string): string => `
SELECT w.*, coalesce(r.jobs, 0)::bigint AS running FROM (SELECT * FROM ${at}workers ORDER BY last_seen_at DESC, name LIMIT $1::int) w
LEFT JOIN (SELECT worker, count(*) AS jobs FROM ${at}jobs WHERE state = ${S.running} GROUP BY worker) r ON r.worker = w.name
ORDER BY w.last_seen_at DESC, w.name`;
/** Of a task `k`, named as the partial index is. */
const openCircuits = (at: string): string =>
	`${at}lane_state l WHERE l.task_id = k.task_id AND (l.circuit > 0 OR l.reopen_at IS NOT NULL) AND l.circuit = 1`;
export const taskStates = (at: string): string => `
SELECT k.name AS task, k.concurrency, k.paused, k.reopen_at, (SELECT count(*) FROM ${openCircuits(at)}) AS circuits_open,
  (SELECT coalesce(json_agg(json_build_object('tenant', c.name, 'probes_at', c.reopen_at) ORDER BY c.name COLLATE "C"), '[]')::text FROM (
    SELECT t.name, o.reopen_at FROM (SELECT l.lane_id, l.reopen_at FROM ${openCircuits(at)} OFFSET 0) o
    CROSS JOIN LATERAL (SELECT name FROM ${at}tenants WHERE tenant_id = o.lane_id >> 16 OFFSET 0) t ORDER BY t.name COLLATE "C" LIMIT ${CIRCUITS_MAX}) c) AS circuits, s.process_at, s.remote_at
FROM ${at}tasks k LEFT JOIN (
  SELECT t.task, max(w.last_seen_at) FILTER (WHERE w.kind = 'process') AS process_at, max(w.last_seen_at) FILTER (WHERE w.kind = 'remote') AS remote_at
  FROM ${at}workers w CROSS JOIN LATERAL jsonb_array_elements_text(w.tasks::jsonb) t(task) GROUP BY t.task) s ON s.task = k.name ORDER BY k.name COLLATE "C"`;
