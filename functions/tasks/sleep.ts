/** Takes its time, to see limits, leases and cancellation at work. */
import { defineTask } from "tickq";
import * as z from "zod";

export const sleep = defineTask({
	summary: "Waits for ms milliseconds",
	example: { ms: 2000 },
	timeoutMs: 15 * 60_000,
	input: z.strictObject({
		ms: z
			.int()
			.min(0)
			.max(10 * 60_000),
	}),
	async run({ ms }, { signal }) {
		await new Promise<void>((resolve, reject) => {
			const timer = setTimeout(resolve, ms);
			signal.addEventListener("abort", () => {
				clearTimeout(timer);
				reject(signal.reason);
			});
		});
		return { slept_ms: ms };
	},
});
