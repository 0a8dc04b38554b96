/** Starts the dashboard: puts up the bar and shows the page that the address names. */

import { h } from "./dom.js";
import { header } from "./header.js";
import { connect, setScope } from "./live.js";
import { deadLetterGroupPage } from "./pages/deadLetterGroup.js";
import { deadLettersPage } from "./pages/deadLetters.js";
import { jobPage } from "./pages/job.js";
import { jobsPage } from "./pages/jobs.js";
import { overviewPage } from "./pages/overview.js";
import { submitPage } from "./pages/submit.js";
import { isSystemSection, systemPage } from "./pages/system.js";
import { currentRoute, href } from "./router.js";

/** @import { Page, Route } from "./types.js" */

/** @param {Route} route */
function pageFor({ path }) {
	if (path.length === 0) return overviewPage;
	if (path[0] === "jobs" && path.length === 1) return jobsPage;
	if (path[0] === "jobs" && path.length === 2) return jobPage;
	if (path[0] === "dead-letters" && path.length === 1) return deadLettersPage;
	if (path[0] === "dead-letters" && path.length === 2) return deadLetterGroupPage;
	if (path[0] === "submit" && path.length === 1) return submitPage;
	if (path[0] === "system" && path.length <= 2 && isSystemSection(path[1])) return systemPage;
	return nowherePage;
}

/** @returns {Page} */
function nowherePage() {
	return {
		title: "Not found",
		element: h(
			"div",
			{ class: "notice" },
			h("h1", null, "There is no such page"),
			h("p", null, "The address may be mistyped. ", h("a", { href: href([]) }, "Go to the overview")),
		),
		close() {},
	};
}

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
const bar = header();
main.before(bar.element);

/** @type {{ page: Page, make: (route: Route) => Page, name: string } | null} */
let shown = null;

function show() {
	const route = currentRoute();
	const make = pageFor(route);
	const name = route.path.join("/");
	setScope(route.tenant);
	bar.update();
	if (shown?.make === make && shown.name === name && shown.page.update) {
		shown.page.update(route);
		return;
	}
	const first = shown === null;
	shown?.page.close();
	const page = make(route);
	shown = { page, make, name };
	document.title = `${page.title} · tickq`;
	main.replaceChildren(page.element);
	if (first) return;
	scrollTo(0, 0);
	main.focus({ preventScroll: true });
}

document.querySelector(".skip")?.addEventListener("click", () => main.focus());
addEventListener("hashchange", show);
show();
connect();
