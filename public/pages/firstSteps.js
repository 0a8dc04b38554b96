/** What an empty queue shows: how to submit the first job to this very server. */

import { messageOf, submitJob } from "../api.js";
import { codeBlock } from "../copy.js";
import { curlSubmit } from "../curl.js";
import { h } from "../dom.js";
import { go, href } from "../router.js";
import { rememberSubmit, tenantForSubmit } from "../tenants.js";
import { toast } from "../toast.js";

/** @import { Submission } from "../types.js" */

const HELLO = { task: "echo", payload: { hello: "world" } };
const SLOW_MS = 30_000;

/** @param {string | null} scope */
export function firstSteps(scope) {
	const tenant = tenantForSubmit(scope);

	/**
	 * @param {string} label
	 * @param {string} explanation
	 * @param {Submission} submission
	 * @param {number} [times]
	 */
	const choice = (label, explanation, submission, times = 1) => {
		const button = h("button", { type: "button" }, label);
		button.addEventListener("click", async () => {
			button.disabled = true;
			try {
				const jobs = await Promise.all(Array.from({ length: times }, () => submitJob(tenant, submission)));
				rememberSubmit(tenant);
				const [job] = jobs;
				go(times === 1 && job ? href(["jobs", job.id]) : href(["jobs"], { task: submission.task }));
			} catch (error) {
				toast(messageOf(error), { failed: true });
				button.disabled = false;
			}
		});
		return h("li", null, button, h("p", null, explanation));
	};

	return h(
		"section",
		{ class: "card first-steps" },
		h("h1", null, "No job yet"),
		h("p", null, "Paste this into a terminal. It submits a job to this server and waits for its result."),
		codeBlock(curlSubmit(tenant, HELLO, "?wait_ms=5000"), "the command that submits a first job"),
		h("p", null, `Or start here, as the tenant ${tenant}:`),
		h(
			"ul",
			{ class: "choices" },
			choice("Echo", "One job that answers with its payload.", HELLO),
			choice(
				"Six slow jobs",
				"Each sleeps for 30 s. A tenant runs 5 at once, so the sixth waits.",
				{ task: "sleep", payload: { ms: SLOW_MS } },
				6,
			),
			choice("A flaky one", "Fails twice, then works: see how it is retried.", { task: "flaky", payload: { fail_times: 2 } }),
		),
	);
}
