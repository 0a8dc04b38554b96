/** The metrics object, the same over HTTP and on the WebSocket. */
import { desiredWorkers, jobsFor, type Load, scaleReason, scaleRule } from "./autoscale.ts";
import type { Deps, PoolStatus } from "./context.ts";
import type { Answer } from "./contract.ts";
import type { JobReader, QueueCounts } from "./storage/storage.ts";
import { instant, instantOrNull } from "./wire.ts";

type Needs = Pick<Deps, "clock" | "slots" | "ticks" | "answersOnly" | "config" | "pool">;

/** Workers that waiting jobs call for at most: further they are not counted. */
const DESIRED_MAX = 100;
/** Statements that it sends at most, with the counts. */
export const METRICS_STATEMENTS = 2;

/** @param counts of the same store, which is asked for one thing more where jobs are ready */
export async function metricsOf(counts: QueueCounts, store: Pick<JobReader, "runnable">, deps: Needs): Promise<Answer<"metrics">> {
	const { clock, ticks, config } = deps;
	const most = jobsFor(DESIRED_MAX, scaleRule(config));
	const runnable = counts.ready === 0 ? 0 : await store.runnable(null, most, clock.now());
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
		workers: workersOf({ pending: runnable, running: counts.running }, most, deps),
		last_tick_at: instantOrNull(ticks.lastTickAt),
		next_wake_at: instantOrNull(ticks.nextWakeAt),
		version: counts.version,
	};
}

/** The workers of this process, and how many the jobs that are counted call for, wherever these would run. */
function workersOf(load: Load, most: number, { slots, answersOnly, config, pool }: Needs): Answer<"metrics">["workers"] {
	const { running, min, max, scaled } = answersOnly ? NONE : (pool ?? inline(config.workersMin));
	const rule = scaleRule(config);
	return {
		busy: slots.busy,
		size: answersOnly ? 0 : slots.size,
		running,
		min,
		max,
		desired: desiredWorkers(load, { ...rule, min: 0, max: Number.POSITIVE_INFINITY }),
		reason: scaleReason(load, running, rule, most),
		scaled: scaled.map(({ at, ...change }) => ({ at: instant(at), ...change })),
	};
}

const NONE: PoolStatus = { running: 0, min: 0, max: 0, scaled: [] };
/** Without a pool one thread does what so many workers would. */
const inline = (workers: number): PoolStatus => ({ running: workers, min: workers, max: workers, scaled: [] });
