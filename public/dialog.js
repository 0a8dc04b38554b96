/** A question over the page. Owns opening and closing: Escape, the Close button and any change of the address close it. */

import { h, uniqueId } from "./dom.js";

/**
 * @typedef {object} Dialog
 * @property {HTMLElement} body
 * @property {AbortSignal} signal aborted when the dialog is closed
 * @property {() => void} close
 */

/**
 * @param {string} title
 * @param {boolean} [wide]
 * @returns {Dialog}
 */
export function openDialog(title, wide = false) {
	const closing = new AbortController();
	const heading = h("h2", { id: uniqueId() }, title);
	const body = h("div", { class: "dialog-body" });
	const close = h("button", { type: "button", class: "quiet", onclick: () => element.close() }, "Close");
	const element = h(
		"dialog",
		{ class: wide ? "dialog wide" : "dialog", "aria-labelledby": heading.id },
		h("header", null, heading, close),
		body,
	);
	element.addEventListener("close", () => {
		closing.abort();
		element.remove();
	});
	addEventListener("hashchange", () => element.close(), { signal: closing.signal });
	document.body.append(element);
	element.showModal();
	return { body, signal: closing.signal, close: () => element.close() };
}
