/** A table of things that change: each row is drawn anew only when its thing changed, and the focus stays where it was. */

import { draw, h } from "./dom.js";

/** @import { Child } from "./dom.js" */

/**
 * @template T
 * @param {object} options
 * @param {string} options.caption for screen readers
 * @param {string} options.className
 * @param {string[]} options.columns
 * @param {(item: T) => string} options.keyOf
 * @param {(item: T) => (Child | Child[])[]} options.cells one for each column
 * @param {boolean} [options.door] a click anywhere in a row follows its first link
 * @param {(item: T) => boolean} [options.isFaint] whose row is greyed
 * @param {boolean} [options.steady] rows stay in their places: what is gone is greyed, what is new comes last
 */
export function rowsTable({ caption, className, columns, keyOf, cells, door = false, isFaint, steady = false }) {
	const body = h("tbody", null);
	/** @type {Map<string, HTMLTableRowElement>} */
	const rows = new Map();
	const element = h(
		"table",
		{ class: `rows ages ${className}` },
		h("caption", { class: "offscreen" }, caption),
		h(
			"thead",
			null,
			h(
				"tr",
				null,
				columns.map(name => h("th", { scope: "col" }, name === "" ? h("span", { class: "offscreen" }, "Actions") : name)),
			),
		),
		body,
	);

	if (door) {
		body.classList.add("doors");
		// Selecting text in a row, or opening a new tab, stays possible.
		body.addEventListener("click", event => {
			const target = /** @type {Element} */ (event.target);
			if (target.closest("a, button") || event.ctrlKey || event.metaKey || event.shiftKey || getSelection()?.isCollapsed === false) return;
			target.closest("tr")?.querySelector("a")?.click();
		});
	}

	/**
	 * @param {HTMLTableRowElement} row
	 * @param {T} item
	 */
	function write(row, item) {
		const focused = row.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement) : null;
		const place = [...row.querySelectorAll("button")].indexOf(/** @type {HTMLButtonElement} */ (focused));
		draw(row, item, () =>
			cells(item).map((content, index) => h("td", { "data-label": columns[index] }, ...(Array.isArray(content) ? content : [content]))),
		);
		if (!focused || row.contains(focused)) return;
		const buttons = [...row.querySelectorAll("button")];
		// The same button, or what stands in its place now.
		const same = buttons.find(button => button.dataset.press === focused.dataset.press) ?? buttons[place];
		const next = same ?? row.querySelector(focused instanceof HTMLButtonElement ? "button" : "a") ?? row.querySelector("a");
		if (next instanceof HTMLElement) next.focus({ preventScroll: true });
	}

	return {
		element,
		/** @param {T[]} items */
		update(items) {
			const fresh = new Set(items.map(keyOf));
			for (const [key, row] of rows) {
				row.classList.toggle("gone", !fresh.has(key));
				if (fresh.has(key) || steady) continue;
				row.remove();
				rows.delete(key);
			}
			items.forEach((item, index) => {
				const known = rows.get(keyOf(item));
				const row = known ?? h("tr", null);
				rows.set(keyOf(item), row);
				write(row, item);
				row.classList.toggle("faint", isFaint?.(item) ?? false);
				if (steady ? !known : body.children[index] !== row) body.insertBefore(row, steady ? null : (body.children[index] ?? null));
			});
		},
		/** Forgets all rows, so that the next ones come in their own order. */
		clear() {
			rows.clear();
			body.replaceChildren();
		},
	};
}
