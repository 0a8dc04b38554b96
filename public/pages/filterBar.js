/** The filters of the jobs list: chips for the status, removable chips for the others, and one field to add them. */

import { draw, h } from "../dom.js";
import { count } from "../format.js";
import { go, href, hrefWith } from "../router.js";
import { FILTERS, mark } from "../status.js";

/** @import { Metrics, Route } from "../types.js" */
/** @import { Kind } from "../status.js" */

const ADDED = /** @type {const} */ (["task", "tag", "reason", "fingerprint"]);
const METRIC = /** @type {const} */ ({
	pending: "pending",
	running: "running",
	done: "done",
	failed: "failed",
	dead_letter: "dead_letter_queue",
	cancelled: "cancelled",
});

export function filterBar() {
	const statuses = h("ul", { class: "chips" });
	const added = h("ul", { class: "chips added", "aria-label": "Filters" });
	const suggestions = h("datalist", { id: "filter-suggestions" });
	const input = h("input", {
		type: "search",
		"aria-label": "Add a filter",
		"aria-keyshortcuts": "/",
		placeholder: "task:echo, tag:signup or a job's id",
		list: suggestions.id,
		autocomplete: "off",
		spellcheck: "false",
	});
	const form = h("form", { class: "filter", role: "search" }, input, h("kbd", { "aria-hidden": "true" }, "/"), suggestions);
	form.addEventListener("submit", event => {
		event.preventDefault();
		const address = addressFor(input.value.trim());
		input.value = "";
		if (address) go(address);
	});
	const element = h(
		"div",
		{ class: "filters" },
		h("nav", { "aria-label": "Status" }, statuses),
		h("div", { class: "filter-row" }, added, form),
	);

	/** The chip of the present status: on a narrow screen it is brought into sight. @type {Element | null} */
	let shown = null;
	return {
		element,
		input,
		/**
		 * @param {Route} route
		 * @param {Metrics | null} metrics
		 */
		update({ params }, metrics) {
			const chosen = params.get("status") ?? "";
			const filtered = ADDED.some(name => params.has(name));
			// The counts are of the whole scope: beside another filter they would be wrong.
			const counts = filtered ? null : metrics;
			draw(statuses, [params.toString(), counts && FILTERS.map(({ status }) => status && counts[METRIC[status]])], () =>
				FILTERS.map(({ status, label }) =>
					h(
						"li",
						null,
						h(
							"a",
							{
								class: "chip",
								href: hrefWith({ status: status || null, cursor: null }),
								"aria-current": chosen === status ? "true" : null,
							},
							status && mark(status === "pending" ? "waiting" : /** @type {Kind} */ (status)),
							label,
							status && counts && h("span", { class: "count" }, count(counts[METRIC[status]])),
						),
					),
				),
			);
			const current = statuses.querySelector("[aria-current]");
			if (current !== shown) current?.scrollIntoView({ block: "nearest", inline: "nearest" });
			shown = current;
			draw(added, params.toString(), () =>
				ADDED.filter(name => params.has(name)).map(name => {
					const value = params.get(name) ?? "";
					return h(
						"li",
						{ class: "chip" },
						h("span", { class: "chip-text" }, `${name}:${value}`),
						h("a", { href: hrefWith({ [name]: null, cursor: null }), "aria-label": `Remove the filter ${name} ${value}` }, "×"),
					);
				}),
			);
		},
		/** @param {Iterable<string>} texts */
		suggest(texts) {
			draw(suggestions, [...texts], () => [...texts].map(value => h("option", { value })));
		},
	};
}

/**
 * Where a typed filter leads: `task:x`, `tag:x`, `fingerprint:x`, `reason:x`, `tenant:x`, a job's id, or a bare word, which is a task.
 * @param {string} text
 */
function addressFor(text) {
	if (text === "") return null;
	if (/^job_\w+$/.test(text)) return href(["jobs", text]);
	const match = /^(task|tag|fingerprint|reason|tenant):(.+)$/s.exec(text);
	return match?.[1] && match[2] ? hrefWith({ [match[1]]: match[2].trim(), cursor: null }) : hrefWith({ task: text, cursor: null });
}
