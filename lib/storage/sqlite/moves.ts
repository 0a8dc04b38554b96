/**
 * Moving jobs between states. Every verb that changes states says, as one SELECT, which jobs move from where to where; the counters of
 * the lanes and of the queue follow from that here. What is true of a tenant is the sum of its lanes.
 */
import { STATES, type State } from "../../job.ts";
import { S } from "../rows.ts";
import type { Statement } from "./driver.ts";

const ALL: readonly State[] = STATES;

/** The lanes of a tenant are one range. */
export const lanesOfTenant = (tenant: string, lane = "lane_id"): string => `${lane} >= ${tenant} << 16 AND ${lane} < ${tenant} + 1 << 16`;

/** The elements of a JSON list, to read fields of. Without the limit the text of an element is made anew for each field. */
export const elementsOf = (json: string): string => `(SELECT key, value FROM json_each(${json}) LIMIT -1)`;

const sumsOf = (states: readonly State[]): string[] =>
	states.map(state => `sum((becomes IS ${S[state]}) - (was IS ${S[state]})) AS ${state}`);

/**
 * Adds moves to the counters of their lanes. Whether a lane may be claimed follows by the triggers of the schema.
 *
 * @param moves a SELECT of (lane_id, was, becomes, due): states as numbers, NULL for "not there"; `due` is the run_at of what becomes delayed
 * @param states the states that occur, to keep a hot statement short
 * @param more what else of the lane follows from these moves: aggregates over them, and columns set from those (`m`) and the lane (`lanes`)
 */
export function countMoves(
	moves: string,
	states: readonly State[] = ALL,
	more: { readonly sums: readonly string[]; readonly sets: readonly string[] } = { sums: [], sets: [] },
): string {
	const sums = [...sumsOf(states), ...more.sums];
	const sets = [...states.map(state => `${state} = lanes.${state} + m.${state}`), ...more.sets];
	// Named only where it may change: to name it is to write its index.
	if (states.includes("delayed")) {
		sums.push(`min(CASE WHEN becomes = ${S.delayed} THEN due END) AS due`);
		sets.push("next_due = CASE WHEN m.due IS NULL THEN next_due ELSE min(coalesce(next_due, m.due), m.due) END");
	}
	return `UPDATE lanes SET ${sets.join(", ")} FROM (SELECT lane_id, ${sums.join(", ")} FROM (${moves}) GROUP BY +lane_id) m WHERE lanes.lane_id = m.lane_id`;
}

/** Of a lane: its jobs that have not ended. */
const ALIVE = "ready + delayed + blocked + running";
const isAlive = (state: string): string => `coalesce(${state} <= ${S.running}, 0)`;

/**
 * Adds the same moves to the queue, after their lanes: one row, written once. Where nothing moves, nothing is written.
 *
 * Whether a tenant woke or fell asleep is seen by the sum of its lanes; but one that has a lane with more alive than came just now was
 * awake before and is.
 */
export function countQueue(moves: string, states: readonly State[] = ALL, more = ""): string {
	return `
UPDATE queue SET version = version + 1, submitted = submitted + m.came, finished = finished + m.went,
  active_tenants = active_tenants + m.woke, ${states.map(state => `${state} = queue.${state} + m.${state}`).join(", ")}${more}
FROM (SELECT count(*) AS tenants, sum(came) AS came, sum(went) AS went, ${states.map(state => `sum(${state}) AS ${state}`).join(", ")},
    sum(CASE WHEN most > came THEN 0 ELSE (
      SELECT (sum(${ALIVE}) > 0) - (sum(${ALIVE}) - came + went > 0) FROM lanes WHERE ${lanesOfTenant("x.tenant_id")}) END) AS woke
  FROM (SELECT l.lane_id >> 16 AS tenant_id, max(${ALIVE}) AS most, ${sumsOf(states).join(", ")},
      sum(${isAlive("becomes")} AND NOT ${isAlive("was")}) AS came, sum(${isAlive("was")} AND NOT ${isAlive("becomes")}) AS went
    FROM (${moves}) moved CROSS JOIN lanes l ON l.lane_id = moved.lane_id GROUP BY l.lane_id >> 16) x) m
WHERE m.tenants > 0`;
}

/** The statements that count moves where they are counted: in their lanes, and then in the queue. */
export function counting(
	moves: string,
	states: readonly State[] = ALL,
): (params: Statement["params"], onlyIf?: Statement["onlyIf"]) => Statement[] {
	const texts = [countMoves(moves, states), countQueue(moves, states)];
	return (params, onlyIf) => texts.map(sql => (onlyIf === undefined ? { sql, params } : { sql, params, onlyIf }));
}

/** 2026-01-01: from here 41 bits of milliseconds reach to 2095. */
const ORD_EPOCH_MS = 1_767_225_600_000;

/** Order within a tenant: the due time shifted by priority (a point is a minute), then the number. Computed in SQL alone: it exceeds 2^53. */
export const ordOf = (dueMs: string, priority: string, id: string): string =>
	`((${dueMs}) - ${ORD_EPOCH_MS} - (${priority}) * 60000) << 22 | ((${id}) & 4194303)`;
