import { describe, expect, it } from "vitest";
import { inQueue } from "./inQueue.ts";

describe("getWebhook", () => {
	it("is null for a tenant that has none, also for one that nobody knows", () =>
		inQueue(async queue => {
			expect(await queue.call("getWebhook", "/api/webhook")).toMatchObject({ status: 200, body: { url: null } });
		}));

	it("is each tenant's own", () =>
		inQueue(async queue => {
			await queue.call("setWebhook", "/api/webhook", { method: "PUT", body: { url: "https://example.com/acme" } });
			expect((await queue.call("getWebhook", "/api/webhook")).body).toEqual({ url: "https://example.com/acme" });
			expect((await queue.call("getWebhook", "/api/webhook", { tenant: "other" })).body).toEqual({ url: null });
		}));
});
