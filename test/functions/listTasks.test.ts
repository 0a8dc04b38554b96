import { defineTask } from "tickq";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { operations } from "../../lib/contract.ts";
import { inQueue, submit } from "./inQueue.ts";

describe("listTasks", () => {
	it("answers what can be submitted, with schema, limits and an example", () =>
		inQueue(
			async queue => {
				const { status, body } = await queue.call("listTasks", "/api/tasks", { tenant: null });
				expect(status).toBe(200);
				expect(operations.listTasks.answer.parse(body)).toEqual(body);
				expect(body).toMatchObject({ count: 2, next_cursor: null });
				expect(body.tasks[0]).toEqual({
					name: "plain",
					summary: null,
					example: null,
					input_schema: null,
					timeout_ms: 60_000,
					retry: { max_retries: 3, base_ms: 2000, factor: 3, max_ms: 300_000 },
				});
				expect(body.tasks[1]).toMatchObject({
					name: "full",
					summary: "All of it",
					example: { n: 1 },
					input_schema: { type: "object", properties: { n: { type: "integer" } }, required: ["n"] },
					timeout_ms: 900_000,
					retry: { max_retries: 0, base_ms: 2000 },
				});
			},
			{
				tasks: {
					plain: defineTask({ run: () => 1 }),
					full: defineTask({
						summary: "All of it",
						example: { n: 1 },
						timeoutMs: 10_000_000,
						retry: { maxRetries: 0 },
						input: z.strictObject({ n: z.int().transform(String) }).refine(() => true),
						run: () => 1,
					}),
				},
			},
		));

	it("shows for each shipped task an example that can be submitted", () =>
		inQueue(async queue => {
			for (const { name, example } of (await queue.call("listTasks", "/api/tasks")).body.tasks)
				await submit(queue, { task: name, payload: example });
		}));
});
