/** One job: how it stands, why, where its time went, what went in and came out, and what can be done about it. */

import { actOnJob, deleteJob, getJob, getTasks, isAbort, messageOf, Problem } from "../api.js";
import { copyButton } from "../copy.js";
import { draw, h } from "../dom.js";
import { shortId } from "../format.js";
import { subscribe } from "../live.js";
import { confirmButton } from "../press.js";
import { go, href } from "../router.js";
import { canCancel, canRetry, isFinished } from "../status.js";
import { rememberTenants } from "../tenants.js";
import { toast } from "../toast.js";
import { openCopyDialog } from "./copyDialog.js";
import { commandsOf, factsOf, jsonCard, liveStatus, storyOf, timelineOf } from "./jobCards.js";

/** @import { Job, Page, Route, Task } from "../types.js" */
/** @import { Child } from "../dom.js" */

/** The first look waits so long for the end of a short job; from then on the page follows the queue's version. */
const WAIT_MS = 20_000;

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
	/** How the task of a pending job stands: it may be held, served by nobody, or its circuit open. @type {Task | null} */
	let task = null;

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
		if (job && isFinished(job) && (next.history?.at(-1)?.seq ?? 0) < (job.history?.at(-1)?.seq ?? 0)) return;
		const shown = next;
		job = shown;
		draw(element, "job", () => layout);
		draw(head, [shown.task, shown.status, shown.attempt, shown.max_attempts, shown.cancel_requested_at], () => headOf(shown));
		draw(actions, [shown.status, shown.cancel_requested_at], () => actionsOf(shown));
		drawStory(shown);
		draw(timeline, [shown.history], () => timelineOf(shown));
		draw(payload, shown.payload, () => jsonCard("Payload", shown.payload));
		draw(result, [shown.status, shown.result], () =>
			shown.result === null || shown.result === undefined
				? [h("h2", null, "Result"), h("p", { class: "nothing" }, isFinished(shown) ? "none" : "nothing yet")]
				: jsonCard("Result", shown.result),
		);
		draw(
			facts,
			[shown.tags, shown.key, shown.started_at, shown.completed_at, shown.run_at, shown.worker, shown.status, shown.fingerprint],
			() => factsOf(shown),
		);
		draw(commands, shown.id, () => commandsOf(shown));
		rememberTenants([shown.tenant_id]);
		if (shown.status === "pending") void lookAtTask(shown);
	}

	/** @param {Job} shown */
	function drawStory(shown) {
		const { status, error, reason, progress, run_at, waiting_for, cancel_requested_at } = shown;
		const holds = status === "pending" && task && [task.served_by, task.paused, task.held_until, task.circuits_open, task.circuits];
		draw(story, [status, error, reason, progress, run_at, waiting_for, cancel_requested_at, holds], () => storyOf(shown, task));
	}

	/** @param {Job} shown */
	async function lookAtTask(shown) {
		try {
			const tasks = await getTasks(signal);
			task = tasks.find(({ name }) => name === shown.task) ?? null;
			if (job && element.contains(story)) drawStory(job);
		} catch {
			// Only a reason is missing; the next change asks again.
		}
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
			h("div", { class: "title" }, h("h1", null, shown.task), liveStatus(shown)),
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
			h("button", { type: "button", onclick: () => openCopyDialog(job ?? shown) }, "Edit and run again"),
			isFinished(shown) &&
				confirmButton("Delete", "Delete it?", async () => {
					await deleteJob(shown);
					toast("Deleted, with its history.");
					go(href(["jobs"]));
				}),
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
