/** Tasks: what can be submitted, who serves it, and which of them wait: paused, held, or behind an open circuit. */

import { getTasks, resetCircuit } from "../../api.js";
import { now, ticking } from "../../clock.js";
import { h } from "../../dom.js";
import { clockTime, count, plural, span } from "../../format.js";
import { pressButton } from "../../press.js";
import { href } from "../../router.js";
import { rowsTable } from "../../rows.js";
import { statusWord } from "../../status.js";
import { toast } from "../../toast.js";

/** @import { Route, Task } from "../../types.js" */
/** @import { Section } from "../system.js" */

/**
 * @param {Route} _route
 * @param {() => Promise<void>} again
 * @returns {Section}
 */
export function tasksSection(_route, again) {
	const note = h(
		"div",
		{ class: "list-note", hidden: true },
		h("p", null, "This server knows no task yet. One is known as soon as it has a file in "),
		h("code", null, "functions/tasks/"),
		h("p", null, ", or a remote worker asks for its jobs."),
	);
	const table = rowsTable({
		caption: "Tasks, by name",
		className: "tasks",
		columns: ["Task", "Served by", "Timeout", "Retries", "How it stands", ""],
		keyOf: (/** @type {Task} */ task) => task.name,
		cells: task => [
			h(
				"div",
				null,
				h("a", { href: href(["jobs"], { task: task.name }) }, task.name),
				task.summary && h("p", { class: "hint" }, task.summary),
			),
			task.served_by,
			span(task.timeout_ms),
			count(task.retry.max_retries),
			stands(task),
			task.circuits_open > 0 || task.held_until ? pressButton("Reset", () => reset(task, again), { label: `Reset ${task.name}` }) : null,
		],
	});
	return {
		element: h("section", { class: "card list" }, h("h2", { class: "list-title" }, "Tasks"), table.element, note),
		async load(signal) {
			const tasks = await getTasks(signal);
			table.update(tasks);
			table.element.hidden = tasks.length === 0;
			note.hidden = tasks.length > 0;
		},
	};
}

/** @param {Task} task */
function stands({ paused, held_until, circuits_open }) {
	const held = held_until ? Date.parse(held_until) : 0;
	if (circuits_open === 0 && !paused && held === 0) return statusWord("done", "ready");
	return h(
		"div",
		null,
		paused && h("p", null, statusWord("cancelled", "paused")),
		held > 0 &&
			h(
				"p",
				null,
				ticking(() => (held > now() ? `held until ${clockTime(held, now())}, in ${span(held - now())}` : "no longer held")),
			),
		circuits_open > 0 &&
			h(
				"p",
				null,
				statusWord("failed", "circuit open"),
				h("span", { class: "hint" }, ` for ${plural(circuits_open, "tenant")}: one job a minute probes`),
			),
	);
}

/**
 * @param {Task} task
 * @param {() => Promise<void>} again
 */
async function reset(task, again) {
	const { reset } = await resetCircuit(task.name);
	toast(`${task.name} runs again${reset > 0 ? ` for ${plural(reset, "tenant")}` : ""}.`);
	await again();
}
