/** Bulk actions: the recent ones, those that go on with Stop. */

import { listBulkActions, stopBulkAction } from "../../api.js";
import { bulkProgressText, bulkState, bulkTitle, canaryTrouble, isOver } from "../../bulkWords.js";
import { h } from "../../dom.js";
import { pressButton } from "../../press.js";
import { href } from "../../router.js";
import { rowsTable } from "../../rows.js";
import { statusWord } from "../../status.js";
import { timeAgo } from "../../time.js";

/** @import { BulkAction, Route } from "../../types.js" */
/** @import { Section } from "../system.js" */

const SHOWN = 50;
const EVERY_MS = 1000;

/**
 * @param {Route} route
 * @param {() => Promise<void>} again
 * @returns {Section}
 */
export function bulkActionsSection({ tenant }, again) {
	/** @type {ReturnType<typeof setTimeout> | undefined} */
	let timer;
	const note = h(
		"div",
		{ class: "list-note", hidden: true },
		h("p", null, "No bulk action yet. They begin at a group of dead letters, or at a list of jobs with a filter."),
		h("a", { class: "button", href: href(["dead-letters"]) }, "Dead letters"),
		h("a", { class: "button", href: href(["jobs"], { status: "failed" }) }, "Failed jobs"),
	);
	const table = rowsTable({
		caption: "Bulk actions, the latest first",
		className: "bulk-actions",
		columns: ["What", "Tenant", "State", "Progress", "Started", ""],
		keyOf: (/** @type {BulkAction} */ action) => action.id,
		cells: action => [
			h("span", { class: "group-message" }, bulkTitle(action)),
			action.tenant_id ?? "all tenants",
			statusWord(kindOf(action), bulkState(action)),
			bulkProgressText(action, null),
			timeAgo(action.created_at),
			isOver(action)
				? null
				: pressButton(
						"Stop",
						async () => {
							await stopBulkAction(action);
							await again();
						},
						{ label: `Stop ${bulkTitle(action)}` },
					),
		],
	});
	return {
		element: h("section", { class: "card list" }, h("h2", { class: "list-title" }, "Bulk actions"), table.element, note),
		async load(signal) {
			clearTimeout(timer);
			const actions = await listBulkActions(tenant, SHOWN, signal);
			table.update(actions);
			table.element.hidden = actions.length === 0;
			note.hidden = actions.length > 0;
			if (actions.some(action => !isOver(action))) timer = setTimeout(again, EVERY_MS);
		},
		close() {
			clearTimeout(timer);
		},
	};
}

/** @param {BulkAction} action */
function kindOf(action) {
	if (action.status === "done") return "done";
	if (action.status !== "stopped") return "running";
	return canaryTrouble(action) ? "failed" : "cancelled";
}
