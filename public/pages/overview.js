/** Overview: is it well, how much is there to do, and what needs a person? Tiles that are doors to the jobs behind them, charts, and two cards. */

import { lineChart } from "../chart.js";
import { now, ticking } from "../clock.js";
import { draw, h, setText } from "../dom.js";
import { ago, clockTime, count, counting, plural } from "../format.js";
import { health, isUnused } from "../health.js";
import { subscribe } from "../live.js";
import { href } from "../router.js";
import { collectingSince, columns, perMinute, samplesOf } from "../samples.js";
import { mark } from "../status.js";
import { firstSteps } from "./firstSteps.js";
import { needsCard } from "./needsCard.js";
import { nextSchedules } from "./nextSchedules.js";

/** @import { Metrics, Page, Route } from "../types.js" */

/**
 * @param {Route} route
 * @returns {Page}
 */
export function overviewPage({ tenant }) {
	const healthLine = h("div", { class: "health" });
	const tiles = [
		tile("Waiting", "pending", m => count(m.pending), waitingNote),
		tile(
			"Running",
			"running",
			m => count(m.running),
			m => (tenant ? "" : `for ${plural(m.active_tenants, "active tenant")}`),
		),
		tile(
			"Finished per minute",
			"",
			() => finishedRate(tenant),
			() => finishedNote(tenant),
		),
		tile(
			"Done",
			"done",
			m => count(m.done),
			() => "with their results",
		),
		tile(
			"Failed",
			"failed",
			m => count(m.failed),
			() => "not tried again",
		),
		tile(
			"Dead letters",
			"dead_letter",
			m => count(m.dead_letter_queue),
			m => (m.dead_letter_queue > 0 ? "given up, need a look" : "none"),
		),
	];
	const throughput = lineChart("Throughput", "per minute", [
		{ label: "submitted", className: "line-submitted" },
		{ label: "finished", className: "line-finished" },
	]);
	const depth = lineChart("Depth", "jobs", [
		{ label: "waiting", className: "line-waiting" },
		{ label: "running", className: "line-running" },
	]);
	const needs = needsCard(tenant, () => update());
	const schedules = nextSchedules(tenant);
	const body = h(
		"div",
		{ class: "ages overview" },
		h("h1", { class: "offscreen" }, "Overview"),
		healthLine,
		h(
			"div",
			{ class: "tiles" },
			tiles.map(({ element }) => element),
		),
		h("div", { class: "pair charts" }, throughput.element, depth.element),
		h("div", { class: "pair" }, needs.element, schedules.element),
	);
	const element = h("div", null);

	/** @type {Metrics | null} */
	let metrics = null;
	const update = () => {
		if (!metrics) return;
		const { level, text, link } = health(metrics, now(), needs.count());
		draw(healthLine, [level, text], () => [
			h(
				"p",
				{ class: `verdict is-${level}` },
				mark(level === "well" ? "done" : level === "busy" ? "running" : "dead_letter"),
				text,
				link && " ",
				link && h("a", { href: href(link.path, { status: link.status }) }, link.text),
			),
			h(
				"p",
				{ class: "pulse" },
				ticking(() => pulse(metrics)),
			),
		]);
		for (const { update } of tiles) update(metrics);
	};
	const end = subscribe(live => {
		metrics = live.metrics;
		draw(element, metrics ? isUnused(metrics) : live.problem, () => {
			if (!metrics && live.problem === null) return h("p", { class: "notice" }, "Waiting for the first numbers from the server.");
			if (!metrics) {
				return h(
					"div",
					{ class: "notice" },
					h("p", null, live.problem),
					h("p", { class: "notice-links" }, h("a", { class: "button", href: href([], { tenant: null }) }, "Show all tenants")),
				);
			}
			return isUnused(metrics) ? firstSteps(tenant) : body;
		});
		if (metrics) needs.update(metrics);
		update();
		const samples = samplesOf(tenant);
		const since = sinceWords(tenant);
		throughput.set(columns(samples, [perMinute(samples, 1), perMinute(samples, 2)]), since && `${since}; a rate takes half a minute.`);
		depth.set(columns(samples, [samples.map(sample => sample[3]), samples.map(sample => sample[4])]), since && `${since}.`);
	});

	return {
		title: "Overview",
		element,
		close() {
			end();
			needs.close();
			schedules.close();
			throughput.close();
			depth.close();
		},
	};
}

/**
 * @param {string} label
 * @param {string} status where the tile leads
 * @param {(metrics: Metrics) => string} value
 * @param {(metrics: Metrics) => string} note
 */
function tile(label, status, value, note) {
	const number = h("span", { class: "number" });
	const small = h("span", { class: "note" });
	const element = h(
		"a",
		{ class: `tile tile-${status}`, href: href(["jobs"], { status }) },
		h("span", { class: "label" }, label),
		number,
		small,
	);
	return {
		element,
		/** @param {Metrics} metrics */
		update(metrics) {
			setText(number, value(metrics));
			setText(small, note(metrics));
			element.classList.toggle("zero", number.textContent === "0" || number.textContent === "–");
		},
	};
}

/** @param {Metrics} metrics */
function waitingNote({ delayed, blocked, ready }) {
	const parts = [];
	if (ready > 0) parts.push(`${count(ready)} due`);
	if (delayed > 0) parts.push(`${count(delayed)} later`);
	if (blocked > 0) parts.push(`${count(blocked)} behind a key`);
	return parts.join(" · ") || "nothing to do";
}

/** @param {string | null} tenant */
function finishedRate(tenant) {
	const rate = perMinute(samplesOf(tenant), 2).at(-1);
	return rate === null || rate === undefined ? "–" : count(rate);
}

/** A rate over less than a minute says so. @param {string | null} tenant */
function finishedNote(tenant) {
	const since = collectingSince(samplesOf(tenant));
	if (finishedRate(tenant) === "–" || since === null) return sinceWords(tenant).toLowerCase();
	const collectedMs = Date.now() - since;
	return collectedMs < 58_000 ? `over the last ${counting(collectedMs)}` : "over the last minute";
}

/** Since when there are numbers for a line or a rate. @param {string | null} tenant */
function sinceWords(tenant) {
	const since = collectingSince(samplesOf(tenant));
	return since === null ? "" : `Collecting since ${clockTime(since, Date.now())}`;
}

/** @param {Metrics | null} metrics */
function pulse(metrics) {
	if (!metrics) return "";
	const { last_tick_at: last, next_wake_at: next, workers } = metrics;
	const parts = [last ? `last tick ${ago(now() - Date.parse(last))}` : "no tick yet"];
	if (next) parts.push(`next wake ${clockTime(Date.parse(next), now())}`);
	if (workers) parts.push(`${count(workers.busy)} of ${plural(workers.size, "slot")} busy`);
	return parts.join(" · ");
}
