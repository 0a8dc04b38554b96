/** Fails a chosen number of times, then works: shows retries and, above max_retries, the dead letter. */
import { defineTask } from "tickq";
import * as z from "zod";

export const flaky = defineTask({
	summary: "Fails fail_times times, then succeeds",
	example: { fail_times: 2 },
	retry: { baseMs: 500 },
	input: z.strictObject({ fail_times: z.int().min(0).max(100) }),
	run({ fail_times }, { attempt }) {
		if (attempt <= fail_times) throw new Error(`told to fail ${fail_times} times, this is attempt ${attempt}`);
		return { attempts: attempt };
	},
});
