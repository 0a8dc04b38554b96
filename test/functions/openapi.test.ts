import { describe, expect, it } from "vitest";
import { operations } from "../../lib/contract.ts";
import { inQueue } from "./inQueue.ts";

describe("openapi", () => {
	it("answers the document, the same each time", () =>
		inQueue(async queue => {
			const { status, headers, body } = await queue.call("openapi", "/openapi.json", { tenant: null });
			expect(status).toBe(200);
			expect(headers.get("content-type")).toBe("application/json");
			expect(body.openapi).toBe("3.1.0");
			expect(Object.keys(body.paths)).toHaveLength(new Set(Object.values(operations).map(({ path }) => path)).size);
			expect((await queue.call("openapi", "/openapi.json")).body).toEqual(body);
		}));
});
