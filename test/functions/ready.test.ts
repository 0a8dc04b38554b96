import { describe, expect, it } from "vitest";
import { functions } from "../../functions/all.ts";
import { StorageUnavailable } from "../../lib/storage/storage.ts";
import { answered, type Harness, settle, toRequest } from "../support/harness.ts";
import { inQueue, tick } from "./inQueue.ts";

/** The same queue, whose store fails at what the operator asks. */
const broken = (queue: Harness, error: Error) => ({
	...queue.deps,
	storage: {
		...queue.deps.storage,
		worker: queue.deps.storage.worker,
		tenant: (name: string) => queue.deps.storage.tenant(name),
		close: () => queue.deps.storage.close(),
		operator: new Proxy(queue.deps.storage.operator, {
			get: () => async () => {
				throw error;
			},
		}),
	},
});

describe("ready", () => {
	it("answers that the store can be used, and when the last tick was", () =>
		inQueue(async queue => {
			expect((await queue.call("ready", "/ready", { tenant: null })).body).toEqual({
				status: "ready",
				timestamp: "2026-01-01T00:00:00.000Z",
				last_tick_at: null,
			});
			await queue.clock.advance(5000);
			await tick(queue);
			expect((await queue.call("ready", "/ready")).body.last_tick_at).toBe("2026-01-01T00:00:05.000Z");
		}));

	it("refuses, with the time to ask again, when the store fails", () =>
		inQueue(async queue => {
			const { status, headers, body } = await answered(functions.ready(toRequest("/ready"), broken(queue, new Error("the disk is gone"))));
			expect(status).toBe(503);
			expect(headers.get("retry-after")).toBe("5");
			expect(body).toMatchObject({ code: "not_ready", detail: "The store cannot be used: the disk is gone." });
		}));

	it("refuses after 2 s when the store is silent", () =>
		inQueue(async queue => {
			const { storage } = queue.deps;
			const silent = { ...broken(queue, new Error()).storage, operator: { ...storage.operator, ping: () => new Promise<void>(() => {}) } };
			const answer = answered(functions.ready(toRequest("/ready"), { ...queue.deps, storage: silent } as never));
			await settle();
			await queue.clock.advance(2000);
			expect(await answer).toMatchObject({ status: 503, body: { detail: "The store cannot be used: it has not answered for 2 s." } });
		}));
});

describe("a store that fails", () => {
	it("is 503 with the time to come again when it is away, and logged as a warning", () =>
		inQueue(async queue => {
			const { status, headers, body } = await answered(
				functions.metrics(toRequest("/api/metrics", { tenant: null }), broken(queue, new StorageUnavailable("locked"))),
			);
			expect(status).toBe(503);
			expect(headers.get("retry-after")).toBe("1");
			expect(body.code).toBe("storage_unavailable");
			expect(queue.logs.at(-1)).toMatchObject({ level: "warn", operation: "metrics", error: "locked", trace_id: body.trace_id });
		}));

	it("is 500 when it is broken: the cause is in the log under the trace, not in the answer", () =>
		inQueue(async queue => {
			const { status, body } = await answered(
				functions.metrics(toRequest("/api/metrics", { tenant: null }), broken(queue, new Error("secret path"))),
			);
			expect(status).toBe(500);
			expect(body.code).toBe("internal_error");
			expect(JSON.stringify(body)).not.toContain("secret");
			expect(queue.logs.at(-1)).toMatchObject({ level: "error", error: "secret path", trace_id: body.trace_id });
		}));
});
