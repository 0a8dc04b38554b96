/** One clock for the page: the server's. Owns the texts that count with it ("41 s ago"). */

import { h, setText } from "./dom.js";

/** Milliseconds by which the server is ahead of this computer. */
let offset = 0;

/** @param {string} timestamp the server's time, just received */
export function setServerTime(timestamp) {
	const measured = Date.parse(timestamp) - Date.now();
	// Below half a second it is the network that was measured, not the clocks.
	if (Number.isFinite(measured) && Math.abs(measured - offset) > 500) offset = measured;
}

export const now = () => Date.now() + offset;
export const skew = () => offset;

/** @type {WeakMap<Element, () => void>} */
const ticks = new WeakMap();

/**
 * Calls `update` now and then every second, for as long as the element is in the page.
 * @template {Element} E
 * @param {E} element
 * @param {() => void} update
 * @returns {E}
 */
export function everySecond(element, update) {
	ticks.set(element, update);
	element.setAttribute("data-ticks", "");
	update();
	return element;
}

/**
 * A text that is written anew every second.
 * @param {() => string} text
 * @param {string} [className]
 */
export function ticking(text, className) {
	const element = h("span", { class: className });
	return everySecond(element, () => setText(element, text()));
}

setInterval(() => {
	if (document.hidden) return;
	for (const element of document.querySelectorAll("[data-ticks]")) ticks.get(element)?.();
}, 1000);
