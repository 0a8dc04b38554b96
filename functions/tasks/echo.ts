/** Answers with its payload. */
import { defineTask } from "tickq";

export const echo = defineTask({
	summary: "Answers with its payload",
	example: { hello: "world" },
	run: payload => payload,
});
