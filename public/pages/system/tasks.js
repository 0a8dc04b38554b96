/** Tasks: what can be submitted, who serves it, and which of them wait: paused, held, served by nobody, or behind an open circuit. */

import { getTasks, resetCircuit } from "../../api.js";
import { now, ticking } from "../../clock.js";
import { h } from "../../dom.js";
import { clockTime, count, plural, span } from "../../format.js";
import { pressButton } from "../../press.js";
import { href } from "../../router.js";
import { rowsTable } from "../../rows.js";
import { statusWord } from "../../status.js";
import { toast } from "../../toast.js";
import { probing } from "../jobCards.js";

/** @import { Route, Task } from "../../types.js" */
/** @import { Section } from "../system.js" */

/** Tenants of open circuits that are named. */
const CIRCUITS_NAMED = 5;

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
		caption: "Tasks, those that wait first",
		className: "tasks",
		columns: ["Task", "State", "Served by", "Timeout", "Retries", ""],
		keyOf: (/** @type {Task} */ task) => task.name,
		cells: task => [
			h(
				"div",
				null,
				h("a", { href: href(["jobs"], { task: task.name }) }, task.name),
				task.summary && h("p", { class: "hint" }, task.summary),
			),
			stateOf(task),
			task.served_by,
			span(task.timeout_ms),
			count(task.retry.max_retries),
			task.circuits_open > 0 || task.held_until ? pressButton("Reset", () => reset(task, again), { label: `Reset ${task.name}` }) : null,
		],
	});
	return {
		element: h("section", { class: "card list" }, h("h2", { class: "list-title" }, "Tasks"), table.element, note),
		async load(signal) {
			const tasks = await getTasks(signal);
			table.update([...tasks.filter(waits), ...tasks.filter(task => !waits(task))]);
			table.element.hidden = tasks.length === 0;
			note.hidden = tasks.length > 0;
		},
	};
}

/** @param {Task} task */
const waits = ({ paused, held_until, circuits_open, served_by }) =>
	paused || held_until !== null || circuits_open > 0 || served_by === "nobody";

/** @param {Task} task */
function stateOf(task) {
	if (!waits(task)) return statusWord("done", "ready");
	const { paused, held_until, circuits_open, circuits = [], served_by } = task;
	const held = held_until ? Date.parse(held_until) : 0;
	const more = circuits_open - Math.min(circuits.length, CIRCUITS_NAMED);
	return h(
		"div",
		null,
		paused && h("p", null, statusWord("cancelled", "paused")),
		served_by === "nobody" && h("p", null, statusWord("failed", "no worker")),
		held > 0 &&
			h(
				"p",
				null,
				statusWord(
					"scheduled",
					ticking(() => (held > now() ? `held until ${clockTime(held, now())}, ${span(held - now())} from now` : "no longer held")),
				),
			),
		circuits_open > 0 && h("p", null, statusWord("failed", `circuit open for ${plural(circuits_open, "tenant")}`)),
		circuits.slice(0, CIRCUITS_NAMED).map(circuit =>
			h(
				"p",
				{ class: "hint" },
				`${circuit.tenant_id}: `,
				ticking(() => probing(circuit)),
			),
		),
		circuits.length > 0 && more > 0 && h("p", { class: "hint" }, `and ${count(more)} more`),
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
