import { describe, expect, it } from "vitest";
import { inQueue } from "./inQueue.ts";

describe("health", () => {
	it("answers without asking the store", () =>
		inQueue(async queue => {
			const before = queue.deps.storage.worker.statements();
			const { status, body } = await queue.call("health", "/health", { tenant: null });
			expect(status).toBe(200);
			expect(body).toEqual({ status: "ok", timestamp: "2026-01-01T00:00:00.000Z" });
			expect(queue.deps.storage.worker.statements()).toBe(before);
		}));
});
