import { describe, expect, it } from "vitest";
import type { Harness } from "../support/harness.ts";
import { look, started } from "./bulkActions.ts";
import { inQueue } from "./inQueue.ts";

const list = async (queue: Harness, query = "", tenant = "acme") =>
	(await queue.call("listBulkActions", `/api/bulk-actions${query}`, { tenant })).body;
const retry = { action: "retry", filter: { task: "echo" } };

describe("listBulkActions", () => {
	it("is empty where there are none, also for a tenant that nobody knows", () =>
		inQueue(async queue => {
			for (const tenant of ["acme", "*"]) expect(await list(queue, "", tenant)).toEqual({ bulk_actions: [], count: 0, next_cursor: null });
		}));

	it("has the latest first, as they are, without the jobs of their canaries", () =>
		inQueue(async queue => {
			const first = await started(queue, retry);
			const second = await started(queue, { action: "delete", ids: ["x"], name: "second" });
			const { bulk_actions, count } = await list(queue);
			expect(count).toBe(2);
			const whole = await Promise.all([look(queue, second), look(queue, first)]);
			expect(bulk_actions).toEqual(whole.map(({ canary_jobs: _, ...rest }) => rest));
			expect((await list(queue, "?limit=1")).bulk_actions).toEqual(bulk_actions.slice(0, 1));
		}));

	it("is of one tenant, or of all", () =>
		inQueue(async queue => {
			const acme = await started(queue, retry);
			const other = await started(queue, retry, "other");
			const all = await started(queue, retry, "*");
			const ids = async (tenant: string) => (await list(queue, "", tenant)).bulk_actions.map(({ id }: { id: string }) => id);
			expect(await ids("acme")).toEqual([acme]);
			expect(await ids("other")).toEqual([other]);
			expect(await ids("third")).toEqual([]);
			expect(await ids("*")).toEqual([all, other, acme]);
		}));

	it.each(["limit=0", "limit=201", "cursor=1", "status=done"])("refuses ?%s", query =>
		inQueue(async queue => {
			expect((await list(queue, `?${query}`)).code).toBe("query_invalid");
		}),
	);
});
