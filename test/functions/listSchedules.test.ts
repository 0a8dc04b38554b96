import { describe, expect, it } from "vitest";
import type { Harness } from "../support/harness.ts";
import { inQueue } from "./inQueue.ts";
import { call, made } from "./inSchedules.ts";

/** All pages, as "tenant name". */
async function all(queue: Harness, limit: number, tenant: string): Promise<string[][]> {
	const pages: string[][] = [];
	for (let cursor: string | null = ""; cursor !== null; ) {
		const query = cursor === "" ? "" : `&cursor=${encodeURIComponent(cursor)}`;
		const { status, body } = await call.list(queue, `?limit=${limit}${query}`, tenant);
		expect(status).toBe(200);
		expect(body.count).toBe(body.schedules.length);
		pages.push(body.schedules.map((schedule: { tenant_id: string; name: string }) => `${schedule.tenant_id} ${schedule.name}`));
		cursor = body.next_cursor;
	}
	return pages;
}

describe("listSchedules", () => {
	it("lists a tenant's by name, a page at a time", () =>
		inQueue(async queue => {
			for (const name of ["c", "a", "e", "B", "d:1"]) await made(queue, { name });
			await made(queue, { name: "b" }, "beta");
			expect(await all(queue, 2, "acme")).toEqual([["acme B", "acme a"], ["acme c", "acme d:1"], ["acme e"]]);
			expect(await all(queue, 5, "acme")).toHaveLength(1);
			expect(await all(queue, 50, "nobody")).toEqual([[]]);
		}));

	it("lists everybody's by tenant and name for *", () =>
		inQueue(async queue => {
			for (const [name, tenant] of [
				["z", "acme"],
				["a", "beta"],
				["b", "acme"],
				["c", "a@b.example"],
			] as const)
				await made(queue, { name }, tenant);
			expect(await all(queue, 3, "*")).toEqual([["a@b.example c", "acme b", "acme z"], ["beta a"]]);
			expect(await all(queue, 1, "*")).toHaveLength(4);
		}));

	it("leaves large payloads out, and says so", () =>
		inQueue(async queue => {
			await made(queue, { payload: { text: "x".repeat(5000) } });
			const { body } = await call.list(queue);
			expect(body.schedules[0].payload).toBe("(5011 characters, see the schedule itself)");
			expect((await call.get(queue)).body.payload.text).toHaveLength(5000);
		}));

	it.each(["1acme", "1acme~", "2acme~a", "1~a", "1acme~a~b", "1acme~a b", "%00", "1ac me~a"])("refuses the cursor %s", cursor =>
		inQueue(async queue => {
			const { status, body } = await call.list(queue, `?cursor=${encodeURIComponent(cursor)}`);
			expect([status, body.code]).toEqual([400, "cursor_invalid"]);
		}),
	);

	it.each(["limit=0", "limit=201", "limit=x", "name=a"])("refuses ?%s", query =>
		inQueue(async queue => {
			expect((await call.list(queue, `?${query}`)).body.code).toBe("query_invalid");
		}),
	);
});
