/** Dead letters: what went wrong for good, one row for each kind of trouble, the largest first. */

import { listDeadLetterGroups, messageOf } from "../api.js";
import { openBulkDialog } from "../bulkDialog.js";
import { bulkProgress } from "../bulkProgress.js";
import { draw, h } from "../dom.js";
import { follow } from "../follow.js";
import { count, plural } from "../format.js";
import { subscribe } from "../live.js";
import { href } from "../router.js";
import { rememberTenants } from "../tenants.js";
import { groupTable } from "./groupTable.js";

/** @import { BulkActionKind, DeadLetterGroup, Metrics, Page, Route } from "../types.js" */

const LIMIT = 200;
/** Counting the groups looks at each dead letter: not with every change of a busy queue. */
const REST_MS = 5000;

/**
 * @param {Route} first
 * @returns {Page}
 */
export function deadLettersPage(first) {
	let route = first;
	/** @type {DeadLetterGroup[] | null} */
	let groups = null;
	/** @type {Metrics | null} */
	let metrics = null;

	const table = groupTable();
	const sum = h("p", { class: "hint" });
	const actions = h("div", { class: "head-actions" });
	const progress = h("div", { class: "progress-slot" });
	const note = h("div", { class: "list-note" });
	const card = h("div", { class: "card list" }, table.element, note);
	const element = h(
		"div",
		null,
		h("div", { class: "page-head" }, h("div", null, h("h1", null, "Dead letters"), sum), actions),
		progress,
		card,
	);
	table.element.hidden = true;

	/** @param {string | null} [problem] */
	function show(problem = null) {
		const has = groups !== null && groups.length > 0;
		table.element.hidden = !has;
		note.hidden = has && problem === null;
		sum.textContent = has ? sumOf(groups ?? []) : "\u00a0";
		draw(actions, has, () => (has ? [button("Run all again…", "retry"), button("Delete all…", "delete")] : null));
		draw(note, [problem, groups === null, has, metrics?.done], () => {
			if (problem !== null) {
				return [h("p", { class: "error-text" }, problem), h("button", { type: "button", onclick: () => live.again() }, "Try again")];
			}
			if (groups === null) return h("p", null, "Looking…");
			return [
				h("p", null, h("b", null, "Nothing failed for good."), metrics ? ` ${done(metrics.done)}` : ""),
				h("a", { class: "button", href: href(["jobs"]) }, "See all jobs"),
			];
		});
	}

	/**
	 * @param {string} text
	 * @param {BulkActionKind} action
	 */
	const button = (text, action) =>
		h(
			"button",
			{
				type: "button",
				onclick: () =>
					openBulkDialog({
						tenant: route.tenant,
						action,
						filter: { status: ["failed", "dead_letter"] },
						name: "all that failed for good",
						onStarted: (started, total) => progress.replaceChildren(bulkProgress(started, { total, signal: live.signal })),
					}),
			},
			text,
		);

	const live = follow(
		async signal => {
			groups = await listDeadLetterGroups(route.tenant, { limit: LIMIT }, signal);
			rememberTenants(groups.map(group => group.example_tenant_id));
			// Rows that were emptied stay in their places, greyed, until the page is opened anew.
			table.update(groups);
			show();
		},
		error => show(messageOf(error)),
		{ restMs: REST_MS },
	);
	const end = subscribe(state => {
		metrics = state.metrics;
		if (groups?.length === 0) show();
	});

	return {
		title: "Dead letters",
		element,
		update(changed) {
			route = changed;
			groups = null;
			table.clear();
			progress.replaceChildren();
			show();
			void live.again();
		},
		close() {
			live.end();
			end();
		},
	};
}

/**
 * What the overview counts apart stands here together: both numbers are said.
 * @param {DeadLetterGroup[]} groups
 */
function sumOf(groups) {
	const jobs = (/** @type {boolean} */ failed) =>
		groups.reduce((sum, group) => sum + ((group.reason === "not_retryable") === failed ? group.count : 0), 0);
	const [dead, failed] = [jobs(false), jobs(true)];
	const parts = [dead > 0 && `${plural(dead, "dead letter")} (given up)`, failed > 0 && `${count(failed)} failed (not tried again)`];
	const largest = groups.length === LIMIT ? "the largest " : "";
	return `Failed for good: ${parts.filter(Boolean).join(", ")}, in ${largest}${plural(groups.length, "group")}`;
}

/** @param {number} jobs */
const done = jobs => (jobs === 0 ? "" : `${count(jobs)} ${jobs === 1 ? "job is" : "jobs are"} done.`);
