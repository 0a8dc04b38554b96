import { describe, expect, it } from "vitest";
import { startAttempt } from "../../lib/runJob.ts";
import type { Claimed } from "../../lib/storage/storage.ts";
import { createGate, inQueue, submit, throwing } from "../functions/inQueue.ts";
import { type Harness, settle } from "../support/harness.ts";

async function claim(queue: Harness, task: string): Promise<Claimed> {
	await submit(queue, { task });
	const [job] = await queue.deps.storage.worker.claimDueJobs(
		{ tasks: [task], limit: 1, leaseMs: 30_000, token: 7, worker: "w" },
		queue.clock.now(),
	);
	return job!;
}

describe("startAttempt", () => {
	// Bug: what is thrown is made text inside the last catch. A throw there is a rejection nobody handles, which ends the process.
	it.each<[string, unknown]>([
		["an object without a prototype", Object.create(null)],
		["an error whose message is an object", Object.assign(new Error("x"), { message: { code: 5 } })],
		["an error whose stack is a number", Object.assign(new Error("x"), { stack: 5 })],
	])("never throws, whatever the task threw: %s", (_, thrown) =>
		inQueue(
			async queue => {
				expect(await startAttempt(await claim(queue, "bad"), queue.deps).ending).toMatchObject({ outcome: "retry" });
			},
			{ tasks: { bad: throwing(thrown) } },
		),
	);

	it("leaves a task alone that goes on after its end", () => {
		const gate = createGate();
		return inQueue(
			async queue => {
				const attempt = startAttempt(await claim(queue, "gate"), queue.deps);
				attempt.stop("stopping");
				expect(await attempt.ending).toMatchObject({ outcome: "release" });
				await gate.attempts[0]!.fail(new Error("much later"));
			},
			{ tasks: { gate: gate.task } },
		);
	});

	it("takes the first reason to stop, and no later one", () => {
		const gate = createGate();
		return inQueue(
			async queue => {
				const attempt = startAttempt(await claim(queue, "gate"), queue.deps);
				attempt.stop("cancelled");
				attempt.stop("stopping");
				attempt.stop("lease_lost");
				await queue.clock.advance(10_000);
				expect(await attempt.ending).toMatchObject({ outcome: "cancelled" });
			},
			{ tasks: { gate: gate.task } },
		);
	});

	it("answers nothing when the lease is lost", () => {
		const gate = createGate();
		return inQueue(
			async queue => {
				const attempt = startAttempt(await claim(queue, "gate"), queue.deps);
				attempt.stop("lease_lost");
				expect(await attempt.ending).toBeNull();
			},
			{ tasks: { gate: gate.task } },
		);
	});

	it("gives a job back whose task has gone, and ends one whose time to start has passed", () =>
		inQueue(async queue => {
			const job = await claim(queue, "echo");
			expect(await startAttempt(job, { ...queue.deps, tasks: {} }).ending).toMatchObject({ outcome: "release" });
			expect(await startAttempt({ ...job, startBy: queue.clock.now() }, queue.deps).ending).toMatchObject({ outcome: "expired" });
			await settle();
		}));
});
