/** How a job stands, as shape + word + colour + sentence. The one place that decides it, for lists and for the job's own page. */

import { now } from "./clock.js";
import { h, svg } from "./dom.js";
import { counting, oneLine, words } from "./format.js";

/** @import { Job, JobStatus } from "./types.js" */
/** @typedef {"waiting" | "scheduled" | "running" | "done" | "retrying" | "failed" | "dead_letter" | "cancelled"} Kind */

/** The filters of the list, in the order of a job's life. @type {readonly { status: JobStatus | "", label: string }[]} */
export const FILTERS = [
	{ status: "", label: "All" },
	{ status: "pending", label: "Waiting" },
	{ status: "running", label: "Running" },
	{ status: "done", label: "Done" },
	{ status: "failed", label: "Failed" },
	{ status: "dead_letter", label: "Dead letters" },
	{ status: "cancelled", label: "Cancelled" },
];

/** @param {Job} job */
export const isFinished = job => job.status !== "pending" && job.status !== "running";
/** @param {Job} job */
export const canCancel = job => !isFinished(job) && !job.cancel_requested_at;
/** @param {Job} job */
export const canRetry = job => isFinished(job) && job.status !== "done";

/** @type {Record<Kind, string>} */
const PATHS = {
	waiting: "M6 6V1.5A4.5 4.5 0 0 1 10.5 6Z",
	scheduled: "M6 3v3h2.5",
	running: "M6 1.5a4.5 4.5 0 0 1 0 9Z",
	done: "M6 1a5 5 0 1 1 0 10A5 5 0 1 1 6 1Z",
	retrying: "M4.25 2.2v7.6M6 1.5v9M7.75 2.2v7.6",
	failed: "M4.25 4.25l3.5 3.5M7.75 4.25l-3.5 3.5",
	dead_letter: "M6 1l5.5 10H.5Z",
	cancelled: "",
};
/** Shapes without the ring. */
const SOLID = new Set(["done", "dead_letter"]);
/** Shapes drawn as lines inside the ring. */
const LINES = new Set(["scheduled", "retrying", "failed"]);

/**
 * The shape, in the colour of its kind.
 * @param {Kind} kind
 */
export function mark(kind) {
	return svg(
		"svg",
		{ class: `mark is-${kind}`, viewBox: "0 0 12 12", width: 12, height: 12, "aria-hidden": "true" },
		!SOLID.has(kind) && svg("circle", { cx: 6, cy: 6, r: 4.75, fill: "none", stroke: "currentColor", "stroke-width": 1.5 }),
		PATHS[kind] !== "" &&
			svg(
				"path",
				LINES.has(kind)
					? { d: PATHS[kind], fill: "none", stroke: "currentColor", "stroke-width": 1.25 }
					: { d: PATHS[kind], fill: "currentColor" },
			),
	);
}

/**
 * @param {Kind} kind
 * @param {string | HTMLElement} word
 */
export const statusWord = (kind, word) => h("span", { class: `status is-${kind}` }, mark(kind), word);

/**
 * @param {Job} job
 * @returns {{ kind: Kind, word: string, text: string }} the text may count seconds, so it is asked for again while the job lives
 */
export function describe(job) {
	switch (job.status) {
		case "pending":
			return describePending(job);
		case "running":
			return describeRunning(job);
		case "done":
			return {
				kind: "done",
				word: "done",
				text: job.result === undefined || job.result === null ? "" : oneLine(JSON.stringify(job.result), 160),
			};
		case "failed":
			return { kind: "failed", word: "failed", text: oneLine(job.error_message ?? "", 160) };
		case "dead_letter":
			return { kind: "dead_letter", word: "dead letter", text: sentence(job.reason && words(job.reason), job.error_message) };
		case "cancelled":
			return { kind: "cancelled", word: "cancelled", text: job.reason ? words(job.reason) : "" };
	}
}

/**
 * @param {Job} job
 * @returns {{ kind: Kind, word: string, text: string }}
 */
function describePending(job) {
	const wait = job.run_at ? Date.parse(job.run_at) - now() : 0;
	const failedBefore = job.retry_count > 0;
	if (wait > 0 && failedBefore)
		return { kind: "retrying", word: "retrying", text: sentence(`next try in ${counting(wait + 999)}`, job.error_message) };
	if (wait > 0) {
		// It may also stand behind another job of its key: then it starts later.
		const starts = `starts in ${counting(wait + 999)}`;
		return { kind: "scheduled", word: "scheduled", text: job.key ? sentence(`${starts} at the earliest`, keyOf(job.key)) : starts };
	}
	if (job.waiting_for) return { kind: "waiting", word: "waiting", text: oneLine(job.waiting_for.text, 160) };
	if (failedBefore)
		return {
			kind: "waiting",
			word: "waiting",
			text: sentence(`for attempt ${job.retry_count + 1} of ${job.max_attempts}`, job.error_message),
		};
	return { kind: "waiting", word: "waiting", text: job.key ? keyOf(job.key) : "" };
}

/** @param {string} key */
const keyOf = key => `key ${oneLine(key, 40)}, one at a time`;

/**
 * @param {Job} job
 * @returns {{ kind: Kind, word: string, text: string }}
 */
function describeRunning(job) {
	if (job.cancel_requested_at) return { kind: "running", word: "cancelling", text: "asked to stop, not stopped yet" };
	const attempt = job.attempt > 1 ? `attempt ${job.attempt} of ${job.max_attempts}` : null;
	const progress = job.progress && `${Math.round(job.progress.percent)} %${job.progress.message ? ` ${job.progress.message}` : ""}`;
	return { kind: "running", word: "running", text: sentence(progress, attempt) };
}

/** @param {...(string | null)} parts */
const sentence = (...parts) => oneLine(parts.filter(Boolean).join(" · "), 160);

/**
 * How long a job has waited and run so far, in milliseconds; null where it has not.
 * @param {Job} job
 */
export function timing(job) {
	const waited = job.timing?.waited_ms ?? null;
	const ran = job.timing?.ran_ms ?? null;
	if (job.status === "running" && job.started_at) return { waited, ran: Math.max(0, now() - Date.parse(job.started_at)) };
	if (job.status !== "pending" || job.retry_count > 0) return { waited, ran };
	const due = Math.max(Date.parse(job.created_at), job.run_at ? Date.parse(job.run_at) : 0);
	return { waited: due > now() ? null : now() - due, ran: null };
}
