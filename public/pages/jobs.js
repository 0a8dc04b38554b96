/** Jobs: which ones, and what are they waiting for? A list that stands still; what is newer is announced and waits. */

import { isAbort, listJobs, listTasks, messageOf, Problem } from "../api.js";
import { openBulkDialog } from "../bulkDialog.js";
import { bulkProgress } from "../bulkProgress.js";
import { draw, h } from "../dom.js";
import { plural } from "../format.js";
import { subscribe } from "../live.js";
import { href, hrefWith } from "../router.js";
import { FILTERS } from "../status.js";
import { rememberTenants } from "../tenants.js";
import { filterBar } from "./filterBar.js";
import { jobRow } from "./jobRow.js";

/** @import { Job, JobFilter, JobList, JobStatus, Metrics, Page, Route } from "../types.js" */
/** @import { Row } from "./jobRow.js" */

const PAGE_SIZE = 50;
/** What the API gives at most in one answer. */
const LIMIT_MAX = 200;

/** The last list looked at and the row it was left by, so that "back" is instant and finds its place. */
let left = { address: "", jobs: /** @type {Job[]} */ ([]), next: /** @type {string | null} */ (null), id: "", scroll: 0 };

/**
 * @param {Route} first
 * @returns {Page}
 */
export function jobsPage(first) {
	let route = first;
	/** @type {Row[]} */
	let rows = [];
	/** @type {Job[]} */
	let jobs = [];
	/** The cursor of the next page, and the address that the rows belong to. */
	let next = /** @type {string | null} */ (null);
	let shownFor = /** @type {string | null} */ (null);
	/** How many newer rows wait to be shown. */
	let added = 0;
	let version = /** @type {number | null} */ (null);
	/** @type {Metrics | null} */
	let metrics = null;
	let request = new AbortController();

	const filters = filterBar();
	const body = h("tbody", null);
	const table = h(
		"table",
		{ class: "jobs ages" },
		h("caption", { class: "offscreen" }, "Jobs, newest first"),
		h(
			"thead",
			null,
			h(
				"tr",
				null,
				["Job", "Task", "Tenant", "Status", "Created", "Waited / ran"].map(name => h("th", { scope: "col" }, name)),
			),
		),
		body,
	);
	const newer = h("button", { type: "button", class: "newer", hidden: true, onclick: () => load() });
	const note = h("div", { class: "list-note", hidden: true });
	const foot = h("nav", { class: "list-foot", "aria-label": "Pages of the list" });
	const all = h("button", { type: "button", hidden: true, onclick: actOnAll }, "Act on all of these…");
	const progress = h("div", { class: "progress-slot" });
	const closing = new AbortController();
	const element = h(
		"div",
		null,
		h(
			"div",
			{ class: "page-head" },
			h("h1", null, "Jobs"),
			h("div", { class: "head-actions" }, all, h("a", { class: "button primary", href: href(["submit"]) }, "Submit a job")),
		),
		progress,
		filters.element,
		h("div", { class: "newer-slot" }, newer),
		h("div", { class: "card list" }, table, note, foot),
	);

	const address = () => route.params.toString();
	const query = (limit = PAGE_SIZE) => ({
		status: route.params.get("status"),
		task: route.params.get("task"),
		tag: route.params.get("tag"),
		reason: route.params.get("reason"),
		fingerprint: route.params.get("fingerprint"),
		cursor: route.params.get("cursor"),
		limit,
	});

	/** The filter of the address, as a bulk action has it. @returns {JobFilter} */
	function filter() {
		const { status, task, tag, reason, fingerprint } = query();
		return {
			...(status ? { status: /** @type {JobStatus[]} */ (status.split(",")) } : {}),
			...(task ? { task } : {}),
			...(tag ? { tag } : {}),
			...(reason ? { reason } : {}),
			...(fingerprint ? { fingerprint } : {}),
		};
	}

	function actOnAll() {
		openBulkDialog({
			tenant: route.tenant,
			filter: filter(),
			onStarted: (started, total) => progress.replaceChildren(bulkProgress(started, { total, signal: closing.signal })),
		});
	}

	/** @param {JobList} answer */
	function show(answer) {
		jobs = answer.jobs;
		next = answer.next_cursor;
		shownFor = address();
		added = 0;
		rows = jobs.map(jobRow);
		body.replaceChildren(...rows.map(row => row.element));
		table.hidden = jobs.length === 0;
		// Without a filter it would be about everything, which the server refuses.
		all.hidden = jobs.length === 0 || Object.keys(filter()).length === 0;
		newer.hidden = true;
		showNote(jobs.length === 0 ? emptyNote() : null);
		foot.hidden = jobs.length === 0 && !route.params.has("cursor");
		draw(foot, [jobs.length, answer.next_cursor, route.params.toString()], () => [
			h(
				"span",
				{ class: "keys", "aria-hidden": "true" },
				h("kbd", null, "j"),
				h("kbd", null, "k"),
				h("span", null, "move"),
				h("kbd", null, "Enter"),
				h("span", null, "open"),
				h("kbd", null, "/"),
				h("span", null, "filter"),
			),
			h("span", { class: "shown" }, `${plural(jobs.length, "job")}, newest first`),
			route.params.has("cursor") && h("a", { class: "button", href: hrefWith({ cursor: null }) }, "Newest"),
			answer.next_cursor && h("a", { class: "button", href: hrefWith({ cursor: answer.next_cursor }) }, "Older"),
		]);
		learn(jobs);
	}

	/** A sentence in place of rows, or above old rows. @param {(string | Node)[] | null} content */
	function showNote(content) {
		note.hidden = content === null;
		note.replaceChildren(...(content ?? []));
	}

	function emptyNote() {
		const { status, task, tag, reason, fingerprint } = query();
		const what = [
			task && `task:${task}`,
			tag && `tag:${tag}`,
			reason && `reason:${reason}`,
			fingerprint && `fingerprint:${fingerprint}`,
			route.tenant && `tenant:${route.tenant}`,
		]
			.filter(Boolean)
			.join(", ");
		const word = FILTERS.find(filter => filter.status === status)?.label.toLowerCase();
		if (status === "dead_letter" && what === (route.tenant ? `tenant:${route.tenant}` : "")) {
			return [
				h("p", null, `No dead letters.${metrics ? ` ${plural(metrics.done, "job")} ${metrics.done === 1 ? "is" : "are"} done.` : ""}`),
			];
		}
		const sentence = `No ${status ? `${word === "dead letters" ? "dead" : word} ` : ""}job${what ? ` matches ${what}` : " here"}.`;
		return [
			h("p", null, sentence),
			status || what ? clearFilters() : h("a", { class: "button", href: href(["submit"]) }, "Submit the first one"),
		];
	}

	const clearFilters = () => h("a", { class: "button", href: href(["jobs"], { tenant: null }) }, "Clear filters");

	/** Loads what the address says, anew. */
	async function load() {
		request.abort();
		request = new AbortController();
		const { signal } = request;
		try {
			const answer = await listJobs(route.tenant, query(), signal);
			show(answer);
		} catch (error) {
			if (isAbort(error)) return;
			version = -1;
			const refused = error instanceof Problem && error.status >= 400 && error.status < 500;
			// Rows of another filter would be a lie below this address.
			if (shownFor !== address()) show({ jobs: [], count: 0, next_cursor: null });
			// What the server refused it would refuse again with every change.
			if (refused) shownFor = null;
			showNote([
				h("p", { class: "error-text" }, messageOf(error)),
				refused ? clearFilters() : h("button", { type: "button", onclick: () => load() }, "Try again"),
			]);
		}
	}

	let refreshing = false;
	/** Asks again after a change: rows are updated in place, new ones only counted. */
	async function refresh() {
		if (refreshing || shownFor !== address()) return;
		refreshing = true;
		try {
			// Newer rows push the shown ones down: the answer must be long enough to reach them.
			merge(await listJobs(route.tenant, query(Math.min(LIMIT_MAX, PAGE_SIZE + added)), request.signal));
		} catch {
			// The next change asks again; a lost connection has its own line.
			version = -1;
		}
		refreshing = false;
	}

	/** @param {JobList} answer */
	function merge(answer) {
		if (jobs.length === 0) {
			if (answer.jobs.length > 0) show(answer);
			else showNote(emptyNote());
			return;
		}
		showNote(null);
		const fresh = new Map(answer.jobs.map(job => [job.id, job]));
		const known = new Set(rows.map(row => row.id));
		// Rows below the last one that the answer still has were pushed out of it by newer ones; the other missing rows no longer match.
		const end = answer.next_cursor === null ? rows.length : rows.findLastIndex(row => fresh.has(row.id));
		let gone = 0;
		rows.forEach((row, index) => {
			const job = fresh.get(row.id);
			if (job) row.update(job);
			else if (index < end) {
				row.leave();
				gone++;
			}
		});
		jobs = jobs.map(job => fresh.get(job.id) ?? job);
		added = answer.jobs.filter(job => !known.has(job.id)).length;
		newer.hidden = added + gone === 0;
		const more = end === -1 ? `${added} or more` : added;
		newer.textContent = `↑ Refresh: ${[added > 0 && `${more} newer`, gone > 0 && `${gone} moved on`].filter(Boolean).join(", ")}`;
		learn(answer.jobs);
	}

	/** @type {Set<string>} */
	const suggestions = new Set();
	/** @param {Job[]} list */
	function learn(list) {
		rememberTenants(list.map(job => job.tenant_id));
		for (const job of list) {
			suggestions.add(`task:${job.task}`);
			for (const tag of job.tags) suggestions.add(`tag:${tag}`);
		}
		filters.suggest(suggestions);
	}
	listTasks().then(
		tasks => {
			for (const task of tasks) suggestions.add(`task:${task.name}`);
			filters.suggest(suggestions);
		},
		() => {},
	);

	/** @param {KeyboardEvent} event */
	function onKey(event) {
		const target = /** @type {HTMLElement} */ (event.target);
		if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, textarea, select")) return;
		if (event.key === "/") {
			event.preventDefault();
			filters.input.focus();
		} else if (event.key === "j" || event.key === "k") {
			const at = rows.findIndex(row => row.link === document.activeElement);
			const next = at === -1 ? 0 : at + (event.key === "j" ? 1 : -1);
			rows[next]?.link.focus();
		}
	}
	addEventListener("keydown", onKey);

	const end = subscribe(live => {
		metrics = live.metrics;
		filters.update(route, metrics);
		if (live.connection !== "live" || !live.queue || live.queue.version === version) return;
		const first = version === null;
		version = live.queue.version;
		// The first push only says which version the loaded list is about.
		if (!first) void refresh();
	});

	if (left.address === address() && left.jobs.length > 0) {
		show({ jobs: left.jobs, count: left.jobs.length, next_cursor: left.next });
		const { id, scroll } = left;
		requestAnimationFrame(() => {
			scrollTo(0, scroll);
			rows.find(row => row.id === id)?.link.focus({ preventScroll: true });
		});
		void refresh();
	} else {
		void load();
	}

	return {
		title: "Jobs",
		element,
		update(changed) {
			route = changed;
			filters.update(route, metrics);
			void load();
		},
		close() {
			const active = rows.find(row => row.link === document.activeElement);
			left = { address: address(), jobs, next, id: active?.id ?? "", scroll: scrollY };
			request.abort();
			closing.abort();
			removeEventListener("keydown", onKey);
			end();
		},
	};
}
