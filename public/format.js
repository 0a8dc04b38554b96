/** Numbers, times and ids as words. Pure: no page, no clock. */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const numbers = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const time = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const dayOfYear = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const year = new Intl.DateTimeFormat("en-GB", { year: "numeric" });
const dateAndTime = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/** @param {number} value */
export const count = value => numbers.format(value);

/**
 * `plural(1, "job")` is "1 job", `plural(2, "job")` is "2 jobs".
 * @param {number} value
 * @param {string} noun
 */
export const plural = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;

/**
 * 113 ms, 2.3 s, 41 s, 6 m 02 s, 2 h 55 m, 3 d 4 h.
 * @param {number} ms
 */
export function duration(ms) {
	if (ms < 0) return "0 ms";
	if (ms < SECOND) return `${Math.round(ms)} ms`;
	if (ms < 9.95 * SECOND) return `${(ms / SECOND).toFixed(1)} s`;
	return counting(ms);
}

/**
 * The same for a sentence, without the zeros at the end: 2 s, 5 m.
 * @param {number} ms
 */
export const span = ms =>
	duration(ms)
		.replace(/\.0 s$/, " s")
		.replace(/ 00? [smh]$/, "");

/**
 * The same in whole seconds, for texts that count: 4 s, 6 m 02 s.
 * @param {number} ms
 */
export function counting(ms) {
	const value = Math.max(0, ms);
	if (value < MINUTE) return `${Math.floor(value / SECOND)} s`;
	if (value < HOUR) return pair(value, MINUTE, "m", SECOND, "s");
	if (value < DAY) return pair(value, HOUR, "h", MINUTE, "m");
	return pair(value, DAY, "d", HOUR, "h");
}

/**
 * @param {number} ms
 * @param {number} big
 * @param {string} bigUnit
 * @param {number} small
 * @param {string} smallUnit
 */
function pair(ms, big, bigUnit, small, smallUnit) {
	const rest = Math.floor((ms % big) / small);
	return `${Math.floor(ms / big)} ${bigUnit} ${smallUnit === "h" ? rest : String(rest).padStart(2, "0")} ${smallUnit}`;
}

/**
 * just now, 41 s ago, 3 m ago, 2 h ago, 5 d ago.
 * @param {number} ms how long ago
 */
export function ago(ms) {
	if (ms < SECOND) return "just now";
	if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s ago`;
	if (ms < HOUR) return `${Math.floor(ms / MINUTE)} m ago`;
	if (ms < DAY) return `${Math.floor(ms / HOUR)} h ago`;
	return `${Math.floor(ms / DAY)} d ago`;
}

/**
 * 14:00:05 in this computer's time zone; with the date when it is another day than `today`.
 * @param {number} at
 * @param {number} [today]
 */
export function clockTime(at, today = at) {
	return Math.abs(at - today) < 12 * HOUR ? time.format(at) : dateAndTime.format(at);
}

/**
 * 27 Nov, with the year when it is another one than that of `today`; empty when it is the same day. In this computer's time zone.
 * @param {number} at
 * @param {number} today
 */
export function otherDay(at, today) {
	if (day.format(at) === day.format(today)) return "";
	return year.format(at) === year.format(today) ? dayOfYear.format(at) : day.format(at);
}

/**
 * 14:00:05, or 27 Nov, 14:00:05 when it is not of the day of `today`.
 * @param {number} at
 * @param {number} today
 */
export function dayAndTime(at, today) {
	const date = otherDay(at, today);
	return date ? `${date}, ${time.format(at)}` : time.format(at);
}

/**
 * 14:00:05.120
 * @param {number} at
 */
export const clockTimeMs = at => `${time.format(at)}.${String(Math.floor(at) % 1000).padStart(3, "0")}`;

/**
 * Mon 30 Nov, 02:30 in a time zone; in UTC where the browser does not know it.
 * @param {string} instant
 * @param {string} timeZone
 */
export function zonedTime(instant, timeZone) {
	const at = Date.parse(instant);
	/** @type {Intl.DateTimeFormatOptions} */
	const parts = { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
	if (at % MINUTE !== 0) parts.second = "2-digit";
	try {
		return new Intl.DateTimeFormat("en-GB", { ...parts, timeZone }).format(at);
	} catch {
		return `${new Intl.DateTimeFormat("en-GB", { ...parts, timeZone: "UTC" }).format(at)} UTC`;
	}
}

/**
 * For titles: the exact instant, in UTC as the API has it.
 * @param {string} instant
 */
export const exact = instant => instant.replace("T", " ").replace("Z", " UTC");

/**
 * Ids begin with their time, so jobs of one minute look alike at the front: the end tells them apart.
 * @param {string} id
 */
export const shortId = id => (id.length > 12 ? `…${id.slice(-6)}` : id);

const UNITS = new Map([
	["", 1],
	["ms", 1],
	["s", SECOND],
	["m", MINUTE],
	["h", HOUR],
	["d", DAY],
]);

/**
 * Reads "20s", "15m", "1.5 h" or plain milliseconds; null when it is none of them.
 * @param {string} text
 */
export function parseDuration(text) {
	const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)$/.exec(text.trim());
	return match ? Math.round(Number(match[1]) * (UNITS.get(match[2] ?? "") ?? 1)) : null;
}

/**
 * A JSON value for reading.
 * @param {unknown} value
 */
export const pretty = value => JSON.stringify(value, null, 2) ?? "null";

/**
 * A code of the API as words: retries_exhausted is "retries exhausted".
 * @param {string} code
 */
export const words = code => code.replaceAll("_", " ");

/**
 * One line of at most `length` characters.
 * @param {string} text
 * @param {number} length
 */
export function oneLine(text, length) {
	const line = text.replace(/\s+/g, " ").trim();
	return line.length > length ? `${line.slice(0, length - 1)}…` : line;
}
