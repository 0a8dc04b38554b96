import { defineTask, Failed, RetryAfter, Snooze } from "tickq";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { operations } from "../../lib/contract.ts";
import { startTick } from "../../lib/tick.ts";
import { type Harness, settle } from "../support/harness.ts";
import { createGate, createScript, dryTick, history, inQueue, read, startTicking, submit, throwing, tick } from "./inQueue.ts";

const echo = defineTask({ run: payload => payload });
const statements = (queue: Harness) => queue.deps.storage.worker.statements();

describe("processTick", () => {
	it("runs what is due and reports it", () =>
		inQueue(
			async queue => {
				const job = await submit(queue, { task: "echo", payload: 1 });
				await submit(queue, { task: "bad", max_retries: 0 }, "other");
				await queue.clock.advance(30);
				const { status, body } = await tick(queue);
				expect(status).toBe(200);
				expect(operations.processTick.answer.parse(body)).toEqual(body);
				expect(body).toMatchObject({
					dry_run: false,
					trigger: "http",
					started_at: "2026-01-01T00:00:00.030Z",
					duration_ms: 0,
					budget_ms: 25_000,
					stopped_by: "nothing_due",
					claimed: 2,
					expired_leases: 0,
					expired_starts: 0,
					pruned: 0,
					jobs_omitted: 0,
					next_wake_reason: "prune",
				});
				expect(body.outcomes).toEqual({
					done: 1,
					retry: 0,
					failed: 0,
					dead_letter: 1,
					cancelled: 0,
					snoozed: 0,
					released: 0,
					lost: 0,
				});
				expect(body.jobs).toContainEqual({
					id: job.id,
					tenant_id: "acme",
					task: "echo",
					attempt: 1,
					outcome: "done",
					waited_ms: 30,
					ran_ms: 0,
				});
			},
			{ tasks: { echo, bad: throwing(new Error("bad")) } },
		));

	describe("an idle tick", () => {
		it("is exactly one statement, in an empty queue", () =>
			inQueue(async queue => {
				const before = statements(queue);
				const { body } = await tick(queue);
				expect(statements(queue) - before).toBe(1);
				expect(body).toMatchObject({
					claimed: 0,
					statements: 1,
					stopped_by: "nothing_due",
					next_wake_at: null,
					next_wake_reason: "nothing",
				});
			}));

		it("is exactly one statement among done, delayed, failed and blocked jobs and tenants at their limit", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					await submit(queue, { task: "echo" });
					await submit(queue, { task: "bad" });
					await tick(queue);
					await submit(queue, { task: "echo", delay_ms: 60_000 });
					for (let i = 0; i < 3; i++) await submit(queue, { task: "gate", key: `k${i % 2}` });
					const { report } = await startTicking(queue, { limit: 1 });
					const before = statements(queue);
					const idle = await tick(queue);
					expect(idle.body).toMatchObject({ claimed: 0, statements: 1 });
					expect(statements(queue) - before).toBe(1);
					await gate.attempts[0]!.finish();
					await report;
				},
				{ tasks: { echo, gate: gate.task, bad: throwing(new Failed("bad")) }, config: { tenantConcurrency: 1 } },
			);
		});

		it("is one statement also with a task that nobody has submitted yet", () =>
			inQueue(async queue => {
				const deps = { ...queue.deps, tasks: { ...queue.deps.tasks, added: echo }, store: queue.deps.storage.worker };
				await startTick(deps, { trigger: "due" }).report;
				expect((await startTick(deps, { trigger: "due" }).report).statements).toBe(1);
			}));
	});

	describe("slots", () => {
		it("are refilled as they become free: one slow job holds back nobody", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					await submit(queue, { task: "gate" });
					const quick = [];
					for (let i = 0; i < 12; i++) quick.push((await submit(queue, { task: "echo" }, `tenant-${i % 4}`)).id);
					const { report } = await startTicking(queue);
					for (let i = 0; i < 10; i++) await settle();
					for (const id of quick) expect((await read(queue, id)).status).toBe("done");
					expect(queue.deps.slots.busy).toBe(1);
					await gate.attempts[0]!.finish();
					expect((await report).body).toMatchObject({ claimed: 13, outcomes: { done: 13 } });
				},
				{ tasks: { gate: gate.task, echo }, config: { workersMin: 1, tasksPerWorker: 2 } },
			);
		});

		it("are never more than there are workers, nor more than a tenant may have", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					for (let i = 0; i < 4; i++) for (const tenant of ["a", "b"]) await submit(queue, { task: "gate" }, tenant);
					const { report } = await startTicking(queue);
					const second = await startTicking(queue);
					let most = 0;
					for (let ended = 0; ended < 8; ended++) {
						const running = gate.attempts.slice(ended);
						most = Math.max(most, running.length);
						for (const tenant of ["a", "b"])
							expect(running.filter(({ context }) => context.tenant === tenant).length).toBeLessThanOrEqual(2);
						await running[0]!.finish();
					}
					expect(most).toBe(3);
					expect((await report).body.outcomes.done + (await second.report).body.outcomes.done).toBe(8);
					expect(queue.deps.slots.busy).toBe(0);
				},
				{ tasks: { gate: gate.task }, config: { workersMin: 1, tasksPerWorker: 3, tenantConcurrency: 2 } },
			);
		});

		it("take a job that comes while others run", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					await submit(queue, { task: "gate" });
					const { report } = await startTicking(queue);
					const late = await submit(queue, { task: "echo" });
					await settle();
					expect((await read(queue, late.id)).status).toBe("done");
					await gate.attempts[0]!.finish();
					await report;
				},
				{ tasks: { gate: gate.task, echo } },
			);
		});

		it("take a job that becomes due while others run", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					await submit(queue, { task: "gate" });
					const late = await submit(queue, { task: "echo", delay_ms: 700 });
					const { report } = await startTicking(queue);
					await queue.clock.advance(700);
					expect(await read(queue, late.id)).toMatchObject({ status: "done", started_at: "2026-01-01T00:00:00.700Z" });
					await gate.attempts[0]!.finish();
					await report;
				},
				{ tasks: { gate: gate.task, echo } },
			);
		});

		it("do not make the tick spin while something is due that only a sweep can end", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					await submit(queue, { task: "gate" });
					const late = await submit(queue, { task: "echo", delay_ms: 60_000, start_by: "2026-01-01T00:00:05Z" });
					const { report } = await startTicking(queue);
					await queue.clock.advance(4000);
					const before = statements(queue);
					await queue.clock.advance(2000);
					const sent = statements(queue) - before;
					const { status } = await read(queue, late.id);
					await gate.attempts[0]!.finish();
					await report;
					expect({ sent: sent < 20, status }).toEqual({ sent: true, status: "cancelled" });
				},
				{ tasks: { gate: gate.task, echo }, config: { tickStatementsMax: 300 } },
			);
		});
	});

	describe("bounds", () => {
		it("start no more jobs than limit", () =>
			inQueue(async queue => {
				for (let i = 0; i < 5; i++) await submit(queue, { task: "echo" });
				expect((await tick(queue, { limit: 3 })).body).toMatchObject({ claimed: 3, stopped_by: "jobs", next_wake_reason: "ready" });
				expect((await tick(queue)).body).toMatchObject({ claimed: 2, stopped_by: "nothing_due" });
			}));

		it("start no job after the budget, and see those that run to their end", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					await submit(queue, { task: "gate" });
					const { report } = await startTicking(queue, { budget_ms: 1000 });
					await queue.clock.advance(1000);
					const late = await submit(queue, { task: "echo" });
					await queue.clock.advance(5000);
					expect((await read(queue, late.id)).status).toBe("pending");
					await gate.attempts[0]!.finish();
					expect((await report).body).toMatchObject({ stopped_by: "budget", budget_ms: 1000, duration_ms: 6000, outcomes: { done: 1 } });
				},
				{ tasks: { gate: gate.task, echo } },
			);
		});

		it("stay within what the process is set to", () =>
			inQueue(
				async queue => {
					for (let i = 0; i < 4; i++) await submit(queue, { task: "echo" });
					expect((await tick(queue, { limit: 1000, budget_ms: 3_600_000 })).body).toMatchObject({ claimed: 2, budget_ms: 500 });
				},
				{ config: { tickJobsMax: 2, tickBudgetMs: 500 } },
			));

		it("start no more jobs after so many statements", () =>
			inQueue(
				async queue => {
					for (let i = 0; i < 40; i++) await submit(queue, { task: "echo" });
					const { body } = await tick(queue);
					expect(body.stopped_by).toBe("statements");
					expect(body.claimed).toBeGreaterThan(0);
					expect(body.claimed).toBeLessThan(40);
					expect(body.outcomes.done).toBe(body.claimed);
				},
				{ config: { tickStatementsMax: 30, workersMin: 1, tasksPerWorker: 2 } },
			));

		it("say so when all slots are taken by another tick", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					await submit(queue, { task: "gate" });
					await submit(queue, { task: "gate" });
					const { report } = await startTicking(queue);
					expect((await tick(queue)).body).toMatchObject({ claimed: 0, stopped_by: "slots", next_wake_reason: "ready" });
					await gate.attempts[0]!.finish();
					await gate.attempts[1]!.finish();
					expect((await report).body.claimed).toBe(2);
				},
				{ tasks: { gate: gate.task }, config: { workersMin: 1, tasksPerWorker: 1 } },
			);
		});

		it.each([{ limit: 0 }, { limit: 1.5 }, { budget_ms: 0 }, { limit: "5" }, { more: 1 }, []])("refuse the body %j", body =>
			inQueue(async queue => {
				expect((await tick(queue, Array.isArray(body) ? [body] : body)).body).toMatchObject({ status: 422, code: "body_invalid" });
			}),
		);

		it("take null as absent, and no body at all", () =>
			inQueue(async queue => {
				expect((await tick(queue, { limit: null, budget_ms: null })).body.budget_ms).toBe(25_000);
			}));
	});

	describe("failures", () => {
		const fail = (thrown: unknown, run: (queue: Harness, id: string) => Promise<void>, more: object = {}) =>
			inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "bad", ...more });
					await tick(queue);
					await run(queue, id);
				},
				{ tasks: { bad: throwing(thrown) } },
			);

		it("are repeated after a jittered backoff until the retries are spent", () =>
			inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "bad" });
					const times: string[] = [];
					for (let i = 0; i < 4; i++) {
						await tick(queue);
						const job = await read(queue, id);
						times.push(`${job.status} ${job.retry_count} ${job.attempt} ${job.run_at.slice(14, -1)}`);
						await queue.clock.advance(job.status === "pending" ? Date.parse(job.run_at) - queue.clock.now() : 0);
					}
					expect(times).toEqual(["pending 1 2 00:01.000", "pending 2 3 00:04.000", "pending 3 4 00:13.000", "dead_letter 4 4 00:13.000"]);
					expect(await read(queue, id)).toMatchObject({ reason: "retries_exhausted", error_message: "bad", max_attempts: 4 });
					expect(await history(queue, id)).toEqual([
						"submitted",
						"claimed",
						"retry",
						"claimed",
						"retry",
						"claimed",
						"retry",
						"claimed",
						"dead_letter",
					]);
				},
				{ tasks: { bad: throwing(new Error("bad")) } },
			));

		it("follow the task's own policy", () =>
			inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "bad" });
					await tick(queue);
					expect(await read(queue, id)).toMatchObject({ max_retries: 1, run_at: "2026-01-01T00:00:00.050Z" });
				},
				{ tasks: { bad: defineTask({ ...throwing(new Error()), retry: { maxRetries: 1, baseMs: 100 } }) } },
			));

		it("end the job for good when the task says Failed", () =>
			fail(new Failed("no such customer"), async (queue, id) => {
				expect(await read(queue, id)).toMatchObject({ status: "failed", reason: "not_retryable", retry_count: 1, attempt: 1 });
			}));

		it.each<[string, ConstructorParameters<typeof RetryAfter>[0], string]>([
			["a number of milliseconds", 1234, "00:01.234"],
			["a Date", new Date("2026-01-01T00:01:00Z"), "01:00.000"],
			["a past Date", new Date(0), "00:00.000"],
			["the seconds of an HTTP header", "120", "02:00.000"],
			["the date of an HTTP header", "Thu, 01 Jan 2026 00:00:30 GMT", "00:30.000"],
			["nothing", null, "00:01.000"],
			["no number", Number.NaN, "00:01.000"],
			["infinity", Number.POSITIVE_INFINITY, "00:01.000"],
			["an invalid Date", new Date("no"), "00:01.000"],
			["text that says nothing", "soon", "00:01.000"],
		])("wait as RetryAfter says: %s", (_, after, at) =>
			inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "later" });
					await tick(queue, { limit: 1 });
					expect(await read(queue, id)).toMatchObject({
						status: "pending",
						retry_count: 1,
						run_at: `2026-01-01T00:${at}Z`,
						error_message: "busy",
					});
				},
				{ tasks: { later: throwing(new RetryAfter(after, "busy")) } },
			),
		);

		it.each(["-5", "1.5"])("wait the usual time where RetryAfter says %s", after =>
			inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "later" });
					await tick(queue, { limit: 1 });
					expect((await read(queue, id)).run_at).toBe("2026-01-01T00:00:01.000Z");
				},
				{ tasks: { later: throwing(new RetryAfter(after)) } },
			),
		);

		it("do not count when the task says Snooze", () =>
			inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "nap", max_retries: 0 });
					for (let i = 0; i < 3; i++) {
						expect((await tick(queue)).body.outcomes.snoozed).toBe(1);
						expect(await read(queue, id)).toMatchObject({ status: "pending", retry_count: 0, attempt: 1, error: null });
						await queue.clock.advance(500);
					}
					await tick(queue);
					expect(await read(queue, id)).toMatchObject({ status: "done", result: "awake" });
				},
				{ tasks: { nap: createScript(nap, nap, nap, () => "awake") } },
			));
		function nap(): never {
			throw new Snooze(500);
		}

		it.each([
			["Snooze beyond the calendar", new Snooze(1e16)],
			["Snooze beyond integers", new Snooze(1e300)],
			["RetryAfter beyond the calendar", new RetryAfter(1e16)],
			["a remote's Retry-After header", new RetryAfter("99999999999999")],
		])("never make a job or a tick unreadable: %s", (_, thrown) =>
			inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "bad" });
					expect((await tick(queue)).status).toBe(200);
					expect(await read(queue, id)).toMatchObject({ status: "pending", worker: "test-worker" });
					expect((await queue.call("listJobs", "/api/jobs")).status).toBe(200);
					expect((await queue.call("metrics", "/api/metrics")).status).toBe(200);
				},
				{ tasks: { bad: throwing(thrown) } },
			),
		);

		it.each<[string, unknown, string]>([
			["nothing", undefined, "undefined"],
			["null", null, "null"],
			["a text", "text", "text"],
			["an empty text", "", "unknown error"],
			["a number", 5, "5"],
			["a bigint", 5n, "5"],
			["a symbol", Symbol("s"), "Symbol(s)"],
			["an object", { a: 1 }, "[object Object]"],
			["an error without a message", new TypeError(), "TypeError"],
			[
				"an error with a cause",
				new TypeError("fetch failed", { cause: Object.assign(new Error("getaddrinfo ENOTFOUND mail.example"), { code: "ENOTFOUND" }) }),
				"fetch failed (getaddrinfo ENOTFOUND mail.example)",
			],
			[
				"an error of several causes",
				new TypeError("fetch failed", {
					cause: Object.assign(new AggregateError([Object.assign(new Error("connect"), { code: "ECONNREFUSED" })]), {}),
				}),
				"fetch failed (ECONNREFUSED: connect)",
			],
			["an error whose cause is no error", new Error("no", { cause: 5 }), "no"],
		])("may be any thrown value: %s", (_, thrown, message) =>
			fail(
				thrown,
				async (queue, id) => {
					expect(await read(queue, id)).toMatchObject({ status: "dead_letter", error_message: message });
				},
				{ max_retries: 0 },
			),
		);

		it("keep a bounded part of message and stack", () =>
			fail(
				new Error("x".repeat(1_000_000)),
				async (queue, id) => {
					const { error } = await read(queue, id);
					expect(error.message).toHaveLength(2000);
					expect(error.stack.length).toBeLessThanOrEqual(4000);
				},
				{ max_retries: 0 },
			));

		it("of one job leave its neighbours alone", () =>
			inQueue(
				async queue => {
					for (const task of ["echo", "bad", "echo", "bad", "echo"]) await submit(queue, { task, max_retries: 0 });
					expect((await tick(queue)).body.outcomes).toMatchObject({ done: 3, dead_letter: 2 });
				},
				{ tasks: { echo, bad: throwing(new Error("bad")) } },
			));

		it("include a payload that no longer fits the task's schema", () =>
			inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "echo", payload: { a: 1 } });
					const tasks = { echo: defineTask({ input: z.strictObject({ b: z.int() }), run: () => 1 }) };
					await startTick({ ...queue.deps, tasks, store: queue.deps.storage.worker }, { trigger: "due" }).report;
					expect(await read(queue, id)).toMatchObject({ status: "failed", reason: "not_retryable" });
					expect((await read(queue, id)).error_message).toContain("no longer fits");
				},
				{ tasks: { echo } },
			));
	});

	describe("results", () => {
		const cyclic: Record<string, unknown> = {};
		cyclic.self = cyclic;
		it.each<[string, unknown, unknown]>([
			["nothing", undefined, null],
			["a function", () => {}, null],
			["a symbol", Symbol("s"), null],
			["NaN", Number.NaN, null],
			["a Date", new Date(0), "1970-01-01T00:00:00.000Z"],
			["undefined fields", { a: undefined, b: 1 }, { b: 1 }],
			["a promise", Promise.resolve(5), 5],
		])("are stored as the JSON they are: %s", (_, result, stored) =>
			inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "give" });
					await tick(queue);
					expect(await read(queue, id)).toMatchObject({ status: "done", result: stored });
				},
				{ tasks: { give: createScript(() => result) } },
			),
		);

		it.each<[string, () => unknown, string]>([
			["a bigint", () => 5n, "cannot be stored as JSON"],
			["a cycle", () => cyclic, "cannot be stored as JSON"],
			[
				"what throws when it is written",
				() => ({
					toJSON() {
						throw new Error("no");
					},
				}),
				"cannot be stored as JSON: no",
			],
			["too much", () => "x".repeat(1100), "above the limit of 1024"],
		])("that cannot be stored fail the job for good, and say why: %s", (_, give, message) =>
			inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "give" });
					await tick(queue);
					const job = await read(queue, id);
					expect(job).toMatchObject({ status: "failed", result: null });
					expect(job.error_message).toContain(message);
				},
				{ tasks: { give: createScript(give) }, config: { resultBytesMax: 1024 } },
			),
		);

		it("are measured in bytes", () =>
			inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "give" });
					await tick(queue);
					expect((await read(queue, id)).status).toBe("failed");
				},
				{ tasks: { give: createScript(() => "€".repeat(1000)) }, config: { resultBytesMax: 1024 } },
			));
	});

	describe("follow-ups", () => {
		const parent = createScript((_, { submit }) => {
			submit("child", { a: 1 }, { priority: 3, tags: ["t"], maxRetries: 1, delayMs: 500 });
			submit("child", 2);
			return "parent";
		});

		it("are stored with the parent's success, for its tenant and trace", () =>
			inQueue(
				async queue => {
					const job = await submit(queue, { task: "parent" });
					await tick(queue);
					await tick(queue);
					const { jobs } = (await queue.call("listJobs", "/api/jobs?task=child")).body;
					expect(jobs).toHaveLength(2);
					expect(jobs.at(-1)).toMatchObject({
						tenant_id: "acme",
						trace_id: job.trace_id,
						payload: { a: 1 },
						priority: 3,
						tags: ["t"],
						max_retries: 1,
						status: "pending",
						run_at: "2026-01-01T00:00:00.500Z",
					});
					expect(jobs[0]).toMatchObject({ payload: 2, status: "done" });
				},
				{ tasks: { parent, child: echo } },
			));

		it("run in the tick that stored them", () =>
			inQueue(
				async queue => {
					await submit(queue, { task: "parent" });
					const { body } = await tick(queue);
					expect(body).toMatchObject({ outcomes: { done: 2 }, next_wake_reason: "delayed" });
				},
				{ tasks: { parent, child: echo } },
			));

		it("are not stored when the parent fails", () =>
			inQueue(
				async queue => {
					await submit(queue, { task: "parent", max_retries: 0 });
					await tick(queue);
					expect((await queue.call("listJobs", "/api/jobs?task=child")).body.count).toBe(0);
				},
				{
					tasks: {
						parent: createScript((_, { submit }) => {
							submit("child", 1);
							throw new Error("after all, no");
						}),
						child: echo,
					},
				},
			));

		it("of a task that is not known, or that do not fit its schema, fail the attempt where they are asked for", () =>
			inQueue(
				async queue => {
					const unknown = await submit(queue, { task: "a", max_retries: 0 });
					const unfit = await submit(queue, { task: "b", max_retries: 0 });
					await tick(queue);
					expect((await read(queue, unknown.id)).error_message).toBe("submit: there is no task nobody");
					expect((await read(queue, unfit.id)).error_message).toContain("payload must be a string");
				},
				{
					tasks: {
						a: createScript((_, { submit }) => submit("nobody", 1)),
						b: createScript((_, { submit }) => submit("strict", 1)),
						strict: defineTask({ input: z.string(), run: () => 1 }),
					},
				},
			));

		it.each<[string, object]>([
			["a priority that is no whole number", { priority: 1.5 }],
			["a priority beyond its bounds", { priority: 1e12 }],
			["a delay that is no number", { delayMs: Number.NaN }],
			["a delay beyond the calendar", { delayMs: 1e16 }],
			["retries below none", { maxRetries: -1 }],
			["an empty key", { key: "" }],
			["a key with control characters", { key: "a\u0000b" }],
			["a tag that is no text", { tags: [5] }],
		])("are held to the rules of a submit: %s", (_, options) =>
			inQueue(
				async queue => {
					const job = await submit(queue, { task: "parent", max_retries: 0 });
					await tick(queue);
					expect((await read(queue, job.id)).status).toBe("dead_letter");
				},
				{ tasks: { parent: createScript((_, { submit }) => submit("child", 1, options)), child: echo } },
			),
		);
	});

	describe("time limits", () => {
		it("abort the attempt, which counts as failed", () => {
			const gate = createGate({ timeoutMs: 2000, retry: { baseMs: 0 } });
			return inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "gate", max_retries: 0 });
					const { report } = await startTicking(queue);
					await queue.clock.advance(1999);
					expect(gate.attempts[0]!.context.signal.aborted).toBe(false);
					await queue.clock.advance(1);
					expect(gate.attempts[0]!.context.signal.aborted).toBe(true);
					expect((await report).body).toMatchObject({ outcomes: { dead_letter: 1 }, jobs: [{ ran_ms: 2000 }] });
					expect(await read(queue, id)).toMatchObject({ status: "dead_letter", error_message: "timed out after 2000 ms" });
					await gate.attempts[0]!.finish("late");
					expect((await read(queue, id)).result).toBeNull();
				},
				{ tasks: { gate: gate.task } },
			);
		});

		it.each<[string, object, object, number]>([
			["the job's", { timeoutMs: 5000 }, { timeout_ms: 100 }, 100],
			["the task's", { timeoutMs: 5000 }, {}, 5000],
			["the process's", {}, {}, 60_000],
			["the longest there is", { timeoutMs: 86_400_000 }, {}, 900_000],
		])("are %s", (_, task, job, ms) => {
			const gate = createGate(task);
			return inQueue(
				async queue => {
					await submit(queue, { task: "gate", ...job });
					const { report } = await startTicking(queue);
					await queue.clock.advance(ms - 1);
					expect(gate.attempts[0]!.context.signal.aborted).toBe(false);
					await queue.clock.advance(1);
					expect(gate.attempts[0]!.context.signal.aborted).toBe(true);
					expect(String(gate.attempts[0]!.context.signal.reason.message)).toBe(`timed out after ${ms} ms`);
					expect((await report).body.outcomes.retry).toBe(1);
				},
				{ tasks: { gate: gate.task }, config: { leaseMs: 3_600_000 } },
			);
		});
	});

	describe("leases", () => {
		it("of a long job are kept by heartbeats, three times as often as they end", () => {
			const gate = createGate({ timeoutMs: 600_000 });
			return inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "gate" });
					const { report } = await startTicking(queue);
					for (let i = 0; i < 20; i++) {
						await queue.clock.advance(10_000);
						expect(await queue.deps.storage.worker.expireLeases(10, queue.clock.now() + 19_999)).toEqual([]);
					}
					await gate.attempts[0]!.finish("after 200 s");
					await report;
					expect(await read(queue, id)).toMatchObject({ status: "done", attempt: 1, lost_count: 0 });
					expect(await history(queue, id)).toEqual(["submitted", "claimed", "done"]);
				},
				{ tasks: { gate: gate.task } },
			);
		});

		it("that are lost are taken back by the next tick, without using an attempt, and counted", () =>
			inQueue(async queue => {
				const { id } = await submit(queue, { task: "echo", max_retries: 0, payload: 7 });
				const worker = queue.deps.storage.worker;
				await worker.claimDueJobs({ tasks: ["echo"], limit: 1, leaseMs: 30_000, token: 99, worker: "dead" }, queue.clock.now());
				await queue.clock.advance(30_000);
				expect((await dryTick(queue)).body).toMatchObject({ expired_leases: 1, claimed: 1 });
				expect((await tick(queue)).body).toMatchObject({ expired_leases: 1, claimed: 1, outcomes: { lost: 1, done: 1 } });
				expect(await read(queue, id)).toMatchObject({ status: "done", result: 7, attempt: 1, retry_count: 0 });
				expect(await history(queue, id)).toEqual(["submitted", "claimed", "lost", "claimed", "done"]);
			}));

		it("lost three times in a row make a dead letter, reason lease_lost", () =>
			inQueue(async queue => {
				const { id } = await submit(queue, { task: "echo" });
				const worker = queue.deps.storage.worker;
				for (let i = 1; i <= 3; i++) {
					await worker.claimDueJobs({ tasks: ["echo"], limit: 1, leaseMs: 30_000, token: i, worker: "dead" }, queue.clock.now());
					await queue.clock.advance(30_000);
					await worker.expireLeases(10, queue.clock.now());
				}
				expect(await read(queue, id)).toMatchObject({ status: "dead_letter", reason: "lease_lost", retry_count: 0, lost_count: 3 });
				expect((await tick(queue)).body.claimed).toBe(0);
			}));

		it("that were lost make a late ending change nothing", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "gate" });
					const { report } = await startTicking(queue);
					const worker = queue.deps.storage.worker;
					await worker.expireLeases(10, queue.clock.now() + 30_000);
					await gate.attempts[0]!.finish("late");
					expect(gate.attempts).toHaveLength(2);
					expect((await read(queue, id)).status).toBe("running");
					await gate.attempts[1]!.finish("in time");
					expect((await report).body.outcomes).toMatchObject({ lost: 1, done: 1 });
					expect(await read(queue, id)).toMatchObject({ status: "done", result: "in time" });
				},
				{ tasks: { gate: gate.task } },
			);
		});

		it("that were lost tell the task to stop with the next heartbeat, and its slot is free", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					await submit(queue, { task: "gate" });
					const { report } = await startTicking(queue, { limit: 1 });
					await queue.deps.storage.worker.expireLeases(10, queue.clock.now() + 30_000);
					await queue.clock.advance(10_000);
					expect(gate.attempts[0]!.context.signal.aborted).toBe(true);
					expect((await report).body.outcomes.lost).toBe(1);
					expect(queue.deps.slots.busy).toBe(0);
				},
				{ tasks: { gate: gate.task } },
			);
		});

		it("are no longer extended when the tick has ended", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					let timers = 0;
					let answer = () => {};
					const clock = {
						...queue.clock,
						after(ms: number, callback: () => void) {
							timers++;
							return queue.clock.after(ms, callback);
						},
					};
					const real = queue.deps.storage.worker;
					const store = new Proxy(real, {
						get(_, name) {
							if (name !== "extendLeases") return (Reflect.get(real, name) as (...args: unknown[]) => unknown).bind(real);
							return async (...args: Parameters<typeof real.extendLeases>) => {
								await new Promise<void>(resolve => {
									answer = resolve;
								});
								return real.extendLeases(...args);
							};
						},
					});
					await submit(queue, { task: "gate" });
					const { report } = startTick({ ...queue.deps, clock, store }, { trigger: "http" });
					await queue.clock.advance(10_000);
					await gate.attempts[0]!.finish();
					await report;
					answer();
					await settle();
					const before = timers;
					await queue.clock.advance(60_000);
					expect(timers).toBe(before);
				},
				{ tasks: { gate: gate.task } },
			);
		});
	});

	describe("a stop signal", () => {
		it("starts nothing more, lets what runs end, and gives the rest back after the grace period without burning an attempt", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					const first = await submit(queue, { task: "gate", payload: 1, max_retries: 0 });
					const second = await submit(queue, { task: "gate", payload: 2, max_retries: 0 });
					const stop = new AbortController();
					const { report, closed } = startTick({ ...queue.deps, store: queue.deps.storage.worker }, { trigger: "cron", stop: stop.signal });
					await settle();
					stop.abort();
					await settle();
					const third = await submit(queue, { task: "gate" });
					await queue.clock.advance(4000);
					expect(await closed).toBe("stopped");
					expect(gate.attempts).toHaveLength(2);
					expect(gate.attempts[1]!.context.signal.aborted).toBe(false);
					await gate.attempts[0]!.finish("in time");
					await queue.clock.advance(6000);
					expect(gate.attempts[1]!.context.signal.aborted).toBe(true);
					expect(await report).toMatchObject({ stopped_by: "stopped", trigger: "cron", outcomes: { done: 1, released: 1 } });
					expect(await read(queue, first.id)).toMatchObject({ status: "done", result: "in time" });
					expect(await read(queue, second.id)).toMatchObject({ status: "pending", attempt: 1, retry_count: 0, lost_count: 0 });
					expect(await history(queue, second.id)).toEqual(["submitted", "claimed", "released"]);
					expect((await read(queue, third.id)).status).toBe("pending");
					const next = await startTicking(queue);
					await gate.attempts[2]!.finish();
					await gate.attempts[3]!.finish();
					expect((await next.report).body.outcomes.done).toBe(2);
				},
				{ tasks: { gate: gate.task } },
			);
		});

		it("that was given before starts nothing", () =>
			inQueue(async queue => {
				await submit(queue, { task: "echo" });
				const report = await startTick({ ...queue.deps, store: queue.deps.storage.worker }, { trigger: "cron", stop: AbortSignal.abort() })
					.report;
				expect(report).toMatchObject({ claimed: 0, stopped_by: "stopped" });
			}));
	});

	describe("dry run", () => {
		const rows = async (queue: Harness) => {
			const { jobs } = (await queue.call("listJobs", "/api/jobs?limit=200", { tenant: "*" })).body;
			const counts = await queue.deps.storage.operator.counts();
			return JSON.stringify([jobs, counts]);
		};

		it("writes nothing and says what the tick then does", () =>
			inQueue(
				async queue => {
					for (const tenant of ["a", "b", "c"])
						for (let i = 0; i < 4; i++) await submit(queue, { task: "echo", priority: i, key: i === 3 ? "k" : null }, tenant);
					await submit(queue, { task: "echo", delay_ms: 20_000 });
					await submit(queue, { task: "echo", delay_ms: 60_000, start_by: "2026-01-01T00:00:01Z" });
					await queue.deps.storage.worker.claimDueJobs(
						{ tasks: ["echo"], limit: 1, leaseMs: 1000, token: 77, worker: "dead" },
						queue.clock.now(),
					);
					await queue.clock.advance(30_000);
					const before = await rows(queue);
					const dry = (await dryTick(queue)).body;
					expect(await rows(queue)).toBe(before);
					expect(operations.processTick.answer.parse(dry)).toEqual(dry);
					const wet = (await tick(queue)).body;
					expect(dry).toMatchObject({ dry_run: true, outcomes: {}, expired_leases: 1, expired_starts: 1, stopped_by: wet.stopped_by });
					for (const field of ["claimed", "expired_leases", "expired_starts", "pruned"])
						expect([field, dry[field]]).toEqual([field, wet[field]]);
					const order = (jobs: { id: string }[]) => jobs.map(({ id }) => id).sort();
					expect(order(dry.jobs)).toEqual(order(wet.jobs));
				},
				{ tasks: { echo }, config: { workersMin: 1, tasksPerWorker: 100, tenantConcurrency: 100 } },
			));

		it("prunes nothing, and says how much a tick would", () =>
			inQueue(async queue => {
				await submit(queue, { task: "echo" });
				await tick(queue);
				await queue.clock.advance(7 * 86_400_000);
				expect((await dryTick(queue)).body.pruned).toBe(1);
				expect((await queue.call("listJobs", "/api/jobs")).body.count).toBe(1);
				expect((await tick(queue)).body.pruned).toBe(1);
				expect((await queue.call("listJobs", "/api/jobs")).body.count).toBe(0);
			}));

		it("says what is held, and by what", () =>
			inQueue(
				async queue => {
					for (let i = 0; i < 3; i++) await submit(queue, { task: "gate" });
					await submit(queue, { task: "gate", key: "k" }, "other");
					await submit(queue, { task: "gate", key: "k" }, "other");
					await submit(queue, { task: "gate", delay_ms: 5000 }, "third");
					const { report } = await startTicking(queue);
					const { held } = (await dryTick(queue)).body;
					expect(held).toContainEqual({ code: "tenant_concurrency", jobs: 2, tenants: 1 });
					expect(held).toContainEqual({ code: "key_busy", jobs: 1, tenants: 1 });
					expect(held).toContainEqual({ code: "delayed", jobs: 1, tenants: 1 });
					for (let i = 0; i < 5; i++) await gate.attempts[i]!.finish();
					await report;
				},
				{ tasks: { gate: gate.task }, config: { tenantConcurrency: 1 } },
			));
		const gate = createGate();

		it("takes limit into account", () =>
			inQueue(async queue => {
				for (let i = 0; i < 5; i++) await submit(queue, { task: "echo" });
				expect((await dryTick(queue, { limit: 2 })).body).toMatchObject({ claimed: 2, next_wake_reason: "ready" });
			}));

		it("says jobs where the limit stops it, as the tick does", () =>
			inQueue(async queue => {
				for (let i = 0; i < 5; i++) await submit(queue, { task: "echo" });
				expect((await dryTick(queue, { limit: 2 })).body.stopped_by).toBe("jobs");
			}));

		it("may be said no to", () =>
			inQueue(async queue => {
				await submit(queue, { task: "echo" });
				const { body } = await queue.call("processTick", "/api/tick?dry_run=false", { method: "POST" });
				expect(body).toMatchObject({ dry_run: false, claimed: 1 });
				expect((await queue.call("processTick", "/api/tick?dry_run=1", { method: "POST" })).body.code).toBe("query_invalid");
			}));
	});

	it("lists at most 100 jobs and counts the others", () =>
		inQueue(
			async queue => {
				await Promise.all(Array.from({ length: 130 }, (_, i) => submit(queue, { task: "echo" }, `t${i}`)));
				const { body } = await tick(queue);
				expect(body).toMatchObject({ claimed: 130, jobs_omitted: 30 });
				expect(body.jobs).toHaveLength(100);
			},
			{ config: { workersMin: 1, tasksPerWorker: 200 } },
		));

	it("gives a job back untouched whose task this process does not have", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo" });
			const { flaky } = queue.deps.tasks;
			const report = await startTick({ ...queue.deps, tasks: { flaky: flaky! }, store: queue.deps.storage.worker }, { trigger: "due" })
				.report;
			expect(report).toMatchObject({ claimed: 0, next_wake_at: null });
			expect((await read(queue, id)).status).toBe("pending");
		}));

	it("tells whoever watches how each attempt ended", () =>
		inQueue(
			async queue => {
				const seen: unknown[] = [];
				const job = await submit(queue, { task: "bad" });
				await startTick({ ...queue.deps, store: queue.deps.storage.worker, onOutcome: outcome => seen.push(outcome) }, { trigger: "due" })
					.report;
				expect(seen).toEqual([
					{
						id: job.id,
						tenant_id: "acme",
						task: "bad",
						attempt: 1,
						max_attempts: 4,
						outcome: "retry",
						waited_ms: 0,
						ran_ms: 0,
						trace_id: job.trace_id,
						error: "bad",
						again_in_ms: 1000,
					},
				]);
			},
			{ tasks: { bad: throwing(new Error("bad")) } },
		));
});
