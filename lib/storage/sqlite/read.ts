/** Reading: jobs, lists, counts, history, and when something is next due. */
import { STATES, type State } from "../../job.ts";
import type { GroupQuery, JobList } from "../engine.ts";
import { BRIEF_COLUMNS, JOB_COLUMNS, LIST_ROWS_MAX, numbersOf, PRUNE_LATENESS_MS, S } from "../rows.ts";
import type { ListQuery } from "../storage.ts";
import type { Param, Statement } from "./driver.ts";
import { lanesOfTenant } from "./moves.ts";
import { UNTOLD } from "./webhooks.ts";

/** Terms of one compound SELECT that D1 takes. */
const UNION_TERMS_MAX = 5;
function unionAll(selects: readonly string[]): string {
	const terms = [...selects];
	while (terms.length > UNION_TERMS_MAX) terms.unshift(`SELECT * FROM (${terms.splice(0, UNION_TERMS_MAX).join(" UNION ALL ")})`);
	return terms.join(" UNION ALL ");
}

type Columns = "all" | "brief";
const columnsOf = (columns: Columns): string => (columns === "brief" ? BRIEF_COLUMNS : JOB_COLUMNS);

export const jobsStatement = (ids: readonly number[], columns: Columns): Statement =>
	ids.length === 1
		? { sql: `SELECT ${columnsOf(columns)} FROM jobs WHERE id = ?1`, params: [ids[0]!] }
		: { sql: `SELECT ${columnsOf(columns)} FROM jobs WHERE id IN (SELECT value FROM json_each(?1))`, params: [JSON.stringify(ids)] };

/** Named as the partial indexes are: the planner takes an index only where its very condition stands. */
const TROUBLE_INDEX = `state > ${S.done}`;
const GROUPS_INDEX = `state > ${S.done} AND state < ${S.cancelled}`;

/** Conditions on jobs `j`, whose values are appended to the params. */
class Conditions {
	readonly params: Param[];
	readonly #parts: string[] = [];
	constructor(params: readonly Param[]) {
		this.params = [...params];
	}
	and(part: string): this {
		this.#parts.push(part);
		return this;
	}
	/** @param condition with `?` for the value; absent: no condition */
	where(condition: string, value: Param | undefined): this {
		if (value === undefined) return this;
		return this.and(condition.replace("?", `?${this.params.push(value)}`));
	}
	toString(): string {
		return this.#parts.length === 0 ? "true" : this.#parts.join(" AND ");
	}
}
const conditionsOf = (query: ListQuery, taskId: number | null, states: readonly State[] | null, params: readonly Param[]): Conditions => {
	const conditions = new Conditions(params);
	if (states !== null) conditions.and(`j.state IN (${numbersOf(states).join(", ")})`);
	if (taskId !== null) conditions.and(`j.lane_id & 65535 = ${taskId}`);
	return conditions
		.where("j.fingerprint = ?", query.fingerprint)
		.where("j.reason = ?", query.reason)
		.where("j.created_at >= ?", query.createdAfter)
		.where("j.created_at < ?", query.createdBefore);
};
/** Whether of what a tenant's lanes and states have some is left out. */
const isFiltered = ({ reason, createdAfter, createdBefore }: ListQuery): boolean =>
	reason !== undefined || createdAfter !== undefined || createdBefore !== undefined;

/**
 * A page of one tenant's jobs, newest first: the newest of each of its lanes (or of the one task's), put in order. What failed, is dead
 * or was cancelled has an index; running jobs are few; jobs that wait are all put in order while they are few. For the rest a lane's
 * newest jobs are looked through until the page is full, a bounded number of them.
 */
function tenantListStatement(
	tenantId: number,
	taskId: number | null,
	states: readonly State[] | null,
	fewWait: boolean,
	query: ListQuery,
	columns: Columns,
): Statement {
	if (query.fingerprint !== undefined || isFiltered(query)) return filteredTenantListStatement(tenantId, taskId, states, query, columns);
	const lanes = lanesOf(taskId);
	const perLane = (ids: string) => `SELECT j.id FROM (${lanes}) l CROSS JOIN jobs j ON j.id IN (${ids} LIMIT ?3 + 0)`;
	const newest = "SELECT id FROM jobs WHERE lane_id = l.lane_id AND id < +?2 ORDER BY id DESC";
	const parts: string[] = [];
	const looked: State[] = [];
	if (states === null) parts.push(perLane(newest));
	else
		for (const state of states) {
			const is = `state = ${S[state]}`;
			if (S[state] > S.done)
				parts.push(perLane(`SELECT id FROM jobs WHERE lane_id = l.lane_id AND ${TROUBLE_INDEX} AND ${is} AND id < +?2 ORDER BY id DESC`));
			else if (state === "running") parts.push(`SELECT id FROM jobs WHERE ${is} AND id < +?2 AND lane_id IN (${lanes})`);
			else if (state === "blocked")
				parts.push(`SELECT id FROM jobs WHERE queue_key IS NOT NULL AND ${is} AND tenant_id = ?1 AND id < +?2 AND lane_id IN (${lanes})`);
			else if (fewWait && state !== "done") parts.push(`SELECT id FROM jobs WHERE ${is} AND id < +?2 AND lane_id IN (${lanes})`);
			else looked.push(state);
		}
	if (looked.length > 0)
		parts.push(
			perLane(
				`SELECT w.id FROM (${newest} LIMIT ${LIST_ROWS_MAX}) n CROSS JOIN jobs w ON w.id = n.id WHERE w.state IN (${numbersOf(looked).join(", ")})`,
			),
		);
	return {
		sql: `SELECT ${columnsOf(columns)} FROM jobs WHERE id IN (SELECT id FROM (${unionAll(parts)}) ORDER BY id DESC LIMIT ?3 + 0) ORDER BY id DESC`,
		params: [tenantId, query.before ?? Number.MAX_SAFE_INTEGER, query.limit + 1],
	};
}

const isRare = (states: readonly State[] | null): boolean => states?.every(state => S[state] > S.done) ?? false;

/**
 * Where a tenant's jobs are looked for that something more is asked of: SELECTs of ids, newest first, of the lane `l`; a bounded number of
 * each is looked at.
 */
const looksOfLane = (states: readonly State[] | null): string[] =>
	isRare(states)
		? numbersOf(states!).map(
				state => `SELECT id FROM jobs WHERE lane_id = l.lane_id AND ${TROUBLE_INDEX} AND state = ${state} AND id < +?2`,
			)
		: ["SELECT id FROM jobs WHERE lane_id = l.lane_id AND id < +?2"];
/** Of one fingerprint, over all lanes; ?4 is the fingerprint. The lane stands in the index, too. */
const lookByFingerprint = `SELECT id FROM jobs WHERE ${GROUPS_INDEX} AND fingerprint = ?4 AND ${lanesOfTenant("?1")} AND id < +?2`;
const BOUNDED = `ORDER BY id DESC LIMIT ${LIST_ROWS_MAX}`;

function filteredTenantListStatement(
	tenantId: number,
	taskId: number | null,
	states: readonly State[] | null,
	query: ListQuery,
	columns: Columns,
): Statement {
	const params: Param[] = [tenantId, query.before ?? Number.MAX_SAFE_INTEGER, query.limit + 1];
	const { fingerprint, ...rest } = query;
	const where = conditionsOf(rest, taskId, states, fingerprint === undefined ? params : [...params, fingerprint]);
	const found = (look: string) => `SELECT j.id FROM (${look} ${BOUNDED}) n CROSS JOIN jobs j ON j.id = n.id WHERE ${where} LIMIT ?3 + 0`;
	const parts =
		fingerprint === undefined
			? looksOfLane(states).map(look => `SELECT f.id FROM (${lanesOf(taskId)}) l CROSS JOIN jobs f ON f.id IN (${found(look)})`)
			: [`SELECT id FROM (${found(lookByFingerprint)})`];
	return {
		sql: `SELECT ${columnsOf(columns)} FROM jobs WHERE id IN (SELECT id FROM (${unionAll(parts)}) ORDER BY id DESC LIMIT ?3 + 0) ORDER BY id DESC`,
		params: where.params,
	};
}
const lanesOf = (taskId: number | null): string =>
	taskId === null
		? "SELECT lane_id FROM lanes WHERE lane_id >= ?1 << 16 AND lane_id < (?1 + 1) << 16"
		: `SELECT ?1 << 16 | ${taskId} AS lane_id`;

/** A page of jobs with a tag: the tag's own index, newest first; other filters are looked up per job, a bounded number. */
function tagListStatement(
	tenantId: number,
	taskId: number | null,
	states: readonly State[] | null,
	query: ListQuery,
	columns: Columns,
): Statement {
	const where = conditionsOf(query, taskId, states, [tenantId, query.before ?? Number.MAX_SAFE_INTEGER, query.limit + 1, query.tag ?? ""]);
	return {
		sql: `SELECT ${columnsOf(columns)} FROM jobs WHERE id IN (SELECT j.id FROM (
  SELECT job_id FROM job_tags WHERE tenant_id = ?1 AND tag = ?4 AND job_id < +?2 ORDER BY job_id DESC LIMIT ${LIST_ROWS_MAX}) g
  CROSS JOIN jobs j ON j.id = g.job_id WHERE ${where} ORDER BY j.id DESC LIMIT ?3 + 0) ORDER BY id DESC`,
		params: where.params,
	};
}

/** The ids that a page over all tenants looks through, newest first: those of rare states by their own index, else all. `?1` is before. */
function looked(states: readonly State[] | null, { fingerprint }: ListQuery): { all: string[]; bounded: boolean } {
	if (fingerprint !== undefined)
		return { all: [`SELECT id FROM jobs WHERE ${GROUPS_INDEX} AND fingerprint = ?3 AND id < +?1 ORDER BY id DESC`], bounded: true };
	if (states?.every(state => state === "running"))
		return { all: [`SELECT id FROM jobs WHERE state = ${S.running} AND id < +?1`], bounded: false };
	return {
		all: isRare(states)
			? numbersOf(states!).map(state => `SELECT id FROM jobs WHERE ${TROUBLE_INDEX} AND state = ${state} AND id < +?1 ORDER BY id DESC`)
			: ["SELECT id FROM jobs WHERE id < +?1 ORDER BY id DESC"],
		bounded: true,
	};
}

/** A page over all tenants, by the jobs' own order; a bounded number of rows is looked at, and no more than fill the page. */
function queueListStatement(taskId: number | null, states: readonly State[] | null, query: ListQuery, columns: Columns): Statement {
	const { all, bounded } = looked(states, query);
	const { fingerprint, ...rest } = query;
	const params: Param[] = [query.before ?? Number.MAX_SAFE_INTEGER, query.limit + 1];
	const where = conditionsOf(rest, taskId, states, fingerprint === undefined ? params : [...params, fingerprint]).where(
		"EXISTS (SELECT 1 FROM json_each(j.tags) g WHERE g.value = ?)",
		query.tag,
	);
	const page = (ids: string) =>
		`SELECT id FROM (SELECT j.id FROM (${ids}${bounded ? ` LIMIT ${LIST_ROWS_MAX}` : ""}) n CROSS JOIN jobs j ON j.id = n.id WHERE ${where}${bounded ? " LIMIT ?2 + 0" : ""})`;
	return {
		sql: `SELECT ${columnsOf(columns)} FROM jobs WHERE id IN (SELECT id FROM (${all.map(page).join(" UNION ALL ")}) ORDER BY id DESC LIMIT ?2 + 0) ORDER BY id DESC`,
		params: where.params,
	};
}

/**
 * Down to which id that page has seen everything, where that is above `above`, the oldest job of a full page; no row, or NULL: it has
 * seen all that it shows.
 */
function queueScanEndStatement(states: readonly State[] | null, query: ListQuery, above: number): Statement | null {
	const { all, bounded } = looked(states, query);
	if (!bounded) return null;
	const ends = all.map(ids => `SELECT id FROM (${ids.replace("id < +?1", "id < +?1 AND id > +?2")} LIMIT 1 OFFSET ${LIST_ROWS_MAX - 1})`);
	const params: Param[] = [query.before ?? Number.MAX_SAFE_INTEGER, above];
	return {
		sql: `SELECT max(id) AS id FROM (${ends.join(" UNION ALL ")})`,
		params: query.fingerprint === undefined ? params : [...params, query.fingerprint],
	};
}

/** The same for the jobs of a tag. */
const tagScanEndStatement = (tenantId: number, query: ListQuery, above: number): Statement => ({
	sql: `SELECT job_id AS id FROM job_tags WHERE tenant_id = ?1 AND tag = ?2 AND job_id < +?3 AND job_id > +?4 ORDER BY job_id DESC LIMIT 1 OFFSET ${LIST_ROWS_MAX - 1}`,
	params: [tenantId, query.tag ?? "", query.before ?? Number.MAX_SAFE_INTEGER, above],
});

/** The same for one tenant, where each lane is looked through: the newest of the places where a lane's look ended. */
function laneScanEndStatement(tenantId: number, taskId: number | null, query: ListQuery, above: number): Statement {
	return {
		sql: `SELECT max(id) AS id FROM (SELECT (
  SELECT id FROM jobs WHERE lane_id = l.lane_id AND id < +?2 AND id > +?3 ORDER BY id DESC LIMIT 1 OFFSET ${LIST_ROWS_MAX - 1}) AS id FROM (${lanesOf(taskId)}) l)`,
		params: [tenantId, query.before ?? Number.MAX_SAFE_INTEGER, above],
	};
}

/** The same where something more is asked of a tenant's jobs. */
function filteredScanEndStatement(
	tenantId: number,
	taskId: number | null,
	states: readonly State[] | null,
	query: ListQuery,
	above: number,
): Statement {
	const params: Param[] = [tenantId, query.before ?? Number.MAX_SAFE_INTEGER, above];
	const end = (look: string) => `SELECT id FROM (${look} AND id > +?3 ORDER BY id DESC LIMIT 1 OFFSET ${LIST_ROWS_MAX - 1})`;
	if (query.fingerprint !== undefined) return { sql: end(lookByFingerprint), params: [...params, query.fingerprint] };
	const ends = looksOfLane(states).map(look => `SELECT (${end(look)}) AS id FROM (${lanesOf(taskId)}) l`);
	return { sql: `SELECT max(id) AS id FROM (${unionAll(ends)})`, params };
}

/** The statement of a page; it asks for one row more than the page holds. */
export function listStatement(list: JobList, columns: Columns): Statement {
	const { taskId, states, query } = list;
	if (list.of === "queue") return queueListStatement(taskId, states, query, columns);
	if (list.of === "tag") return tagListStatement(list.tenantId, taskId, states, query, columns);
	return tenantListStatement(list.tenantId, taskId, states, list.fewWait, query, columns);
}

/** Its row says down to which id above `above` the page saw everything. Null where the page is not bounded. */
export function scanEndStatement(list: JobList, above: number): Statement | null {
	const { taskId, states, query } = list;
	if (list.of === "queue") return queueScanEndStatement(states, query, above);
	if (list.of === "tag") return tagScanEndStatement(list.tenantId, query, above);
	if (query.fingerprint !== undefined || isFiltered(query)) return filteredScanEndStatement(list.tenantId, taskId, states, query, above);
	const looks = (states?.includes("ready") && !list.fewWait) || states?.includes("done");
	return looks ? laneScanEndStatement(list.tenantId, taskId, query, above) : null;
}

export const eventsStatement = (jobId: number): Statement => ({
	sql: "SELECT seq, at, kind, data FROM job_events WHERE job_id = ?1 ORDER BY seq",
	params: [jobId],
});
export const queueCountsStatement: Statement = { sql: "SELECT * FROM queue", params: [] };
export const tenantCountsStatement = (tenantId: number): Statement => ({
	sql: `SELECT c.*, q.version, c.waiting + c.running + c.done + c.failed + c.dead + c.cancelled AS submitted,
  c.done + c.failed + c.dead + c.cancelled AS finished, c.waiting + c.running > 0 AS active_tenants
FROM (SELECT ${STATES.map(state => `coalesce(sum(${state}), 0) AS ${state}`).join(", ")}, coalesce(sum(ready + delayed + blocked), 0) AS waiting
  FROM lanes WHERE ${lanesOfTenant("?1")}) c CROSS JOIN queue q WHERE EXISTS (SELECT 1 FROM tenants WHERE tenant_id = ?1)`,
	params: [tenantId],
});
/** ?1 now · ?2 limit. The tenant of lane `l` may start so many. */
const FREE = `(SELECT CASE WHEN paused = 0 AND start_rate_full = 0 THEN concurrency ELSE 0 END FROM tenants WHERE tenant_id = l.lane_id >> 16)
  - (SELECT sum(running) FROM lanes r WHERE ${lanesOfTenant("(l.lane_id >> 16)", "r.lane_id")})`;
/** Of all by `turns`, as the claim walks them; of one tenant by its own lanes. */
export function runnableLanesStatement(
	taskIds: readonly number[] | null,
	tenantId: number | null,
	limit: number,
	nowMs: number,
): Statement {
	const params: Param[] = [nowMs, limit];
	const tasks =
		taskIds === null ? "tasks k" : `json_each(?${params.push(JSON.stringify(taskIds))}) e CROSS JOIN tasks k ON k.task_id = e.value`;
	const lanes =
		tenantId === null
			? "CROSS JOIN turns u ON u.task_id = k.task_id CROSS JOIN lanes l ON l.lane_id = u.lane_id"
			: `CROSS JOIN lanes l ON l.lane_id = ?${params.push(tenantId)} << 16 | k.task_id AND l.ready > 0 AND (l.most IS NULL OR l.running < l.most)`;
	return {
		sql: `SELECT l.lane_id >> 16 AS tenant_id, k.task_id, min(l.ready, coalesce(l.most - l.running, l.ready)) AS available,
  k.concurrency - k.running AS room, ${FREE} AS free
FROM ${tasks} ${lanes}
WHERE k.paused = 0 AND (k.reopen_at IS NULL OR k.reopen_at <= ?1) AND (k.concurrency IS NULL OR k.running < k.concurrency) LIMIT ?2 + 0`,
		params,
	};
}
export const leaseHoldersStatement: Statement = { sql: `SELECT DISTINCT worker FROM jobs WHERE state = ${S.running}`, params: [] };

/** ?1 task ids (JSON) · ?2 now. Of a task that is held only the hold counts, and only if somebody waits for its end. */
const NEXT_DUE = `
SELECT EXISTS (SELECT 1 FROM json_each(?1) e CROSS JOIN tasks k ON k.task_id = e.value
    WHERE k.paused = 0 AND (k.reopen_at IS NULL OR k.reopen_at <= ?2) AND (k.concurrency IS NULL OR k.running < k.concurrency)
    AND EXISTS (SELECT 1 FROM turns WHERE task_id = k.task_id)) AS ready,
  (SELECT next_due FROM lanes WHERE next_due IS NOT NULL ORDER BY next_due LIMIT 1) AS delayed,
  (SELECT min(reopen_at) FROM (SELECT reopen_at FROM (SELECT reopen_at FROM lanes WHERE reopen_at IS NOT NULL ORDER BY reopen_at LIMIT 1)
    UNION ALL SELECT k.reopen_at FROM json_each(?1) e CROSS JOIN tasks k ON k.task_id = e.value
      WHERE k.reopen_at > ?2 AND k.paused = 0 AND EXISTS (SELECT 1 FROM turns WHERE task_id = k.task_id))) AS reopen,
  (SELECT lease_until FROM jobs WHERE state = ${S.running} ORDER BY lease_until LIMIT 1) AS lease,
  (SELECT start_by FROM jobs WHERE start_by IS NOT NULL AND state < ${S.running} ORDER BY start_by LIMIT 1) AS start_by,
  (SELECT expires_at FROM jobs WHERE expires_at IS NOT NULL ORDER BY expires_at LIMIT 1) + ${PRUNE_LATENESS_MS} AS prune,
  (SELECT next_at FROM schedules WHERE paused = 0 AND next_at IS NOT NULL ORDER BY next_at LIMIT 1) AS schedule,
  (SELECT next_at FROM bulk_actions WHERE next_at IS NOT NULL ORDER BY next_at LIMIT 1) AS bulk_action,
  EXISTS (SELECT 1 FROM jobs WHERE ${UNTOLD}) AS webhook`;

export const nextDueStatement = (taskIds: readonly number[], nowMs: number): Statement => ({
	sql: NEXT_DUE,
	params: [JSON.stringify(taskIds), nowMs],
});

/** Dead letters and failed jobs that one look at their groups counts. */
const GROUPED_MAX = 100_000;

/** Of one tenant by its lanes; of all by the index that holds all that a group says. */
export function groupsStatement({ tenantId, taskId, reason, fingerprint, limit }: GroupQuery): Statement {
	const params: Param[] = tenantId === null ? [limit] : [limit, tenantId];
	const looked = new Conditions(params).where("j.fingerprint = ?", fingerprint ?? undefined);
	const counted = new Conditions(looked.params).where("reason = ?", reason ?? undefined);
	if (tenantId === null && taskId !== null) counted.and(`lane_id & 65535 = ${taskId}`);
	const from =
		tenantId === null
			? "jobs j WHERE"
			: `(${lanesOf(taskId).replaceAll("?1", "?2")}) l CROSS JOIN jobs j ON j.lane_id = l.lane_id AND j.state IN (${S.failed}, ${S.dead}) WHERE`;
	return {
		sql: `SELECT lane_id & 65535 AS task_id, fingerprint, reason, count(*) AS jobs, count(DISTINCT lane_id >> 16) AS tenants,
  min(completed_at) AS first_at, max(completed_at) AS last_at, max(id) AS example
FROM (SELECT j.id, j.lane_id, j.fingerprint, j.reason, j.completed_at
  FROM ${from} ${GROUPS_INDEX.replaceAll("state", "j.state")} AND ${looked} LIMIT ${GROUPED_MAX})
WHERE ${counted} GROUP BY 1, 2, 3 ORDER BY jobs DESC, last_at DESC LIMIT ?1`,
		params: counted.params,
	};
}

/** Jobs that are ready or due and yet not taken, by the same bits that the claim goes by. ?3 is now. Cost: the tenants and lanes that are held. */
const HELD = `WITH tenant AS MATERIALIZED (
  SELECT t.tenant_id, t.paused, c.running >= t.concurrency AS is_full, c.ready, c.delayed, c.blocked
  FROM (SELECT lane_id >> 16 AS tenant_id, sum(ready) AS ready, sum(delayed) AS delayed, sum(blocked) AS blocked, sum(running) AS running
    FROM lanes GROUP BY lane_id >> 16) c CROSS JOIN tenants t ON t.tenant_id = c.tenant_id WHERE c.ready + c.delayed + c.blocked > 0),
lane AS MATERIALIZED (
  SELECT t.tenant_id, l.ready, CASE WHEN k.reopen_at > ?3 THEN 'retry_after' WHEN l.circuit = 1 AND l.running >= l.most THEN 'circuit_open'
    WHEN l.reopen_at IS NOT NULL THEN 'retry_after' WHEN l.running >= l.concurrency OR k.running >= k.concurrency THEN 'task_concurrency' END AS code
  FROM lanes l CROSS JOIN tasks k ON k.task_id = l.task_id CROSS JOIN tenant t ON t.tenant_id = l.lane_id >> 16
  WHERE l.ready > 0 AND NOT t.paused AND NOT t.is_full AND k.paused = 0)
${unionAll([
	`SELECT 'tenant_paused' AS code, sum(ready) AS jobs, count(*) AS tenants FROM tenant WHERE ready > 0 AND paused`,
	`SELECT 'tenant_concurrency', sum(ready), count(*) FROM tenant WHERE ready > 0 AND is_full AND NOT paused`,
	`SELECT code, sum(ready), count(DISTINCT tenant_id) FROM lane WHERE code IS NOT NULL GROUP BY code`,
	`SELECT 'task_paused', sum(ready), count(DISTINCT lane_id >> 16) FROM lanes l CROSS JOIN tasks k ON k.task_id = l.task_id
  WHERE l.ready > 0 AND k.paused = 1`,
	`SELECT 'key_busy', sum(blocked), count(*) FROM tenant WHERE blocked > 0`,
	`SELECT 'delayed', sum(delayed), count(*) FROM tenant WHERE delayed > 0`,
])}`;
/** To be asked beside another statement of two params. */
export const heldStatement = (nowMs: number): Statement => ({ sql: HELD, params: [nowMs] });

/** Several answers as one, by name. The params of each are numbered behind those of the one before. */
export const jsonObject = (answers: Readonly<Record<string, Statement>>): Statement => ({
	sql: `SELECT json_object(${Object.entries(answers)
		.map(([name, { sql }]) => `'${name}', json((${sql}))`)
		.join(", ")}) AS answer`,
	params: Object.values(answers).flatMap(({ params }) => params),
});

/** The rows of a SELECT as one text, `answer`: a JSON list of objects. */
export const jsonStatement = ({ sql, params }: Statement, columns: readonly string[]): Statement => ({
	sql: `SELECT json_group_array(json_object(${columns.map(column => `'${column}', ${column}`).join(", ")})) AS answer FROM (${sql})`,
	params,
});
