/** The cards of a job's page: each takes the job and gives what stands in its card. What the page says in words is here. */

import { everySecond, now, ticking } from "../clock.js";
import { codeBlock, copyButton } from "../copy.js";
import { curlGet, curlSubmit } from "../curl.js";
import { draw, h } from "../dom.js";
import { clockTime, counting, duration, plural, pretty, shortId, span, words } from "../format.js";
import { href } from "../router.js";
import { describe, isFinished, statusWord, timing } from "../status.js";
import { timeInFull } from "../time.js";
import { eventList, timeBar } from "../timeline.js";

/** @import { Circuit, Job, Submission, Task } from "../types.js" */
/** @import { Child } from "../dom.js" */

/** A larger payload or result is folded. */
const FOLD_CHARS = 20_000;

/** The status and its age, counting while the job lives. @param {Job} job */
export function liveStatus(job) {
	const element = h("span", { class: "badge" });
	return everySecond(element, () => {
		const { kind, word } = describe(job);
		const { waited, ran } = timing(job);
		const age = job.status === "running" ? ran : job.status === "pending" && kind === "waiting" ? waited : null;
		draw(element, [kind, word, age !== null && counting(age)], () => [
			statusWord(kind, word),
			age !== null && h("span", { class: "age" }, counting(age)),
		]);
	});
}

/**
 * @param {Job} job
 * @param {Task | null} [task] how its task stands, where a pending job may wait for that
 */
export function storyOf(job, task = null) {
	const held = job.status === "pending" && task ? heldBy(job, task) : null;
	// What keeps its task waiting says more than that it is in line, but not more than that it is not due.
	const instead = held?.surely && describe(job).kind === "waiting";
	return [
		h("h2", null, job.status === "pending" ? "Why it waits" : "What happened"),
		h("p", { class: "sentence" }, instead ? held?.why : ticking(() => storySentence(job))),
		!instead && held && h("p", null, held.why),
		job.status === "running" && job.progress && h("progress", { max: 100, value: job.progress.percent, "aria-label": "Progress" }),
		job.lost_count > 0 &&
			h(
				"p",
				{ class: "hint" },
				`${job.lost_count === 1 ? "One worker" : `${job.lost_count} workers`} vanished while running it; that is not the task's fault and used up no attempt.`,
			),
		job.status !== "done" && errorOf(job),
	];
}

/**
 * The error of the latest attempt that failed, with its stack.
 * @param {Job} job
 * @param {boolean} [open] shows the stack at once
 */
export function errorOf(job, open = false) {
	const message = job.error?.message ?? job.error_message;
	const attempt = job.error?.attempt;
	const stack = job.error?.stack;
	if (!message) return null;
	return h(
		"div",
		{ class: "error-box" },
		attempt !== undefined && h("p", { class: "hint" }, `Attempt ${attempt} failed:`),
		h("pre", { class: "well", tabindex: 0 }, message),
		stack && h("details", { open }, h("summary", null, "Stack"), h("pre", { class: "well", tabindex: 0 }, stack)),
	);
}

/**
 * Why jobs of its task wait although they are due, in one sentence. Of many open circuits the list of tasks names only the first tenants.
 * @param {Job} job
 * @param {Task} task
 * @returns {{ surely: boolean, why: Child[] } | null}
 */
function heldBy(job, { name, served_by, paused, held_until, circuits_open: open, circuits = [] }) {
	const link = h("a", { href: href(["system", "tasks"]) }, "See the task");
	const held = held_until ? Date.parse(held_until) : 0;
	if (paused) return { surely: true, why: [`${name} is paused: its jobs wait until it goes on. `, link] };
	if (held > now()) {
		const sentence = () => `All jobs of ${name} wait until ${clockTime(held, now())}, ${span(Math.max(0, held - now()))} from now. `;
		return { surely: true, why: [ticking(sentence), link] };
	}
	if (served_by === "nobody") return { surely: true, why: [`No worker serves ${name} now. It starts when one comes. `, link] };
	const circuit = circuits.find(({ tenant_id }) => tenant_id === job.tenant_id);
	if (circuit) {
		const sentence = () => `${job.tenant_id}'s jobs of ${name} wait since they kept failing alike; ${probing(circuit)}. `;
		return { surely: true, why: [ticking(sentence), link] };
	}
	if (open <= circuits.length) return null;
	const whose = `If ${job.tenant_id} is ${open === 1 ? "that one" : "one of them"}, its jobs wait, and one a minute probes. `;
	return { surely: false, why: [`${name} keeps failing alike for ${plural(open, "tenant")}. ${whose}`, link] };
}

/** @param {Circuit} circuit */
export function probing({ probes_at }) {
	const at = probes_at ? Date.parse(probes_at) : 0;
	return at > now() ? `one probes at ${clockTime(at, now())}` : "one probes as soon as it can start";
}

/** @param {Job} job */
function storySentence(job) {
	const { kind, word, text } = describe(job);
	const { ran } = timing(job);
	const whole = job.completed_at ? `, ${duration(Date.parse(job.completed_at) - Date.parse(job.created_at))} after it was submitted` : "";
	const took = ran === null ? "" : ` in ${duration(ran)}`;
	switch (job.status) {
		case "pending":
			if (job.waiting_for && kind === "waiting") return job.waiting_for.text;
			if (kind === "retrying") return `An attempt failed. ${upper(text.split(" · ")[0] ?? "")}.`;
			if (kind === "scheduled") return `Not due yet: it ${text.split(" · ")[0]}.${job.key ? behind(job.key) : ""}`;
			return `${job.retry_count > 0 ? "An attempt failed. In line for the next one: it" : "In line. It"} starts when its tenant, its task and a worker have room.${job.key ? behind(job.key) : ""}`;
		case "running":
			if (word === "cancelling") return "It was asked to stop and has not stopped yet.";
			return job.progress?.message
				? `Running: ${job.progress.message} (${Math.round(job.progress.percent)} %).`
				: `Running${job.worker ? ` on ${job.worker}` : ""}.`;
		case "done":
			return `Done${took}${job.attempt > 1 ? `, at attempt ${job.attempt} of ${job.max_attempts}` : ""}${whole}.`;
		case "failed":
			return "It failed for good: it is not tried again by itself.";
		case "dead_letter":
			return job.reason === "retries_exhausted" || !job.reason
				? `${job.max_attempts === 1 ? "The only attempt" : `All ${job.max_attempts} attempts`} failed. It rests here until someone retries it.`
				: `Given up: ${words(job.reason)}. It rests here until someone retries it.`;
		case "cancelled":
			return job.reason && job.reason !== "requested" ? `Cancelled: ${words(job.reason)}.` : "Cancelled on request.";
	}
}

/** Whether others of its key stand before it, a job does not say. @param {string} key */
const behind = key => ` Jobs of the key ${key} run one after the other.`;

/** @param {string} text */
const upper = text => `${text[0]?.toUpperCase() ?? ""}${text.slice(1)}`;

/** @param {Job} job */
export function timelineOf(job) {
	const bar = h("div", null);
	everySecond(bar, () => draw(bar, isFinished(job) ? "finished" : Date.now(), () => timeBar(job)));
	return [
		h("h2", null, "Timeline"),
		bar,
		job.history && job.history.length > 0 ? eventList(job.history) : h("p", { class: "nothing" }, "no history kept"),
	];
}

/**
 * @param {string} title
 * @param {unknown} value
 */
export function jsonCard(title, value) {
	const text = pretty(value);
	const pre = h("pre", { class: "well", tabindex: 0, "aria-label": title }, text);
	return [
		h(
			"header",
			null,
			h("h2", null, title),
			copyButton(() => text, `the ${title.toLowerCase()}`),
		),
		text.length > FOLD_CHARS ? h("details", null, h("summary", null, `${Math.round(text.length / 1024)} KB, show`), pre) : pre,
	];
}

/** @param {Job} job */
export function factsOf(job) {
	/** @type {[string, Child | Child[]][]} */
	const facts = [
		["Created", timeInFull(job.created_at)],
		["Due", job.status === "pending" && job.run_at ? timeInFull(job.run_at) : null],
		["Start by", job.start_by && timeInFull(job.start_by)],
		["Started", job.started_at && timeInFull(job.started_at)],
		["Finished", job.completed_at && timeInFull(job.completed_at)],
		["Retries", `at most ${job.max_retries}`],
		["Key", job.key && h("span", { class: "mono" }, job.key)],
		["Worker", job.worker],
		["Alike", job.fingerprint && alike(job, job.fingerprint)],
		["Copy of", job.copy_of && h("a", { class: "mono", href: href(["jobs", job.copy_of]), title: job.copy_of }, shortId(job.copy_of))],
		["Webhook", job.webhook_url && h("span", { class: "mono" }, job.webhook_url)],
		[
			"Tags",
			job.tags.length > 0
				? h(
						"span",
						{ class: "tag-list" },
						job.tags.map(tag => h("a", { class: "chip", href: href(["jobs"], { tag }) }, tag)),
					)
				: null,
		],
	];
	return [
		h("h2", null, "Facts"),
		h(
			"dl",
			null,
			facts.filter(([, value]) => value).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))),
		),
	];
}

/**
 * The way to the jobs that failed alike: a group once it was given up, before that whatever has the fingerprint.
 * @param {Job} job
 * @param {string} fingerprint
 */
function alike({ status, task, reason }, fingerprint) {
	const over = status === "failed" || status === "dead_letter";
	const address = over ? href(["dead-letters", fingerprint], { task, reason }) : href(["jobs"], { fingerprint });
	return h("a", { href: address, title: fingerprint }, over ? "its group of dead letters" : "jobs that failed alike");
}

/** @param {Job} job */
export function commandsOf(job) {
	const namedInPayload = /** @type {{ task?: unknown } | null} */ (job.payload)?.task === job.task;
	/** @type {Submission} */
	const same = { ...(namedInPayload ? {} : { task: job.task }), payload: job.payload, max_retries: job.max_retries };
	if (job.timeout_ms !== null) same.timeout_ms = job.timeout_ms;
	if (job.priority !== 0) same.priority = job.priority;
	if (job.key) same.key = job.key;
	if (job.tags.length > 0) same.tags = job.tags;
	return [
		h("h2", null, "As curl"),
		h("p", { class: "hint" }, "Read it"),
		codeBlock(curlGet(job.tenant_id, job.id), "the command that reads this job"),
		h("p", { class: "hint" }, "Submit the same again"),
		codeBlock(curlSubmit(job.tenant_id, same), "the command that submits the same again"),
	];
}
