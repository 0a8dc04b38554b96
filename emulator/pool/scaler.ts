/**
 * Scales a pool by the jobs that more threads would start: looks four times a second while there is something to do, and asks the store only
 * when all slots are taken.
 */
import { autoscale, jobsFor, type Load, SCALE_TIMING, type ScaleState, scaleReason, scaleRule } from "../../lib/autoscale.ts";
import { messageOf } from "../../lib/log.ts";
import { createPool, type Pool, type PoolOptions } from "./pool.ts";

export interface ScalerOptions extends PoolOptions {
	/** Jobs that could run now, if there was room, counted up to `most`: one read of the store. */
	readonly pending: (most: number) => Promise<number>;
}

const LOOK_EVERY_MS = 250;

export interface ScaledPool {
	readonly pool: Pool;
	close(): Promise<void>;
}

/** A pool that scales itself. It rests, without timers or statements, while nothing runs and it has no more threads than the least. */
export function createScaledPool(options: ScalerOptions): ScaledPool {
	const { clock, config, slots, pending, log } = options;
	const rule = scaleRule(config);
	// One more than the most threads need: that there are more is worth to be told.
	const most = jobsFor(rule.max, rule) + 1;
	let state: ScaleState = { workers: rule.min, changedAt: clock.now(), over: 0, under: 0 };
	let isWatching = false;
	let isClosed = false;
	let cancelTimer = () => {};
	const pool = createPool({ ...options, onJob: watch });

	function watch(): void {
		if (isWatching || isClosed) return;
		isWatching = true;
		cancelTimer = clock.after(LOOK_EVERY_MS, () => void look());
	}

	async function look(): Promise<void> {
		try {
			// A free slot means that whatever may run does: what waits is held, and would not count if the store was asked.
			const isFull = slots.busy >= slots.size;
			const load: Load = { pending: isFull ? await pending(most) : 0, running: slots.busy };
			if (!pool.isFailing) {
				const before = state.workers;
				state = autoscale(state, load, rule, SCALE_TIMING, clock.now());
				if (state.workers !== before) pool.scaleTo(state.workers, scaleReason(load, before, rule, most));
			}
		} catch (error) {
			log.warn("the jobs that wait could not be counted", { error: messageOf(error) });
		}
		isWatching = false;
		if (slots.busy > 0 || state.workers > rule.min) watch();
	}

	return {
		pool,
		async close(): Promise<void> {
			isClosed = true;
			cancelTimer();
			await pool.close();
		},
	};
}
