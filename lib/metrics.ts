/** The metrics object, the same over HTTP and on the WebSocket. */

import type { Deps } from "./context.ts";
import type { Answer } from "./contract.ts";
import type { QueueCounts } from "./storage/storage.ts";
import { instant, instantOrNull } from "./wire.ts";

export function metricsOf(counts: QueueCounts, deps: Pick<Deps, "clock" | "slots" | "ticks" | "answersOnly">): Answer<"metrics"> {
	const { clock, slots, ticks, answersOnly } = deps;
	return {
		pending: counts.ready + counts.delayed + counts.blocked,
		running: counts.running,
		done: counts.done,
		failed: counts.failed,
		dead_letter_queue: counts.dead,
		active_tenants: counts.activeTenants,
		timestamp: instant(clock.now()),
		cancelled: counts.cancelled,
		ready: counts.ready,
		delayed: counts.delayed,
		blocked: counts.blocked,
		submitted_total: counts.submitted,
		finished_total: counts.finished,
		workers: { busy: slots.busy, size: answersOnly ? 0 : slots.size },
		last_tick_at: instantOrNull(ticks.lastTickAt),
		next_wake_at: instantOrNull(ticks.nextWakeAt),
		version: counts.version,
	};
}
