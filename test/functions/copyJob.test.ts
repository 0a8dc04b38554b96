import { defineTask } from "tickq";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import type { Harness } from "../support/harness.ts";
import { createScript, history, inQueue, read, submit, throwing, tick } from "./inQueue.ts";

const copy = (queue: Harness, id: string, body: unknown = {}, tenant = "acme") =>
	queue.call("copyJob", `/api/jobs/${id}/copy`, { body, tenant });
const mail = defineTask({ input: z.strictObject({ to: z.string() }), retry: { maxRetries: 1 }, run: ({ to }) => to });

describe("copyJob", () => {
	it("makes a new job like the old one, to run at once, and says of which it is a copy", () =>
		inQueue(async queue => {
			const old = await submit(queue, {
				task: "echo",
				payload: { a: [1, "ü"] },
				priority: 5,
				key: "mailbox",
				tags: ["red", "blue"],
				timeout_ms: 1234,
				max_retries: 7,
				delay_ms: 60_000,
				start_by: "2026-01-01T02:00:00Z",
				idempotency_key: "k",
				webhook_url: "https://example.com/hook",
			});
			await queue.clock.advance(1000);
			const { status, headers, body } = await copy(queue, old.id);
			expect(status).toBe(201);
			expect(headers.get("location")).toBe(`/api/jobs/${body.id}`);
			expect(body.id).not.toBe(old.id);
			expect(body).toMatchObject({
				copy_of: old.id,
				task: "echo",
				payload: { a: [1, "ü"] },
				priority: 5,
				key: "mailbox",
				tags: ["red", "blue"],
				timeout_ms: 1234,
				max_retries: 7,
				webhook_url: "https://example.com/hook",
				status: "pending",
				start_by: null,
				created_at: "2026-01-01T00:00:01.000Z",
				run_at: "2026-01-01T00:00:01.000Z",
			});
			expect(body.trace_id).not.toBe(old.trace_id);
			expect(await read(queue, body.id)).toEqual(body);
			expect(await read(queue, old.id)).toEqual(old);
			expect((await submit(queue, { task: "echo", payload: { a: [1, "ü"] }, idempotency_key: "other" })).copy_of).toBeNull();
		}));

	it("runs a dead letter again with what was wrong put right, and leaves the dead letter as it is", () =>
		inQueue(
			async queue => {
				const old = await submit(queue, { task: "mail", payload: { to: "nobody" }, max_retries: 0 });
				await tick(queue);
				const dead = await read(queue, old.id);
				expect(dead.status).toBe("dead_letter");
				const { body } = await copy(queue, old.id, { payload: { to: "ada" } });
				expect(body).toMatchObject({ payload: { to: "ada" }, max_retries: 0, retry_count: 0, error: null, fingerprint: null });
				await tick(queue);
				expect(await read(queue, body.id)).toMatchObject({ status: "done", result: "ada", copy_of: old.id });
				expect(await history(queue, body.id)).toEqual(["submitted", "claimed", "done"]);
				expect(await read(queue, old.id)).toEqual(dead);
			},
			{
				tasks: {
					mail: defineTask({
						...mail,
						run({ to }) {
							if (to === "nobody") throw new Error("nobody has no mailbox");
							return to;
						},
					}),
				},
			},
		));

	it("takes another number of retries and another priority", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo", priority: 5, max_retries: 7 });
			expect((await copy(queue, id, { max_retries: 0, priority: 0 })).body).toMatchObject({ max_retries: 0, priority: 0 });
		}));

	it("takes null for what is absent, and no body at all", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo", payload: "old", priority: 5, max_retries: 7 });
			const wanted = { task: "echo", payload: "old", priority: 5, max_retries: 7 };
			expect((await copy(queue, id, { payload: null, task: null, max_retries: null, priority: null })).body).toMatchObject(wanted);
			expect((await queue.call("copyJob", `/api/jobs/${id}/copy`, { method: "POST" })).body).toMatchObject(wanted);
		}));

	it.each([0, "", false, [], [null]].map(payload => ({ payload })))("takes the payload $payload, which is not absent", ({ payload }) =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo", payload: "old" });
			expect((await copy(queue, id, { payload })).body.payload).toEqual(payload);
		}),
	);

	it("names the job that was copied, also where that is a copy, and after it is gone", () =>
		inQueue(async queue => {
			const first = await submit(queue, { task: "echo" });
			const second = (await copy(queue, first.id)).body;
			const third = (await copy(queue, second.id)).body;
			await tick(queue);
			await queue.call("deleteJob", `/api/jobs/${second.id}`, { method: "DELETE" });
			expect(await read(queue, third.id)).toMatchObject({ copy_of: second.id });
		}));

	it("holds the payload to the schema of the task, the new one and the old one", () =>
		inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "loose", payload: { from: "x" } });
				const wrong = await copy(queue, id, { task: "mail", payload: { to: 5 } });
				expect(wrong.status).toBe(422);
				expect(wrong.body).toMatchObject({ code: "invalid_payload", errors: [{ pointer: "/payload/to" }] });
				expect((await copy(queue, id, { task: "mail" })).body.code).toBe("invalid_payload");
				expect((await queue.call("listJobs", "/api/jobs")).body.count).toBe(1);
			},
			{ tasks: { mail, loose: createScript(() => 1) } },
		));

	it("is of another task where one is named, with that task's retries", () =>
		inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "loose", payload: { to: "ada" } });
				const { body } = await copy(queue, id, { task: "mail" });
				expect(body).toMatchObject({ task: "mail", max_retries: 1 });
				await tick(queue);
				expect(await read(queue, body.id)).toMatchObject({ status: "done", result: "ada" });
			},
			{ tasks: { mail, loose: createScript(() => 1) } },
		));

	it("refuses a task that nobody serves, and takes one that a remote worker does", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo" });
			const { status, body } = await copy(queue, id, { task: "render" });
			expect(status).toBe(422);
			expect(body).toMatchObject({ code: "unknown_task", errors: [{ pointer: "/task" }] });
			await queue.deps.storage.worker.seeWorker({ name: "gpu-1", kind: "remote", tasks: ["render"], version: "1" }, queue.clock.now());
			expect((await copy(queue, id, { task: "render" })).body).toMatchObject({ task: "render", copy_of: id });
		}));

	describe("of a job whose payload names the task", () => {
		const tasks = { mail, shout: defineTask({ input: z.strictObject({ to: z.string() }), run: ({ to }) => to.toUpperCase() }) };
		const result = async (queue: Harness, body: unknown) => {
			const old = await submit(queue, { payload: { task: "mail", to: "ada" } });
			const answer = await copy(queue, old.id, body);
			await tick(queue);
			const { status, task, payload, result } = await read(queue, answer.body.id);
			return { status, task, payload, result };
		};

		it("is given to the task without the name, as the old one was", () =>
			inQueue(
				async queue =>
					expect(await result(queue, {})).toEqual({ status: "done", task: "mail", payload: { task: "mail", to: "ada" }, result: "ada" }),
				{ tasks },
			));

		it("may have a payload of either form", () =>
			inQueue(
				async queue => {
					expect(await result(queue, { payload: { task: "mail", to: "bob" } })).toMatchObject({ task: "mail", result: "bob" });
					expect(await result(queue, { payload: { to: "bob" } })).toMatchObject({ task: "mail", result: "bob" });
				},
				{ tasks },
			));

		it("may name another task there, or beside it", () =>
			inQueue(
				async queue => {
					expect(await result(queue, { payload: { task: "shout", to: "bob" } })).toMatchObject({ task: "shout", result: "BOB" });
					expect(await result(queue, { task: "shout" })).toMatchObject({ task: "shout", payload: { to: "ada" }, result: "ADA" });
					const old = await submit(queue, { payload: { task: "mail", to: "ada" } });
					const { body } = await copy(queue, old.id, { payload: { task: "nothing", to: "bob" } });
					expect(body).toMatchObject({ code: "unknown_task", errors: [{ pointer: "/payload/task" }] });
				},
				{ tasks },
			));
	});

	it("leaves a member of the payload that happens to be called task where it is", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo", payload: { task: "mine" } });
			const { body } = await copy(queue, id, { payload: { task: "yours" } });
			await tick(queue);
			expect(await read(queue, body.id)).toMatchObject({ task: "echo", result: { task: "yours" } });
		}));

	it("waits for the one that has its key", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo", key: "k" });
			await copy(queue, id);
			expect((await queue.call("metrics", "/api/metrics")).body).toMatchObject({ ready: 1, blocked: 1 });
		}));

	it("is refused above the tenant's backlog", () =>
		inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "echo" });
				const { status, headers, body } = await copy(queue, id);
				expect(status).toBe(429);
				expect(headers.get("retry-after")).toBe("10");
				expect(body.code).toBe("tenant_backlog_full");
			},
			{ config: { tenantBacklog: 1 } },
		));

	it("knows no job of another tenant", () =>
		inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "bad" });
				expect((await copy(queue, id, {}, "other")).body).toMatchObject({ status: 404, code: "job_not_found" });
				expect((await queue.call("listJobs", "/api/jobs", { tenant: "*" })).body.count).toBe(1);
			},
			{ tasks: { bad: throwing(new Error()) } },
		));

	it("rings the bell", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo" });
			queue.deps.wake.heard();
			await copy(queue, id);
			expect(queue.deps.wake.heard()).toBe(true);
		}));
});
