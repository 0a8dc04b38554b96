import { defineTask } from "tickq";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { functions } from "../../functions/all.ts";
import { operations } from "../../lib/contract.ts";
import { answered, toRequest } from "../support/harness.ts";
import { inQueue, submit, throwing, tick } from "./inQueue.ts";
import { leaseOf, leaseOne, serveRemote, settleWith } from "./remote.ts";

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
					served_by: "this process",
					paused: false,
					held_until: null,
					circuits_open: 0,
					circuits: [],
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

	it("shows the tasks of remote workers after its own, with what is known of them: their names", () =>
		inQueue(
			async queue => {
				await serveRemote(queue, "render", "plain", "audio");
				const { tasks, count } = (await queue.call("listTasks", "/api/tasks", { tenant: null })).body;
				expect(count).toBe(3);
				expect(tasks.map(({ name, served_by }: Record<string, string>) => [name, served_by])).toEqual([
					["plain", "this process"],
					["audio", "remote workers"],
					["render", "remote workers"],
				]);
				expect(tasks[1]).toMatchObject({ summary: null, example: null, input_schema: null, timeout_ms: 60_000, retry: { max_retries: 3 } });
			},
			{ tasks: { plain: defineTask({ run: () => 1 }) } },
		));

	it("says that a task is paused, and until when all its jobs wait", () =>
		inQueue(async queue => {
			const shown = async () =>
				(await queue.call("listTasks", "/api/tasks")).body.tasks.find(({ name }: { name: string }) => name === "remote");
			await serveRemote(queue);
			await queue.deps.storage.operator.setTask("remote", { paused: true });
			expect(await shown()).toMatchObject({ paused: true, held_until: null });
			await queue.deps.storage.operator.setTask("remote", { paused: false });
			await submit(queue, { task: "remote" });
			const leased = await leaseOne(queue);
			await settleWith(queue, { ...leaseOf(leased), outcome: "retry", error: "429", retry_after_ms: 5000, retry_scope: "task" });
			expect(await shown()).toMatchObject({ paused: false, held_until: "2026-01-01T00:00:05.000Z" });
			await queue.clock.advance(5000);
			expect((await shown()).held_until).toBeNull();
		}));

	it("says who would start a job of a task: nobody where no worker of it was seen lately", () =>
		inQueue(
			async queue => {
				const served = async (deps: Partial<typeof queue.deps> = {}) => {
					const { body } = await answered(functions.listTasks(toRequest("/api/tasks", { tenant: null }), { ...queue.deps, ...deps }));
					return Object.fromEntries(body.tasks.map(({ name, served_by }: Record<string, string>) => [name, served_by]));
				};
				await serveRemote(queue, "render");
				expect(await served()).toEqual({ a: "this process", b: "this process", render: "remote workers" });
				expect(await served({ works: ["b"] })).toEqual({ a: "nobody", b: "this process", render: "remote workers" });
				await queue.deps.storage.worker.seeWorker({ name: "w", kind: "process", tasks: ["a"], version: "1" }, queue.clock.now());
				expect(await served({ answersOnly: true })).toEqual({ a: "other processes", b: "nobody", render: "remote workers" });
				await queue.clock.advance(75_000);
				expect((await served()).render).toBe("remote workers");
				await queue.clock.advance(1);
				expect(await served({ answersOnly: true })).toEqual({ a: "nobody", b: "nobody", render: "nobody" });
			},
			{ tasks: { a: defineTask({ run: () => 1 }), b: defineTask({ run: () => 1 }) } },
		));

	it("names the tenants whose circuits are open, and when each probes", () =>
		inQueue(
			async queue => {
				const shown = async () => (await queue.call("listTasks", "/api/tasks", { tenant: null })).body.tasks[0];
				for (const tenant of ["beta", "acme"]) {
					for (let i = 0; i < 3; i++) await submit(queue, { task: "bad", max_retries: 0 }, tenant);
					await tick(queue);
					await queue.clock.advance(1000);
				}
				expect(await shown()).toMatchObject({
					circuits_open: 2,
					circuits: [
						{ tenant_id: "acme", probes_at: "2026-01-01T00:01:01.000Z" },
						{ tenant_id: "beta", probes_at: "2026-01-01T00:01:00.000Z" },
					],
				});
				await queue.call("resetCircuit", "/api/tasks/bad/circuit/reset", { body: {}, tenant: null });
				expect(await shown()).toMatchObject({ circuits_open: 0, circuits: [] });
			},
			{ tasks: { bad: throwing(new Error("down")) }, config: { circuitFailures: 3 } },
		));

	it("shows for each shipped task an example that can be submitted", () =>
		inQueue(async queue => {
			for (const { name, example } of (await queue.call("listTasks", "/api/tasks")).body.tasks)
				await submit(queue, { task: name, payload: example });
		}));
});
