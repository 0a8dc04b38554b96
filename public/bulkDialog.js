/** Acting on many jobs: what it would do comes first, counted by the server, then the choice of how, then the word to go. */

import { isAbort, messageOf, Problem, startBulkAction, tryBulkAction } from "./api.js";
import { actionsFor, filterFor, VERBS } from "./bulkWords.js";
import { openDialog } from "./dialog.js";
import { draw, h, uniqueId } from "./dom.js";
import { field } from "./field.js";
import { count, plural } from "./format.js";

/** @import { BulkAction, BulkActionKind, BulkMatched, JobFilter, JobStatus } from "./types.js" */

const CANARY = 3;
/** From so many jobs on the canary is chosen beforehand. */
const CANARY_FROM = 10;
const RATES = [1, 5, 20, 100];
/** Tasks and tenants that are named; the rest is counted. */
const NAMED = 5;

/**
 * @param {object} options
 * @param {string | null} options.tenant the scope
 * @param {JobFilter} options.filter
 * @param {string} [options.name]
 * @param {BulkActionKind} [options.action] absent: the reader chooses
 * @param {(started: BulkAction, total: number | null) => void} options.onStarted
 */
export function openBulkDialog({ tenant, filter, name, action: given, onStarted }) {
	const actions = given ? [given] : actionsFor(/** @type {JobStatus[]} */ ([filter.status ?? []].flat()));
	let action = actions[0] ?? "delete";
	/** @type {BulkMatched | null} */
	let found = null;
	let counting = new AbortController();

	const { body, signal, close } = openDialog(given ? VERBS[given] : "Act on all of these");
	const choice = h("div", { class: "choice", role: "radiogroup", "aria-label": "What to do" });
	const summary = h("div", { class: "matched", "aria-live": "polite" });
	const canary = h("input", { type: "checkbox", id: uniqueId() });
	const rate = h(
		"select",
		null,
		h("option", { value: "" }, "as fast as limits allow"),
		RATES.map(value => h("option", { value }, `at most ${value} a second`)),
	);
	const typed = h("input", { autocomplete: "off", inputmode: "numeric" });
	const typedField = field("To go on, type the number of jobs", typed, "What is deleted cannot be brought back.");
	const canaryRow = h(
		"div",
		{ class: "check" },
		canary,
		h("label", { for: canary.id }, `First ${CANARY}, then the others only if those are done`),
	);
	const how = h(
		"div",
		{ class: "how" },
		canaryRow,
		field("How fast", rate, "Limits and fair turns of the tenants hold as always.").element,
	);
	const problem = h("p", { class: "problem", role: "alert" });
	const button = h("button", { type: "submit", class: "primary", disabled: true }, VERBS[action]);
	const form = h(
		"form",
		{ novalidate: true },
		choice,
		summary,
		how,
		typedField.element,
		problem,
		h("div", { class: "dialog-foot" }, button),
	);
	body.append(form);

	const request = () => ({ action, filter: filterFor(filter, action) });

	async function look() {
		counting.abort();
		counting = new AbortController();
		found = null;
		problem.textContent = "";
		show();
		try {
			found = await tryBulkAction(tenant, request(), AbortSignal.any([signal, counting.signal]));
			canary.checked = found.matched.value >= CANARY_FROM;
		} catch (error) {
			if (isAbort(error)) return;
			problem.textContent = messageOf(error);
		}
		show();
	}

	function show() {
		const value = found?.matched.value ?? 0;
		const many = found?.matched.relation === "gte" ? `more than ${plural(value, "job")}` : plural(value, "job");
		draw(summary, found ?? problem.textContent, () => {
			if (!found) return h("p", { class: "nothing" }, problem.textContent ? "" : "Counting…");
			if (value === 0) return h("p", null, "No job to act on is left here.");
			const tenants = Object.keys(found.by_tenant).length;
			return [
				h("p", { class: "sentence" }, `${upper(many)}${tenants > 1 ? ` of ${plural(tenants, "tenant")}` : ""}.`),
				h("div", { class: "two" }, countsOf("By task", found.by_task), countsOf("By tenant", found.by_tenant)),
			];
		});
		const asked = document.activeElement?.closest("form") === form;
		how.hidden = action !== "retry";
		canaryRow.hidden = value <= CANARY;
		typedField.element.hidden = action !== "delete" || value === 0;
		button.disabled = value === 0;
		button.textContent = value === 0 ? VERBS[action] : action === "retry" ? `Run ${many} again` : `${VERBS[action]} ${many}`;
		button.classList.toggle("danger", action === "delete");
		// Enter goes on from here; a reader who is elsewhere in the form stays there.
		if (value > 0 && !asked) (action === "delete" ? typed : value > CANARY && action === "retry" ? canary : button).focus();
	}

	if (actions.length > 1) {
		const group = uniqueId();
		choice.append(
			...actions.map(each => {
				const radio = h("input", { type: "radio", id: uniqueId(), name: group, value: each });
				radio.checked = each === action;
				radio.addEventListener("change", () => {
					action = each;
					typedField.clear();
					void look();
				});
				return h("div", { class: "check" }, radio, h("label", { for: radio.id }, VERBS[each]));
			}),
		);
	} else {
		choice.remove();
	}

	form.addEventListener("input", () => typedField.clear());
	form.addEventListener("submit", async event => {
		event.preventDefault();
		if (!found || button.disabled) return;
		const { value, relation } = found.matched;
		if (action === "delete" && typed.value.replace(/\D/g, "") !== String(value)) {
			typedField.fail(`${count(value)} is the number.`);
			typed.focus();
			return;
		}
		button.disabled = true;
		problem.textContent = "";
		try {
			const started = await startBulkAction(tenant, {
				...request(),
				...(name ? { name } : {}),
				...(relation === "eq" ? { if_matched: value } : {}),
				...(action === "retry" && canary.checked && value > CANARY ? { canary: CANARY } : {}),
				...(action === "retry" && rate.value ? { rate_per_s: Number(rate.value) } : {}),
			});
			close();
			onStarted(started, relation === "eq" ? value : null);
		} catch (error) {
			const changed = error instanceof Problem && error.code === "matched_changed";
			if (changed) await look();
			problem.textContent = changed ? "Another number of jobs matches by now: look again." : messageOf(error);
			show();
		}
	});
	void look();
}

/**
 * @param {string} title
 * @param {Record<string, number>} counts
 */
function countsOf(title, counts) {
	const all = Object.entries(counts).sort(([, a], [, b]) => b - a);
	const rest = all.slice(NAMED);
	return h(
		"div",
		null,
		h("h3", null, title),
		h(
			"ul",
			{ class: "counts" },
			all.slice(0, NAMED).map(([name, jobs]) => h("li", null, h("span", null, name), h("b", null, count(jobs)))),
			rest.length > 0 &&
				h("li", null, h("span", null, `${count(rest.length)} more`), h("b", null, count(rest.reduce((sum, [, jobs]) => sum + jobs, 0)))),
		),
	);
}

/** @param {string} text */
const upper = text => `${text[0]?.toUpperCase() ?? ""}${text.slice(1)}`;
