/** A labelled control with a hint and a place for what is wrong with it. */

import { h, setProps, uniqueId } from "./dom.js";

/**
 * @typedef {object} Field
 * @property {HTMLElement} element
 * @property {(message: string) => void} fail marks the control and says why
 * @property {() => void} clear
 */

/**
 * @param {string} label
 * @param {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} control
 * @param {string} [hint]
 * @returns {Field}
 */
export function field(label, control, hint) {
	const hintId = uniqueId();
	const errorId = uniqueId();
	control.id ||= uniqueId();
	const error = h("p", { class: "field-error", id: errorId });
	setProps(control, { "aria-describedby": hint ? `${hintId} ${errorId}` : errorId });
	const element = h(
		"div",
		{ class: "field" },
		h("label", { for: control.id }, label),
		control,
		error,
		hint && h("p", { class: "hint", id: hintId }, hint),
	);
	return {
		element,
		fail(message) {
			setProps(control, { "aria-invalid": "true" });
			error.textContent = error.textContent ? `${error.textContent}\n${message}` : message;
			const folded = control.closest("details");
			if (folded) folded.open = true;
		},
		clear() {
			setProps(control, { "aria-invalid": null });
			error.textContent = "";
		},
	};
}
