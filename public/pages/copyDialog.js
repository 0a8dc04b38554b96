/** Running a job again with another payload: as a new job, so that the old one stays what it was. */

import { copyJob, messageOf, Problem } from "../api.js";
import { openDialog } from "../dialog.js";
import { h } from "../dom.js";
import { field } from "../field.js";
import { pretty } from "../format.js";
import { go, href } from "../router.js";
import { toast } from "../toast.js";

/** @import { Job } from "../types.js" */

/** @param {Job} job */
export function openCopyDialog(job) {
	const { body, signal } = openDialog("Edit and run again", true);
	const text = h("textarea", { class: "mono", rows: 14, autocomplete: "off", spellcheck: "false" });
	text.value = pretty(job.payload);
	const payload = field("Payload, as JSON", text, `A new job of ${job.task} for ${job.tenant_id}; this one stays as it is.`);
	const problem = h("p", { class: "problem", role: "alert" });
	const button = h("button", { type: "submit", class: "primary", title: "Ctrl+Enter" }, "Run it");
	const form = h(
		"form",
		{ novalidate: true },
		payload.element,
		problem,
		h("div", { class: "dialog-foot" }, h("a", { href: href(["submit"], { from: job.id }) }, "All options"), button),
	);
	body.append(form);
	text.focus();
	text.setSelectionRange(0, 0);

	form.addEventListener("input", () => {
		payload.clear();
		problem.textContent = "";
	});
	form.addEventListener("keydown", event => {
		if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
	});
	form.addEventListener("submit", async event => {
		event.preventDefault();
		payload.clear();
		problem.textContent = "";
		let value;
		try {
			value = JSON.parse(text.value || "null");
		} catch (error) {
			payload.fail(`This is not JSON: ${messageOf(error)}`);
			text.focus();
			return;
		}
		button.disabled = true;
		try {
			const copy = await copyJob(job, value);
			toast("Submitted as a new job.");
			if (!signal.aborted) go(href(["jobs", copy.id]));
		} catch (error) {
			const errors = error instanceof Problem ? error.errors : [];
			for (const { pointer, detail } of errors) payload.fail(`${pointer.split("/").slice(1).join(".")} ${detail}`);
			if (errors.length > 0) text.focus();
			else problem.textContent = messageOf(error);
		}
		button.disabled = false;
	});
}
