/** One row of the jobs list. Its status is rewritten in place, so the row under the pointer never moves. */

import { everySecond } from "../clock.js";
import { draw, h, setText } from "../dom.js";
import { counting, duration, shortId, words } from "../format.js";
import { href } from "../router.js";
import { describe, isFinished, statusWord, timing } from "../status.js";
import { timeAgo } from "../time.js";

/** @import { Job } from "../types.js" */

/** @typedef {ReturnType<typeof jobRow>} Row */

/** @param {Job} first */
export function jobRow(first) {
	let job = first;
	let gone = false;
	const link = h("a", { class: "id", href: href(["jobs", job.id]), title: job.id }, shortId(job.id));
	const status = h("td", { class: "col-status" });
	const times = h("td", { class: "col-times" });
	const element = h(
		"tr",
		null,
		h("td", { class: "col-id" }, link),
		h("td", { class: "col-task", title: job.task }, h("span", { class: "name" }, job.task)),
		h("td", { class: "col-tenant", title: job.tenant_id }, h("span", { class: "name" }, job.tenant_id)),
		status,
		h("td", { class: "col-created" }, timeAgo(job.created_at)),
		times,
	);
	// The whole row is a door, but selecting text in it, or opening a new tab, stays possible.
	element.addEventListener("click", event => {
		if (event.target === link || event.ctrlKey || event.metaKey || event.shiftKey || getSelection()?.isCollapsed === false) return;
		link.click();
	});

	const write = () => {
		const { kind, word, text } = describe(job);
		draw(status, [kind, word, text, job.progress?.percent], () =>
			h(
				"div",
				{ class: "state" },
				statusWord(kind, word),
				job.status === "running" && job.progress && h("progress", { max: 100, value: job.progress.percent, "aria-label": "Progress" }),
				text && h("span", { class: job.status === "done" ? "why mono" : "why", title: text }, text),
			),
		);
		const { waited, ran } = timing(job);
		const show = isFinished(job) ? duration : counting;
		setText(times, `${waited === null ? "–" : (ran === null ? show : duration)(waited)} / ${ran === null ? "–" : show(ran)}`);
	};
	everySecond(element, () => {
		if (!gone && !isFinished(job)) write();
	});
	write();

	return {
		element,
		link,
		id: job.id,
		/** @param {Job} next */
		update(next) {
			job = next;
			gone = false;
			element.classList.remove("gone");
			write();
		},
		/** The job no longer matches the list's filters, but its row stays until the reader refreshes. */
		leave() {
			gone = true;
			element.classList.add("gone");
			draw(status, "gone", () =>
				h("div", { class: "state" }, statusWord("cancelled", "moved on"), h("span", { class: "why" }, `no longer ${words(job.status)}`)),
			);
		},
	};
}
