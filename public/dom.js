/** Builds elements. Owns the rule that keeps the page safe: whatever the server sends becomes text, never markup. */

/** @typedef {Node | string | number | false | null | undefined} Child */
/** @typedef {Record<string, string | number | boolean | null | undefined | ((event: any) => void)>} Props */

/**
 * Makes an element. A property that is a function listens (`onclick`), `true` is an empty attribute, `false` and `null` are none.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Props | null} [props]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, props, ...children) {
	const element = document.createElement(tag);
	setProps(element, props ?? {});
	element.append(...nodes(children));
	return element;
}

/**
 * The same for SVG.
 * @param {string} tag
 * @param {Props} props
 * @param {...Child} children
 */
export function svg(tag, props, ...children) {
	const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
	setProps(element, props);
	element.append(...nodes(children));
	return element;
}

/**
 * @param {Element} element
 * @param {Props} props
 */
export function setProps(element, props) {
	for (const [name, value] of Object.entries(props)) {
		if (typeof value === "function") element.addEventListener(name.slice(2), value);
		else if (value === null || value === undefined || value === false) element.removeAttribute(name);
		else element.setAttribute(name, value === true ? "" : String(value));
	}
}

/**
 * Writes a text only when it changed, so that a selection and the screen reader are left in peace.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
	if (element.textContent !== text) element.textContent = text;
}

/** @type {WeakMap<Element, string>} */
const drawn = new WeakMap();

/**
 * Replaces an element's children when `value` differs from what was drawn last.
 * @param {Element} element
 * @param {unknown} value
 * @param {() => Child | Child[]} build
 */
export function draw(element, value, build) {
	const key = JSON.stringify(value) ?? "undefined";
	if (drawn.get(element) === key) return;
	drawn.set(element, key);
	element.replaceChildren(...nodes([build()]));
}

/** @param {(Child | Child[])[]} children */
function nodes(children) {
	/** @type {(Node | string)[]} */
	const result = [];
	for (const child of children.flat()) {
		if (child === null || child === undefined || child === false || child === "") continue;
		result.push(typeof child === "number" ? String(child) : child);
	}
	return result;
}

let ids = 0;
/** An id for a label and its control. */
export const uniqueId = () => `u${++ids}`;
