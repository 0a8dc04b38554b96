/** How soon a job runs when the queue has nothing else to do. */
import { setTimeout as sleep } from "node:timers/promises";
import { startLoop } from "../emulator/loop.ts";
import { defineTask } from "../lib/task.ts";
import { type Measure, quantile } from "./measure.ts";
import { openQueue, PAYLOAD } from "./queue.ts";

const BLOCKS = 5;

export const latency: Measure = {
	about:
		"from the commit of a submit to the first line of the task's run(), in the emulator's loop, each when the queue is asleep again (FULL)",
	async run(bench) {
		let ranAt = 0;
		const task = defineTask({
			run() {
				ranAt = performance.now();
				return null;
			},
		});
		const { storage, deps, tickDeps, close } = await openQueue(bench.file("latency.db"), { task });
		let asleep = Promise.withResolvers<void>();
		const loop = startLoop(() => tickDeps, { backstop: "*/5 * * * * *", onAsleep: () => asleep.resolve() });
		await asleep.promise;

		const once = async (): Promise<number> => {
			asleep = Promise.withResolvers();
			await storage
				.tenant("tenant")
				.insertJob(
					{ task: "task", payload: PAYLOAD, maxRetries: 3, tail: deps.random.tail(), traceId: deps.random.traceId() },
					deps.clock.now(),
				);
			const committedAt = performance.now();
			deps.wake.ring();
			await asleep.promise;
			await sleep(3);
			return ranAt - committedAt;
		};
		for (let i = 0; i < 30; i++) await once();
		const blocks: number[][] = [];
		for (let block = 0; block < BLOCKS; block++) {
			const times: number[] = [];
			for (let i = 0; i < (bench.quick ? 60 : 100); i++) times.push(await once());
			blocks.push(times);
		}
		await loop.stop();
		await close();
		const all = blocks.flat();
		const row = (q: number) => ({ values: blocks.map(times => quantile(times, q)), value: quantile(all, q), unit: "ms" }) as const;
		return [
			{ what: `p50 of ${all.length}`, ...row(0.5), must: { atMost: 1 }, goal: { atMost: 0.5 } },
			{ what: `p99 of ${all.length}`, ...row(0.99), must: { atMost: 5 }, goal: { atMost: 2 } },
		];
	},
};
