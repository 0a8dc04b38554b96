/** Short notices about what the reader just did, in the corner, read out by screen readers. */

import { h } from "./dom.js";

const STAY_MS = 8000;

/**
 * @param {string} text
 * @param {{ failed?: boolean, link?: { text: string, href: string } }} [options]
 */
export function toast(text, { failed = false, link } = {}) {
	const region = document.getElementById("toasts");
	const element = h(
		"div",
		{ class: failed ? "toast failed" : "toast" },
		h("p", null, text),
		link && h("a", { href: link.href, onclick: () => element.remove() }, link.text),
		h("button", { type: "button", class: "quiet", "aria-label": "Dismiss", onclick: () => element.remove() }, "×"),
	);
	region?.append(element);
	setTimeout(() => element.remove(), STAY_MS);
}
