/** A moment as people say it ("3 m ago"), true every second, with the exact instant on hover. */

import { everySecond, now } from "./clock.js";
import { h, setText } from "./dom.js";
import { ago, counting, exact } from "./format.js";

/** @param {string} instant */
export function timeAgo(instant) {
	const at = Date.parse(instant);
	const element = h("time", { datetime: instant, title: exact(instant) });
	return everySecond(element, () => setText(element, at > now() ? `in ${counting(at - now() + 999)}` : ago(now() - at)));
}
