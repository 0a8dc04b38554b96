/** Submit: one job by hand. What the server refuses is marked at its field, in the server's words. */

import { getJob, listTasks, messageOf, Problem, submitJob } from "../api.js";
import { codeBlock } from "../copy.js";
import { curlSubmit } from "../curl.js";
import { draw, h, uniqueId } from "../dom.js";
import { field } from "../field.js";
import { parseDuration, pretty, span } from "../format.js";
import { go, href } from "../router.js";
import { knownTenants, rememberSubmit, tenantForSubmit } from "../tenants.js";

/** @import { Page, Route, Submission, Task } from "../types.js" */
/** @import { Field } from "../field.js" */

/**
 * @param {Route} route
 * @returns {Page}
 */
export function submitPage(route) {
	let closed = false;
	/** @type {Task[]} */
	let tasks = [];
	/** The example last put into the payload: replaced with the task, while what was typed is kept. */
	let prefilled = "";

	const tenantNames = h(
		"datalist",
		{ id: uniqueId() },
		knownTenants().map(value => h("option", { value })),
	);
	const plain = { autocomplete: "off", spellcheck: "false" };
	const controls = {
		task: h("select", { required: true }),
		tenant: h("input", { ...plain, required: true, value: tenantForSubmit(route.tenant), list: tenantNames.id }),
		payload: h("textarea", { ...plain, class: "mono", rows: 10 }),
		priority: h("input", { type: "number", step: 1, placeholder: "0" }),
		delay: h("input", { ...plain, placeholder: "0" }),
		maxRetries: h("input", { type: "number", step: 1, min: 0 }),
		key: h("input", plain),
		tags: h("input", plain),
		idempotencyKey: h("input", plain),
	};
	const fields = {
		task: field("Task", controls.task),
		tenant: field("Tenant", controls.tenant),
		payload: field("Payload, as JSON", controls.payload),
		priority: field("Priority", controls.priority, "Higher runs sooner; one point weighs as one minute of waiting."),
		delay: field("Delay", controls.delay, "20s, 15m, 2h, 7d, or milliseconds."),
		maxRetries: field("Max retries", controls.maxRetries, "Attempts after the first. Empty: as the task has it."),
		key: field("Key", controls.key, "Jobs of one key run one after the other."),
		tags: field("Tags", controls.tags, "Separated by commas."),
		idempotencyKey: field("Idempotency key", controls.idempotencyKey, "The same key again answers with the same job."),
	};
	/** Where the pointers of a problem document lead. @type {Record<string, Field>} */
	const byPointer = {
		task: fields.task,
		payload: fields.payload,
		priority: fields.priority,
		delay_ms: fields.delay,
		run_at: fields.delay,
		max_retries: fields.maxRetries,
		key: fields.key,
		tags: fields.tags,
		idempotency_key: fields.idempotencyKey,
		tenant_id: fields.tenant,
	};

	const problem = h("p", { class: "problem", role: "alert" });
	const button = h("button", { type: "submit", class: "primary", title: "Ctrl+Enter" }, "Submit");
	const about = h("section", { class: "card about" });
	const command = h("section", { class: "card" });
	const form = h(
		"form",
		{ class: "card submit", novalidate: true },
		h("div", { class: "two" }, fields.task.element, fields.tenant.element),
		tenantNames,
		fields.payload.element,
		h(
			"details",
			null,
			h("summary", null, "More options"),
			h(
				"div",
				{ class: "two" },
				fields.priority.element,
				fields.delay.element,
				fields.maxRetries.element,
				fields.key.element,
				fields.tags.element,
				fields.idempotencyKey.element,
			),
		),
		problem,
		h("div", { class: "submit-foot" }, button),
	);
	const element = h(
		"div",
		null,
		h("div", { class: "page-head" }, h("h1", null, "Submit a job")),
		h("div", { class: "columns" }, h("div", null, form), h("div", null, about, command)),
	);

	/** What the form says, or null when a field cannot be read; then it is marked if `mark` is set. */
	function read(mark = false) {
		let readable = true;
		const refuse = (/** @type {Field} */ target, /** @type {string} */ message) => {
			readable = false;
			if (mark) target.fail(message);
		};
		/** @type {Submission} */
		const submission = { task: controls.task.value, payload: null };
		try {
			submission.payload = JSON.parse(controls.payload.value || "null");
		} catch (error) {
			refuse(fields.payload, `This is not JSON: ${messageOf(error)}`);
		}
		const delay = controls.delay.value.trim() ? parseDuration(controls.delay.value) : 0;
		if (delay === null) refuse(fields.delay, "A time such as 20s, 15m or 2h.");
		else if (delay > 0) submission.delay_ms = delay;
		if (controls.priority.value) submission.priority = Number(controls.priority.value);
		if (controls.maxRetries.value) submission.max_retries = Number(controls.maxRetries.value);
		if (controls.key.value.trim()) submission.key = controls.key.value.trim();
		if (controls.idempotencyKey.value.trim()) submission.idempotency_key = controls.idempotencyKey.value.trim();
		const tags = controls.tags.value
			.split(",")
			.map(tag => tag.trim())
			.filter(Boolean);
		if (tags.length > 0) submission.tags = tags;
		if (!controls.tenant.value.trim()) refuse(fields.tenant, "A job belongs to a tenant: name one.");
		return readable ? submission : null;
	}

	function preview() {
		const submission = read();
		const text = submission && curlSubmit(controls.tenant.value.trim(), submission);
		draw(command, text, () => [
			h("h2", null, "As curl"),
			text ? codeBlock(text, "the command that submits this job") : h("p", { class: "nothing" }, "when the form can be read"),
		]);
	}

	function clear() {
		problem.textContent = "";
		for (const each of Object.values(fields)) each.clear();
	}

	/** @param {unknown} error */
	function refuse(error) {
		let told = false;
		if (error instanceof Problem) {
			if (error.code.startsWith("tenant")) {
				fields.tenant.fail(error.message);
				told = true;
			}
			for (const { pointer, detail } of error.errors) {
				const [name = "", ...rest] = pointer.split("/").slice(1);
				byPointer[name]?.fail(rest.length > 0 ? `${[name, ...rest].join(".")} ${detail}` : detail);
				told ||= name in byPointer;
			}
		}
		// What stands at a field is not said twice.
		problem.textContent = told ? "" : messageOf(error);
		const marked = form.querySelector("[aria-invalid]");
		if (marked instanceof HTMLElement) marked.focus();
	}

	form.addEventListener("input", () => {
		clear();
		preview();
	});
	form.addEventListener("submit", async event => {
		event.preventDefault();
		clear();
		const submission = read(true);
		const tenant = controls.tenant.value.trim();
		if (!submission) {
			form.querySelector("[aria-invalid]")?.scrollIntoView({ block: "center" });
			return;
		}
		button.disabled = true;
		try {
			const job = await submitJob(tenant, submission);
			rememberSubmit(tenant);
			// The new job may lie outside the scope; then the scope gives way.
			if (!closed) go(href(["jobs", job.id], route.tenant === tenant ? {} : { tenant: null }));
		} catch (error) {
			refuse(error);
		}
		button.disabled = false;
	});
	form.addEventListener("keydown", event => {
		if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
	});

	function showTask() {
		const task = tasks.find(({ name }) => name === controls.task.value);
		draw(about, task, () => (task ? aboutTask(task) : []));
		if (task && (controls.payload.value === prefilled || controls.payload.value === "")) {
			prefilled = task.example === undefined ? "{}" : pretty(task.example);
			controls.payload.value = prefilled;
		}
		preview();
	}
	controls.task.addEventListener("change", showTask);

	async function start() {
		const from = route.params.get("from");
		try {
			const [known, source] = await Promise.all([listTasks(), from ? getJob(route.tenant, from) : null]);
			tasks = known;
			const names = tasks.map(({ name }) => name);
			if (source && !names.includes(source.task)) names.push(source.task);
			controls.task.replaceChildren(...names.map(value => h("option", { value }, value)));
			const wanted = route.params.get("task") ?? source?.task;
			if (wanted && names.includes(wanted)) controls.task.value = wanted;
			if (source) {
				controls.tenant.value = source.tenant_id;
				controls.payload.value = pretty(withoutTask(source));
				controls.maxRetries.value = String(source.max_retries);
				controls.priority.value = source.priority === 0 ? "" : String(source.priority);
				controls.key.value = source.key ?? "";
				controls.tags.value = source.tags.join(", ");
			}
			if (names.length === 0) problem.textContent = "This server knows no task yet.";
			showTask();
		} catch (error) {
			problem.textContent = messageOf(error);
			draw(about, "failed", () => [
				h("h2", null, "The tasks could not be read"),
				h("button", { type: "button", onclick: start }, "Try again"),
			]);
		}
	}
	void start();

	return {
		title: "Submit",
		element,
		close() {
			closed = true;
		},
	};
}

/** @param {Task} task */
function aboutTask(task) {
	const { max_retries: retries, base_ms: base, factor, max_ms: most } = task.retry;
	return [
		h("h2", null, task.name),
		task.summary && h("p", { class: "sentence" }, `${task.summary.replace(/\.$/, "")}.`),
		h(
			"p",
			{ class: "hint" },
			`An attempt may take ${span(task.timeout_ms)}. ${retries === 0 ? "It is not retried." : `Up to ${retries === 1 ? "1 retry" : `${retries} retries`}, after at most ${span(base)}, then ${factor} times as long each, never above ${span(most)}.`}`,
		),
		task.input_schema
			? h("details", null, h("summary", null, "Schema of the payload"), h("pre", { class: "well", tabindex: 0 }, pretty(task.input_schema)))
			: h("p", { class: "hint" }, "It takes any payload."),
	];
}

/**
 * The payload as the form sends it: the task stands in its own field there, also where the payload named it.
 * @param {import("../types.js").Job} job
 */
function withoutTask({ task, payload }) {
	const { task: named, ...rest } = /** @type {{ task?: unknown }} */ (Object(payload));
	return named === task ? rest : payload;
}
