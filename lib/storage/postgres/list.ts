/** Pages of jobs on PostgreSQL: the same as on SQLite, asked through LATERAL. `at` stands before every name: the schema. */
import type { State } from "../../job.ts";
import type { JobList } from "../engine.ts";
import { BRIEF_COLUMNS, JOB_COLUMNS, LIST_ROWS_MAX, numbersOf, S } from "../rows.ts";
import type { Param } from "./driver.ts";

export interface Statement {
	readonly sql: string;
	readonly params: Param[];
}
export type Columns = "all" | "brief";
export const columnsOf = (columns: Columns): string => (columns === "brief" ? BRIEF_COLUMNS : JOB_COLUMNS);

const NO_BEFORE = Number.MAX_SAFE_INTEGER;
/** As the partial indexes are defined. */
const TROUBLE_INDEX = `state > ${S.done}`;
export const GROUPS_INDEX = `state IN (${S.failed}, ${S.dead})`;
/** Ids are in the order of creation but for clocks that differ: a page that has come so far below `createdAfter` has seen all. */
const CLOCKS_DIFFER_MS = 60 * 60_000;
/** What filters look at. */
const LOOKED = "id, state, lane_id, tags, fingerprint, reason, created_at";

/** Values of a statement, as they are met. */
export class Params {
	readonly all: Param[] = [];
	/** Answers how the value is written in SQL. */
	add(value: Param, type: string): string {
		return `$${this.all.push(value)}::${type}`;
	}
}

/** A SELECT of jobs, newest first, that a page looks through, by the condition on their `id`: of a lane `l`, or of all. */
type Look = (range: string) => string;

/** What is asked of jobs `j`. */
function conditionsOf({ taskId, states, query }: JobList, params: Params): string {
	const { fingerprint, reason, createdAfter, createdBefore } = query;
	const parts: string[] = [];
	if (states !== null) parts.push(`j.state IN (${numbersOf(states).join(", ")})`);
	if (taskId !== null) parts.push(`j.lane_id & 65535 = ${taskId}`);
	if (fingerprint !== undefined) parts.push(`j.fingerprint = ${params.add(fingerprint, "text")}`);
	if (reason !== undefined) parts.push(`j.reason = ${params.add(reason, "text")}`);
	if (createdAfter !== undefined) parts.push(`j.created_at >= ${params.add(createdAfter, "bigint")}`);
	if (createdBefore !== undefined) parts.push(`j.created_at < ${params.add(createdBefore, "bigint")}`);
	return parts.length === 0 ? "true" : parts.join(" AND ");
}
const isFiltered = ({ query }: JobList): boolean =>
	query.fingerprint !== undefined || query.reason !== undefined || query.createdAfter !== undefined || query.createdBefore !== undefined;
const isRare = (states: readonly State[] | null): states is readonly State[] => states?.every(state => S[state] > S.done) ?? false;

export const lanesOf = (at: string, taskId: number | null, tenant: string): string =>
	taskId === null
		? `SELECT lane_id FROM ${at}lanes WHERE lane_id >= ${tenant} << 16 AND lane_id < (${tenant} + 1) << 16`
		: `SELECT (${tenant} << 16) | ${taskId} AS lane_id`;

/** What a page over all tenants looks through: rare states by their own indexes, else all. Null: running jobs, which are few. */
function looksOfQueue(at: string, { states, query }: JobList, params: Params): Look[] | null {
	if (query.fingerprint !== undefined) {
		const fingerprint = params.add(query.fingerprint, "text");
		return [
			range =>
				`SELECT ${LOOKED} FROM ${at}jobs WHERE ${GROUPS_INDEX} AND fingerprint = ${fingerprint} AND ${range} ORDER BY fingerprint DESC, id DESC`,
		];
	}
	if (states?.every(state => state === "running")) return null;
	if (!isRare(states)) return [range => `SELECT ${LOOKED} FROM ${at}jobs WHERE ${range} ORDER BY id DESC`];
	return numbersOf(states).map(
		state => range =>
			`SELECT ${LOOKED} FROM ${at}jobs WHERE ${TROUBLE_INDEX} AND state = ${state} AND ${range} ORDER BY state DESC, id DESC`,
	);
}
/** What a page of one tenant looks through, a bounded number of each lane: where more is asked of jobs than an index knows. */
function looksOfTenant(at: string, list: JobList): Look[] {
	const { states } = list;
	const newest: Look = range => `SELECT ${LOOKED} FROM ${at}jobs WHERE lane_id = l.lane_id AND ${range} ORDER BY lane_id DESC, id DESC`;
	if (!isFiltered(list)) {
		const looks = (states?.includes("ready") && list.of === "tenant" && !list.fewWait) || states?.includes("done");
		return looks ? [newest] : [];
	}
	if (!isRare(states)) return [newest];
	return numbersOf(states).map(
		state => range =>
			`SELECT ${LOOKED} FROM ${at}jobs WHERE lane_id = l.lane_id AND ${TROUBLE_INDEX} AND state = ${state} AND ${range} ORDER BY lane_id DESC, state DESC, id DESC`,
	);
}

/** The jobs whose ids a SELECT finds, newest first, at most `limit` of them. */
const page = (at: string, columns: Columns, ids: string, limit: string): string =>
	`SELECT ${columnsOf(columns)} FROM ${at}jobs WHERE id = ANY(ARRAY(SELECT id FROM (${ids}) x ORDER BY id DESC LIMIT ${limit})) ORDER BY id DESC`;

/** One row more than the page holds where there is one. */
export function listStatement(at: string, list: JobList, columns: Columns): Statement {
	const { states, query } = list;
	const params = new Params();
	const before = params.add(query.before ?? NO_BEFORE, "bigint");
	const limit = params.add(query.limit + 1, "int");
	const conditions = conditionsOf(list, params);
	const found = (rows: string, where: string) =>
		`(SELECT j.id FROM (${rows} LIMIT ${LIST_ROWS_MAX}) j WHERE ${where} ORDER BY j.id DESC LIMIT ${limit})`;
	const of = (ids: readonly string[]): Statement => ({ sql: page(at, columns, ids.join(" UNION ALL "), limit), params: params.all });

	if (list.of === "queue") {
		const where = query.tag === undefined ? conditions : `${conditions} AND j.tags::jsonb @> to_jsonb(${params.add(query.tag, "text")})`;
		const looks = looksOfQueue(at, list, params);
		if (looks !== null) return of(looks.map(look => found(look(`id < ${before}`), where)));
		return of([
			`(SELECT j.id FROM ${at}jobs j WHERE j.state = ${S.running} AND j.id < ${before} AND ${where} ORDER BY j.id DESC LIMIT ${limit})`,
		]);
	}
	const tenant = params.add(list.tenantId, "bigint");
	if (list.of === "tag")
		return of([
			`SELECT j.id FROM (
  SELECT job_id FROM ${at}job_tags WHERE tenant_id = ${tenant} AND tag = ${params.add(list.tag, "text")} AND job_id < ${before} ORDER BY job_id DESC LIMIT ${LIST_ROWS_MAX}) g
  JOIN ${at}jobs j ON j.id = g.job_id WHERE ${conditions}`,
		]);

	const lanes = lanesOf(at, list.taskId, tenant);
	const perLane = (ids: string) => `(SELECT j.id FROM (${lanes}) l CROSS JOIN LATERAL ${ids} j)`;
	const first = (rows: string) => perLane(`(${rows} LIMIT ${limit})`);
	const looked = (where: string) => looksOfTenant(at, list).map(look => perLane(found(look(`id < ${before}`), where)));
	if (isFiltered(list)) return of(looked(conditions));
	if (states === null)
		return of([first(`SELECT id FROM ${at}jobs WHERE lane_id = l.lane_id AND id < ${before} ORDER BY lane_id DESC, id DESC`)]);
	const parts: string[] = [];
	const lookedFor: State[] = [];
	for (const state of states) {
		const is = `state = ${S[state]} AND id < ${before}`;
		if (S[state] > S.done)
			parts.push(
				first(
					`SELECT id FROM ${at}jobs WHERE lane_id = l.lane_id AND ${TROUBLE_INDEX} AND ${is} ORDER BY lane_id DESC, state DESC, id DESC`,
				),
			);
		else if (state === "blocked")
			parts.push(`SELECT id FROM ${at}jobs WHERE queue_key IS NOT NULL AND ${is} AND tenant_id = ${tenant} AND lane_id IN (${lanes})`);
		else if (state === "running" || (list.fewWait && state !== "done"))
			parts.push(`SELECT id FROM ${at}jobs WHERE ${is} AND lane_id IN (${lanes})`);
		else lookedFor.push(state);
	}
	return of([...parts, ...(lookedFor.length === 0 ? [] : looked(`j.state IN (${numbersOf(lookedFor).join(", ")})`))]);
}

/** Its row says down to which id above `above` the page saw everything. Null where the page is not bounded. */
export function scanEndStatement(at: string, list: JobList, above: number): Statement | null {
	const { query } = list;
	const params = new Params();
	const range = (id: string): string =>
		`${id} < ${params.add(query.before ?? NO_BEFORE, "bigint")} AND ${id} > ${params.add(above, "bigint")}`;
	const last = `LIMIT 1 OFFSET ${LIST_ROWS_MAX - 1}`;
	// Below, nothing is young enough.
	const young =
		query.createdAfter === undefined ? "" : ` WHERE e.created_at >= ${params.add(query.createdAfter - CLOCKS_DIFFER_MS, "bigint")}`;
	if (list.of === "tag") {
		const tagged = `SELECT job_id FROM ${at}job_tags WHERE tenant_id = ${params.add(list.tenantId, "bigint")} AND tag = ${params.add(list.tag, "text")} AND ${range("job_id")} ORDER BY job_id DESC ${last}`;
		return {
			sql:
				young === ""
					? `SELECT job_id AS id FROM (${tagged}) e`
					: `SELECT e.id FROM (${tagged}) g JOIN ${at}jobs e ON e.id = g.job_id${young}`,
			params: params.all,
		};
	}
	const looks = list.of === "queue" ? looksOfQueue(at, list, params) : looksOfTenant(at, list);
	if (looks === null || looks.length === 0) return null;
	const within = range("id");
	const ends = looks.map(look => `(SELECT e.id FROM (${look(within)} ${last}) e${young})`);
	const sql =
		list.of === "queue"
			? ends.join(" UNION ALL ")
			: `SELECT x.id FROM (${lanesOf(at, list.taskId, params.add(list.tenantId, "bigint"))}) l CROSS JOIN LATERAL (${ends.join(" UNION ALL ")}) x`;
	return { sql: `SELECT max(id) AS id FROM (${sql}) y`, params: params.all };
}
