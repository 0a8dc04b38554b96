import { Failed } from "tickq";
import { describe, expect, it } from "vitest";
import type { Harness } from "../support/harness.ts";
import { createMendable, deadLetters, drain, dryRun, look, start, started, statuses } from "./bulkActions.ts";
import { createGate, createScript, history, inQueue, read, startTicking, submit, throwing, tick } from "./inQueue.ts";

/** A queue with a task "mend" that is broken, and "ok" that works. */
const withBroken = (run: (queue: Harness, mend: ReturnType<typeof createMendable>) => Promise<void>, config = {}) => {
	const mend = createMendable();
	return inQueue(queue => run(queue, mend), { tasks: { mend: mend.task, ok: createScript(() => 1) }, config });
};

describe("startBulkAction", () => {
	it("answers the action, its place, and rings the bell", () =>
		inQueue(async queue => {
			queue.deps.wake.heard();
			const { status, headers, body } = await start(queue, {
				action: "retry",
				name: "after the outage",
				filter: { status: ["dead_letter"], task: "echo", created_after: "2026-01-01T01:00:00+01:00" },
				rate_per_s: 5,
				canary: 3,
			});
			expect(status).toBe(202);
			expect(body.id).toMatch(/^bulk_[1-9]\d*$/);
			expect(headers.get("location")).toBe(`/api/bulk-actions/${body.id}`);
			expect(body).toEqual({
				id: body.id,
				action: "retry",
				name: "after the outage",
				tenant_id: "acme",
				filter: { status: ["dead_letter"], task: "echo", created_after: "2026-01-01T00:00:00.000Z" },
				ids_count: null,
				rate_per_s: 5,
				canary: 3,
				canary_jobs: [],
				status: "running",
				reason: null,
				seen: 0,
				changed: 0,
				skipped: 0,
				created_at: "2026-01-01T00:00:00.000Z",
				updated_at: "2026-01-01T00:00:00.000Z",
				ended_at: null,
			});
			expect(await look(queue, body.id)).toEqual(body);
			expect(queue.deps.wake.heard()).toBe(true);
		}));

	describe("retry", () => {
		it("puts what matches back in line, and leaves the rest", () =>
			withBroken(async (queue, mend) => {
				const ids = await deadLetters(queue, 3, { tags: ["red"] });
				await deadLetters(queue, 2);
				mend.broken = false;
				const id = await started(queue, { action: "retry", filter: { status: "dead_letter", tag: "red" } });
				await drain(queue);
				expect(await statuses(queue)).toEqual({ done: 3, dead_letter: 2 });
				for (const job of ids)
					expect(await history(queue, job)).toEqual(["submitted", "claimed", "dead_letter", "retried", "claimed", "done"]);
				expect(await look(queue, id)).toMatchObject({ status: "done", reason: null, changed: 3, seen: 3, skipped: 0 });
				expect((await look(queue, id)).ended_at).not.toBeNull();
			}));

		it("takes failed, dead and cancelled jobs alike where the filter names no status", () =>
			inQueue(
				async queue => {
					for (const task of ["no", "bad", "ok"]) await submit(queue, { task, max_retries: 0, tags: ["x"] });
					const cancelled = await submit(queue, { task: "ok", tags: ["x"], delay_ms: 1000 });
					await queue.call("cancelJob", `/api/jobs/${cancelled.id}/cancel`, { method: "POST" });
					await tick(queue);
					expect(await statuses(queue)).toEqual({ failed: 1, dead_letter: 1, done: 1, cancelled: 1 });
					const id = await started(queue, { action: "retry", filter: { tag: "x" } });
					await tick(queue);
					expect(await look(queue, id)).toMatchObject({ status: "done", changed: 3 });
					await drain(queue);
					expect(await statuses(queue)).toEqual({ failed: 1, dead_letter: 1, done: 2 });
				},
				{ tasks: { no: throwing(new Failed("no")), bad: throwing(new Error("bad")), ok: createScript(() => 1) } },
			));

		it("acts once on each job, although those that fail again match again", () =>
			withBroken(async (queue, mend) => {
				await deadLetters(queue, 5);
				const id = await started(queue, { action: "retry", filter: { task: "mend" } });
				await drain(queue);
				expect(mend.ran).toHaveLength(10);
				expect(await look(queue, id)).toMatchObject({ status: "done", changed: 5 });
			}));

		it("leaves jobs alone that came after it was started", () =>
			withBroken(async (queue, mend) => {
				await deadLetters(queue, 2);
				const id = await started(queue, { action: "retry", filter: { task: "mend" }, rate_per_s: 1 });
				await tick(queue);
				await submit(queue, { task: "mend" });
				await drain(queue);
				expect(mend.ran).toHaveLength(5);
				expect(await look(queue, id)).toMatchObject({ status: "done", changed: 2 });
			}));

		it("acts on a group of dead letters by its fingerprint", () =>
			inQueue(
				async queue => {
					for (const why of ["a", "b", "a"]) await submit(queue, { task: "bad", payload: why });
					await tick(queue);
					const { groups } = (await queue.call("listDeadLetterGroups", "/api/dead-letters/groups")).body;
					expect(groups).toMatchObject([{ count: 2 }, { count: 1 }]);
					const filter = { fingerprint: groups[0].fingerprint };
					expect((await dryRun(queue, { action: "delete", filter })).body.matched).toEqual({ value: 2, relation: "eq" });
					await started(queue, { action: "delete", filter });
					await drain(queue);
					expect((await queue.call("listDeadLetterGroups", "/api/dead-letters/groups")).body.groups).toEqual([groups[1]]);
				},
				{
					tasks: {
						bad: createScript(why => {
							throw new Failed(why === "a" ? "the mailbox is full" : "the line is busy");
						}),
					},
				},
			));
	});

	describe("cancel", () => {
		it("cancels what waits, and asks what runs to stop", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					await submit(queue, { task: "gate" });
					const { report } = await startTicking(queue);
					await submit(queue, { task: "gate", delay_ms: 60_000 });
					await submit(queue, { task: "gate", key: "k", delay_ms: 60_000 });
					await submit(queue, { task: "gate", key: "k" });
					const id = await started(queue, { action: "cancel", filter: { task: "gate" } });
					await queue.clock.advance(0);
					expect(gate.attempts).toHaveLength(1);
					expect(gate.attempts[0]!.context.signal.aborted).toBe(true);
					await gate.attempts[0]!.fail(new Error("stopped"));
					await report;
					expect(await statuses(queue)).toEqual({ cancelled: 4 });
					expect(await look(queue, id)).toMatchObject({ status: "done", changed: 4 });
				},
				{ tasks: { gate: gate.task } },
			);
		});

		it("leaves ended jobs as they are", () =>
			inQueue(async queue => {
				const { id } = await submit(queue, { task: "echo" });
				await tick(queue);
				const action = await started(queue, { action: "cancel", ids: [id] });
				await drain(queue);
				expect(await look(queue, action)).toMatchObject({ status: "done", seen: 1, changed: 0, skipped: 1, ids_count: 1 });
				expect((await read(queue, id)).status).toBe("done");
			}));
	});

	describe("delete", () => {
		it("deletes ended jobs of the status, and leaves the rest", () =>
			withBroken(async queue => {
				await deadLetters(queue, 3);
				await submit(queue, { task: "ok" });
				await tick(queue);
				await submit(queue, { task: "ok", delay_ms: 3_600_000 });
				const id = await started(queue, { action: "delete", filter: { status: ["dead_letter", "failed"] } });
				await drain(queue);
				expect(await statuses(queue)).toEqual({ done: 1, pending: 1 });
				expect(await look(queue, id)).toMatchObject({ status: "done", changed: 3 });
			}));

		it("deletes more than one portion", () =>
			inQueue(async queue => {
				await Promise.all(Array.from({ length: 450 }, () => submit(queue, { task: "echo" })));
				await drain(queue);
				const id = await started(queue, { action: "delete", filter: { status: "done" } });
				await drain(queue);
				expect((await queue.call("metrics", "/api/metrics")).body.done).toBe(0);
				expect(await look(queue, id)).toMatchObject({ status: "done", seen: 450, changed: 450 });
			}));
	});

	describe("ids", () => {
		it("are the jobs that are acted on, each once", () =>
			withBroken(async (queue, mend) => {
				const [a, , c] = await deadLetters(queue, 3);
				mend.broken = false;
				const id = await started(queue, { action: "retry", ids: [a, c, a, c!.toLowerCase()] });
				await drain(queue);
				expect(await statuses(queue)).toEqual({ done: 2, dead_letter: 1 });
				expect(await look(queue, id)).toMatchObject({ status: "done", ids_count: 2, seen: 2, changed: 2, skipped: 0, filter: null });
			}));

		it("that are not there, or another tenant's, are as if they had not been named", () =>
			withBroken(async queue => {
				const [mine] = await deadLetters(queue, 1);
				const [theirs] = await deadLetters(queue, 1, {}, "other");
				const guess = (id: string) => `${id.slice(0, -1)}${id.endsWith("0") ? "1" : "0"}`;
				const strangers = [theirs, guess(theirs!), guess(mine!), "job_00000000000000000000000000", "x", "", "bulk_1", "__proto__"];
				for (const ids of [strangers, [mine, ...strangers]]) {
					const known = ids.length - strangers.length;
					expect((await dryRun(queue, { action: "delete", ids })).body).toEqual({
						dry_run: true,
						matched: { value: known, relation: "eq" },
						by_task: known === 0 ? {} : { mend: 1 },
						by_tenant: known === 0 ? {} : { acme: 1 },
						sample: known === 0 ? [] : [mine],
					});
					const id = await started(queue, { action: "delete", ids });
					await drain(queue);
					expect(await look(queue, id)).toMatchObject({ status: "done", ids_count: known, seen: known, changed: known, skipped: 0 });
				}
				expect((await read(queue, theirs!)).status).toBe("dead_letter");
				expect((await read(queue, mine!)).code).toBe("job_not_found");
			}));

		it("none of which is there are no action on everything", () =>
			withBroken(async queue => {
				await deadLetters(queue, 2);
				const id = await started(queue, { action: "delete", ids: ["nothing"] }, "*");
				await drain(queue);
				expect(await statuses(queue)).toEqual({ dead_letter: 2 });
				expect(await look(queue, id, "*")).toMatchObject({ status: "done", ids_count: 0, changed: 0 });
			}));

		it("of all tenants are taken from whoever may act for all", () =>
			withBroken(async queue => {
				const ids = [...(await deadLetters(queue, 1, {}, "a")), ...(await deadLetters(queue, 1, {}, "b"))];
				expect((await dryRun(queue, { action: "delete", ids }, "*")).body).toMatchObject({
					matched: { value: 2 },
					by_tenant: { a: 1, b: 1 },
				});
				await started(queue, { action: "delete", ids }, "*");
				await drain(queue);
				expect(await statuses(queue)).toEqual({});
			}));

		it("may be a thousand, and no more", () =>
			inQueue(async queue => {
				const ids = await Promise.all(Array.from({ length: 1000 }, async () => (await submit(queue, { task: "echo" })).id));
				await drain(queue);
				expect((await start(queue, { action: "delete", ids: [...ids, "x"] })).body).toMatchObject({
					status: 422,
					code: "body_invalid",
					errors: [{ pointer: "/ids" }],
				});
				const id = await started(queue, { action: "delete", ids });
				await drain(queue);
				expect(await look(queue, id)).toMatchObject({ status: "done", changed: 1000 });
			}));
	});

	describe("rate_per_s", () => {
		it("is kept, second by second", () =>
			withBroken(async (queue, mend) => {
				await deadLetters(queue, 7);
				mend.broken = false;
				const id = await started(queue, { action: "retry", filter: { status: "dead_letter" }, rate_per_s: 3 });
				const changed: number[] = [];
				for (let i = 0; i < 4; i++) {
					await tick(queue);
					await queue.clock.advance(999);
					await tick(queue);
					changed.push((await look(queue, id)).changed);
					await queue.clock.advance(1);
				}
				expect(changed).toEqual([3, 6, 7, 7]);
				await drain(queue);
				expect(await look(queue, id)).toMatchObject({ status: "done", changed: 7 });
			}));

		it("wakes the queue when it is to go on", () =>
			withBroken(async queue => {
				await deadLetters(queue, 3);
				await started(queue, { action: "delete", filter: { status: "dead_letter" }, rate_per_s: 1 });
				const now = queue.clock.now();
				expect((await tick(queue)).body).toMatchObject({
					next_wake_at: new Date(now + 1000).toISOString(),
					next_wake_reason: "bulk_action",
				});
			}));
	});

	describe("canary", () => {
		it("retries the first, and the others once those are done", () =>
			withBroken(async (queue, mend) => {
				const ids = await deadLetters(queue, 5);
				mend.broken = false;
				mend.ran.length = 0;
				const id = await started(queue, { action: "retry", filter: { status: "dead_letter" }, canary: 2 });
				await tick(queue);
				expect(mend.ran).toHaveLength(2);
				const waiting = await look(queue, id);
				expect(waiting).toMatchObject({ status: "canary", changed: 2, canary: 2 });
				expect([...waiting.canary_jobs].sort()).toEqual(ids.slice(3).sort());
				await drain(queue);
				expect(mend.ran).toHaveLength(5);
				expect(await look(queue, id)).toMatchObject({ status: "done", changed: 5 });
			}));

		it("that fails stops it, saying why, and nothing else is touched", () =>
			withBroken(async (queue, mend) => {
				await deadLetters(queue, 5);
				mend.ran.length = 0;
				const id = await started(queue, { action: "retry", filter: { status: "dead_letter" }, canary: 2 });
				await drain(queue);
				expect(mend.ran).toHaveLength(2);
				const stopped = await look(queue, id);
				expect(stopped).toMatchObject({ status: "stopped", changed: 2 });
				expect(stopped.reason).toMatch(/^canary_failed/);
				expect(stopped.ended_at).not.toBeNull();
				mend.broken = false;
				await queue.clock.advance(600_000);
				await drain(queue);
				expect(mend.ran).toHaveLength(2);
			}));

		it("waits as long as its jobs run", () => {
			const gate = createGate();
			let broken = true;
			return inQueue(
				async queue => {
					for (let i = 0; i < 3; i++) await submit(queue, { task: "job", max_retries: 0 });
					await drain(queue);
					broken = false;
					const id = await started(queue, { action: "retry", filter: { status: "dead_letter" }, canary: 1 });
					const { report } = await startTicking(queue);
					await queue.clock.advance(20_000);
					expect(gate.attempts).toHaveLength(1);
					expect(await look(queue, id)).toMatchObject({ status: "canary", changed: 1 });
					await gate.attempts[0]!.finish();
					await report;
					await queue.clock.advance(1000);
					const rest = await startTicking(queue);
					expect(gate.attempts).toHaveLength(3);
					for (const attempt of gate.attempts) await attempt.finish();
					await rest.report;
					await drain(queue);
					expect(await look(queue, id)).toMatchObject({ status: "done", changed: 3 });
				},
				{
					tasks: {
						job: {
							...gate.task,
							run(payload, context) {
								if (broken) throw new Error("out of order");
								return gate.task.run(payload, context);
							},
						},
					},
				},
			);
		});
	});

	describe("a dry run", () => {
		it("says how many would be acted on, of which tasks and tenants, and names some; nothing is written", () =>
			withBroken(async queue => {
				const acme = await deadLetters(queue, 3);
				await deadLetters(queue, 1, {}, "other");
				await submit(queue, { task: "ok" });
				await tick(queue);
				await submit(queue, { task: "ok", delay_ms: 3_600_000 });
				const { version } = (await queue.call("metrics", "/api/metrics", { tenant: null })).body;
				const retry = { action: "retry", filter: { status: "dead_letter" } };
				const own = await dryRun(queue, retry);
				expect(own.status).toBe(200);
				expect(own.body).toMatchObject({
					dry_run: true,
					matched: { value: 3, relation: "eq" },
					by_task: { mend: 3 },
					by_tenant: { acme: 3 },
				});
				expect([...own.body.sample].sort()).toEqual([...acme].sort());
				expect((await dryRun(queue, retry, "*")).body).toMatchObject({ matched: { value: 4 }, by_tenant: { acme: 3, other: 1 } });
				expect((await dryRun(queue, { action: "delete", filter: { created_before: "2027-01-01T00:00:00Z" } })).body).toMatchObject({
					matched: { value: 4 },
					by_task: { mend: 3, ok: 1 },
				});
				expect((await dryRun(queue, retry, "nobody")).body).toEqual({
					dry_run: true,
					matched: { value: 0, relation: "eq" },
					by_task: {},
					by_tenant: {},
					sample: [],
				});
				expect((await queue.call("metrics", "/api/metrics", { tenant: null })).body.version).toBe(version);
				expect((await queue.call("listBulkActions", "/api/bulk-actions", { tenant: "*" })).body.count).toBe(0);
				await drain(queue);
				expect(await statuses(queue)).toEqual({ dead_letter: 4, done: 1, pending: 1 });
			}));

		it("counts by ids only what the action can act on", () =>
			withBroken(async queue => {
				const [dead] = await deadLetters(queue, 1);
				const waiting = await submit(queue, { task: "ok", delay_ms: 3_600_000 });
				const ids = [dead, waiting.id];
				expect((await dryRun(queue, { action: "retry", ids })).body).toMatchObject({ matched: { value: 1 }, sample: [dead] });
				expect((await dryRun(queue, { action: "cancel", ids })).body).toMatchObject({ matched: { value: 1 }, sample: [waiting.id] });
			}));

		it("refuses what the action itself would refuse", () =>
			inQueue(async queue => {
				expect((await dryRun(queue, { action: "retry", filter: {} })).body.code).toBe("filter_empty");
				expect((await dryRun(queue, { action: "retry" })).body.code).toBe("filter_or_ids");
			}));
	});

	describe("if_matched", () => {
		it("refuses it when another number matches than the dry run said, and says how many", () =>
			withBroken(async queue => {
				const ids = await deadLetters(queue, 2);
				const retry = { action: "retry", filter: { status: "dead_letter" } };
				for (const which of [retry, { action: "retry", ids }]) {
					const { status, body } = await start(queue, { ...which, if_matched: 3 });
					expect(status).toBe(409);
					expect(body).toMatchObject({ code: "matched_changed", matched: { value: 2, relation: "eq" } });
					expect(body.detail).toContain("2 jobs");
					expect((await start(queue, { ...which, if_matched: 0 })).status).toBe(409);
				}
				expect((await queue.call("listBulkActions", "/api/bulk-actions")).body.count).toBe(0);
				await started(queue, { ...retry, if_matched: 2 });
			}));
	});

	it("is refused while twenty of the tenant are under way, and taken again once one has ended", () =>
		inQueue(async queue => {
			const retry = { action: "retry", filter: { task: "echo" } };
			const first = await started(queue, retry);
			for (let i = 1; i < 20; i++) await started(queue, retry);
			const { status, headers, body } = await start(queue, retry);
			expect(status).toBe(429);
			expect(headers.get("retry-after")).toBe("10");
			expect(body).toMatchObject({ code: "bulk_actions_full", limit: "bulk_actions" });
			expect((await dryRun(queue, retry)).status).toBe(200);
			await started(queue, retry, "other");
			await started(queue, retry, "*");
			await queue.call("stopBulkAction", `/api/bulk-actions/${first}/stop`, { method: "POST" });
			await started(queue, retry);
			await drain(queue);
			await started(queue, retry);
		}));

	describe("of several tenants", () => {
		it("a tenant's acts on its own jobs only, one of all on everybody's", () =>
			withBroken(async (queue, mend) => {
				await deadLetters(queue, 2, {}, "acme");
				await deadLetters(queue, 2, {}, "other");
				mend.broken = false;
				const retry = { action: "retry", filter: { task: "mend" } };
				await started(queue, retry, "other");
				await drain(queue);
				expect([await statuses(queue, "acme"), await statuses(queue, "other")]).toEqual([{ dead_letter: 2 }, { done: 2 }]);
				const id = await started(queue, retry, "*");
				await drain(queue);
				expect(await statuses(queue)).toEqual({ done: 4 });
				expect(await look(queue, id, "*")).toMatchObject({ tenant_id: null, changed: 2, status: "done" });
			}));
	});

	describe("bad input", () => {
		const CASES: readonly [string, unknown, number, string, string?][] = [
			["neither filter nor ids", { action: "retry" }, 422, "filter_or_ids", "/filter"],
			["null for both", { action: "retry", filter: null, ids: null }, 422, "filter_or_ids", "/filter"],
			["both", { action: "retry", filter: { task: "echo" }, ids: ["x"] }, 422, "filter_or_ids", "/ids"],
			["both, an empty filter", { action: "retry", filter: {}, ids: ["x"] }, 422, "filter_or_ids", "/ids"],
			["an empty filter", { action: "delete", filter: {} }, 422, "filter_empty", "/filter"],
			["a filter of nothing but null", { action: "delete", filter: { status: null, task: null } }, 422, "filter_empty", "/filter"],
			["no ids", { action: "delete", ids: [] }, 422, "body_invalid", "/ids"],
			["ids that are none", { action: "delete", ids: [5] }, 422, "body_invalid", "/ids/0"],
			["an id without end", { action: "delete", ids: ["x".repeat(101)] }, 422, "body_invalid", "/ids/0"],
			["no action", { filter: { task: "echo" } }, 422, "body_invalid", "/action"],
			["another action", { action: "explode", filter: { task: "echo" } }, 422, "body_invalid", "/action"],
			["a canary of a cancel", { action: "cancel", filter: { task: "echo" }, canary: 1 }, 422, "canary_unsupported", "/canary"],
			["a canary of a delete", { action: "delete", ids: ["x"], canary: 1 }, 422, "canary_unsupported", "/canary"],
			["a canary of none", { action: "retry", filter: { task: "echo" }, canary: 0 }, 422, "body_invalid", "/canary"],
			["a canary of too many", { action: "retry", filter: { task: "echo" }, canary: 101 }, 422, "body_invalid", "/canary"],
			["no rate", { action: "retry", filter: { task: "echo" }, rate_per_s: 0 }, 422, "body_invalid", "/rate_per_s"],
			["half a rate", { action: "retry", filter: { task: "echo" }, rate_per_s: 0.5 }, 422, "body_invalid", "/rate_per_s"],
			["too high a rate", { action: "retry", filter: { task: "echo" }, rate_per_s: 10_001 }, 422, "body_invalid", "/rate_per_s"],
			["a number below none", { action: "retry", filter: { task: "echo" }, if_matched: -1 }, 422, "body_invalid", "/if_matched"],
			["an empty name", { action: "retry", filter: { task: "echo" }, name: "" }, 422, "body_invalid", "/name"],
			["a name of two lines", { action: "retry", filter: { task: "echo" }, name: "a\nb" }, 422, "body_invalid", "/name"],
			["a filter that is a list", { action: "retry", filter: [] }, 422, "body_invalid", "/filter"],
			["another member", { action: "retry", filter: { tenant: "other" } }, 422, "body_invalid", "/filter/tenant"],
			["no status", { action: "retry", filter: { status: [] } }, 422, "body_invalid", "/filter/status"],
			["another status", { action: "retry", filter: { status: "blocked" } }, 422, "body_invalid", "/filter/status"],
			["a task that is none", { action: "retry", filter: { task: "a b" } }, 422, "body_invalid", "/filter/task"],
			["a NUL in a tag", { action: "retry", filter: { tag: "a\u0000" } }, 422, "body_invalid", "/filter/tag"],
			["a day for a time", { action: "retry", filter: { created_before: "2026-01-01" } }, 422, "body_invalid", "/filter/created_before"],
			["a retry of done jobs", { action: "retry", filter: { status: "done" } }, 422, "status_unsupported", "/filter/status"],
			[
				"a retry of some running",
				{ action: "retry", filter: { status: ["failed", "running"] } },
				422,
				"status_unsupported",
				"/filter/status",
			],
			["a cancel of ended jobs", { action: "cancel", filter: { status: "dead_letter" } }, 422, "status_unsupported", "/filter/status"],
			[
				"a delete of waiting jobs",
				{ action: "delete", filter: { status: ["done", "pending"] } },
				422,
				"status_unsupported",
				"/filter/status",
			],
		];
		it.each(CASES)("%s is refused, and nothing is started", (_, given, status, code, pointer) =>
			inQueue(async queue => {
				const answer = await start(queue, given);
				expect([answer.status, answer.body.code]).toEqual([status, code]);
				expect(answer.body.errors[0].pointer).toBe(pointer);
				expect((await queue.call("listBulkActions", "/api/bulk-actions")).body.count).toBe(0);
			}),
		);

		it("a status that cannot be acted on is told which can", () =>
			inQueue(async queue => {
				const { body } = await start(queue, { action: "retry", filter: { status: ["done", "failed", "pending"] } });
				expect(body.detail).toBe("A retry does not act on jobs that are done, pending; it acts on failed, dead_letter, cancelled.");
			}));
	});
});
