/** A store that is slow or away for a moment, as one behind a network is: what was done is recorded, and no slot is lost. */
import { describe, expect, it } from "vitest";
import { StorageUnavailable, type WorkerStore } from "../../lib/storage/storage.ts";
import { startTick } from "../../lib/tick.ts";
import { createGate, inQueue, read, submit } from "../functions/inQueue.ts";
import { type Harness, settle } from "../support/harness.ts";

/** The queue's store with some verbs replaced. */
const storeWith = (queue: Harness, verbs: Partial<WorkerStore>): WorkerStore =>
	new Proxy(queue.deps.storage.worker, {
		get: (store, name) => {
			const verb = Reflect.get(verbs, name) ?? Reflect.get(store, name);
			return typeof verb === "function" ? verb.bind(store) : verb;
		},
	});

describe("a tick", () => {
	it("records what ends while it asks the store what is due, and gives the slot back", () => {
		const gate = createGate();
		return inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "gated" });
				const asked: (() => void)[] = [];
				const { nextDue } = queue.deps.storage.worker;
				const store = storeWith(queue, {
					async nextDue(...args) {
						const answer = await nextDue.apply(queue.deps.storage.worker, args);
						// While the job runs, the answer is on its way until the test lets it go.
						if (gate.attempts.length > 0) await new Promise<void>(resolve => asked.push(resolve));
						return answer;
					},
				});
				const { report } = startTick({ ...queue.deps, store }, { trigger: "http" });
				for (let i = 0; asked.length === 0 && i < 50; i++) await settle();
				await gate.attempts[0]!.finish("kept");
				for (let i = 0; i < 20; i++) {
					for (const answer of asked.splice(0)) answer();
					await settle();
				}
				expect(await report).toMatchObject({ claimed: 1, outcomes: { done: 1 }, stopped_by: "nothing_due" });
				expect(await read(queue, id)).toMatchObject({ status: "done", result: "kept" });
				expect(queue.deps.slots.busy).toBe(0);
			},
			{ tasks: { gated: gate.task } },
		);
	});

	it("sends endings again while the store is away, less and less often", () => {
		const gate = createGate();
		return inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "gated" });
				const { finishIfLeased } = queue.deps.storage.worker;
				let away = 4;
				const tries: number[] = [];
				const store = storeWith(queue, {
					async finishIfLeased(...args) {
						tries.push(queue.clock.now());
						if (away-- > 0) throw new StorageUnavailable("the database does not answer");
						return finishIfLeased.apply(queue.deps.storage.worker, args);
					},
				});
				const { report } = startTick({ ...queue.deps, store }, { trigger: "http" });
				for (let i = 0; gate.attempts.length === 0 && i < 50; i++) await settle();
				await gate.attempts[0]!.finish("kept");
				for (let i = 0; i < 100; i++) {
					await queue.clock.advance(100);
					await settle();
				}
				expect(await report).toMatchObject({ outcomes: { done: 1 } });
				expect(tries.slice(1).map((at, i) => at - tries[i]!)).toEqual([200, 400, 800, 1600]);
				expect(await read(queue, id)).toMatchObject({ status: "done", result: "kept" });
			},
			{ tasks: { gated: gate.task } },
		);
	});

	it("records what has ended although the claim beside it fails, before it is over", () => {
		const gate = createGate();
		return inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "gated" });
				const { claimDueJobs, finishIfLeased } = queue.deps.storage.worker;
				let recorded = false;
				const store = storeWith(queue, {
					async claimDueJobs(...args) {
						if (gate.attempts.length > 0) throw new StorageUnavailable("the database does not answer");
						return claimDueJobs.apply(queue.deps.storage.worker, args);
					},
					async finishIfLeased(...args) {
						for (let i = 0; i < 5; i++) await settle();
						const moved = await finishIfLeased.apply(queue.deps.storage.worker, args);
						recorded = true;
						return moved;
					},
				});
				const over = startTick({ ...queue.deps, store }, { trigger: "http" }).report.then(
					() => "fine",
					() => recorded,
				);
				for (let i = 0; gate.attempts.length === 0 && i < 50; i++) await settle();
				await gate.attempts[0]!.finish("kept");
				expect(await over).toBe(true);
				expect(await read(queue, id)).toMatchObject({ status: "done", result: "kept" });
			},
			{ tasks: { gated: gate.task } },
		);
	});

	it("rests when what is said to be claimable cannot be had, and says until when", () => {
		const gate = createGate();
		return inQueue(
			async queue => {
				await submit(queue, { task: "gated" });
				let asked = 0;
				const { nextDue } = queue.deps.storage.worker;
				const store = storeWith(queue, {
					claimDueJobs: async () => [],
					async nextDue(...args) {
						asked++;
						const due = await nextDue.apply(queue.deps.storage.worker, args);
						return { ...due, claim: true, reason: "delayed" };
					},
				});
				const report = await startTick({ ...queue.deps, store }, { trigger: "http" }).report;
				expect([asked, report.claimed, report.stopped_by]).toEqual([2, 0, "nothing_due"]);
				expect(queue.deps.ticks.nextWakeAt).toBe(queue.clock.now() + 1000);
			},
			{ tasks: { gated: gate.task } },
		);
	});
});
