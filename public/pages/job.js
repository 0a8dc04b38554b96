/** One job: how it stands, why, where its time went, what went in and came out, and what can be done about it. */

import { actOnJob, getJob, isAbort, messageOf, Problem } from "../api.js";
import { everySecond, ticking } from "../clock.js";
import { codeBlock, copyButton } from "../copy.js";
import { curlGet, curlSubmit } from "../curl.js";
import { draw, h } from "../dom.js";
import { counting, duration, exact, pretty, shortId, words } from "../format.js";
import { subscribe } from "../live.js";
import { href } from "../router.js";
import { canCancel, canRetry, describe, isFinished, statusWord, timing } from "../status.js";
import { rememberTenants } from "../tenants.js";
import { timeAgo } from "../time.js";
import { eventList, timeBar } from "../timeline.js";
import { toast } from "../toast.js";

/** @import { Job, Page, Route, Submission } from "../types.js" */
/** @import { Child } from "../dom.js" */

/** The first look waits so long for the end of a short job; from then on the page follows the queue's version. */
const WAIT_MS = 20_000;
/** A larger payload or result is folded. */
const FOLD_CHARS = 20_000;

/**
 * @param {Route} route
 * @returns {Page}
 */
export function jobPage({ path, tenant }) {
	const id = path[1] ?? "";
	const closing = new AbortController();
	const { signal } = closing;
	/** @type {Job | null} */
	let job = null;
	let version = /** @type {number | null} */ (null);
	/** The job could not be read at all; it is asked for again with the next change. */
	let unread = false;

	const element = h("div", { class: "job" });
	const head = h("div", { class: "job-head" });
	const actions = h("div", { class: "actions" });
	const story = h("section", { class: "card story" });
	const timeline = h("section", { class: "card" });
	const payload = h("section", { class: "card" });
	const result = h("section", { class: "card" });
	const facts = h("section", { class: "card" });
	const commands = h("section", { class: "card" });
	const layout = h(
		"div",
		{ class: "ages" },
		h("div", { class: "job-top" }, head, actions),
		h("div", { class: "columns" }, h("div", null, story, timeline), h("div", null, payload, result, facts, commands)),
	);

	/** @param {Job} next */
	function show(next) {
		// Answers may overtake each other: an unfinished job never replaces its own end, unless a retry opened it again.
		if (job && (next.history?.at(-1)?.seq ?? 0) < (job.history?.at(-1)?.seq ?? 0)) return;
		const shown = next;
		job = shown;
		draw(element, "job", () => layout);
		draw(head, [shown.task, shown.status, shown.attempt, shown.max_attempts, shown.cancel_requested_at], () => headOf(shown));
		draw(actions, [shown.status, shown.cancel_requested_at], () => actionsOf(shown));
		draw(story, [shown.status, shown.error, shown.reason, shown.progress, shown.run_at, shown.waiting_for, shown.cancel_requested_at], () =>
			storyOf(shown),
		);
		draw(timeline, [shown.history], () => timelineOf(shown));
		draw(payload, shown.payload, () => jsonCard("Payload", shown.payload));
		draw(result, [shown.status, shown.result], () =>
			shown.result === null || shown.result === undefined
				? [h("h2", null, "Result"), h("p", { class: "nothing" }, isFinished(shown) ? "none" : "nothing yet")]
				: jsonCard("Result", shown.result),
		);
		draw(
			facts,
			[shown.tags, shown.key, shown.started_at, shown.completed_at, shown.run_at, shown.worker, shown.status, shown.retry_count],
			() => factsOf(shown),
		);
		draw(commands, shown.id, () => commandsOf(shown));
		rememberTenants([shown.tenant_id]);
	}

	/** @param {unknown} error */
	function fail(error) {
		if (isAbort(error) || signal.aborted) return;
		const missing = error instanceof Problem && (error.status === 404 || error.status === 410);
		version = -1;
		// Otherwise the shown job stays, and the next change of the queue asks again.
		if (job && !missing) return;
		job = null;
		unread = !missing;
		element.replaceChildren(
			h(
				"div",
				{ class: "notice" },
				h("h1", null, missing ? "No such job here" : "The job cannot be shown"),
				h("p", { class: "mono" }, id),
				h("p", null, missing ? "It may belong to another tenant, or be older than what is kept." : messageOf(error)),
				h(
					"p",
					{ class: "notice-links" },
					missing && tenant !== null && h("a", { class: "button", href: href(["jobs", id], { tenant: null }) }, "Look in all tenants"),
					!missing && h("button", { type: "button", onclick: () => load() }, "Try again"),
					h("a", { class: "button", href: href(["jobs"]) }, "Back to jobs"),
				),
			),
		);
	}

	/** @param {number} [waitMs] */
	const load = waitMs => getJob(tenant, id, { signal, waitMs, history: true }).then(show, fail);

	void load().then(() => {
		if (job && !isFinished(job)) void load(WAIT_MS);
	});
	const end = subscribe(({ connection, queue }) => {
		if (connection !== "live" || !queue || queue.version === version) return;
		const first = version === null;
		version = queue.version;
		if (!first && (job ? !isFinished(job) : unread)) void load();
	});

	/**
	 * @param {Job} shown
	 * @returns {Child[]}
	 */
	function headOf(shown) {
		return [
			h("p", { class: "back" }, h("a", { href: href(["jobs"]) }, "‹ Jobs")),
			h("div", { class: "title" }, h("h1", null, shown.task), everySecondStatus(shown)),
			h(
				"p",
				{ class: "job-id" },
				h("span", { class: "mono" }, shown.id),
				copyButton(() => shown.id, "the job's id"),
			),
			h(
				"p",
				{ class: "under" },
				h("a", { href: href(["jobs"], { tenant: shown.tenant_id }) }, shown.tenant_id),
				h("span", null, `attempt ${Math.max(1, shown.attempt)} of ${shown.max_attempts}`),
				h("span", null, `priority ${shown.priority}`),
				shown.trace_id &&
					h(
						"span",
						null,
						"trace ",
						h("span", { class: "mono", title: shown.trace_id }, shown.trace_id.slice(0, 8)),
						copyButton(() => shown.trace_id ?? "", "the trace id"),
					),
			),
		];
	}

	/** @param {Job} shown */
	function actionsOf(shown) {
		return [
			canRetry(shown) &&
				h(
					"button",
					{ type: "button", class: "primary", onclick: act("retry", "Retried: the same job runs again, its history goes on.") },
					"Retry",
				),
			canCancel(shown) && h("button", { type: "button", onclick: act("cancel", "Cancelled.") }, "Cancel"),
			h("a", { class: "button", href: href(["submit"], { from: shown.id }) }, "Copy & edit"),
		];
	}

	/**
	 * @param {"cancel" | "retry"} verb
	 * @param {string} success
	 */
	const act = (verb, success) => async (/** @type {Event} */ event) => {
		if (!job) return;
		const button = /** @type {HTMLButtonElement} */ (event.currentTarget);
		button.disabled = true;
		try {
			const answer = await actOnJob(job, verb);
			toast(answer.status === "running" ? "Asked to stop. It is cancelled when the task gives way." : success);
			await load();
			if (job && !isFinished(job)) void load(WAIT_MS);
		} catch (error) {
			toast(messageOf(error), { failed: true });
			await load();
		}
		button.disabled = false;
	};

	return {
		title: `Job ${shortId(id)}`,
		element,
		close() {
			closing.abort();
			end();
		},
	};
}

/** The status and its age, counting while the job lives. @param {Job} job */
function everySecondStatus(job) {
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

/** @param {Job} job */
function storyOf(job) {
	const error = job.error?.message ?? job.error_message;
	const attempt = job.error?.attempt;
	return [
		h("h2", null, job.status === "pending" ? "Why it waits" : "What happened"),
		h(
			"p",
			{ class: "sentence" },
			ticking(() => storySentence(job)),
		),
		job.status === "running" && job.progress && h("progress", { max: 100, value: job.progress.percent, "aria-label": "Progress" }),
		job.lost_count > 0 &&
			h(
				"p",
				{ class: "hint" },
				`${job.lost_count === 1 ? "One worker" : `${job.lost_count} workers`} vanished while running it; that is not the task's fault and used up no attempt.`,
			),
		error &&
			job.status !== "done" &&
			h(
				"div",
				{ class: "error-box" },
				attempt !== undefined && h("p", { class: "hint" }, `Attempt ${attempt} failed:`),
				h("pre", { class: "well", tabindex: 0 }, error),
			),
		error &&
			job.status !== "done" &&
			job.error?.stack &&
			h("details", null, h("summary", null, "Stack"), h("pre", { class: "well", tabindex: 0 }, job.error.stack)),
	];
}

/** @param {Job} job */
function storySentence(job) {
	const { kind, word, text } = describe(job);
	const { waited, ran } = timing(job);
	const took = ran === null ? "" : ` in ${duration(ran)}`;
	switch (job.status) {
		case "pending":
			if (job.waiting_for && kind === "waiting") return job.waiting_for.text;
			if (kind === "retrying") return `An attempt failed. ${upper(text.split(" · ")[0] ?? "")}.`;
			if (kind === "scheduled") return `Not due yet: it ${text}.`;
			if (job.retry_count > 0) return `An attempt failed; the next one is due and starts with a free slot.`;
			return job.key
				? `It is in line. Jobs of the key ${job.key} run one after the other.`
				: "It is due and starts with the next tick that has a free slot.";
		case "running":
			if (word === "cancelling") return "It was asked to stop and has not stopped yet.";
			return job.progress?.message
				? `Running: ${job.progress.message} (${Math.round(job.progress.percent)} %).`
				: `Running${job.worker ? ` on ${job.worker}` : ""}.`;
		case "done":
			return `Done${took}${job.attempt > 1 ? `, at attempt ${job.attempt} of ${job.max_attempts}` : ""}${waited === null ? "." : `, after waiting ${duration(waited)}.`}`;
		case "failed":
			return "The task said no, for good: it is not tried again by itself.";
		case "dead_letter":
			return job.reason === "retries_exhausted" || !job.reason
				? `All ${job.max_attempts} attempts failed. It rests here until someone retries it.`
				: `Given up: ${words(job.reason)}. It rests here until someone retries it.`;
		case "cancelled":
			return job.reason && job.reason !== "requested" ? `Cancelled: ${words(job.reason)}.` : "Cancelled on request.";
	}
}

/** @param {string} text */
const upper = text => `${text[0]?.toUpperCase() ?? ""}${text.slice(1)}`;

/** @param {Job} job */
function timelineOf(job) {
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
function jsonCard(title, value) {
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
function factsOf(job) {
	/** @type {[string, Child | Child[]][]} */
	const facts = [
		["Created", timeAgo(job.created_at)],
		["Due", job.status === "pending" && job.run_at ? timeAgo(job.run_at) : null],
		["Start by", job.start_by && exact(job.start_by)],
		["Started", job.started_at && timeAgo(job.started_at)],
		["Finished", job.completed_at && timeAgo(job.completed_at)],
		["Retries", `${job.retry_count} of ${job.max_retries} used`],
		["Key", job.key && h("span", { class: "mono" }, job.key)],
		["Worker", job.worker],
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

/** @param {Job} job */
function commandsOf(job) {
	/** @type {Submission} */
	const same = { task: job.task, payload: job.payload };
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
