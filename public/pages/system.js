/** System: who runs jobs, what they can run, what runs by the clock, and what is done to many jobs at once. */

import { messageOf } from "../api.js";
import { draw, h, setProps } from "../dom.js";
import { follow } from "../follow.js";
import { href } from "../router.js";
import { bulkActionsSection } from "./system/bulkActions.js";
import { schedulesSection } from "./system/schedules.js";
import { tasksSection } from "./system/tasks.js";
import { workersSection } from "./system/workers.js";

/** @import { Page, Route } from "../types.js" */

/**
 * @typedef {object} Section
 * @property {HTMLElement} element
 * @property {(signal: AbortSignal) => Promise<void>} load
 * @property {() => void} [close]
 */

/** @type {{ name: string | undefined, label: string, everyMs?: number, make: (route: Route, again: () => Promise<void>) => Section }[]} */
const SECTIONS = [
	{ name: undefined, label: "Workers", everyMs: 10_000, make: workersSection },
	{ name: "tasks", label: "Tasks", make: tasksSection },
	{ name: "schedules", label: "Schedules", everyMs: 30_000, make: schedulesSection },
	{ name: "bulk-actions", label: "Bulk actions", make: bulkActionsSection },
];

/** @param {string | undefined} name */
export const isSystemSection = name => SECTIONS.some(section => section.name === name);

/**
 * @param {Route} first
 * @returns {Page}
 */
export function systemPage(first) {
	const chosen = SECTIONS.find(section => section.name === first.path[1]) ?? SECTIONS[0];
	if (!chosen) throw new Error("no sections");
	const links = SECTIONS.map(({ name, label }) => ({ name, link: h("a", { class: "chip" }, label) }));
	const problem = h("div", { class: "list-note card", hidden: true });
	const place = h("div", null);
	const element = h(
		"div",
		{ class: "system" },
		h("div", { class: "page-head" }, h("h1", null, "System")),
		h(
			"nav",
			{ "aria-label": "Sections" },
			h(
				"ul",
				{ class: "chips" },
				links.map(({ link }) => h("li", null, link)),
			),
		),
		problem,
		place,
	);

	/** @param {Route} route */
	function open(route) {
		for (const { name, link } of links) {
			link.href = href(name ? ["system", name] : ["system"]);
			setProps(link, { "aria-current": name === chosen?.name ? "true" : null });
		}
		/** @type {() => Promise<void>} */
		let again = async () => {};
		const section = /** @type {typeof SECTIONS[number]} */ (chosen).make(route, () => again());
		place.replaceChildren(section.element);
		const live = follow(
			async signal => {
				await section.load(signal);
				problem.hidden = true;
			},
			error => {
				problem.hidden = false;
				draw(problem, messageOf(error), () => [
					h("p", { class: "error-text" }, messageOf(error)),
					h("button", { type: "button", onclick: () => again() }, "Try again"),
				]);
			},
			{ everyMs: chosen?.everyMs },
		);
		again = live.again;
		return () => {
			live.end();
			section.close?.();
		};
	}

	let close = open(first);
	return {
		title: "System",
		element,
		update(route) {
			close();
			close = open(route);
		},
		close: () => close(),
	};
}
