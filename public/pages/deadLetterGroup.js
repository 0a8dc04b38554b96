/** One group of dead letters: the error of its example, its jobs, and running all of them again, or deleting them. */

import { getJob, listBulkActions, listDeadLetterGroups, listJobs, messageOf, Problem } from "../api.js";
import { openBulkDialog } from "../bulkDialog.js";
import { bulkProgress } from "../bulkProgress.js";
import { cleanName, isOver, reasonWords } from "../bulkWords.js";
import { draw, h } from "../dom.js";
import { follow } from "../follow.js";
import { count, plural, shortId } from "../format.js";
import { href } from "../router.js";
import { timeAgo } from "../time.js";
import { groupMessage, groupTable } from "./groupTable.js";
import { errorOf } from "./jobCards.js";
import { jobRow } from "./jobRow.js";

/** @import { BulkActionKind, DeadLetterGroup, Job, JobFilter, Page, Route } from "../types.js" */
/** @import { Row } from "./jobRow.js" */

const JOBS_SHOWN = 20;
/** Bulk actions that are looked through for one that goes on with this group. */
const ACTIONS_LOOKED_AT = 20;

/**
 * @param {Route} route
 * @returns {Page}
 */
export function deadLetterGroupPage({ path, params, tenant }) {
	const fingerprint = path[1] ?? "";
	const asked = { fingerprint, task: params.get("task"), reason: params.get("reason") };
	/** @type {DeadLetterGroup | null} */
	let group = null;
	/** @type {Map<string, Row>} */
	const rows = new Map();

	const head = h("div", { class: "job-head" });
	const actions = h("div", { class: "actions" });
	const progress = h("div", { class: "progress-slot" });
	const example = h("section", { class: "card" });
	const jobsFoot = h("p", { class: "list-foot" });
	const body = h("tbody", null);
	const jobs = h(
		"section",
		{ class: "card list" },
		h("h2", { class: "list-title" }, "Its jobs"),
		h(
			"table",
			{ class: "jobs ages" },
			h("caption", { class: "offscreen" }, "Jobs of this group, newest first"),
			h(
				"thead",
				null,
				h(
					"tr",
					null,
					["Job", "Task", "Tenant", "Status", "Created", "Waited / ran"].map(name => h("th", { scope: "col" }, name)),
				),
			),
			body,
		),
		jobsFoot,
	);
	const several = groupTable();
	const content = h("div", null);
	const element = h("div", { class: "job" }, h("div", { class: "job-top" }, head, actions), progress, content);

	/** Status is said too: the fingerprint of a job that runs again is another's past. @returns {JobFilter} */
	const filter = () => ({
		status: group?.reason === "not_retryable" ? "failed" : "dead_letter",
		fingerprint,
		task: group?.task ?? "",
		reason: group?.reason ?? "",
	});

	/** @param {Job | null} shown */
	function show(shown) {
		if (!group) return;
		const now = group;
		draw(head, now, () => [
			back(),
			h("div", { class: "title" }, h("h1", { class: "group-title" }, groupMessage(now))),
			h(
				"p",
				{ class: "under" },
				h("b", null, now.task),
				h("span", null, reasonWords(now)),
				h("span", null, `${plural(now.count, "job")} of ${plural(now.tenants, "tenant")}`),
				h("span", null, "first ", timeAgo(now.first_seen_at), ", last ", timeAgo(now.last_seen_at)),
			),
		]);
		draw(actions, now.count > 0, () => [button("Run again…", "retry", "primary"), button("Delete…", "delete")]);
		draw(content, "group", () => [example, jobs]);
		draw(example, [now.example_job_id, shown?.error], () => [
			h(
				"header",
				null,
				h("h2", null, "The latest of them"),
				h("a", { class: "mono", href: href(["jobs", now.example_job_id]), title: now.example_job_id }, shortId(now.example_job_id)),
			),
			shown ? errorOf(shown, true) : h("p", { class: "nothing" }, "it is gone by now"),
		]);
	}

	/** @param {Job[]} list */
	function showJobs(list) {
		const fresh = new Set(list.map(job => job.id));
		for (const [id, row] of rows) if (!fresh.has(id)) row.leave();
		// Nothing is pushed down under the pointer: what is new waits until it has left.
		const still = rows.size > 0 && body.matches(":hover");
		list.forEach((job, index) => {
			const known = rows.get(job.id);
			if (known) known.update(job);
			else if (!still) {
				const row = jobRow(job);
				rows.set(job.id, row);
				body.insertBefore(row.element, body.children[index] ?? null);
			}
		});
		const { status, task, reason } = filter();
		const address = href(["jobs"], { status: String(status), fingerprint, task, reason });
		draw(jobsFoot, [group?.count, list.length, address], () => [
			h("span", { class: "shown" }, `${plural(list.length, "job")} of ${count(group?.count ?? list.length)}, newest first`),
			h("a", { class: "button", href: address }, "In the jobs list"),
		]);
	}

	/** Nobody is left, or nobody ever was. */
	function showEmpty() {
		const was = group !== null;
		group = null;
		draw(head, "empty", () => [back(), h("h1", null, was ? "Nothing is left of this group" : "No such group here")]);
		draw(actions, "empty", () => null);
		draw(content, was, () =>
			h(
				"div",
				{ class: "notice" },
				h("p", { class: "mono" }, fingerprint),
				h(
					"p",
					null,
					was
						? "Its jobs run again, or were deleted. Should they fail alike once more, the group is back."
						: "Its jobs may have been run again or deleted, or belong to another tenant.",
				),
				h(
					"p",
					{ class: "notice-links" },
					was &&
						asked.task !== null &&
						h("a", { class: "button", href: href(["jobs"], { task: asked.task }) }, `See the jobs of ${asked.task}`),
					!was &&
						tenant !== null &&
						h("a", { class: "button", href: href(path, { task: asked.task, reason: asked.reason, tenant: null }) }, "Look in all tenants"),
					h("a", { class: "button", href: href(["dead-letters"]) }, "All dead letters"),
				),
			),
		);
		rows.clear();
		body.replaceChildren();
	}

	/** @param {DeadLetterGroup[]} groups */
	function showSeveral(groups) {
		draw(head, "several", () => [back(), h("h1", null, "Several groups have this fingerprint")]);
		draw(content, "several", () => h("div", { class: "card list" }, several.element));
		several.update(groups);
	}

	/** @param {unknown} error */
	function fail(error) {
		// What is shown stays; the next change of the queue asks again.
		if (group) return;
		draw(head, "failed", () => [back(), h("h1", null, "The group cannot be shown")]);
		draw(content, messageOf(error), () =>
			h(
				"div",
				{ class: "notice" },
				h("p", { class: "error-text" }, messageOf(error)),
				h("p", { class: "notice-links" }, h("button", { type: "button", onclick: () => live.again() }, "Try again")),
			),
		);
	}

	/**
	 * @param {string} text
	 * @param {BulkActionKind} action
	 * @param {string} [className]
	 */
	const button = (text, action, className) =>
		h(
			"button",
			{
				type: "button",
				class: className,
				onclick: () =>
					openBulkDialog({
						tenant,
						action,
						filter: filter(),
						name: group ? cleanName(`${group.task}, ${groupMessage(group)}`) : undefined,
						onStarted: (started, total) => showProgress(bulkProgress(started, { total, signal: live.signal, onOver: live.again })),
					}),
			},
			text,
		);

	/** @param {HTMLElement} card */
	function showProgress(card) {
		progress.replaceChildren(card);
	}

	const live = follow(async signal => {
		const groups = await listDeadLetterGroups(tenant, asked, signal);
		if (groups.length > 1) return showSeveral(groups);
		const [found] = groups;
		if (!found) return showEmpty();
		const same = group?.example_job_id === found.example_job_id;
		group = found;
		asked.task = found.task;
		asked.reason = found.reason;
		const [shown, list] = await Promise.all([
			getJob(tenant, found.example_job_id, { signal }).catch(missing),
			listJobs(tenant, { ...filter(), status: String(filter().status), limit: JOBS_SHOWN }, signal),
		]);
		if (!same || shown) show(shown);
		showJobs(list.jobs);
	}, fail);

	// An action on this group that was started before, here or elsewhere, is shown as it goes on.
	listBulkActions(tenant, ACTIONS_LOOKED_AT, live.signal).then(
		list => {
			const going = list.find(action => action.filter?.fingerprint === fingerprint && !isOver(action));
			if (going && progress.childElementCount === 0) showProgress(bulkProgress(going, { signal: live.signal, onOver: live.again }));
		},
		() => {},
	);

	return { title: "Dead letters", element, close: live.end };
}

const back = () => h("p", { class: "back" }, h("a", { href: href(["dead-letters"]) }, "‹ Dead letters"));

/** @param {unknown} error */
function missing(error) {
	if (error instanceof Problem && error.status === 404) return null;
	throw error;
}
