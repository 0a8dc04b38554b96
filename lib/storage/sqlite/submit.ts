/** Submitting jobs: any number of rows, of any tenants, in one batch of statements. */
import type { State } from "../../job.ts";
import type { SubmitRow } from "../engine.ts";
import { S, tenantOfLane } from "../rows.ts";
import { KEY_KINDS } from "../storage.ts";
import type { Statement } from "./driver.ts";
import { countMoves, countQueue, elementsOf, lanesOfTenant, ordOf } from "./moves.ts";

/** What a row of the JSON parameter holds, by position. */
const FIELDS = [
	"lane_id",
	"priority",
	"run_at",
	"start_by",
	"max_retries",
	"timeout_ms",
	"tail",
	"task_in_payload",
	"queue_key",
	"trace_id",
	"trace_parent",
	"tags",
	"payload",
	"parent_id",
	"parent_token",
	"place",
	// From here: where a row has any of these.
	"key_kind",
	"key",
	"fingerprint",
	"key_expires_at",
	"copy_of",
	"webhook_url",
	"unbounded",
] as const;
const field = (name: (typeof FIELDS)[number]): string => `e.value->>${FIELDS.indexOf(name)}`;

/** Whether a row has something that most have not. */
const isRare = ({ job, unbounded }: SubmitRow): boolean =>
	job.idempotency !== undefined || job.copyOf !== undefined || job.webhookUrl !== undefined || unbounded === true;

const toRow = (row: SubmitRow, place: number) => {
	const { laneId, job, parent, unbounded } = row;
	const plain = [
		laneId,
		job.priority ?? 0,
		job.runAt ?? 0,
		job.startBy ?? null,
		job.maxRetries,
		job.timeoutMs ?? null,
		job.tail,
		job.taskInPayload ? 1 : 0,
		job.key ?? null,
		job.traceId,
		job.traceParent ?? null,
		job.tags === undefined || job.tags.length === 0 ? null : JSON.stringify(job.tags),
		job.payload,
		parent?.id ?? null,
		parent?.token ?? null,
		place,
	];
	if (!isRare(row)) return plain;
	return [
		...plain,
		KEY_KINDS[job.idempotency?.kind ?? "request"],
		job.idempotency?.key ?? null,
		job.idempotency?.fingerprint ?? null,
		job.idempotency?.expiresAt ?? null,
		job.copyOf ?? null,
		// Empty: none, also where the tenant has one.
		job.webhookUrl === undefined ? null : (job.webhookUrl ?? ""),
		unbounded === true ? 1 : 0,
	];
};

/** Which one of its tenant's rows each is, from 1. */
function placesOf(rows: readonly SubmitRow[]): number[] {
	const counts = new Map<number, number>();
	return rows.map(({ laneId }) => {
		const tenantId = tenantOfLane(laneId);
		const place = (counts.get(tenantId) ?? 0) + 1;
		counts.set(tenantId, place);
		return place;
	});
}

const LAST_ID = "(SELECT last_job_id FROM queue)";
const TENANT = `(${field("lane_id")}) >> 16`;

/** The first request with a key takes it for the id its job is about to get; an outlived key is as good as none. */
const TAKE_KEYS = `
INSERT INTO keys (tenant_id, kind, key, job_id, fingerprint, expires_at)
SELECT ${TENANT}, ${field("key_kind")}, ${field("key")}, ${LAST_ID} + e.key + 1, ${field("fingerprint")}, ${field("key_expires_at")}
FROM ${elementsOf("?1")} e WHERE ${field("key")} IS NOT NULL ORDER BY e.key
ON CONFLICT (tenant_id, kind, key) DO UPDATE SET job_id = excluded.job_id, fingerprint = excluded.fingerprint, expires_at = excluded.expires_at
WHERE keys.expires_at <= ?2`;

const HAS_ITS_KEY = `(${field("key")} IS NULL OR (SELECT job_id FROM keys k
  WHERE k.tenant_id = ${TENANT} AND k.kind = ${field("key_kind")} AND k.key = ${field("key")}) = ${LAST_ID} + e.key + 1)`;

/**
 * Stores the rows that fit their tenant's backlog, in order. Its rows are the answer: number and position of what was stored. With keys
 * the place of a row among those of its tenant is known only here. A tenant has no more waiting than the queue has: only where that
 * says nothing its lanes are summed up.
 */
const insertJobs = (rare: boolean): string => `
INSERT INTO jobs (id, tenant_id, lane_id, state, ord, priority, created_at, run_at, start_by, max_retries, timeout_ms, tail,
  task_in_payload, queue_key, trace_id, trace_parent, tags, payload, parent_id, copy_of, webhook_url)
SELECT id, tenant_id, lane_id, CASE WHEN queue_key IS NOT NULL THEN ${S.blocked} WHEN run_at > ?2 THEN ${S.delayed} ELSE ${S.ready} END,
  ${ordOf("run_at", "priority", "id")}, priority, ?2, run_at, start_by, max_retries, timeout_ms, tail,
  task_in_payload, queue_key, trace_id, trace_parent, tags, payload, parent_id, copy_of, webhook_url
FROM (
  SELECT q.last_job_id + e.key + 1 AS id, t.tenant_id, ${field("lane_id")} AS lane_id, ${field("priority")} AS priority,
    max(${field("run_at")}, ?2) AS run_at, ${field("start_by")} AS start_by, ${field("max_retries")} AS max_retries,
    ${field("timeout_ms")} AS timeout_ms, ${field("tail")} AS tail, ${field("task_in_payload")} AS task_in_payload,
    ${field("queue_key")} AS queue_key, ${field("trace_id")} AS trace_id, ${field("trace_parent")} AS trace_parent,
    ${field("tags")} AS tags, ${field("payload")} AS payload, ${field("parent_id")} AS parent_id, ${field("parent_token")} AS parent_token,
    ${rare ? `${field("copy_of")} AS copy_of, nullif(coalesce(${field("webhook_url")}, t.webhook_url), '') AS webhook_url, ${field("unbounded")} AS unbounded` : "NULL AS copy_of, t.webhook_url"},
    t.backlog, q.ready + q.delayed + q.blocked AS waiting, ${rare ? "row_number() OVER (PARTITION BY t.tenant_id ORDER BY e.key)" : field("place")} AS place
  FROM ${elementsOf("?1")} e CROSS JOIN queue q CROSS JOIN tenants t ON t.tenant_id = ${TENANT}
  ${rare ? `WHERE ${HAS_ITS_KEY}` : ""} LIMIT -1
) n WHERE CASE ${rare ? "WHEN n.unbounded THEN true " : ""}WHEN n.parent_id IS NULL THEN place <= backlog - waiting
    OR place <= backlog - (SELECT sum(ready + delayed + blocked) FROM lanes WHERE ${lanesOfTenant("n.tenant_id")})
  ELSE EXISTS (SELECT 1 FROM jobs p WHERE p.id = n.parent_id AND p.state = ${S.running} AND p.token = n.parent_token) END
RETURNING id - ${LAST_ID} - 1 AS i, id, webhook_url`;
const INSERT_JOBS = { plain: insertJobs(false), rare: insertJobs(true) };

const STORED = `SELECT lane_id, NULL AS was, state AS becomes, run_at AS due FROM jobs WHERE id > ${LAST_ID}`;
/** `?1`: the ids that were given out, also to rows that were not stored. */
const counts = (states: readonly State[]) => ({
	lanes: countMoves(STORED, states),
	queue: countQueue(STORED, states, ", last_job_id = last_job_id + ?1"),
});
const COUNT = { ready: counts(["ready"]), any: counts(["ready", "delayed", "blocked"]) };

const INSERT_TAGS = `
INSERT INTO job_tags (tenant_id, tag, job_id) SELECT DISTINCT j.tenant_id, g.value, j.id
FROM jobs j CROSS JOIN json_each(j.tags) g WHERE j.id > ${LAST_ID} AND j.tags IS NOT NULL`;

/** A key whose job did not fit the backlog is free again. */
const FREE_KEYS = `
DELETE FROM keys WHERE job_id > ${LAST_ID} AND NOT EXISTS (SELECT 1 FROM jobs WHERE id = keys.job_id)
AND (tenant_id, kind, key) IN (SELECT ${TENANT}, ${field("key_kind")}, ${field("key")} FROM ${elementsOf("?1")} e WHERE ${field("key")} IS NOT NULL)`;

/** For each row with a key: the job that has it, and whether it was the same request. */
const READ_KEYS = `
SELECT e.key AS i, k.job_id AS id, k.fingerprint IS ${field("fingerprint")} AS same
FROM ${elementsOf("?1")} e CROSS JOIN keys k ON k.tenant_id = ${TENANT} AND k.kind = ${field("key_kind")} AND k.key = ${field("key")}`;

/**
 * The statements that store `rows`. The rows of statement `inserted` are {i, id, webhook_url} of what was stored; with keys, those of
 * statement `keys` are {i, id, same}.
 */
export function submitStatements(
	rows: readonly SubmitRow[],
	nowMs: number,
): { statements: Statement[]; inserted: number; keys: number | null } {
	const places = placesOf(rows);
	const json = JSON.stringify(rows.map((row, i) => toRow(row, places[i]!)));
	const keyed = rows.some(row => row.job.idempotency !== undefined);
	const statements: Statement[] = [];
	if (keyed) statements.push({ sql: TAKE_KEYS, params: [json, nowMs] });
	const inserted = statements.push({ sql: rows.some(isRare) ? INSERT_JOBS.rare : INSERT_JOBS.plain, params: [json, nowMs] }) - 1;
	const count = rows.some(({ job }) => job.key !== undefined || (job.runAt ?? 0) > nowMs) ? COUNT.any : COUNT.ready;
	statements.push({ sql: count.lanes, params: [] });
	if (rows.some(row => (row.job.tags?.length ?? 0) > 0)) statements.push({ sql: INSERT_TAGS, params: [] });
	let keys: number | null = null;
	if (keyed) {
		statements.push({ sql: FREE_KEYS, params: [json] });
		keys = statements.push({ sql: READ_KEYS, params: [json] }) - 1;
	}
	statements.push({ sql: count.queue, params: [rows.length] });
	return { statements, inserted, keys };
}
