/** Bulk actions and groups of dead letters in words. Pure. */

import { count, oneLine, plural, words } from "./format.js";
import { FILTERS } from "./status.js";

/** @import { BulkAction, BulkActionKind, DeadLetterGroup, JobFilter, JobStatus } from "./types.js" */

const NAME_CHARS_MAX = 120;

/** @type {Record<BulkActionKind, string>} */
export const VERBS = { retry: "Run again", cancel: "Cancel", delete: "Delete" };

/** What the jobs have become, after their number. @type {Record<BulkActionKind, string>} */
const PAST = { retry: "put back in line", cancel: "cancelled or asked to stop", delete: "deleted" };

/** The statuses that an action changes. @type {Record<BulkActionKind, JobStatus[]>} */
const ACTS_ON = {
	retry: ["failed", "dead_letter", "cancelled"],
	cancel: ["pending", "running"],
	delete: ["done", "failed", "dead_letter", "cancelled"],
};

/**
 * What can be done with jobs of these statuses; without any, everything.
 * @param {JobStatus[]} statuses
 */
export const actionsFor = statuses =>
	/** @type {BulkActionKind[]} */ (["retry", "cancel", "delete"]).filter(
		action => statuses.length === 0 || statuses.some(status => ACTS_ON[action].includes(status)),
	);

/**
 * The filter with those of its statuses that the action acts on. One that has none of them stays as it is, and is refused.
 * @param {JobFilter} filter
 * @param {BulkActionKind} action
 * @returns {JobFilter}
 */
export function filterFor({ status, ...filter }, action) {
	const statuses = [status ?? []].flat();
	const kept = statuses.filter(each => ACTS_ON[action].includes(each));
	return statuses.length === 0 ? filter : { ...filter, status: kept.length === 0 ? statuses : kept };
}

/**
 * Why the jobs of a group were given up.
 * @param {DeadLetterGroup} group
 */
export function reasonWords({ reason }) {
	if (reason === "not_retryable") return "failed for good";
	if (reason === "lease_lost") return "the worker went away three times";
	return words(reason);
}

/** @param {JobFilter} filter */
export function filterWords({ status, task, tag, fingerprint, reason }) {
	const statuses = [status ?? []].flat();
	return [
		statuses.map(each => FILTERS.find(filter => filter.status === each)?.label.toLowerCase() ?? each).join(" and "),
		reason && words(reason),
		task && `task:${task}`,
		tag && `tag:${tag}`,
		fingerprint && `fingerprint:${fingerprint}`,
	]
		.filter(Boolean)
		.join(", ");
}

/**
 * A name that the server takes: one line of whole characters.
 * @param {string} text
 */
export const cleanName = text => oneLine(text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, " "), NAME_CHARS_MAX).toWellFormed();

/** @param {BulkAction} action */
export const bulkTitle = action =>
	`${VERBS[action.action]}: ${action.name ?? (action.filter ? filterWords(action.filter) : plural(action.ids_count ?? 0, "job"))}`;

/** @param {BulkAction} action */
export const isOver = action => action.status === "done" || action.status === "stopped";

/**
 * How it stands, without numbers that move: this is read out.
 * @param {BulkAction} action
 */
export function bulkState(action) {
	if (action.status === "canary") return `waits for the first ${count(action.canary ?? 0)} to end`;
	const why = canaryTrouble(action);
	return why ? `stopped: ${why}` : action.status;
}

/**
 * Why its first jobs stopped it; null where they did not. The server's reason is a code and a sentence: the sentence.
 * @param {BulkAction} action
 */
export function canaryTrouble({ status, reason, canary }) {
	if (status !== "stopped" || canary === null || !reason || reason === "requested") return null;
	return reason.replace(/^[a-z_]+(?:: *|$)/, "").replace(/\.$/, "") || "not all of the first jobs worked";
}

/**
 * What has been done so far.
 * @param {BulkAction} bulk
 * @param {number | null} total
 */
export function bulkProgressText(bulk, total) {
	const { action, changed, skipped, status, canary, rate_per_s } = bulk;
	const all = total === null || total < changed ? "" : ` of ${count(total)}`;
	const parts = [`${count(changed)}${all} ${PAST[action]}`];
	if (skipped > 0) parts.push(`${count(skipped)} left as ${skipped === 1 ? "it was" : "they were"}`);
	if (rate_per_s && status === "running") parts.push(`at most ${count(rate_per_s)} a second`);
	const sentence = `${parts.join(" · ")}.`;
	if (status === "canary") return `${sentence} The others follow if ${canary === 1 ? "it is" : "these are"} done.`;
	return canaryTrouble(bulk) ? `${sentence} The others were left as they were.` : sentence;
}
