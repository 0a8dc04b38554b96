import { defineTask } from "tickq";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { functions } from "../../functions/all.ts";
import { operations } from "../../lib/contract.ts";
import { answered, type Harness, settle, toRequest } from "../support/harness.ts";
import { createGate, dryTick, history, inQueue, read, startTicking, submit, tick } from "./inQueue.ts";

const strict = defineTask({
	input: z.strictObject({ to: z.string(), options: z.strictObject({ copies: z.int() }).optional() }),
	run: payload => payload,
});

describe("submitJob", () => {
	it("answers the whole job, its place and who answers", () =>
		inQueue(async queue => {
			const { status, headers, body } = await queue.call("submitJob", "/api/jobs", { body: { task: "echo", payload: { hello: "world" } } });
			expect(status).toBe(201);
			expect(headers.get("content-type")).toBe("application/json");
			expect(headers.get("location")).toBe(`/api/jobs/${body.job_id}`);
			expect(headers.get("tickq-version")).toMatch(/^\d+\.\d+\.\d+$/);
			expect(headers.get("trace-id")).toBe(body.trace_id);
			expect(body).toMatchObject({
				id: body.job_id,
				tenant_id: "acme",
				task: "echo",
				status: "pending",
				payload: { hello: "world" },
				result: null,
				error: null,
				error_message: null,
				attempt: 1,
				max_attempts: 4,
				retry_count: 0,
				max_retries: 3,
				lost_count: 0,
				priority: 0,
				key: null,
				tags: [],
				timeout_ms: null,
				created_at: "2026-01-01T00:00:00.000Z",
				run_at: "2026-01-01T00:00:00.000Z",
				start_by: null,
				started_at: null,
				completed_at: null,
				timing: { waited_ms: null, ran_ms: null },
				links: { self: `/api/jobs/${body.id}`, dashboard: `/#/jobs/${body.id}` },
			});
		}));

	it("answers what a read answers", () =>
		inQueue(async queue => {
			const bodies = [
				{ task: "echo" },
				{ payload: { task: "echo", a: [1, "ü", null] } },
				{ task: "echo", delay_ms: 5000, priority: -7, tags: ["a", "b", "a"], max_retries: 0, timeout_ms: 1 },
				{ task: "echo", run_at: "2020-01-01T00:00:00Z", start_by: "2026-01-01T01:00:00+01:00" },
			];
			for (const body of bodies) {
				const job = await submit(queue, body);
				expect(await read(queue, job.id)).toEqual(job);
			}
		}));

	it("answers the status pending for a job with a key, as a read does", () =>
		inQueue(async queue => {
			const first = await submit(queue, { task: "echo", key: "mailbox" });
			const second = await submit(queue, { task: "echo", key: "mailbox" });
			expect(await read(queue, first.id)).toEqual(first);
			expect(await read(queue, second.id)).toEqual(second);
			expect((await queue.call("metrics", "/api/metrics")).body).toMatchObject({ pending: 2, ready: 1, blocked: 1 });
		}));

	it("answers every field that the contract promises", () =>
		inQueue(async queue => {
			const job = await submit(queue, { task: "echo" });
			expect(operations.submitJob.answer.parse(job)).toEqual(job);
		}));

	describe("the task", () => {
		it("is named beside the payload, which is then whole", () =>
			inQueue(async queue => {
				const job = await submit(queue, { task: "echo", payload: { task: "mine", a: 1 } });
				await tick(queue);
				expect(await read(queue, job.id)).toMatchObject({ task: "echo", payload: { task: "mine", a: 1 }, result: { task: "mine", a: 1 } });
			}));

		it("is named in the payload, which is stored as sent and given to the task without it", () =>
			inQueue(async queue => {
				const job = await submit(queue, { payload: { task: "echo", a: 1 } });
				expect(job.payload).toEqual({ task: "echo", a: 1 });
				await tick(queue);
				expect(await read(queue, job.id)).toMatchObject({ task: "echo", payload: { task: "echo", a: 1 }, result: { a: 1 } });
			}));

		it("is taken out of the payload before the schema sees it", () =>
			inQueue(
				async queue => {
					const job = await submit(queue, { payload: { task: "strict", to: "a@b.c" } });
					await tick(queue);
					expect(await read(queue, job.id)).toMatchObject({ status: "done", result: { to: "a@b.c" } });
				},
				{ tasks: { strict } },
			));

		it("runs process_data for the shortest request there is", () =>
			inQueue(async queue => {
				const job = await submit(queue, { payload: { task: "process_data" } });
				expect(job.payload).toEqual({ task: "process_data" });
				await tick(queue);
				expect(await read(queue, job.id)).toMatchObject({ status: "done", result: { message: "Processed successfully" } });
			}));

		it.each([{}, { payload: { a: 1 } }, { payload: "echo" }, { payload: [{ task: "echo" }] }, { payload: { task: 5 } }, { task: null }])(
			"is missed in %j",
			body =>
				inQueue(async queue => {
					const answer = await queue.call("submitJob", "/api/jobs", { body });
					expect(answer.status).toBe(422);
					expect(answer.body).toMatchObject({ code: "task_required", errors: [{ pointer: "/task" }] });
					expect(answer.body.known_tasks).toContain("echo");
				}),
		);

		it.each([
			["beside the payload", { task: "eco" }, "/task"],
			["in the payload", { payload: { task: "eco" } }, "/payload/task"],
			["named like a thing every object has", { task: "toString" }, "/task"],
			["of any length in the payload", { payload: { task: "x".repeat(10_000) } }, "/payload/task"],
			["empty in the payload", { payload: { task: "" } }, "/payload/task"],
		])("is not known: %s", (_, body, pointer) =>
			inQueue(async queue => {
				const answer = await queue.call("submitJob", "/api/jobs", { body });
				expect(answer.status).toBe(422);
				expect(answer.body).toMatchObject({ code: "unknown_task", errors: [{ pointer }] });
				expect(answer.body.detail.length).toBeLessThan(400);
				expect(answer.body.known_tasks).toContain("process_data");
			}),
		);
	});

	describe("a task of remote workers", () => {
		const seen = (queue: Harness, ...tasks: string[]) =>
			queue.deps.storage.worker.seeWorker({ name: "gpu-1", kind: "remote", tasks, version: "1" }, queue.clock.now());

		it("is known once one has served it, takes any payload, and has the usual retries", () =>
			inQueue(async queue => {
				const body = { task: "render", payload: { anything: [1] } };
				expect((await queue.call("submitJob", "/api/jobs", { body })).body.code).toBe("unknown_task");
				await seen(queue, "render");
				const job = await submit(queue, body);
				expect(job).toMatchObject({ task: "render", payload: { anything: [1] }, max_retries: 3, status: "pending" });
				expect(await read(queue, job.id)).toEqual(job);
				expect((await submit(queue, { payload: { task: "render", a: 1 }, max_retries: 0 })).task).toBe("render");
				expect((await tick(queue)).body.claimed).toBe(0);
			}));

		it("is known by its exact name", () =>
			inQueue(async queue => {
				await seen(queue, "render");
				for (const task of ["Render", "rende", "render2", "render "])
					expect((await queue.call("submitJob", "/api/jobs", { body: { payload: { task } } })).body.code).toBe("unknown_task");
			}));

		it("is not looked for in the store under a name that no task can have", () =>
			inQueue(async queue => {
				const before = queue.deps.storage.worker.statements();
				for (const task of ["a\u0000b", "\ud800", "x".repeat(10_000), "1", "a b", ""])
					expect((await queue.call("submitJob", "/api/jobs", { body: { payload: { task } } })).body.code).toBe("unknown_task");
				expect(queue.deps.storage.worker.statements()).toBe(before);
			}));

		it("may not ask for more time than an attempt may take", () =>
			inQueue(async queue => {
				await seen(queue, "render");
				for (const task of ["echo", "render"])
					expect((await queue.call("submitJob", "/api/jobs", { body: { task, timeout_ms: 900_001 } })).body).toMatchObject({
						code: "body_invalid",
						errors: [{ pointer: "/timeout_ms", code: "too_big" }],
					});
			}));

		it("may run longer than this platform lets its own tasks run", () =>
			inQueue(async queue => {
				await seen(queue, "render");
				const deps = { ...queue.deps, platform: { looksMax: 10 }, config: { ...queue.deps.config, timeoutMsMax: 1000 } };
				const status = async (task: string) =>
					(await answered(functions.submitJob(toRequest("/api/jobs", { body: { task, timeout_ms: 60_000 } }), deps))).status;
				expect(await status("render")).toBe(201);
				expect(await status("echo")).toBe(422);
			}));
	});

	it("asks the store for nothing but the job itself where the task is this process's own", () =>
		inQueue(async queue => {
			await submit(queue, { task: "echo" });
			const before = queue.deps.storage.worker.statements();
			await submit(queue, { task: "echo", webhook_url: "https://example.com/" });
			const once = queue.deps.storage.worker.statements() - before;
			await queue.deps.storage
				.tenant("acme")
				.insertJob({ task: "echo", payload: "{}", maxRetries: 0, tail: 1, traceId: "0" }, queue.clock.now());
			expect(queue.deps.storage.worker.statements() - before).toBe(2 * once);
		}));

	describe("webhook_url", () => {
		it("is kept as sent, and shown", () =>
			inQueue(async queue => {
				const job = await submit(queue, { task: "echo", webhook_url: "HTTPS://Example.com:443/a?token=b#c" });
				expect(job.webhook_url).toBe("HTTPS://Example.com:443/a?token=b#c");
				expect(await read(queue, job.id)).toEqual(job);
			}));

		it("belongs to the request that an idempotency key stands for", () =>
			inQueue(async queue => {
				const body = { task: "echo", idempotency_key: "k", webhook_url: "https://example.com/a" };
				const { id } = await submit(queue, body);
				expect(await submit(queue, body)).toMatchObject({ id, webhook_url: "https://example.com/a" });
				const other = await queue.call("submitJob", "/api/jobs", { body: { ...body, webhook_url: "https://example.com/b" } });
				expect(other.body).toMatchObject({ status: 422, code: "idempotency_key_reused" });
			}));
	});

	describe("the payload", () => {
		it("is an empty object when there is none, or null", () =>
			inQueue(async queue => {
				expect((await submit(queue, { task: "echo" })).payload).toEqual({});
				expect((await submit(queue, { task: "echo", payload: null })).payload).toEqual({});
			}));

		it.each([0, "", false, [], [null], "text", 1.5, { "": { "a/b": "~" } }].map(payload => ({ payload })))(
			"may be $payload",
			({ payload }) =>
				inQueue(async queue => {
					const job = await submit(queue, { task: "echo", payload });
					await tick(queue);
					expect(await read(queue, job.id)).toMatchObject({ payload, result: payload });
				}),
		);

		it("is refused with a pointer at the field that does not fit", () =>
			inQueue(
				async queue => {
					const answer = await queue.call("submitJob", "/api/jobs", {
						body: { task: "strict", payload: { to: "a", options: { copies: 1.5 } } },
					});
					expect(answer.status).toBe(422);
					expect(answer.body).toMatchObject({ code: "invalid_payload", errors: [{ pointer: "/payload/options/copies" }] });
					const two = await queue.call("submitJob", "/api/jobs", { body: { payload: { task: "strict", "a/b~": 1 } } });
					expect(two.body.errors.map(({ pointer }: { pointer: string }) => pointer).sort()).toEqual(["/payload/a~1b~0", "/payload/to"]);
					expect(two.body.detail).toContain("GET /api/tasks");
					const root = await queue.call("submitJob", "/api/jobs", { body: { task: "strict", payload: [] } });
					expect(root.body.errors).toMatchObject([{ pointer: "/payload" }]);
				},
				{ tasks: { strict } },
			));

		it("is stored before it is transformed", () =>
			inQueue(
				async queue => {
					const job = await submit(queue, { task: "trim", payload: "  a " });
					expect(job.payload).toBe("  a ");
					await tick(queue);
					expect(await read(queue, job.id)).toMatchObject({ payload: "  a ", result: "a" });
				},
				{ tasks: { trim: defineTask({ input: z.string().trim(), run: text => text }) } },
			));

		it("keeps lone surrogates and NUL, which JSON can say", () =>
			inQueue(async queue => {
				const job = await submit(queue, '{"task":"echo","payload":"\\ud800\\u0000"}');
				await tick(queue);
				expect(await read(queue, job.id)).toMatchObject({ payload: "\ud800\u0000", result: "\ud800\u0000" });
			}));

		it("keeps a field named __proto__", () =>
			inQueue(async queue => {
				const { body } = await queue.call("submitJob", "/api/jobs", { body: '{"task":"echo","payload":{"__proto__":{"a":1},"b":2}}' });
				expect(Object.keys(body.payload).sort()).toEqual(["__proto__", "b"]);
			}));
	});

	describe("optional fields", () => {
		it("may all be null, which means absent", () =>
			inQueue(async queue => {
				const nothing = Object.fromEntries(
					Object.keys(operations.submitJob.body.shape)
						.filter(name => name !== "task")
						.map(name => [name, null]),
				);
				const job = await submit(queue, { task: "echo", ...nothing });
				const plain = await submit(queue, { task: "echo" });
				const without = ({ id, job_id, trace_id, links, ...rest }: Record<string, unknown>) => rest;
				expect(without(job)).toEqual(without(plain));
			}));

		it("are kept as sent", () =>
			inQueue(async queue => {
				const job = await submit(queue, {
					task: "echo",
					priority: 5,
					start_by: "2026-01-01T02:00:00+01:00",
					max_retries: 7,
					timeout_ms: 1234,
					key: "mailbox-7",
					tags: ["signup", "eu", "signup"],
				});
				expect(job).toMatchObject({
					priority: 5,
					start_by: "2026-01-01T01:00:00.000Z",
					max_retries: 7,
					max_attempts: 8,
					timeout_ms: 1234,
					key: "mailbox-7",
					tags: ["signup", "eu"],
				});
			}));

		it("take the retries of the task where the job does not say", () =>
			inQueue(
				async queue => {
					expect(await submit(queue, { task: "once" })).toMatchObject({ max_retries: 0, max_attempts: 1 });
					expect(await submit(queue, { task: "once", max_retries: 2 })).toMatchObject({ max_retries: 2 });
				},
				{ tasks: { once: defineTask({ retry: { maxRetries: 0 }, run: () => null }) } },
			));
	});

	describe("the time", () => {
		it("is delay_ms from now, or run_at in any offset", () =>
			inQueue(async queue => {
				expect((await submit(queue, { task: "echo", delay_ms: 1500 })).run_at).toBe("2026-01-01T00:00:01.500Z");
				expect((await submit(queue, { task: "echo", run_at: "2026-01-01T03:00:00+02:00" })).run_at).toBe("2026-01-01T01:00:00.000Z");
			}));

		it("is now when run_at is past or the delay is 0", () =>
			inQueue(async queue => {
				for (const body of [{ run_at: "1999-01-01T00:00:00Z" }, { delay_ms: 0 }])
					expect(await submit(queue, { task: "echo", ...body })).toMatchObject({ status: "pending", run_at: "2026-01-01T00:00:00.000Z" });
				expect((await queue.call("metrics", "/api/metrics")).body).toMatchObject({ ready: 2, delayed: 0 });
			}));

		it("is said once", () =>
			inQueue(async queue => {
				const answer = await queue.call("submitJob", "/api/jobs", { body: { task: "echo", delay_ms: 1, run_at: "2026-01-01T00:00:00Z" } });
				expect(answer.status).toBe(400);
				expect(answer.body.code).toBe("run_at_and_delay_ms");
				expect((await submit(queue, { task: "echo", delay_ms: null, run_at: "2026-01-02T00:00:00Z" })).run_at).toBe(
					"2026-01-02T00:00:00.000Z",
				);
			}));

		it("holds the job until then", () =>
			inQueue(async queue => {
				const job = await submit(queue, { task: "echo", delay_ms: 1000 });
				await queue.clock.advance(999);
				expect((await tick(queue)).body).toMatchObject({
					claimed: 0,
					next_wake_at: "2026-01-01T00:00:01.000Z",
					next_wake_reason: "delayed",
				});
				await queue.clock.advance(1);
				await tick(queue);
				expect(await read(queue, job.id)).toMatchObject({ status: "done", timing: { waited_ms: 0 } });
			}));

		it("is within the years that an instant can be written in", () =>
			inQueue(async queue => {
				const { status, body } = await queue.call("submitJob", "/api/jobs", {
					body: { task: "echo", run_at: "9999-12-31T23:59:59-23:59" },
				});
				if (status === 201) expect(body.run_at).toMatch(/^\d{4}-/);
			}));
	});

	describe("the idempotency key", () => {
		it("answers the same job for the same key", () =>
			inQueue(async queue => {
				const body = { task: "echo", payload: { a: 1 }, idempotency_key: "k" };
				const first = await queue.call("submitJob", "/api/jobs", { body });
				expect(first.headers.get("idempotency-replayed")).toBeNull();
				const again = await queue.call("submitJob", "/api/jobs", { body });
				expect(again.status).toBe(201);
				expect(again.headers.get("idempotency-replayed")).toBe("true");
				expect(again.headers.get("location")).toBe(first.headers.get("location"));
				expect(again.body).toEqual(first.body);
				await tick(queue);
				expect((await queue.call("submitJob", "/api/jobs", { body })).body).toMatchObject({ id: first.body.id, status: "done" });
				expect((await queue.call("listJobs", "/api/jobs")).body.count).toBe(1);
			}));

		it("may come as header, bare or quoted, and as field: all name the same", () =>
			inQueue(async queue => {
				const { id } = await submit(queue, { task: "echo", idempotency_key: 'a"b' });
				const call = (key: string, body: object = { task: "echo" }) =>
					queue.call("submitJob", "/api/jobs", { body, headers: { "idempotency-key": key } });
				expect((await call('a"b')).body.id).toBe(id);
				expect((await call('"a\\"b"')).body.id).toBe(id);
				expect((await call('a"b', { task: "echo", idempotency_key: 'a"b' })).body.id).toBe(id);
			}));

		it("is refused when header and field differ, or when it is empty or too long", () =>
			inQueue(async queue => {
				const call = (key: string, body: object = { task: "echo" }) =>
					queue.call("submitJob", "/api/jobs", { body, headers: { "idempotency-key": key } });
				expect((await call("a", { task: "echo", idempotency_key: "b" })).body).toMatchObject({
					status: 400,
					code: "idempotency_keys_differ",
				});
				expect((await call('""')).body).toMatchObject({ status: 400, code: "header_invalid" });
				expect((await call("x".repeat(256))).body).toMatchObject({ status: 400, code: "header_invalid" });
				expect((await call("x".repeat(255))).status).toBe(201);
			}));

		it("belongs to one request: another body is refused", () =>
			inQueue(async queue => {
				await submit(queue, { task: "echo", payload: 1, idempotency_key: "k" });
				const answer = await queue.call("submitJob", "/api/jobs", { body: { task: "echo", payload: 2, idempotency_key: "k" } });
				expect(answer.status).toBe(422);
				expect(answer.body.code).toBe("idempotency_key_reused");
			}));

		it("takes the same body in another order of fields, and null as absent", () =>
			inQueue(async queue => {
				const { id } = await submit(queue, '{"task":"echo","payload":{"a":1,"b":{"c":2,"d":3}},"idempotency_key":"k"}');
				expect((await submit(queue, '{"idempotency_key":"k","payload":{"b":{"d":3,"c":2},"a":1},"key":null,"task":"echo"}')).id).toBe(id);
			}));

		it("tells an object from a list of its pairs", () =>
			inQueue(async queue => {
				await submit(queue, { task: "echo", payload: { a: 1 }, idempotency_key: "k" });
				expect(
					(await queue.call("submitJob", "/api/jobs", { body: { task: "echo", payload: [["a", 1]], idempotency_key: "k" } })).status,
				).toBe(422);
			}));

		it("is each tenant's own", () =>
			inQueue(async queue => {
				const body = { task: "echo", idempotency_key: "k" };
				expect((await submit(queue, body, "acme")).id).not.toBe((await submit(queue, body, "other")).id);
			}));

		it("is free again after a day", () =>
			inQueue(async queue => {
				const body = { task: "echo", idempotency_key: "k" };
				const first = await submit(queue, body);
				await queue.clock.advance(24 * 3_600_000 - 1);
				expect((await submit(queue, body)).id).toBe(first.id);
				await queue.clock.advance(1);
				expect((await submit(queue, body)).id).not.toBe(first.id);
			}));

		it("makes one job of many submits at once", () =>
			inQueue(async queue => {
				const body = { task: "echo", idempotency_key: "k" };
				const jobs = await Promise.all(Array.from({ length: 50 }, () => submit(queue, body)));
				expect(new Set(jobs.map(({ id }) => id)).size).toBe(1);
				expect((await queue.call("metrics", "/api/metrics")).body.pending).toBe(1);
			}));

		it("is not kept by a submit that was refused", () =>
			inQueue(
				async queue => {
					const body = { task: "echo", idempotency_key: "k" };
					const other = await submit(queue, { task: "echo" });
					expect((await queue.call("submitJob", "/api/jobs", { body })).status).toBe(429);
					await queue.call("cancelJob", `/api/jobs/${other.id}/cancel`, { method: "POST" });
					const answer = await queue.call("submitJob", "/api/jobs", { body });
					expect(answer.status).toBe(201);
					expect(answer.headers.get("idempotency-replayed")).toBeNull();
				},
				{ config: { tenantBacklog: 1 } },
			));
	});

	it("refuses what is above the tenant's backlog, and says when to come again", () =>
		inQueue(
			async queue => {
				await submit(queue, { task: "echo" });
				await submit(queue, { task: "echo", delay_ms: 60_000 });
				const { status, headers, body } = await queue.call("submitJob", "/api/jobs", { body: { task: "echo" } });
				expect(status).toBe(429);
				expect(headers.get("retry-after")).toBe("10");
				expect(body).toMatchObject({ code: "tenant_backlog_full", limit: "backlog" });
				await submit(queue, { task: "echo" }, "other");
				await tick(queue);
				await submit(queue, { task: "echo" });
			},
			{ config: { tenantBacklog: 2 } },
		));

	it("fits exactly the backlog when many submit at once", () =>
		inQueue(
			async queue => {
				const answers = await Promise.all(
					Array.from({ length: 30 }, () => queue.call("submitJob", "/api/jobs", { body: { task: "echo" } })),
				);
				expect(answers.filter(({ status }) => status === 201)).toHaveLength(7);
				expect(answers.filter(({ status }) => status === 429)).toHaveLength(23);
			},
			{ config: { tenantBacklog: 7 } },
		));

	describe("the trace", () => {
		it("is the caller's where it sends a traceparent", () =>
			inQueue(async queue => {
				const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
				const { headers, body } = await queue.call("submitJob", "/api/jobs", {
					body: { task: "echo" },
					headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01` },
				});
				expect(body.trace_id).toBe(traceId);
				expect(headers.get("trace-id")).toBe(traceId);
			}));

		it.each([
			"rubbish",
			"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
			"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
			"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
			"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		])("is made anew for the traceparent %s", traceparent =>
			inQueue(async queue => {
				const { body } = await queue.call("submitJob", "/api/jobs", { body: { task: "echo" }, headers: { traceparent } });
				expect(body.trace_id).toMatch(/^[0-9a-f]{32}$/);
				expect(traceparent).not.toContain(body.trace_id);
			}),
		);

		it("is what the task and its log lines see", () =>
			inQueue(
				async queue => {
					const job = await submit(queue, { task: "logs" });
					await tick(queue);
					expect((await read(queue, job.id)).result).toBe(job.trace_id);
					expect(queue.logs.find(({ message }) => message === "here")).toMatchObject({
						trace_id: job.trace_id,
						job_id: job.id,
						tenant_id: "acme",
						task: "logs",
						attempt: 1,
						more: 1,
					});
				},
				{
					tasks: {
						logs: defineTask({
							run(_, { log, traceId }) {
								log.info("here", { more: 1 });
								return traceId;
							},
						}),
					},
				},
			));
	});

	describe("wait_ms", () => {
		it("answers when the job ends", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					const answer = queue.call("submitJob", "/api/jobs?wait_ms=20000", { body: { task: "gate" } });
					await settle();
					const { report } = await startTicking(queue);
					await queue.clock.advance(120);
					await gate.attempts[0]!.finish("result");
					const { status, body } = await answer;
					expect(status).toBe(201);
					expect(body).toMatchObject({ status: "done", result: "result", completed_at: "2026-01-01T00:00:00.120Z" });
					expect(queue.clock.now()).toBe(Date.UTC(2026, 0, 1) + 120);
					await report;
				},
				{ tasks: { gate: gate.task } },
			);
		});

		it("answers the pending job when the time is up", () =>
			inQueue(async queue => {
				let answered = false;
				const answer = queue.call("submitJob", "/api/jobs?wait_ms=3000", { body: { task: "echo" } }).then(answer => {
					answered = true;
					return answer;
				});
				await queue.clock.advance(2999);
				expect(answered).toBe(false);
				await queue.clock.advance(1);
				expect((await answer).body.status).toBe("pending");
			}));

		it("answers at once for 0", () =>
			inQueue(async queue => {
				expect((await queue.call("submitJob", "/api/jobs?wait_ms=0", { body: { task: "echo" } })).body.status).toBe("pending");
			}));

		it("waits for the first job's end with its idempotency key", () =>
			inQueue(async queue => {
				const body = { task: "echo", payload: 5, idempotency_key: "k" };
				await submit(queue, body);
				const again = queue.call("submitJob", "/api/jobs?wait_ms=10000", { body });
				await settle();
				await tick(queue);
				expect((await again).body).toMatchObject({ status: "done", result: 5 });
			}));
	});

	it("has no dry run, and does nothing when asked for one", () =>
		inQueue(async queue => {
			const { body } = await queue.call("submitJob", "/api/jobs?dry_run=true", { body: { task: "echo" } });
			expect(body).toMatchObject({ status: 400, code: "dry_run_unsupported" });
			expect((await queue.call("listJobs", "/api/jobs")).body.count).toBe(0);
		}));

	it("rings the bell, so that a sleeping loop hears of the job", () =>
		inQueue(async queue => {
			expect(queue.deps.wake.heard()).toBe(false);
			await submit(queue, { task: "echo" });
			expect(queue.deps.wake.heard()).toBe(true);
		}));

	// Bug: a key goes into the store by way of SQLite's JSON, which cannot hold half a surrogate pair: it comes back as other characters.
	it("answers a key with a lone surrogate as a read does, or refuses it", () =>
		inQueue(async queue => {
			const { status, body } = await queue.call("submitJob", "/api/jobs", { body: '{"task":"echo","key":"\\ud800"}' });
			if (status === 201) expect((await read(queue, body.id)).key).toBe(body.key);
		}));

	it("runs the jobs of one key one after the other, in order", () => {
		const gate = createGate();
		return inQueue(
			async queue => {
				for (const payload of [1, 2, 3]) await submit(queue, { task: "gate", payload, key: "k" });
				await submit(queue, { task: "gate", payload: "other", key: "other" });
				const { report } = await startTicking(queue);
				expect(gate.attempts.map(({ payload }) => payload)).toEqual([1, "other"]);
				await gate.attempts[0]!.finish();
				expect(gate.attempts.map(({ payload }) => payload)).toEqual([1, "other", 2]);
				await gate.attempts[2]!.finish();
				await gate.attempts[3]!.finish();
				await gate.attempts[1]!.finish();
				expect((await report).body.outcomes.done).toBe(4);
			},
			{ tasks: { gate: gate.task } },
		);
	});

	it("cancels, reason expired, what has not started by start_by", () =>
		inQueue(async queue => {
			const job = await submit(queue, { task: "echo", delay_ms: 60_000, start_by: "2026-01-01T00:00:10Z" });
			await queue.clock.advance(10_000);
			expect((await dryTick(queue)).body.expired_starts).toBe(1);
			expect((await tick(queue)).body.expired_starts).toBe(1);
			expect(await read(queue, job.id)).toMatchObject({ status: "cancelled", reason: "expired", completed_at: "2026-01-01T00:00:10.000Z" });
			expect(await history(queue, job.id)).toEqual(["submitted", "cancelled"]);
		}));
});
