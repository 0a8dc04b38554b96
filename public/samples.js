/** The points of the charts. Kept per scope in memory and, over a reload, in sessionStorage, so a chart never starts from nothing. */

/** @import { Metrics } from "./types.js" */

const KEY = "tickq.samples";
/** 15 minutes of one sample every 2 s. */
const SAMPLES_MAX = 450;
/** Samples further apart than this are not joined by a line. */
const GAP_MS = 15_000;
/** A rate is counted over the last minute. */
const WINDOW_MS = 60_000;
/** Less than this says nothing about a minute. */
const ELAPSED_MIN_MS = 30_000;

/** `[at, submitted_total, finished_total, waiting, running]` @typedef {[number, number, number, number, number]} Sample */

/** @type {Map<string, Sample[]>} */
const byScope = new Map(load());

/** @returns {[string, Sample[]][]} */
function load() {
	try {
		const stored = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
		return Array.isArray(stored) ? stored : [];
	} catch {
		return [];
	}
}

addEventListener("pagehide", () => {
	try {
		// The last three scopes looked at are enough, and far below what a browser stores.
		sessionStorage.setItem(KEY, JSON.stringify([...byScope].slice(-3)));
	} catch {
		// A full or forbidden store costs only the memory of the charts.
	}
});

/** @param {string | null} scope */
export const samplesOf = scope => byScope.get(scope ?? "") ?? [];

/**
 * @param {string | null} scope
 * @param {Metrics} metrics
 * @param {number} at
 */
export function recordSample(scope, metrics, at) {
	const samples = samplesOf(scope);
	const last = samples.at(-1);
	if (last && at - last[0] < 1000) return;
	samples.push([at, metrics.submitted_total, metrics.finished_total, metrics.pending, metrics.running]);
	if (samples.length > SAMPLES_MAX) samples.splice(0, samples.length - SAMPLES_MAX);
	byScope.delete(scope ?? "");
	byScope.set(scope ?? "", samples);
}

/**
 * How fast a total grew at each sample, per minute, counted over the minute before it. Null where nothing can be said: at the
 * start, after a gap, and when the total fell because another database answers.
 * @param {Sample[]} samples
 * @param {1 | 2} column
 * @returns {(number | null)[]}
 */
export function perMinute(samples, column) {
	/** The samples of the window, oldest first. @type {Sample[]} */
	let recent = [];
	return samples.map(sample => {
		const before = recent.at(-1);
		if (before && (sample[0] - before[0] > GAP_MS || sample[column] < before[column])) recent = [];
		recent = [...recent.filter(([at]) => sample[0] - at <= WINDOW_MS), sample];
		const [oldest = sample] = recent;
		const elapsed = sample[0] - oldest[0];
		return elapsed < ELAPSED_MIN_MS ? null : ((sample[column] - oldest[column]) / elapsed) * 60_000;
	});
}

/**
 * Since when the newest samples stand without a gap, and tell of one database; null when there are none.
 * @param {Sample[]} samples
 */
export function collectingSince(samples) {
	const first = samples.findLastIndex((sample, index) => {
		const before = samples[index - 1];
		return !before || sample[0] - before[0] > GAP_MS || sample[2] < before[2];
	});
	return samples[first]?.[0] ?? null;
}

/**
 * The samples as the columns of a chart: seconds, then one column per line. A gap becomes an empty point.
 * @param {Sample[]} samples
 * @param {(number | null)[][]} lines
 * @returns {[number[], ...(number | null)[][]]}
 */
export function columns(samples, lines) {
	/** The sample before each gap. */
	const gaps = new Set(samples.filter((sample, index) => (samples[index + 1]?.[0] ?? sample[0]) - sample[0] > GAP_MS));
	const times = samples.flatMap(sample => (gaps.has(sample) ? [sample[0] / 1000, (sample[0] + 1) / 1000] : [sample[0] / 1000]));
	const values = lines.map(line =>
		samples.flatMap((sample, index) => (gaps.has(sample) ? [line[index] ?? null, null] : [line[index] ?? null])),
	);
	return [times, ...values];
}
