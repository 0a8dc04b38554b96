/** One bulk action as it goes: asked for each second until it is over, with Stop always in reach. */

import { getBulkAction, isAbort, Problem, stopBulkAction } from "./api.js";
import { bulkProgressText, bulkState, bulkTitle, isOver } from "./bulkWords.js";
import { draw, h, setText } from "./dom.js";
import { shortId } from "./format.js";
import { pressButton } from "./press.js";
import { href } from "./router.js";

/** @import { BulkAction } from "./types.js" */

const EVERY_MS = 1000;
/** After a question that was not answered. */
const AGAIN_MS = 3000;

/**
 * @param {BulkAction} started
 * @param {object} options
 * @param {number | null} [options.total] how many jobs it is about, where that is known
 * @param {AbortSignal} options.signal ends the asking
 * @param {() => void} [options.onOver]
 */
export function bulkProgress(started, { total = null, signal, onOver }) {
	let action = started;
	const state = h("span", { class: "bulk-state", role: "status" });
	const buttons = h("div", null);
	const bar = h("progress", { "aria-label": "Progress" });
	const text = h("p", { class: "hint" });
	const first = h("p", { class: "hint bulk-first" });
	const element = h(
		"section",
		{ class: "card bulk", "aria-label": "Bulk action" },
		h("header", null, h("div", { class: "bulk-title" }, h("b", null, bulkTitle(action)), " ", state), buttons),
		bar,
		text,
		first,
	);

	function show() {
		const over = isOver(action);
		setText(state, bulkState(action));
		element.classList.toggle("over", over);
		element.classList.toggle("stopped", action.status === "stopped");
		// Without a total the bar only says that something goes on.
		if (over) bar.value = bar.max = 1;
		else if (total === null) bar.removeAttribute("value");
		else {
			bar.max = Math.max(1, total);
			bar.value = action.changed + action.skipped;
		}
		setText(text, bulkProgressText(action, total));
		draw(first, action.canary_jobs, () =>
			action.canary_jobs?.length
				? ["The first ones: ", ...action.canary_jobs.flatMap((id, index) => [index > 0 && ", ", jobLink(id)])]
				: null,
		);
		draw(buttons, over, () =>
			over
				? h("button", { type: "button", class: "quiet", onclick: () => element.remove() }, "Hide")
				: pressButton("Stop", async () => {
						action = await stopBulkAction(action);
						show();
					}),
		);
	}

	/** @param {number} ms */
	const later = ms => {
		const timer = setTimeout(ask, ms);
		signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
	};
	async function ask() {
		try {
			const next = await getBulkAction(action, signal);
			// An answer that was under way while Stop was pressed tells of before.
			if (!isOver(action)) action = next;
			show();
			if (isOver(action)) onOver?.();
			else later(EVERY_MS);
		} catch (error) {
			if (isAbort(error) || signal.aborted) return;
			if (error instanceof Problem && error.status === 404) element.remove();
			else later(AGAIN_MS);
		}
	}
	show();
	if (!isOver(action)) later(EVERY_MS);
	return element;
}

/** @param {string} id */
const jobLink = id => h("a", { class: "mono", href: href(["jobs", id]), title: id }, shortId(id));
