/** Making a schedule: one form, and then the next five slots, as the server counts them. */

import { createSchedule, getTasks, messageOf, Problem } from "../../api.js";
import { openDialog } from "../../dialog.js";
import { h, uniqueId } from "../../dom.js";
import { field } from "../../field.js";
import { pretty, zonedTime } from "../../format.js";
import { knownTenants, rememberSubmit, tenantForSubmit } from "../../tenants.js";

/** @import { NewSchedule, Schedule, Task } from "../../types.js" */
/** @import { Field } from "../../field.js" */

/**
 * @param {string | null} tenant the scope
 * @param {() => Promise<void>} onCreated
 */
export function openScheduleDialog(tenant, onCreated) {
	const { body, signal, close } = openDialog("New schedule", true);
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
		name: h("input", { ...plain, placeholder: "nightly" }),
		tenant: h("input", { ...plain, value: tenantForSubmit(tenant), list: tenants.id }),
		task: h("select", null),
		cron: h("input", { ...plain, class: "mono", placeholder: "30 2 * * *" }),
		timezone: h("input", { ...plain, value: Intl.DateTimeFormat().resolvedOptions().timeZone, list: zones.id }),
		payload: h("textarea", { ...plain, class: "mono", rows: 5 }),
		missed: h("select", null, h("option", { value: "skip" }, "left out"), h("option", { value: "one" }, "the latest one runs")),
		overlap: h("select", null, h("option", { value: "queue" }, "waits in line"), h("option", { value: "skip" }, "is left out")),
	};
	/** @type {Record<string, Field>} */
	const fields = {
		name: field("Name", controls.name),
		tenant: field("Tenant", controls.tenant),
		task: field("Task", controls.task),
		cron: field("Cron line", controls.cron, "Minute, hour, day, month, weekday; or @daily."),
		timezone: field("Time zone", controls.timezone),
		payload: field("Payload, as JSON", controls.payload),
		missed: field("Slots that nobody was there for", controls.missed),
		overlap: field("A slot while the last job goes on", controls.overlap),
	};
	const problem = h("p", { class: "problem", role: "alert" });
	const button = h("button", { type: "submit", class: "primary" }, "Make the schedule");
	const two = (/** @type {string[]} */ ...names) =>
		h(
			"div",
			{ class: "two" },
			names.map(name => fields[name]?.element),
		);
	const form = h(
		"form",
		{ novalidate: true },
		two("name", "tenant"),
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
	controls.name.focus();

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
			controls.task.replaceChildren(...known.map(({ name }) => h("option", { value: name }, name)));
			showTask();
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
		problem.textContent = messageOf(error);
		if (!(error instanceof Problem)) return;
		for (const { pointer, detail } of error.errors) {
			const [name = "", ...rest] = pointer.split("/").slice(1);
			fields[name]?.fail(rest.length > 0 ? `${[name, ...rest].join(".")} ${detail}` : detail);
		}
		if (error.errors.length === 0) {
			const about = { cron_invalid: "cron", timezone_unknown: "timezone", schedule_exists: "name", unknown_task: "task" }[error.code];
			const target = about ?? (error.code.startsWith("tenant") ? "tenant" : "");
			if (fields[target]) {
				fields[target].fail(error.message);
				problem.textContent = "";
			}
		}
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
			const made = await createSchedule(owner, schedule);
			rememberSubmit(owner);
			void onCreated();
			if (!signal.aborted) showMade(made);
		} catch (error) {
			refuse(error);
		}
		button.disabled = false;
	});

	/** @param {Schedule} made */
	function showMade({ name, timezone, next_five: slots }) {
		const done = h("button", { type: "button", class: "primary", onclick: close }, "Done");
		body.replaceChildren(
			h(
				"p",
				{ class: "sentence", role: "status" },
				`${name} is made. ${slots.length > 0 ? `It runs next, in ${timezone}:` : "It will not run."}`,
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
