/** The metrics object, the same over HTTP and on the WebSocket. */
import { desiredWorkers, scaleReason, scaleRule } from "./autoscale.ts";
import type { Deps, PoolStatus } from "./context.ts";
import type { Answer } from "./contract.ts";
import type { QueueCounts } from "./storage/storage.ts";
import { instant, instantOrNull } from "./wire.ts";

type Needs = Pick<Deps, "clock" | "slots" | "ticks" | "answersOnly" | "config" | "pool">;

export function metricsOf(counts: QueueCounts, deps: Needs): Answer<"metrics"> {
	const { clock, ticks } = deps;
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
		workers: workersOf(counts, deps),
		last_tick_at: instantOrNull(ticks.lastTickAt),
		next_wake_at: instantOrNull(ticks.nextWakeAt),
		version: counts.version,
	};
}

/** The workers of this process, and how many the jobs that are counted call for, wherever these would run. */
function workersOf(counts: QueueCounts, { slots, answersOnly, config, pool }: Needs): Answer<"metrics">["workers"] {
	const { running, min, max, scaled } = answersOnly ? NONE : (pool ?? inline(config.workersMin));
	const rule = scaleRule(config);
	const load = { pending: counts.ready, running: counts.running };
	return {
		busy: slots.busy,
		size: answersOnly ? 0 : slots.size,
		running,
		min,
		max,
		desired: desiredWorkers(load, { ...rule, min: 0, max: Number.POSITIVE_INFINITY }),
		reason: scaleReason(load, running, rule),
		scaled: scaled.map(({ at, ...change }) => ({ at: instant(at), ...change })),
	};
}

const NONE: PoolStatus = { running: 0, min: 0, max: 0, scaled: [] };
/** Without a pool one thread does what so many workers would. */
const inline = (workers: number): PoolStatus => ({ running: workers, min: workers, max: workers, scaled: [] });
