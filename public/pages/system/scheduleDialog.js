/** Making or changing a schedule: one form, and then the next five slots, as the server counts them. */

import { changeSchedule, createSchedule, getTasks, messageOf, Problem } from "../../api.js";
import { openDialog } from "../../dialog.js";
import { h, uniqueId } from "../../dom.js";
import { field } from "../../field.js";
import { pretty, zonedTime } from "../../format.js";
import { knownTenants, rememberSubmit, tenantForSubmit } from "../../tenants.js";

/** @import { NewSchedule, Schedule, Task } from "../../types.js" */
/** @import { Field } from "../../field.js" */

/**
 * @param {object} options
 * @param {string | null} options.tenant the scope
 * @param {Schedule} [options.schedule] the one to change, with its whole payload; absent: a new one
 * @param {() => Promise<void>} options.onSaved
 */
export function openScheduleDialog({ tenant, schedule: old, onSaved }) {
	const { body, signal, close } = openDialog(old ? `Edit ${old.name} of ${old.tenant_id}` : "New schedule", true);
	/** @type {Task[]} */
	let tasks = [];
	/** The example last put into the payload: replaced with the task, while what was typed is kept. */
	let prefilled = "";

	const plain = { autocomplete: "off", spellcheck: "false" };
	const tenants = h(
		"datalist",
		{ id: uniqueId() },
		knownTenants().map(value => h("option", { value })),
	);
	const zones = h(
		"datalist",
		{ id: uniqueId() },
		["UTC", ...Intl.supportedValuesOf("timeZone")].map(value => h("option", { value })),
	);
	const controls = {
		name: h("input", { ...plain, placeholder: "nightly", value: old?.name }),
		tenant: h("input", { ...plain, value: old?.tenant_id ?? tenantForSubmit(tenant), list: tenants.id }),
		task: h("select", null, old && h("option", { value: old.task }, old.task)),
		cron: h("input", { ...plain, class: "mono", placeholder: "30 2 * * *", value: old?.cron }),
		timezone: h("input", { ...plain, value: old?.timezone ?? Intl.DateTimeFormat().resolvedOptions().timeZone, list: zones.id }),
		payload: h("textarea", { ...plain, class: "mono", rows: 5 }),
		missed: h(
			"select",
			null,
			h("option", { value: "skip" }, "are left out"),
			h("option", { value: "one" }, "the latest one is made up for"),
		),
		overlap: h(
			"select",
			null,
			h("option", { value: "queue" }, "the next one waits in line"),
			h("option", { value: "skip" }, "the next one is left out"),
		),
	};
	if (old) {
		controls.payload.value = pretty(old.payload);
		controls.missed.value = old.missed;
		controls.overlap.value = old.overlap;
	}
	/** @type {Record<string, Field>} */
	const fields = {
		name: field("Name", controls.name),
		tenant: field("Tenant", controls.tenant),
		task: field("Task", controls.task),
		cron: field("Cron line", controls.cron, "Minute, hour, day, month, weekday; or @daily."),
		timezone: field("Time zone", controls.timezone),
		payload: field("Payload, as JSON", controls.payload),
		missed: field("Missed runs", controls.missed),
		overlap: field("If the previous run is still going", controls.overlap),
	};
	const problem = h("p", { class: "problem", role: "alert" });
	const button = h("button", { type: "submit", class: "primary" }, old ? "Save" : "Make the schedule");
	const two = (/** @type {string[]} */ ...names) =>
		h(
			"div",
			{ class: "two" },
			names.map(name => fields[name]?.element),
		);
	const form = h(
		"form",
		{ novalidate: true },
		!old && two("name", "tenant"),
		two("task", "cron"),
		two("timezone"),
		fields.payload?.element,
		two("missed", "overlap"),
		tenants,
		zones,
		problem,
		h("div", { class: "dialog-foot" }, button),
	);
	body.append(form);
	(old ? controls.cron : controls.name).focus();

	function showTask() {
		const task = tasks.find(({ name }) => name === controls.task.value);
		if (!task || (controls.payload.value !== prefilled && controls.payload.value !== "")) return;
		prefilled = task.example === null || task.example === undefined ? "{}" : pretty(task.example);
		controls.payload.value = prefilled;
	}
	controls.task.addEventListener("change", showTask);
	getTasks(signal).then(
		known => {
			tasks = known;
			const names = new Set(old ? [old.task, ...known.map(({ name }) => name)] : known.map(({ name }) => name));
			controls.task.replaceChildren(...[...names].map(name => h("option", { value: name }, name)));
			if (!old) showTask();
		},
		error => {
			if (!signal.aborted) problem.textContent = messageOf(error);
		},
	);

	function clear() {
		problem.textContent = "";
		for (const each of Object.values(fields)) each.clear();
	}

	/** @param {unknown} error */
	function refuse(error) {
		let told = false;
		if (error instanceof Problem) {
			for (const { pointer, detail } of error.errors) {
				const [name = "", ...rest] = pointer.split("/").slice(1);
				fields[name]?.fail(rest.length > 0 ? `${[name, ...rest].join(".")} ${detail}` : detail);
				told ||= name in fields;
			}
			const about = { cron_invalid: "cron", timezone_unknown: "timezone", schedule_exists: "name", unknown_task: "task" }[error.code];
			const target = about ?? (error.code.startsWith("tenant") ? "tenant" : "");
			if (!told && fields[target]) {
				fields[target].fail(error.message);
				told = true;
			}
		}
		// What stands at a field is not said twice.
		problem.textContent = told ? "" : messageOf(error);
		const marked = form.querySelector("[aria-invalid]");
		if (marked instanceof HTMLElement) marked.focus();
	}

	form.addEventListener("input", clear);
	form.addEventListener("keydown", event => {
		if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
	});
	form.addEventListener("submit", async event => {
		event.preventDefault();
		clear();
		const owner = controls.tenant.value.trim();
		/** @type {NewSchedule} */
		const schedule = { name: controls.name.value.trim(), task: controls.task.value, payload: null, cron: controls.cron.value.trim() };
		if (!schedule.name) fields.name?.fail("A name to find it by, such as nightly.");
		if (!owner) fields.tenant?.fail("A schedule belongs to a tenant: name one.");
		if (!schedule.cron) fields.cron?.fail("When: such as 30 2 * * * for half past two each night.");
		if (controls.timezone.value.trim()) schedule.timezone = controls.timezone.value.trim();
		schedule.missed = controls.missed.value;
		schedule.overlap = controls.overlap.value;
		try {
			schedule.payload = JSON.parse(controls.payload.value || "null");
		} catch (error) {
			fields.payload?.fail(`This is not JSON: ${messageOf(error)}`);
		}
		const marked = form.querySelector("[aria-invalid]");
		if (marked instanceof HTMLElement) {
			marked.focus();
			return;
		}
		button.disabled = true;
		try {
			const { name, ...change } = schedule;
			const saved = old ? await changeSchedule(old, change) : await createSchedule(owner, schedule);
			rememberSubmit(owner);
			void onSaved();
			if (!signal.aborted) showSaved(saved);
		} catch (error) {
			refuse(error);
		}
		button.disabled = false;
	});

	/** @param {Schedule} saved */
	function showSaved({ name, timezone, paused, next_five: slots }) {
		const next = paused ? "It is paused, and runs no sooner than it is resumed." : "It will not run.";
		const done = h("button", { type: "button", class: "primary", onclick: close }, "Done");
		body.replaceChildren(
			h(
				"p",
				{ class: "sentence", role: "status" },
				`${name} is ${old ? "changed" : "made"}. ${slots.length > 0 ? `It runs next, in ${timezone}:` : next}`,
			),
			h(
				"ol",
				{ class: "slots" },
				slots.map(slot => h("li", null, h("time", { datetime: slot }, zonedTime(slot, timezone)))),
			),
			h("div", { class: "dialog-foot" }, done),
		);
		done.focus();
	}
}
