/**
 * Moving jobs between states. Every verb that changes states says, as one SELECT, which jobs move from where to where; the lane
 * counters follow from that here, and everything above the lanes from the triggers of the schema.
 */
import { STATES, type State } from "../../job.ts";
import { S } from "../rows.ts";

const ALL: readonly State[] = STATES;

/**
 * Adds moves to the counters of their lanes.
 *
 * @param moves a SELECT of (lane_id, was, becomes, due): states as numbers, NULL for "not there"; `due` is the run_at of what becomes delayed
 * @param states the states that occur, to keep a hot statement short
 */
export function countMoves(moves: string, states: readonly State[] = ALL): string {
	const sums = states.map(state => `sum((becomes IS ${S[state]}) - (was IS ${S[state]})) AS ${state}`);
	const due = states.includes("delayed");
	if (due) sums.push(`min(CASE WHEN becomes = ${S.delayed} THEN due END) AS due`);
	const sets = states.map(state => `${state} = lanes.${state} + m.${state}`);
	if (due) sets.push("next_due = CASE WHEN m.due IS NULL THEN next_due ELSE min(coalesce(next_due, m.due), m.due) END");
	return `UPDATE lanes SET ${sets.join(", ")} FROM (SELECT lane_id, ${sums.join(", ")} FROM (${moves}) GROUP BY +lane_id) m WHERE lanes.lane_id = m.lane_id`;
}

/** 2026-01-01: from here 41 bits of milliseconds reach to 2095. */
const ORD_EPOCH_MS = 1_767_225_600_000;

/** Order within a tenant: the due time shifted by priority (a point is a minute), then the number. Computed in SQL alone: it exceeds 2^53. */
export const ordOf = (dueMs: string, priority: string, id: string): string =>
	`((${dueMs}) - ${ORD_EPOCH_MS} - (${priority}) * 60000) << 22 | ((${id}) & 4194303)`;
