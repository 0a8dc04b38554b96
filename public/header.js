/** The bar on top: wordmark, pages, scope, connection, theme. */

import { skew, ticking } from "./clock.js";
import { h, setProps, setText, svg } from "./dom.js";
import { clockTime, counting, duration } from "./format.js";
import { connect, subscribe } from "./live.js";
import { currentRoute, go, href, hrefWith } from "./router.js";
import { knownTenants, onTenants } from "./tenants.js";
import { nextTheme, theme } from "./theme.js";

const PAGES = [
	{ path: [], label: "Overview" },
	{ path: ["jobs"], label: "Jobs" },
	{ path: ["dead-letters"], label: "Dead letters" },
	{ path: ["submit"], label: "Submit" },
	{ path: ["system"], label: "System" },
];
const OTHER = "\u0000other";
/** Below this the clocks agree well enough to say nothing. */
const SKEW_MS = 2000;

/** @returns {{ element: HTMLElement, update: () => void }} update is called when the address changed */
export function header() {
	const dot = h("span", { class: "wordmark-i" }, "ı");
	const home = h("a", { class: "wordmark", "aria-label": "tickq, overview" }, "t", dot, "ckq");
	const links = PAGES.map(page => ({ page, link: h("a", null, page.label) }));
	const scope = scopeChoice();
	const element = h(
		"header",
		{ class: "top" },
		h(
			"div",
			{ class: "bar" },
			home,
			h(
				"nav",
				{ "aria-label": "Pages" },
				links.map(({ link }) => link),
			),
			scope.element,
			connection(),
			themeButton(),
		),
		offlineLine(),
	);

	/** @type {string | null} */
	let tickAt = null;
	dot.addEventListener("animationend", () => dot.classList.remove("ticked"));
	subscribe(({ queue }) => {
		if (!queue?.last_tick_at || queue.last_tick_at === tickAt) return;
		if (tickAt !== null) dot.classList.add("ticked");
		tickAt = queue.last_tick_at;
	});

	return {
		element,
		update() {
			const here = currentRoute().path[0] ?? "";
			home.href = href([]);
			for (const { page, link } of links) {
				link.href = href(page.path);
				setProps(link, { "aria-current": (page.path[0] ?? "") === here ? "page" : null });
			}
			scope.update();
		},
	};
}

/** All tenants, one seen before, or one typed. The choice is in the address. */
function scopeChoice() {
	const select = h("select", { "aria-label": "Tenant" });
	const input = h("input", {
		"aria-label": "Tenant's name",
		placeholder: "tenant's name",
		hidden: true,
		autocomplete: "off",
		spellcheck: "false",
	});
	const element = h("div", { class: "scope" }, select, input);

	const update = () => {
		const { tenant } = currentRoute();
		const names = new Set(tenant === null ? knownTenants() : [tenant, ...knownTenants()]);
		select.replaceChildren(
			h("option", { value: "" }, "All tenants"),
			...[...names].sort().map(name => h("option", { value: name }, name)),
			h("option", { value: OTHER }, "Another tenant…"),
		);
		select.value = tenant ?? "";
		select.classList.toggle("chosen", tenant !== null);
	};
	const showInput = (/** @type {boolean} */ shown) => {
		select.hidden = shown;
		input.hidden = !shown;
		if (shown) input.focus();
	};
	const choose = (/** @type {string} */ tenant) => go(hrefWith({ tenant: tenant || null, cursor: null }));
	select.addEventListener("change", () => {
		if (select.value === OTHER) showInput(true);
		else choose(select.value);
	});
	input.addEventListener("keydown", event => {
		if (event.key !== "Enter" && event.key !== "Escape") return;
		const name = input.value.trim();
		input.value = "";
		showInput(false);
		select.focus();
		if (event.key === "Enter" && name) choose(name);
		else update();
	});
	input.addEventListener("blur", () => {
		if (input.hidden) return;
		input.value = "";
		showInput(false);
		update();
	});
	onTenants(update);
	return { element, update };
}

function connection() {
	const word = h("span");
	const element = h("span", { class: "connection" }, h("span", { class: "dot", "aria-hidden": "true" }), word);
	subscribe(live => {
		element.dataset.state = live.connection;
		setText(word, live.connection);
		const off = Math.abs(skew()) > SKEW_MS;
		element.title = off
			? `This computer's clock is ${duration(Math.abs(skew()))} ${skew() < 0 ? "ahead of" : "behind"} the server's. Times here are the server's.`
			: "";
	});
	return element;
}

/** One line below the bar while nothing comes. */
function offlineLine() {
	const text = h("span");
	const element = h(
		"div",
		{ class: "offline", role: "status", hidden: true },
		text,
		h("button", { type: "button", class: "quiet", onclick: connect }, "Try now"),
	);
	let shown = false;
	/** @type {number | null} */
	let retryAt = null;
	subscribe(live => {
		const offline = live.connection === "offline";
		document.documentElement.classList.toggle("stale", live.connection !== "live");
		if (offline && !shown) {
			const since = live.receivedAt ? `Not updated since ${clockTime(live.receivedAt, Date.now())}` : "The server does not answer";
			// The counting part is hidden from screen readers: they would read it every second.
			const counter = ticking(() => (retryAt ? `, trying again in ${counting(retryAt - Date.now() + 999)}` : ", trying again"));
			counter.setAttribute("aria-hidden", "true");
			text.replaceChildren(since, counter, ".");
		}
		retryAt = live.retryAt;
		shown = offline;
		element.hidden = !offline;
	});
	return element;
}
/** @type {Record<ReturnType<typeof theme>, string>} */
const THEME_SHAPES = {
	auto: "M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13ZM8 3a5 5 0 0 1 0 10Z",
	light:
		"M8 5a3 3 0 1 1 0 6a3 3 0 1 1 0-6ZM7.25 1h1.5v2h-1.5ZM7.25 13h1.5v2h-1.5ZM1 7.25h2v1.5H1ZM13 7.25h2v1.5h-2ZM2.5 3.55l1.05-1.05 1.45 1.45-1.05 1.05ZM11 12.05l1.05-1.05 1.45 1.45-1.05 1.05ZM12.45 2.5l1.05 1.05-1.45 1.45-1.05-1.05ZM3.95 11l1.05 1.05-1.45 1.45-1.05-1.05Z",
	dark: "M6.2 1.8a6.3 6.3 0 1 0 8 8a5.2 5.2 0 0 1-8-8Z",
};

function themeButton() {
	const button = h("button", { type: "button", class: "quiet theme" });
	const show = (/** @type {ReturnType<typeof theme>} */ name) => {
		setProps(button, {
			"aria-label": `Colours: ${name === "auto" ? "as the system" : name}`,
			title: `Colours: ${name === "auto" ? "as the system" : name}`,
		});
		const shape = svg("path", { d: THEME_SHAPES[name], fill: "currentColor", "fill-rule": "evenodd" });
		button.replaceChildren(svg("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, shape));
	};
	show(theme());
	button.addEventListener("click", () => show(nextTheme()));
	return button;
}
