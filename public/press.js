/** Buttons that do something on the server: busy while it lasts, a refusal is said in the corner. One kind asks for a second click. */

import { messageOf } from "./api.js";
import { h } from "./dom.js";
import { toast } from "./toast.js";

/** A button that waits for its second click no longer. */
const DOUBT_MS = 5000;

/**
 * @typedef {object} Look
 * @property {string} [className]
 * @property {string} [label] for screen readers, where the text alone does not say what it acts on
 */

/**
 * @param {string} text
 * @param {() => Promise<void>} run
 * @param {Look} [look]
 */
export function pressButton(text, run, { className, label } = {}) {
	const button = h("button", { type: "button", class: className, "aria-label": label, "data-press": text }, text);
	button.addEventListener("click", () => press(button, run));
	return button;
}

/**
 * For what cannot be taken back: the first click asks, the second one does. Escape, looking away and waiting mean no.
 * @param {string} text
 * @param {string} question
 * @param {() => Promise<void>} run
 * @param {Look} [look]
 */
export function confirmButton(text, question, run, { className, label } = {}) {
	// Both texts take up their room, so that nothing moves when the question comes.
	const first = h("span", null, text);
	const second = h("span", { class: "unasked" }, question);
	const button = h(
		"button",
		{ type: "button", class: `confirm ${className ?? ""}`, "aria-label": label, "data-press": text },
		h("span", { class: "stacked" }, first, second),
	);
	/** @type {ReturnType<typeof setTimeout> | undefined} */
	let doubt;
	const ask = (/** @type {boolean} */ asking) => {
		clearTimeout(doubt);
		if (asking) doubt = setTimeout(() => ask(false), DOUBT_MS);
		button.classList.toggle("asking", asking);
		first.classList.toggle("unasked", asking);
		second.classList.toggle("unasked", !asking);
		if (label) button.setAttribute("aria-label", asking ? `${question} ${label}` : label);
	};
	button.addEventListener("click", () => {
		const asked = button.classList.contains("asking");
		ask(!asked);
		if (asked) void press(button, run);
	});
	button.addEventListener("blur", () => ask(false));
	button.addEventListener("keydown", event => {
		if (event.key === "Escape") ask(false);
	});
	return button;
}

/**
 * @param {HTMLButtonElement} button
 * @param {() => Promise<void>} run
 */
async function press(button, run) {
	// Disabled it would lose the focus.
	if (button.ariaBusy === "true") return;
	button.ariaBusy = "true";
	try {
		await run();
	} catch (error) {
		toast(messageOf(error), { failed: true });
	}
	button.ariaBusy = null;
}
