/** GET /ready: the store answers and has the schema of this code. */
import { messageOf } from "../lib/log.ts";
import { operation } from "../lib/operation.ts";
import { Problem } from "../lib/problem.ts";
import { instant, instantOrNull } from "../lib/wire.ts";

export const ready = operation("ready", async ({ store, deps }) => {
	try {
		await store.ping();
	} catch (error) {
		throw new Problem("not_ready", `The store cannot be used: ${messageOf(error)}.`, { headers: { "retry-after": "5" } });
	}
	return { status: "ready" as const, timestamp: instant(deps.clock.now()), last_tick_at: instantOrNull(deps.ticks.lastTickAt) };
});
