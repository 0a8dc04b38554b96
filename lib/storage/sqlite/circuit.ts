/**
 * The circuit of a lane, and its hold: what follows for both from a batch of endings. Attempts that failed in a row, alike, with none done
 * between, are the lane's streak; with enough of them it opens, and the lane is held. When that hold has ended it probes: one job at a time,
 * until one is done. What fails until then uses no attempt, up to PROBES_FREE_MAX. A done in a batch tells more than the failures beside it.
 */
import { CIRCUIT_PROBE_MS, HOLD_MS_MAX } from "../../job.ts";
import { S } from "../rows.ts";

const PROBE_AT = `?2 + ${CIRCUIT_PROBE_MS}`;
/** A hold beyond what a circuit sets was asked for by a dependency: it stays when the circuit closes. */
const heldWithoutCircuit = (lane: string) =>
	`CASE WHEN ${lane}.circuit = 1 AND ${lane}.reopen_at <= ${PROBE_AT} THEN NULL ELSE ${lane}.reopen_at END`;

/** Where all endings of the lane are done. ?2 is now. */
export const CIRCUIT_CLOSES = {
	sums: [],
	sets: ["circuit = 0", "streak = 0", "streak_fingerprint = NULL", `reopen_at = ${heldWithoutCircuit("lanes")}`],
};

const FAILED = `outcome = 'retry' AND becomes <> ${S.cancelled}`;
/** Not where a dependency said when to come back: such a failure only keeps a circuit open that is. */
const COUNTS = `${FAILED} AND circuit_counts = 1`;
const SUMS = [
	"sum(outcome = 'done') AS dones",
	`sum(${FAILED}) AS fails`,
	`sum(${COUNTS}) AS counted`,
	`min(CASE WHEN ${COUNTS} THEN fingerprint END) AS least`,
	`max(CASE WHEN ${COUNTS} THEN fingerprint END) AS greatest`,
	`max(CASE WHEN ${FAILED} THEN circuit_failures END) AS circuit_failures`,
	`max(CASE WHEN ${COUNTS} THEN place END) AS latest`,
	`min(max(CASE WHEN ${FAILED} AND hold = 'tenant' AND due > ?2 THEN due END), ?2 + ${HOLD_MS_MAX}) AS held_until`,
];

/** Expressions over a lane as it was and the sums `m`. */
const streak = (lane: string) => `CASE WHEN m.dones > 0 THEN 0 WHEN m.counted = 0 THEN ${lane}.streak WHEN m.least <> m.greatest THEN 0
  WHEN m.least = ${lane}.streak_fingerprint THEN ${lane}.streak + m.counted ELSE m.counted END`;
const opens = (lane: string) =>
	`(NOT m.dones AND m.fails > 0 AND m.circuit_failures IS NOT NULL
  AND (${lane}.circuit = 1 OR m.counted > 0 AND ${streak(lane)} >= m.circuit_failures))`;
const circuit = (lane: string) => `CASE WHEN m.dones = 0 AND m.fails = 0 THEN ${lane}.circuit ELSE ${opens(lane)} END`;

/** What is added to the statement that counts the lanes of endings: {place, lane_id, becomes, due, outcome, fingerprint, hold, circuit_failures, circuit_counts}. */
export const CIRCUIT = {
	sums: SUMS,
	sets: [
		`streak = ${streak("lanes")}`,
		`streak_fingerprint = CASE WHEN m.dones > 0 OR m.least <> m.greatest THEN NULL ELSE coalesce(m.least, lanes.streak_fingerprint) END`,
		"circuit_before = lanes.circuit",
		`circuit = ${circuit("lanes")}`,
		`reopen_at = nullif(max(coalesce(CASE WHEN ${circuit("lanes")} THEN lanes.reopen_at ELSE ${heldWithoutCircuit("lanes")} END, 0),
    coalesce(m.held_until, 0), ${opens("lanes")} * (${PROBE_AT})), 0)`,
	],
};

/** Whether the circuit of the lane of job `j` was open, or probed: told by the lane as it is before the lanes are counted, and was, afterwards. */
export const WAS_OPEN = {
	before: "(SELECT circuit FROM lanes WHERE lane_id = j.lane_id)",
	after: "(SELECT circuit_before FROM lanes WHERE lane_id = j.lane_id)",
};

/** Where attempts of the lane may have `failed` by timing out elsewhere: that keeps a circuit open that is, and opens none. ?1 is now. */
export const CIRCUIT_STAYS = {
	sums: ["max(failed) AS failed"],
	sets: [
		`reopen_at = CASE WHEN m.failed AND lanes.circuit = 1 THEN max(coalesce(lanes.reopen_at, 0), ?1 + ${CIRCUIT_PROBE_MS}) ELSE lanes.reopen_at END`,
	],
};

/** A SELECT of the places of those that open a circuit: asked before the lanes are counted. @param endings a table of them */
export const openers = (endings: string) => `SELECT m.latest FROM (SELECT lane_id, ${SUMS.join(", ")} FROM ${endings} GROUP BY +lane_id) m
    CROSS JOIN lanes l ON l.lane_id = m.lane_id WHERE ${opens("l")} AND l.circuit = 0`;
