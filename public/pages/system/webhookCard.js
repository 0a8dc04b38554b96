/** The webhook of a tenant: the address that is called when one of its jobs ends. */

import { getWebhook, isAbort, messageOf, Problem, setWebhook } from "../../api.js";
import { h } from "../../dom.js";
import { field } from "../../field.js";
import { toast } from "../../toast.js";

/** @param {string | null} tenant the scope */
export function webhookCard(tenant) {
	const closing = new AbortController();
	const element = h("section", { class: "card webhook" }, h("h2", null, tenant ? `Webhook of ${tenant}` : "Webhook"));
	if (tenant) void showForm(tenant);
	else
		element.append(
			h("p", { class: "hint" }, "Each tenant may have an address that is called when its jobs end. Choose a tenant above to see it."),
		);

	/** @param {string} owner */
	async function showForm(owner) {
		const input = h("input", {
			type: "url",
			placeholder: "https://example.com/hooks/tickq",
			autocomplete: "off",
			spellcheck: "false",
			disabled: true,
		});
		const address = field("Address to call when a job ends", input, "For jobs that are submitted from now on and name none of their own.");
		const button = h("button", { type: "submit", disabled: true }, "Save");
		const form = h("form", { novalidate: true }, address.element, button);
		element.append(form);
		let saved = "";
		/** @param {boolean} busy */
		const show = busy => {
			button.disabled = busy || input.value.trim() === saved;
			button.textContent = saved !== "" && input.value.trim() === "" ? "Remove" : "Save";
		};
		input.addEventListener("input", () => {
			address.clear();
			show(false);
		});
		form.addEventListener("submit", async event => {
			event.preventDefault();
			const url = input.value.trim();
			if (url === saved) return;
			address.clear();
			show(true);
			try {
				saved = (await setWebhook(owner, url || null)).url ?? "";
				toast(saved ? `${owner}'s next jobs call ${saved} when they end.` : `${owner}'s next jobs call nothing when they end.`);
			} catch (error) {
				const details = error instanceof Problem ? error.errors.map(({ detail }) => detail) : [];
				address.fail(details.join("; ") || messageOf(error));
				input.focus();
			}
			show(false);
		});
		try {
			saved = (await getWebhook(owner, closing.signal)).url ?? "";
			input.value = saved;
			input.disabled = false;
		} catch (error) {
			if (!isAbort(error)) address.fail(messageOf(error));
		}
	}

	return { element, close: () => closing.abort() };
}
