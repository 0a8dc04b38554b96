/** The schedules that run next, and the way to all of them. */

import { listSchedules, messageOf } from "../api.js";
import { draw, h } from "../dom.js";
import { follow } from "../follow.js";
import { href } from "../router.js";
import { timeAgo } from "../time.js";

/** @import { Schedule } from "../types.js" */

const SHOWN = 5;
const REST_MS = 10_000;
const EVERY_MS = 60_000;

/** @param {string | null} tenant the scope */
export function nextSchedules(tenant) {
	const all = h("a", { href: href(["system", "schedules"]) }, "All schedules");
	const body = h("div", null, h("p", { class: "nothing" }, "Looking…"));
	const element = h("section", { class: "card" }, h("header", null, h("h2", null, "Schedules"), all), body);

	/** @param {Schedule[]} schedules */
	function show(schedules) {
		const next = schedules
			.filter(({ next_at }) => next_at !== null)
			.sort((a, b) => Date.parse(a.next_at ?? "") - Date.parse(b.next_at ?? ""))
			.slice(0, SHOWN);
		draw(body, [schedules.length, next], () => {
			if (schedules.length === 0) return h("p", { class: "nothing" }, "Nothing runs by the clock yet.");
			if (next.length === 0) return h("p", { class: "nothing" }, "None runs: all are paused.");
			return h(
				"ul",
				{ class: "next" },
				next.map(({ name, tenant_id, task, next_at }) =>
					h(
						"li",
						null,
						timeAgo(next_at ?? ""),
						h("span", null, h("b", null, name), h("span", { class: "hint" }, `${task} · ${tenant_id}`)),
					),
				),
			);
		});
	}

	const live = follow(
		async signal => show((await listSchedules(tenant, null, signal)).schedules),
		error => draw(body, messageOf(error), () => h("p", { class: "error-text" }, messageOf(error))),
		{ restMs: REST_MS, everyMs: EVERY_MS },
	);
	return { element, close: live.end };
}
