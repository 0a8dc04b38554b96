import { defineTask, Failed } from "tickq";
import { describe, expect, it } from "vitest";
import { settle } from "../support/harness.ts";
import { createGate, createScript, history, inQueue, read, startTicking, submit, throwing, tick } from "./inQueue.ts";

describe("getJob", () => {
	it("answers the job with its result", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo", payload: { a: 1 } });
			await queue.clock.advance(250);
			await tick(queue);
			const { status, headers, body } = await queue.call("getJob", `/api/jobs/${id}`);
			expect(status).toBe(200);
			expect(headers.get("tickq-version")).not.toBeNull();
			expect(body).toMatchObject({
				id,
				status: "done",
				result: { a: 1 },
				attempt: 1,
				worker: "test-worker",
				started_at: "2026-01-01T00:00:00.250Z",
				completed_at: "2026-01-01T00:00:00.250Z",
				timing: { waited_ms: 250, ran_ms: 0 },
			});
			expect(body.history).toBeUndefined();
		}));

	it("answers the error of the last attempt", () =>
		inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "bad" });
				await tick(queue);
				const job = await read(queue, id);
				expect(job).toMatchObject({
					status: "failed",
					reason: "not_retryable",
					error_message: "no",
					error: { message: "no", name: "Failed", attempt: 1 },
					retry_count: 1,
				});
				expect(job.error.stack).toContain("Failed: no");
			},
			{ tasks: { bad: throwing(new Failed("no")) } },
		));

	it("takes an id in either case", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo" });
			expect((await queue.call("getJob", `/api/jobs/${id.toLowerCase()}`)).body.id).toBe(id);
		}));

	it.each(["job_", "x", "job_0123", "job_IIIIIIIIIIIIIIIIIIIIIIIII", "%E0%A4%A", "job_%00", "null", "1"])("knows no job %s", id =>
		inQueue(async queue => {
			const { status, body } = await queue.call("getJob", `/api/jobs/${id}`);
			expect(status).toBe(404);
			expect(body).toMatchObject({ code: "job_not_found", instance: `/api/jobs/${id}` });
		}),
	);

	it("knows no job with another tail, nor another tenant's", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo" });
			const guessed = id.slice(0, -1) + (id.endsWith("0") ? "1" : "0");
			const wrongTail = await queue.call("getJob", `/api/jobs/${guessed}`);
			const foreign = await queue.call("getJob", `/api/jobs/${id}`, { tenant: "other" });
			const known = await queue.call("getJob", `/api/jobs/${id}`, { tenant: "ACME" });
			for (const { status, body } of [wrongTail, foreign, known]) {
				expect(status).toBe(404);
				expect(body.detail).toBe(wrongTail.body.detail);
			}
		}));

	it("reads across all tenants for *", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo" }, "other");
			expect((await queue.call("getJob", `/api/jobs/${id}`, { tenant: "*" })).body.tenant_id).toBe("other");
		}));

	describe("wait_ms", () => {
		it("ends at once when the job ends here", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "gate" });
					const { report } = await startTicking(queue);
					const answer = queue.call("getJob", `/api/jobs/${id}?wait_ms=20000`);
					await queue.clock.advance(70);
					await gate.attempts[0]!.finish(1);
					expect((await answer).body).toMatchObject({ status: "done", completed_at: "2026-01-01T00:00:00.070Z" });
					expect(queue.clock.now()).toBe(Date.UTC(2026, 0, 1) + 70);
					await report;
				},
				{ tasks: { gate: gate.task } },
			);
		});

		it("hears of a job that another process ended, within half a second", () =>
			inQueue(async queue => {
				const { id } = await submit(queue, { task: "echo" });
				const answer = queue.call("getJob", `/api/jobs/${id}?wait_ms=20000`);
				await settle();
				const [claimed] = await queue.deps.storage.worker.claimDueJobs(
					{ tasks: ["echo"], limit: 1, leaseMs: 30_000, token: 5, worker: "elsewhere" },
					queue.clock.now(),
				);
				await queue.deps.storage.worker.finishIfLeased([{ id: claimed!.id, token: 5, outcome: "done", result: "1" }], queue.clock.now());
				await queue.clock.advance(500);
				expect((await answer).body.status).toBe("done");
			}));

		it("answers the job as it is when the time is up", () =>
			inQueue(async queue => {
				const { id } = await submit(queue, { task: "echo", delay_ms: 60_000 });
				const answer = queue.call("getJob", `/api/jobs/${id}?wait_ms=1200`);
				await queue.clock.advance(1200);
				expect((await answer).body.status).toBe("pending");
			}));

		it("does not end with an attempt that is repeated", () =>
			inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "second" });
					const answer = queue.call("getJob", `/api/jobs/${id}?wait_ms=20000`);
					const ticking = tick(queue);
					await queue.clock.advance(5000);
					await ticking;
					await tick(queue);
					expect((await answer).body).toMatchObject({ status: "done", result: "ok", attempt: 2 });
				},
				{
					tasks: {
						second: createScript(
							() => {
								throw new Error("first");
							},
							() => "ok",
						),
					},
				},
			));

		it("ends when the caller has gone", () =>
			inQueue(async queue => {
				const { id } = await submit(queue, { task: "echo" });
				const { functions } = await import("../../functions/all.ts");
				const caller = new AbortController();
				const request = new Request(`http://localhost/api/jobs/${id}?wait_ms=20000`, {
					headers: { "x-tenant-id": "acme" },
					signal: caller.signal,
				});
				const answer = functions.getJob(request, queue.deps);
				await settle();
				caller.abort();
				expect((await answer).status).toBe(200);
			}));

		it("answers an ended job at once", () =>
			inQueue(async queue => {
				const { id } = await submit(queue, { task: "echo" });
				await tick(queue);
				expect((await queue.call("getJob", `/api/jobs/${id}?wait_ms=20000`)).body.status).toBe("done");
			}));
	});

	describe("history", () => {
		it("tells every event once, numbered from 1, each with a sentence", () =>
			inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "second" });
					await tick(queue);
					await queue.clock.advance(5000);
					await tick(queue);
					const { history } = await read(queue, id, "?include=history");
					expect(history.map(({ seq, kind }: { seq: number; kind: string }) => [seq, kind])).toEqual([
						[1, "submitted"],
						[2, "claimed"],
						[3, "retry"],
						[4, "claimed"],
						[5, "done"],
					]);
					expect(history[1]).toMatchObject({ attempt: 1, worker: "test-worker", text: "Attempt 1 started on test-worker." });
					expect(history[2]).toMatchObject({ error: { message: "first" }, run_at: "2026-01-01T00:00:01.000Z" });
					expect(history[3]).toMatchObject({ attempt: 2 });
					for (const { text } of history) expect(text).toMatch(/^[A-Z].*\.$/);
				},
				{
					tasks: {
						second: createScript(
							() => {
								throw new Error("first");
							},
							() => "ok",
						),
					},
				},
			));

		it("tells of a cancelled job", () =>
			inQueue(async queue => {
				const { id } = await submit(queue, { task: "echo" });
				await queue.call("cancelJob", `/api/jobs/${id}/cancel`, { method: "POST" });
				expect(await history(queue, id)).toEqual(["submitted", "cancelled"]);
			}));
	});

	it("answers the progress a task last told, with the heartbeat", () => {
		const gate = createGate();
		return inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "gate" });
				const { report } = await startTicking(queue);
				gate.attempts[0]!.context.progress(40, "rendering");
				gate.attempts[0]!.context.progress(140);
				expect((await read(queue, id)).progress).toBeNull();
				await queue.clock.advance(10_000);
				expect((await read(queue, id)).progress).toEqual({ percent: 100 });
				gate.attempts[0]!.context.progress(Number.NaN, "x".repeat(1000));
				await queue.clock.advance(10_000);
				expect((await read(queue, id)).progress).toEqual({ percent: 0, message: "x".repeat(500) });
				await gate.attempts[0]!.finish();
				await report;
			},
			{ tasks: { gate: gate.task } },
		);
	});

	it("answers what an attempt is told of its job", () =>
		inQueue(
			async queue => {
				const job = await submit(queue, { task: "tell", max_retries: 5 });
				await tick(queue);
				expect((await read(queue, job.id)).result).toEqual({
					attempt: 1,
					maxAttempts: 6,
					jobId: job.id,
					tenant: "acme",
					idempotencyKey: job.id,
					traceId: job.trace_id,
				});
			},
			{
				tasks: {
					tell: defineTask({
						run: (_, { attempt, maxAttempts, jobId, tenant, idempotencyKey, traceId }) => ({
							attempt,
							maxAttempts,
							jobId,
							tenant,
							idempotencyKey,
							traceId,
						}),
					}),
				},
			},
		));
});
