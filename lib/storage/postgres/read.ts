/** Reading on PostgreSQL: the same questions as on SQLite, asked through LATERAL. `at` stands before every name: the schema. */
import type { State } from "../../job.ts";
import type { JobList } from "../engine.ts";
import { JOB_COLUMNS, LIST_ROWS_MAX, numbersOf, PRUNE_LATENESS_MS, S } from "../rows.ts";
import type { Param } from "./driver.ts";

export interface Statement {
	readonly sql: string;
	readonly params: Param[];
}

const NO_BEFORE = Number.MAX_SAFE_INTEGER;
/** As the partial index is defined. */
const TROUBLE_INDEX = `state > ${S.done}`;

const lanesOf = (at: string, taskId: number | null): string =>
	taskId === null
		? `SELECT lane_id FROM ${at}lanes WHERE lane_id >= $1::bigint << 16 AND lane_id < ($1::bigint + 1) << 16`
		: `SELECT ($1::bigint << 16) | ${taskId} AS lane_id`;

/** The jobs whose ids a SELECT finds, newest first, at most `limit` of them. */
const page = (at: string, ids: string, limit: string): string =>
	`SELECT ${JOB_COLUMNS} FROM ${at}jobs WHERE id = ANY(ARRAY(SELECT id FROM (${ids}) x ORDER BY id DESC LIMIT ${limit})) ORDER BY id DESC`;

function filter(taskId: number | null, states: readonly State[] | null): string {
	const parts: string[] = [];
	if (states !== null) parts.push(`j.state IN (${numbersOf(states).join(", ")})`);
	if (taskId !== null) parts.push(`j.lane_id & 65535 = ${taskId}`);
	return parts.length === 0 ? "true" : parts.join(" AND ");
}

/** What a page over all tenants looks through, newest first: rare states by their own index, else all. `$1` is before. */
function looked(at: string, states: readonly State[] | null): { all: string[]; bounded: boolean } {
	const columns = `SELECT id, state, lane_id, tags FROM ${at}jobs`;
	if (states?.every(state => state === "running"))
		return { all: [`${columns} WHERE state = ${S.running} AND id < $1::bigint`], bounded: false };
	const rare = states?.every(state => S[state] > S.done) ?? false;
	return {
		all: rare
			? numbersOf(states!).map(
					state => `${columns} WHERE ${TROUBLE_INDEX} AND state = ${state} AND id < $1::bigint ORDER BY state DESC, id DESC`,
				)
			: [`${columns} WHERE id < $1::bigint ORDER BY id DESC`],
		bounded: true,
	};
}

/** One row more than the page holds where there is one. */
export function listStatement(at: string, list: JobList): Statement {
	const { taskId, states, query } = list;
	const before = query.before ?? NO_BEFORE;
	const most = query.limit + 1;
	if (list.of === "queue") {
		const { all, bounded } = looked(at, states);
		const tag = query.tag === undefined ? "" : " AND j.tags::jsonb @> to_jsonb($3::text)";
		const ids = all.map(
			rows =>
				`(SELECT j.id FROM (${rows}${bounded ? ` LIMIT ${LIST_ROWS_MAX}` : ""}) j WHERE ${filter(taskId, states)}${tag} ORDER BY j.id DESC LIMIT $2::int)`,
		);
		return { sql: page(at, ids.join(" UNION ALL "), "$2::int"), params: [before, most, ...(query.tag === undefined ? [] : [query.tag])] };
	}
	if (list.of === "tag") {
		const ids = `SELECT j.id FROM (
  SELECT job_id FROM ${at}job_tags WHERE tenant_id = $1::bigint AND tag = $4::text AND job_id < $2::bigint ORDER BY job_id DESC LIMIT ${LIST_ROWS_MAX}) g
  JOIN ${at}jobs j ON j.id = g.job_id WHERE ${filter(taskId, states)}`;
		return { sql: page(at, ids, "$3::int"), params: [list.tenantId, before, most, list.tag] };
	}
	const lanes = lanesOf(at, taskId);
	const perLane = (ids: string) => `(SELECT j.id FROM (${lanes}) l CROSS JOIN LATERAL (${ids} LIMIT $3::int) j)`;
	const newest = (columns: string) =>
		`SELECT ${columns} FROM ${at}jobs WHERE lane_id = l.lane_id AND id < $2::bigint ORDER BY lane_id DESC, id DESC`;
	const parts: string[] = [];
	const lookedFor: State[] = [];
	if (states === null) parts.push(perLane(newest("id")));
	for (const state of states ?? []) {
		const is = `state = ${S[state]} AND id < $2::bigint`;
		if (S[state] > S.done)
			parts.push(
				perLane(
					`SELECT id FROM ${at}jobs WHERE lane_id = l.lane_id AND ${TROUBLE_INDEX} AND ${is} ORDER BY lane_id DESC, state DESC, id DESC`,
				),
			);
		else if (state === "blocked")
			parts.push(`SELECT id FROM ${at}jobs WHERE queue_key IS NOT NULL AND ${is} AND tenant_id = $1::bigint AND lane_id IN (${lanes})`);
		else if (state === "running" || (list.fewWait && state !== "done"))
			parts.push(`SELECT id FROM ${at}jobs WHERE ${is} AND lane_id IN (${lanes})`);
		else lookedFor.push(state);
	}
	if (lookedFor.length > 0)
		parts.push(
			perLane(
				`SELECT n.id FROM (${newest("id, state")} LIMIT ${LIST_ROWS_MAX}) n WHERE n.state IN (${numbersOf(lookedFor).join(", ")}) ORDER BY n.id DESC`,
			),
		);
	return { sql: page(at, parts.join(" UNION ALL "), "$3::int"), params: [list.tenantId, before, most] };
}

/** Its row says down to which id above `above` the page saw everything. Null where the page is not bounded. */
export function scanEndStatement(at: string, list: JobList, above: number): Statement | null {
	const { taskId, states, query } = list;
	const before = query.before ?? NO_BEFORE;
	const last = `LIMIT 1 OFFSET ${LIST_ROWS_MAX - 1}`;
	if (list.of === "queue") {
		const { all, bounded } = looked(at, states);
		if (!bounded) return null;
		const ends = all.map(rows => `(SELECT id FROM (${rows.replace("id < $1::bigint", "id < $1::bigint AND id > $2::bigint")}) e ${last})`);
		return { sql: `SELECT max(id) AS id FROM (${ends.join(" UNION ALL ")}) x`, params: [before, above] };
	}
	if (list.of === "tag")
		return {
			sql: `SELECT job_id AS id FROM ${at}job_tags WHERE tenant_id = $1::bigint AND tag = $2::text AND job_id < $3::bigint AND job_id > $4::bigint ORDER BY job_id DESC ${last}`,
			params: [list.tenantId, list.tag, before, above],
		};
	if (!((states?.includes("ready") && !list.fewWait) || states?.includes("done"))) return null;
	return {
		sql: `SELECT max(e.id) AS id FROM (${lanesOf(at, taskId)}) l CROSS JOIN LATERAL (
  SELECT id FROM ${at}jobs WHERE lane_id = l.lane_id AND id < $2::bigint AND id > $3::bigint ORDER BY lane_id DESC, id DESC ${last}) e`,
		params: [list.tenantId, before, above],
	};
}

const SUMS = [
	"version",
	"submitted",
	"finished",
	"active_tenants",
	"ready",
	"delayed",
	"blocked",
	"running",
	"done",
	"failed",
	"dead",
	"cancelled",
]
	.map(name => `coalesce(sum(${name}), 0)::bigint AS ${name}`)
	.join(", ");
/** The totals of the queue: a row for each task, and for each change since they were last added up. */
export const queueCounts = (at: string): string => `SELECT ${SUMS} FROM ${at}totals`;

export const tenantCounts = (at: string): string => `
SELECT t.ready, t.delayed, t.blocked, t.running, t.done, t.failed, t.dead, t.cancelled, t.waiting,
  (SELECT sum(version) FROM ${at}totals)::bigint AS version, t.waiting + t.running + t.done + t.failed + t.dead + t.cancelled AS submitted,
  t.done + t.failed + t.dead + t.cancelled AS finished, (t.waiting + t.running > 0)::int AS active_tenants
FROM ${at}tenants_now t WHERE t.tenant_id = $1::bigint`;

/** `$1`: task ids. */
export const nextDue = (at: string): string => `
SELECT coalesce((
    SELECT 1 FROM ${at}tasks k CROSS JOIN LATERAL (SELECT 1 FROM ${at}lane_state WHERE task_id = k.task_id AND claimable ORDER BY vt LIMIT 1) l
    WHERE k.task_id = ANY($1::text::int[]) AND k.paused = 0
      AND (k.concurrency IS NULL OR k.concurrency > (SELECT coalesce(sum(running), 0) FROM ${at}totals WHERE task_id = k.task_id)) LIMIT 1), 0) AS ready,
  (SELECT next_due FROM ${at}lane_state WHERE next_due IS NOT NULL ORDER BY next_due LIMIT 1) AS delayed,
  (SELECT lease_until FROM ${at}jobs WHERE state = ${S.running} ORDER BY lease_until LIMIT 1) AS lease,
  (SELECT start_by FROM ${at}jobs WHERE start_by IS NOT NULL AND state < ${S.running} ORDER BY start_by LIMIT 1) AS start_by,
  (SELECT expires_at FROM ${at}jobs WHERE expires_at IS NOT NULL ORDER BY expires_at LIMIT 1) + ${PRUNE_LATENESS_MS} AS prune`;

/** Jobs that are ready or due and yet not taken, by the same bits that the claim goes by. Cost: the tenants and lanes that are held. */
export const held = (at: string): string => `
SELECT 'tenant_paused' AS code, sum(ready)::bigint AS jobs, count(*) AS tenants FROM ${at}tenants_now WHERE ready > 0 AND held & 2 <> 0
UNION ALL SELECT 'tenant_concurrency', sum(ready)::bigint, count(*) FROM ${at}tenants_now WHERE ready > 0 AND held & 1 <> 0 AND held & 2 = 0
UNION ALL SELECT 'task_concurrency', sum(ready)::bigint, count(DISTINCT lane_id >> 16) FROM ${at}lanes_now l JOIN ${at}tasks k ON k.task_id = l.task_id
  WHERE l.ready > 0 AND l.held & 1 = 0 AND k.paused = 0
    AND (l.held & 2 <> 0 OR (SELECT coalesce(sum(running), 0) FROM ${at}totals n WHERE n.task_id = k.task_id) >= k.concurrency)
UNION ALL SELECT 'task_paused', sum(ready)::bigint, count(DISTINCT lane_id >> 16) FROM ${at}lanes_now l JOIN ${at}tasks k ON k.task_id = l.task_id
  WHERE l.ready > 0 AND k.paused = 1
UNION ALL SELECT 'key_busy', sum(blocked)::bigint, count(*) FROM ${at}tenants_now WHERE blocked > 0
UNION ALL SELECT 'delayed', sum(delayed)::bigint, count(*) FROM ${at}tenants_now WHERE delayed > 0`;
