/** Workers: the pool of the server that answers, and everybody who runs jobs or did in the last week. */

import { listWorkers } from "../../api.js";
import { now } from "../../clock.js";
import { codeBlock } from "../../copy.js";
import { draw, h } from "../../dom.js";
import { count, plural } from "../../format.js";
import { subscribe } from "../../live.js";
import { rowsTable } from "../../rows.js";
import { statusWord } from "../../status.js";
import { timeAgo } from "../../time.js";

/** @import { Pool, Worker } from "../../types.js" */
/** @import { Section } from "../system.js" */

const CHANGES_SHOWN = 8;
/** For servers that do not say who is gone. */
const GONE_MS = 75_000;

/** @returns {Section} */
export function workersSection() {
	const pool = h("section", { class: "card" });
	const note = h("div", { class: "list-note", hidden: true });
	/** @type {ReturnType<typeof rowsTable<{ worker: Worker, live: boolean }>>} */
	const table = rowsTable({
		caption: "Workers",
		className: "workers",
		columns: ["Name", "State", "Kind", "Tasks", "Running", "Last seen", "Version"],
		keyOf: ({ worker }) => worker.name,
		cells: ({ worker, live }) => [
			h("span", { class: "mono" }, worker.name),
			live ? statusWord("done", "live") : statusWord("cancelled", "gone"),
			worker.kind === "remote" ? "remote" : "process",
			tasksOf(worker),
			count(worker.running),
			timeAgo(worker.last_seen_at),
			worker.version && h("span", { class: "mono" }, worker.version),
		],
		isFaint: ({ live }) => !live,
	});
	const element = h(
		"div",
		null,
		pool,
		h("section", { class: "card list" }, h("h2", { class: "list-title" }, "Seen in the last week"), table.element, note),
	);
	table.element.hidden = true;

	const end = subscribe(({ queue }) => {
		if (queue) draw(pool, queue.workers, () => poolOf(queue.workers));
	});
	return {
		element,
		async load(signal) {
			const workers = await listWorkers(signal);
			const seen = workers.map(worker => ({ worker, live: isLive(worker) }));
			table.update([...seen.filter(({ live }) => live), ...seen.filter(({ live }) => !live)]);
			table.element.hidden = workers.length === 0;
			note.hidden = workers.length > 0;
			draw(note, "empty", () => [
				h("p", null, "Nobody has run a job in the last week. Any language that speaks HTTP can:"),
				codeBlock(
					`curl -X POST ${location.origin}/api/leases \\\n  -H 'Content-Type: application/json' \\\n  -d '{"worker":"first","tasks":["echo"],"wait_ms":20000}'`,
					"the command that takes a job as a remote worker",
				),
			]);
		},
		close: end,
	};
}

/** @param {Pool | null} pool */
function poolOf(pool) {
	const head = h("h2", null, "This server's pool");
	if (!pool || pool.size === 0) return [head, h("p", null, "This server only answers; it runs no jobs.")];
	const { running, min, max, desired, reason, busy, size } = pool;
	if (running === undefined) return [head, h("p", null, `${count(busy)} of ${plural(size, "slot")} busy.`)];
	const range = min === max ? "" : ` of ${count(min)}–${count(max)}`;
	const changes = (pool.scaled ?? []).slice(-CHANGES_SHOWN).reverse();
	return [
		head,
		h(
			"p",
			{ class: "sentence" },
			`${count(running)}${range} ${running === 1 && !range ? "worker" : "workers"}, ${count(busy)} of ${plural(size, "slot")} busy.`,
		),
		h("p", { class: "hint" }, `The whole queue could use ${count(desired)}${reason ? `: ${reason}` : ""}.`),
		changes.length > 0 &&
			h(
				"ol",
				{ class: "changes", "aria-label": "Latest changes" },
				changes.map(({ at, from, to, reason }) =>
					h("li", null, timeAgo(at), h("b", null, `${count(from)} → ${count(to)}`), h("span", { class: "reason" }, reason)),
				),
			),
	];
}

/** @param {Worker} worker */
const isLive = ({ status, last_seen_at }) => (status ? status === "live" : now() - Date.parse(last_seen_at) < GONE_MS);

const TASKS_NAMED = 6;
/** @param {Worker} worker */
function tasksOf({ tasks }) {
	const rest = tasks.length - TASKS_NAMED;
	return h("span", { title: tasks.join(", ") }, `${tasks.slice(0, TASKS_NAMED).join(", ")}${rest > 0 ? ` and ${count(rest)} more` : ""}`);
}
