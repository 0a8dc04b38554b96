/** What needs a person, beside the health line: what failed for good, open circuits, tasks without a worker, bulk actions. */

import { getTasks, listBulkActions, listDeadLetterGroups, listJobs, messageOf } from "../api.js";
import { bulkProgressText, bulkState, bulkTitle, canaryTrouble, isOver } from "../bulkWords.js";
import { now, ticking } from "../clock.js";
import { draw, h } from "../dom.js";
import { follow } from "../follow.js";
import { count, plural } from "../format.js";
import { href } from "../router.js";
import { mark } from "../status.js";
import { groupHref, groupMessage } from "./groupTable.js";
import { probing } from "./jobCards.js";

/** @import { BulkAction, DeadLetterGroup, Metrics, Task } from "../types.js" */
/** @import { Child } from "../dom.js" */
/** @import { Kind } from "../status.js" */

/** @typedef {{ kind: Kind, text: Child[], link: HTMLElement }} Need `kind` running: nobody has to act */

/** Not with every change of a busy queue. */
const REST_MS = 10_000;
const EVERY_MS = 60_000;
/** Counting groups looks at each job that failed: above so many the overview does without. */
const GROUPED_MAX = 1000;
const GROUPS_SHOWN = 3;
const ACTIONS_LOOKED_AT = 20;
/** Whether jobs of a task wait is asked for each task without a worker: so many at most. */
const TASKS_ASKED = 3;
/** An action that its first jobs stopped is news for a day. */
const STOPPED_MS = 24 * 3_600_000;

/**
 * @param {string | null} tenant the scope
 * @param {() => void} onChange
 */
export function needsCard(tenant, onChange) {
	/** @type {{ tasks: Task[], unserved: Task[], actions: BulkAction[], groups: DeadLetterGroup[] } | null} */
	let found = null;
	/** @type {Metrics | null} */
	let metrics = null;
	let problem = "";
	const body = h("div", { role: "status" });
	const element = h("section", { class: "card needs" }, h("h2", null, "Needs you"), body);

	/** @returns {Need[]} */
	function others() {
		if (!found) return [];
		const { tasks, unserved, actions } = found;
		return [
			...tasks.flatMap(task => circuitNeed(task, tenant)),
			...unserved.map(unservedNeed),
			...actions.filter(action => now() - Date.parse(action.ended_at ?? action.created_at) < STOPPED_MS).flatMap(actionNeed),
		];
	}

	function show() {
		if (!metrics) return;
		const { dead_letter_queue: dead, failed } = metrics;
		draw(body, [dead, failed, found, problem], () => {
			const needs = others();
			const groups = dead + failed > 0 ? (found?.groups ?? []) : [];
			return [
				dead + failed > 0 &&
					needLine({
						kind: dead > 0 ? "dead_letter" : "failed",
						text: [[dead > 0 && plural(dead, "dead letter"), failed > 0 && plural(failed, "failed job")].filter(Boolean).join(" and ")],
						link: h("a", { href: href(["dead-letters"]) }, "See why"),
					}),
				groups.length > 0 &&
					h(
						"ul",
						{ class: "need-groups" },
						groups.map(group =>
							h(
								"li",
								null,
								h("b", null, count(group.count)),
								h("a", { href: groupHref(group), title: groupMessage(group) }, groupMessage(group)),
								h("span", { class: "hint" }, group.task),
							),
						),
					),
				...needs.map(needLine),
				problem && h("p", { class: "error-text" }, problem),
				found && !problem && dead + failed + needs.length === 0 && h("p", { class: "nothing" }, "Nothing needs you."),
				!found && !problem && h("p", { class: "nothing" }, "Looking…"),
			];
		});
	}

	const live = follow(
		async signal => {
			const [tasks, actions] = await Promise.all([getTasks(signal), listBulkActions(tenant, ACTIONS_LOOKED_AT, signal)]);
			const lonely = metrics && metrics.ready > 0 ? tasks.filter(({ served_by }) => served_by === "nobody").slice(0, TASKS_ASKED) : [];
			const waiting = await Promise.all(lonely.map(({ name }) => listJobs(tenant, { status: "pending", task: name, limit: 1 }, signal)));
			const over = metrics ? metrics.dead_letter_queue + metrics.failed : 0;
			const groups = over > 0 && over <= GROUPED_MAX ? await listDeadLetterGroups(tenant, { limit: GROUPS_SHOWN }, signal) : [];
			found = { tasks, unserved: lonely.filter((_, index) => waiting[index]?.jobs.length), actions, groups };
			problem = "";
			show();
			onChange();
		},
		error => {
			problem = messageOf(error);
			show();
		},
		{ restMs: REST_MS, everyMs: EVERY_MS },
	);

	return {
		element,
		/** @param {Metrics} next */
		update(next) {
			const first = metrics === null;
			metrics = next;
			show();
			// What depends on the counts is asked for with the first of them.
			if (first && found) void live.again();
		},
		/** How many things need a person, beside what failed for good. */
		count: () => others().filter(({ kind }) => kind !== "running").length,
		close: live.end,
	};
}

/** @param {Need} need */
const needLine = ({ kind, text, link }) =>
	h("p", { class: "need" }, h("span", { class: `is-${kind}` }, mark(kind)), h("span", null, ...text), link);

/**
 * @param {Task} task
 * @param {string | null} tenant
 * @returns {Need[]}
 */
function circuitNeed({ name, circuits_open: open, circuits = [] }, tenant) {
	const link = h("a", { href: href(["system", "tasks"]) }, "See the task");
	const one = tenant === null && open === 1 ? circuits[0] : circuits.find(({ tenant_id }) => tenant_id === tenant);
	if (one)
		return [
			{ kind: "failed", text: [`${name} keeps failing alike for ${one.tenant_id}: its jobs wait, `, ticking(() => probing(one))], link },
		];
	if (open === 0 || tenant !== null) return [];
	return [
		{ kind: "failed", text: [`${name} keeps failing alike for ${plural(open, "tenant")}: their jobs wait, one a minute probes`], link },
	];
}

/**
 * @param {Task} task
 * @returns {Need}
 */
const unservedNeed = ({ name }) => ({
	kind: "failed",
	text: [`No worker serves ${name}, and jobs of it wait`],
	link: h("a", { href: href(["jobs"], { status: "pending", task: name }) }, "See them"),
});

/**
 * @param {BulkAction} action
 * @returns {Need[]}
 */
function actionNeed(action) {
	if (isOver(action) && !canaryTrouble(action)) return [];
	const link = h("a", { href: href(["system", "bulk-actions"]) }, "See it");
	const how = isOver(action) ? bulkState(action) : bulkProgressText(action, null).replace(/\.$/, "");
	return [{ kind: isOver(action) ? "failed" : "running", text: [`${bulkTitle(action)} · ${how}`], link }];
}
