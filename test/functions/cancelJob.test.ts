import { defineTask } from "tickq";
import { describe, expect, it } from "vitest";
import { type Harness, settle } from "../support/harness.ts";
import { createGate, history, inQueue, read, startTicking, submit, tick } from "./inQueue.ts";

const cancel = (queue: Harness, id: string, tenant = "acme") =>
	queue.call("cancelJob", `/api/jobs/${id}/cancel`, { method: "POST", tenant });

/** Runs until its signal says stop, then fails with the signal's reason, as well-behaved code does. */
const obedient = defineTask({
	run: (_, { signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
});

describe("cancelJob", () => {
	it.each([
		["ready", {}],
		["delayed", { delay_ms: 60_000 }],
	])("ends a %s job at once", (_, more) =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo", ...more });
			const { status, body } = await cancel(queue, id);
			expect(status).toBe(200);
			expect(body).toMatchObject({ status: "cancelled", reason: "requested", completed_at: "2026-01-01T00:00:00.000Z", started_at: null });
			expect((await tick(queue)).body.claimed).toBe(0);
		}),
	);

	it("ends a job that waits for its key, and frees the key of one that holds it", () =>
		inQueue(async queue => {
			const holder = await submit(queue, { task: "echo", key: "k" });
			const second = await submit(queue, { task: "echo", key: "k" });
			const third = await submit(queue, { task: "echo", key: "k" });
			expect((await cancel(queue, second.id)).body.status).toBe("cancelled");
			await cancel(queue, holder.id);
			expect((await tick(queue)).body.jobs.map(({ id }: { id: string }) => id)).toEqual([third.id]);
		}));

	it("answers the same when asked again", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo" });
			const first = await cancel(queue, id);
			await queue.clock.advance(1000);
			expect(await cancel(queue, id)).toMatchObject({ status: 200, body: first.body });
			expect(await history(queue, id)).toEqual(["submitted", "cancelled"]);
		}));

	it("refuses a job that has ended otherwise, and says how", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo" });
			await tick(queue);
			const { status, body } = await cancel(queue, id);
			expect(status).toBe(409);
			expect(body).toMatchObject({ code: "job_finished", job_status: "done" });
		}));

	it("knows no job of another tenant, and leaves it alone", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo" });
			expect((await cancel(queue, id, "other")).body).toMatchObject({ status: 404, code: "job_not_found" });
			expect((await cancel(queue, id, "*")).body).toMatchObject({ status: 400, code: "tenant_invalid" });
			expect((await read(queue, id)).status).toBe("pending");
		}));

	it("tells whoever waits for the job", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo" });
			const waiting = queue.call("getJob", `/api/jobs/${id}?wait_ms=20000`);
			await settle();
			await cancel(queue, id);
			expect((await waiting).body.status).toBe("cancelled");
		}));

	describe("a running job", () => {
		it("is asked to stop at once in the same process, and ends cancelled when it has", () =>
			inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "obedient" });
					const { report } = await startTicking(queue);
					await queue.clock.advance(300);
					const { status, body } = await cancel(queue, id);
					expect(status).toBe(200);
					expect(body).toMatchObject({ status: "running", cancel_requested_at: "2026-01-01T00:00:00.300Z" });
					expect((await report).body.outcomes.cancelled).toBe(1);
					expect(await read(queue, id)).toMatchObject({
						status: "cancelled",
						reason: "requested",
						completed_at: "2026-01-01T00:00:00.300Z",
						retry_count: 0,
					});
					expect(await history(queue, id)).toEqual(["submitted", "claimed", "cancel_requested", "cancelled"]);
				},
				{ tasks: { obedient } },
			));

		it("keeps its slot until it has stopped", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					const [first] = [await submit(queue, { task: "gate", payload: 1 }), await submit(queue, { task: "gate", payload: 2 })];
					const { report } = await startTicking(queue);
					await cancel(queue, first.id);
					await queue.clock.advance(5000);
					expect(gate.attempts).toHaveLength(1);
					expect(gate.attempts[0]!.context.signal.aborted).toBe(true);
					expect((await read(queue, first.id)).status).toBe("running");
					expect(queue.deps.slots.busy).toBe(1);
					await gate.attempts[0]!.fail(new Error("stopped"));
					expect(gate.attempts.map(({ payload }) => payload)).toEqual([1, 2]);
					await gate.attempts[1]!.finish();
					expect((await report).body.outcomes).toMatchObject({ cancelled: 1, done: 1 });
				},
				{ tasks: { gate: gate.task }, config: { workersMin: 1, tasksPerWorker: 1 } },
			);
		});

		it("holds its tenant's place until it has stopped", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					const first = await submit(queue, { task: "gate" });
					await submit(queue, { task: "gate" });
					const { report } = await startTicking(queue);
					await cancel(queue, first.id);
					expect(gate.attempts).toHaveLength(1);
					expect((await queue.call("metrics", "/api/metrics")).body).toMatchObject({ running: 1, ready: 1 });
					await gate.attempts[0]!.fail(new Error());
					expect(gate.attempts).toHaveLength(2);
					await gate.attempts[1]!.finish();
					await report;
				},
				{ tasks: { gate: gate.task }, config: { tenantConcurrency: 1 } },
			);
		});

		it("that takes no notice is given up after the grace period", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "gate" });
					const { report } = await startTicking(queue);
					await cancel(queue, id);
					await queue.clock.advance(9999);
					expect((await read(queue, id)).status).toBe("running");
					await queue.clock.advance(1);
					expect((await report).body.outcomes.cancelled).toBe(1);
					expect((await read(queue, id)).status).toBe("cancelled");
					await gate.attempts[0]!.finish("late");
					expect(await read(queue, id)).toMatchObject({ status: "cancelled", result: null });
				},
				{ tasks: { gate: gate.task } },
			);
		});

		it("that finishes all the same is done", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "gate" });
					const { report } = await startTicking(queue);
					await cancel(queue, id);
					await gate.attempts[0]!.finish("in time");
					expect((await report).body.outcomes.done).toBe(1);
					expect(await read(queue, id)).toMatchObject({
						status: "done",
						result: "in time",
						cancel_requested_at: "2026-01-01T00:00:00.000Z",
					});
				},
				{ tasks: { gate: gate.task } },
			);
		});

		it("can be cancelled again: the first request counts", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "gate" });
					const { report } = await startTicking(queue);
					const first = await cancel(queue, id);
					await queue.clock.advance(100);
					expect((await cancel(queue, id)).body).toEqual(first.body);
					await gate.attempts[0]!.fail(new Error());
					await report;
					expect((await history(queue, id)).filter(kind => kind === "cancel_requested")).toHaveLength(1);
				},
				{ tasks: { gate: gate.task } },
			);
		});

		it("of another process learns of it with that process's heartbeat", () => {
			const gate = createGate();
			return inQueue(
				async queue => {
					const { id } = await submit(queue, { task: "gate" });
					const { report } = await startTicking(queue);
					queue.deps.running.clear();
					await cancel(queue, id);
					expect(gate.attempts[0]!.context.signal.aborted).toBe(false);
					await queue.clock.advance(10_000);
					expect(gate.attempts[0]!.context.signal.aborted).toBe(true);
					await gate.attempts[0]!.fail(gate.attempts[0]!.context.signal.reason);
					expect((await report).body.outcomes.cancelled).toBe(1);
				},
				{ tasks: { gate: gate.task } },
			);
		});
	});
});
