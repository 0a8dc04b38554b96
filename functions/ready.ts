/** GET /ready: the store answers and has the schema of this code. */
import { messageOf } from "../lib/log.ts";
import { operation } from "../lib/operation.ts";
import { Problem } from "../lib/problem.ts";
import { instant, instantOrNull } from "../lib/wire.ts";

/** Whoever asks wants to know now: a store that is silent for so long cannot be used. */
const SILENCE_MS = 2000;

export const ready = operation("ready", async ({ store, deps }) => {
	let cancelTimer = () => {};
	const silence = new Promise<never>((_, reject) => {
		cancelTimer = deps.clock.after(SILENCE_MS, () => reject(new Error(`it has not answered for ${SILENCE_MS / 1000} s`)));
	});
	try {
		await Promise.race([store.ping(), silence]);
	} catch (error) {
		throw new Problem("not_ready", `The store cannot be used: ${messageOf(error)}.`, { headers: { "retry-after": "5" } });
	} finally {
		cancelTimer();
	}
	return { status: "ready" as const, timestamp: instant(deps.clock.now()), last_tick_at: instantOrNull(deps.ticks.lastTickAt) };
});
