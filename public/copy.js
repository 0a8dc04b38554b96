/** Copying what is seen: a button, an id with its button, and a block of code with its button. */

import { h } from "./dom.js";
import { toast } from "./toast.js";

const SHOW_MS = 1500;

/**
 * @param {() => string} text
 * @param {string} label what is copied, for screen readers
 */
export function copyButton(text, label) {
	const button = h("button", { type: "button", class: "copy quiet", "aria-label": `Copy ${label}`, title: `Copy ${label}` }, "Copy");
	button.addEventListener("click", async () => {
		if (!(await copy(text()))) {
			toast("The browser did not allow copying. Select the text instead.", { failed: true });
			return;
		}
		button.textContent = "Copied";
		setTimeout(() => {
			button.textContent = "Copy";
		}, SHOW_MS);
	});
	return button;
}

/** @param {string} text */
async function copy(text) {
	// The clipboard exists only on https and localhost; a dashboard opened by a machine's name has neither.
	if (navigator.clipboard) {
		return navigator.clipboard.writeText(text).then(
			() => true,
			() => false,
		);
	}
	const area = h("textarea", { class: "offscreen", readonly: true }, text);
	document.body.append(area);
	area.select();
	const copied = document.execCommand("copy");
	area.remove();
	return copied;
}

/**
 * @param {string} text
 * @param {string} label
 */
export function codeBlock(text, label) {
	return h(
		"div",
		{ class: "code" },
		h("pre", { tabindex: 0, "aria-label": label }, text),
		copyButton(() => text, label),
	);
}
