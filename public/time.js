/** A moment as people say it ("3 m ago"), true every second, with the exact instant on hover. */

import { everySecond, now } from "./clock.js";
import { h, setText } from "./dom.js";
import { ago, counting, dayAndTime, exact } from "./format.js";

/** @param {number} at */
const relative = at => (at > now() ? `in ${counting(at - now() + 999)}` : ago(now() - at));

/** @param {string} instant */
export function timeAgo(instant) {
	const at = Date.parse(instant);
	const element = h("time", { datetime: instant, title: exact(instant) });
	return everySecond(element, () => setText(element, relative(at)));
}

/**
 * The time of day too, and the date when it is not today: 14:00:05 · 3 m ago.
 * @param {string} instant
 */
export function timeInFull(instant) {
	const at = Date.parse(instant);
	const element = h("time", { datetime: instant, title: exact(instant) });
	return everySecond(element, () => setText(element, `${dayAndTime(at, now())} · ${relative(at)}`));
}
