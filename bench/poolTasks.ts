/** The tasks of the pool's benchmarks, as each of its threads loads them. */
import { setTimeout as sleep } from "node:timers/promises";
import { defineTask } from "../lib/task.ts";

export const tasks = {
	noop: defineTask({ run: () => null }),
	/** When its first line ran, in nanoseconds of the system's monotonic clock. */
	stamp: defineTask({ run: () => String(process.hrtime.bigint()) }),
	spin: defineTask({
		run() {
			for (;;);
		},
	}),
	/** Takes its time, and answers when it began. */
	wait: defineTask({
		async run(ms: number) {
			const at = Date.now();
			await sleep(ms);
			return at;
		},
	}),
};
