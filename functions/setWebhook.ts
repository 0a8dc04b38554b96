/** PUT /api/webhook: what is called when a job ends that is submitted from now on and names nothing else. */
import { operation } from "../lib/operation.ts";
import { checkWebhookUrl } from "../lib/webhookUrl.ts";

export const setWebhook = operation("setWebhook", async ({ body, store, deps }) => {
	if (body.url !== null) checkWebhookUrl(body.url, "/url", deps.outsideAllow);
	await store.setWebhook(body.url);
	return { url: body.url };
});
