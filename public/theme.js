/** Light, dark, or as the system has it. Loaded before the first paint, so that a dark page never flashes. */

const KEY = "tickq.theme";
const THEMES = /** @type {const} */ (["auto", "light", "dark"]);

/** @returns {typeof THEMES[number]} */
export function theme() {
	const stored = localStorage.getItem(KEY);
	return THEMES.find(name => name === stored) ?? "auto";
}

/** Moves on to the next of the three and returns it. */
export function nextTheme() {
	const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length] ?? "auto";
	localStorage.setItem(KEY, next);
	apply();
	return next;
}

/**
 * Charts are painted, not styled: they ask to be told.
 * @param {() => void} listener
 * @param {AbortSignal} signal
 */
export function onTheme(listener, signal) {
	addEventListener("tickq:theme", listener, { signal });
	matchMedia("(prefers-color-scheme: dark)").addEventListener("change", listener, { signal });
}

function apply() {
	document.documentElement.dataset.theme = theme();
	dispatchEvent(new Event("tickq:theme"));
}

apply();
