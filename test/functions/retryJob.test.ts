import { Failed } from "tickq";
import { describe, expect, it } from "vitest";
import type { Harness } from "../support/harness.ts";
import { createGate, createScript, history, inQueue, read, startTicking, submit, tick } from "./inQueue.ts";

const retry = (queue: Harness, id: string, tenant = "acme") => queue.call("retryJob", `/api/jobs/${id}/retry`, { method: "POST", tenant });
const once = (error: Error) =>
	createScript(
		() => {
			throw error;
		},
		() => "ok",
	);

describe("retryJob", () => {
	it("puts a failed job back in line: same id, attempts afresh, its history goes on", () =>
		inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "once" });
				await tick(queue);
				expect((await read(queue, id)).status).toBe("failed");
				await queue.clock.advance(1000);
				const { status, body } = await retry(queue, id);
				expect(status).toBe(200);
				expect(body).toMatchObject({
					id,
					status: "pending",
					reason: null,
					error: null,
					error_message: null,
					attempt: 1,
					retry_count: 0,
					run_at: "2026-01-01T00:00:01.000Z",
					completed_at: null,
				});
				await tick(queue);
				expect(await read(queue, id)).toMatchObject({ status: "done", result: "ok", attempt: 1 });
				expect(await history(queue, id)).toEqual(["submitted", "claimed", "failed", "retried", "claimed", "done"]);
			},
			{ tasks: { once: once(new Failed("no")) } },
		));

	it("puts a dead letter back in line, with all its retries", () =>
		inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "once", max_retries: 0 });
				await tick(queue);
				expect(await read(queue, id)).toMatchObject({ status: "dead_letter", reason: "retries_exhausted" });
				await retry(queue, id);
				await tick(queue);
				expect(await read(queue, id)).toMatchObject({ status: "done", max_retries: 0 });
				expect((await queue.call("metrics", "/api/metrics")).body).toMatchObject({ done: 1, dead_letter_queue: 0 });
			},
			{ tasks: { once: once(new Error("no")) } },
		));

	// Bug: with the retry, the end of before was never told.
	it("waits for a webhook that is still to be told of the end: the same call works a moment later", () =>
		inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "once", webhook_url: "https://example.com/hook" });
				const [job] = await queue.deps.storage.worker.claimDueJobs(
					{ tasks: ["once"], limit: 1, leaseMs: 1000, token: 1, worker: "w" },
					queue.clock.now(),
				);
				await queue.deps.storage.worker.finishIfLeased(
					[{ id: job!.id, token: 1, outcome: "failed", error: '{"message":"no"}', fingerprint: "f" }],
					queue.clock.now(),
				);
				const { status, body } = await retry(queue, id);
				expect(status).toBe(409);
				expect(body).toMatchObject({ code: "job_not_finished", job_status: "failed", detail: expect.stringContaining("in a moment") });
				await tick(queue);
				expect((await retry(queue, id)).status).toBe(200);
			},
			{ tasks: { once: once(new Failed("no")) } },
		));

	it("puts a cancelled job back in line, without the deadline it missed", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo", payload: 1, start_by: "2026-01-01T00:00:01Z" });
			await queue.clock.advance(1000);
			await tick(queue);
			expect((await read(queue, id)).status).toBe("cancelled");
			expect((await retry(queue, id)).body.start_by).toBeNull();
			await tick(queue);
			expect(await read(queue, id)).toMatchObject({ status: "done", result: 1, cancel_requested_at: null });
		}));

	it("forgets an earlier cancel of a job that was running", () => {
		const gate = createGate();
		return inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "gate" });
				const first = await startTicking(queue);
				await queue.call("cancelJob", `/api/jobs/${id}/cancel`, { method: "POST" });
				await gate.attempts[0]!.fail(new Error());
				await first.report;
				await retry(queue, id);
				const second = await startTicking(queue);
				await queue.clock.advance(10_000);
				expect(gate.attempts[1]!.context.signal.aborted).toBe(false);
				await gate.attempts[1]!.finish();
				await second.report;
				expect((await read(queue, id)).status).toBe("done");
				expect(await history(queue, id)).toEqual(["submitted", "claimed", "cancel_requested", "cancelled", "retried", "claimed", "done"]);
			},
			{ tasks: { gate: gate.task } },
		);
	});

	it("makes a job with a key wait for the one that has it now", () =>
		inQueue(async queue => {
			const first = await submit(queue, { task: "echo", key: "k" });
			await queue.call("cancelJob", `/api/jobs/${first.id}/cancel`, { method: "POST" });
			await submit(queue, { task: "echo", key: "k", delay_ms: 5000 });
			expect((await retry(queue, first.id)).body.status).toBe("pending");
			expect((await queue.call("metrics", "/api/metrics")).body).toMatchObject({ delayed: 1, blocked: 1 });
			await queue.clock.advance(5000);
			expect((await tick(queue)).body.outcomes.done).toBe(2);
		}));

	it.each(["pending", "running", "done"])("refuses a job that is %s, and says so", wanted => {
		const gate = createGate();
		return inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "gate" });
				const ticking = wanted === "pending" ? null : await startTicking(queue);
				if (wanted === "done") await gate.attempts[0]!.finish();
				const { status, body } = await retry(queue, id);
				expect(status).toBe(409);
				expect(body).toMatchObject({ code: "job_not_finished", job_status: wanted });
				if (wanted === "running") await gate.attempts[0]!.finish();
				await ticking?.report;
			},
			{ tasks: { gate: gate.task } },
		);
	});

	it("knows no job of another tenant, and leaves it alone", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo" });
			await queue.call("cancelJob", `/api/jobs/${id}/cancel`, { method: "POST" });
			expect((await retry(queue, id, "other")).body).toMatchObject({ status: 404, code: "job_not_found" });
			expect((await read(queue, id)).status).toBe("cancelled");
		}));

	it("rings the bell", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo" });
			await queue.call("cancelJob", `/api/jobs/${id}/cancel`, { method: "POST" });
			queue.deps.wake.heard();
			await retry(queue, id);
			expect(queue.deps.wake.heard()).toBe(true);
		}));
});
