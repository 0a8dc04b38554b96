/** Is the queue well? Pure: the metrics in, one sentence out, with the place to look. */

import { counting, plural } from "./format.js";

/** @import { Metrics } from "./types.js" */

/** Jobs that are due while nothing has looked for them for so long mean that nothing ticks. */
const TICK_MISSING_MS = 30_000;

/**
 * Grey and green need nobody, amber resolves by itself, red needs a person.
 * @param {Metrics} metrics
 * @param {number} now
 * @param {number} [needs] what else needs a person, beside what the metrics tell
 * @returns {{ level: "well" | "busy" | "sick", text: string, link?: { text: string, path: string[], status?: string } }}
 */
export function health(metrics, now, needs = 0) {
	const { ready, dead_letter_queue: dead, failed, workers } = metrics;
	const quietFor = metrics.last_tick_at ? now - Date.parse(metrics.last_tick_at) : Number.POSITIVE_INFINITY;
	// A process that runs no jobs hears of no tick, and where jobs run somebody ticks.
	if (ready > 0 && metrics.running === 0 && workers?.size !== 0 && quietFor > TICK_MISSING_MS) {
		const since = metrics.last_tick_at ? `No tick for ${counting(quietFor)}` : "No tick yet";
		return {
			level: "sick",
			text: `${since}, and ${plural(ready, "job")} ${ready === 1 ? "is" : "are"} due. Does the server tick?`,
			link: { text: "See them", path: ["jobs"], status: "pending" },
		};
	}
	if (dead > 0) {
		return {
			level: "sick",
			text: `${plural(dead, "dead letter")}${failed > 0 ? ` and ${plural(failed, "failed job")}` : ""} ${dead + failed === 1 ? "needs" : "need"} a look.`,
			link: { text: "Open dead letters", path: ["dead-letters"] },
		};
	}
	if (needs > 0) return { level: "sick", text: needs === 1 ? "One thing needs you." : `${plural(needs, "thing")} need you.` };
	if (workers && workers.size > 0 && workers.busy >= workers.size && ready > 0) {
		return {
			level: "busy",
			text: `All ${plural(workers.size, "slot")} ${workers.size === 1 ? "is" : "are"} busy, and ${plural(ready, "due job")} ${ready === 1 ? "waits" : "wait"}.`,
		};
	}
	return { level: "well", text: "Healthy." };
}

/** @param {Metrics} metrics */
export const isUnused = metrics =>
	metrics.submitted_total === 0 &&
	metrics.pending + metrics.running + metrics.done + metrics.failed + metrics.dead_letter_queue + metrics.cancelled === 0;
