/** GET /api/webhook: what is called when a job of this tenant ends that names nothing else. */
import { operation } from "../lib/operation.ts";

export const getWebhook = operation("getWebhook", async ({ store }) => ({ url: await store.getWebhook() }));
