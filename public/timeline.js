/** Where a job's time went: its history as a proportional bar and as a list. */

import { now } from "./clock.js";
import { h } from "./dom.js";
import { clockTimeMs, duration, exact, otherDay } from "./format.js";

/** @import { HistoryEvent, Job } from "./types.js" */
/** @typedef {"waiting" | "delay" | "backoff" | "running" | "ended"} Phase */
/** @typedef {{ phase: Phase, from: number, to: number, failed: boolean }} Segment */

/** What a job does after an event; the events that are not here change nothing. @type {Map<string, Phase>} */
const AFTER = new Map([
	["submitted", "waiting"],
	["claimed", "running"],
	["retry", "backoff"],
	["snoozed", "delay"],
	["released", "waiting"],
	["lost", "waiting"],
	["retried", "waiting"],
	["unblocked", "waiting"],
	["done", "ended"],
	["failed", "ended"],
	["dead_letter", "ended"],
	["cancelled", "ended"],
	["expired", "ended"],
]);
const FAILED = new Set(["retry", "failed", "dead_letter", "lost"]);

const NAMES = /** @type {const} */ ({ waiting: "waited", delay: "delayed", backoff: "backed off", running: "ran", ended: "over" });

/**
 * Pure. The stretches of a job's life; the last one reaches to `until` while the job lives.
 * @param {HistoryEvent[]} history
 * @param {number} until
 * @returns {Segment[]}
 */
export function segments(history, until) {
	/** @type {Segment[]} */
	const result = [];
	/** @type {Phase} */
	let phase = "ended";
	let from = Number.NaN;
	/** When a delay or backoff is over and the job only waits its turn. */
	let due = 0;

	/**
	 * @param {number} to
	 * @param {boolean} failed
	 */
	const close = (to, failed) => {
		if (Number.isNaN(from)) return;
		if ((phase === "delay" || phase === "backoff") && due < to) {
			result.push({ phase, from, to: Math.max(from, due), failed: false });
			result.push({ phase: "waiting", from: Math.max(from, due), to, failed: false });
		} else {
			result.push({ phase, from, to, failed: failed && phase === "running" });
		}
	};

	for (const event of history) {
		const next = AFTER.get(event.kind);
		if (!next) continue;
		const at = Date.parse(event.at);
		close(at, FAILED.has(event.kind));
		due = event.run_at ? Date.parse(event.run_at) : at;
		phase = event.kind === "submitted" && due > at ? "delay" : next;
		from = at;
	}
	if (phase !== "ended") close(Math.max(from, until), false);
	return result;
}

/**
 * The bar, its scale, and the sums below it.
 * @param {Job} job
 */
export function timeBar(job) {
	const all = segments(job.history ?? [], now());
	const lived = all.filter(segment => segment.phase !== "ended");
	if (lived.length === 0) return null;
	/** @type {Map<Phase, number>} */
	const sums = new Map();
	for (const { phase, from, to } of lived) sums.set(phase, (sums.get(phase) ?? 0) + to - from);
	const total = [...sums.values()].reduce((sum, ms) => sum + ms, 0);
	const spoken = [...sums].map(([phase, ms]) => `${NAMES[phase]} ${duration(ms)}`);

	const bar = h("div", { class: "time-bar", role: "img", "aria-label": `${spoken.join(", ")} of ${duration(total)}` });
	for (const { phase, from, to, failed } of all) {
		const length = duration(to - from);
		const title = phase === "ended" ? `over for ${length}, then retried` : `${NAMES[phase]} ${length}`;
		const part = h("span", { class: `phase-${phase}${failed ? " phase-failed" : ""}`, title });
		// A pause between an end and a retry can be days: it gets a fixed gap, so that it hides nothing else.
		if (phase !== "ended") part.style.flexGrow = String(Math.max(1, to - from));
		bar.append(part);
	}
	const legend = [...sums].map(([phase, ms]) =>
		h("li", null, h("span", { class: `swatch phase-${phase}`, "aria-hidden": "true" }), `${NAMES[phase]} `, h("b", null, duration(ms))),
	);
	return h("div", null, bar, h("ul", { class: "legend" }, legend, h("li", { class: "total" }, "in all ", h("b", null, duration(total)))));
}

/** @param {HistoryEvent[]} history */
export function eventList(history) {
	const start = Date.parse(history[0]?.at ?? "");
	/** The day that the rows are of, as far as the reader knows: today, until a row says another one. */
	let today = now();
	return h(
		"ol",
		{ class: "events" },
		history.map(event => {
			const at = Date.parse(event.at);
			const date = otherDay(at, today);
			today = at;
			const error = typeof event.error === "string" ? { message: event.error } : event.error;
			return h(
				"li",
				{ class: FAILED.has(event.kind) ? "bad" : event.kind === "done" ? "good" : null },
				h("time", { datetime: event.at, title: exact(event.at) }, date && h("b", null, date), " ", clockTimeMs(at)),
				h("span", { class: "since" }, at > start ? `+${duration(at - start)}` : ""),
				h(
					"div",
					{ class: "what" },
					event.text,
					event.circuit && h("span", { class: "event-mark" }, `circuit ${event.circuit}`),
					error && !event.text.includes(error.message) && h("span", { class: "event-error" }, error.message),
					error?.stack && h("details", null, h("summary", null, "Stack"), h("pre", { class: "well", tabindex: 0 }, error.stack)),
				),
			);
		}),
	);
}
