/** How many workers a load calls for: the rule, pure. Numbers and instants come in, numbers go out. */
import type { Config } from "./config.ts";

/** What there is to do: jobs that wait and could run now, if there was room, and jobs that run. */
export interface Load {
	readonly pending: number;
	readonly running: number;
}

/** Waiting jobs per worker: above `upAbove` there are to be more workers, below `downBelow` fewer, and always `min` to `max`. */
export interface ScaleRule {
	readonly min: number;
	readonly max: number;
	readonly upAbove: number;
	readonly downBelow: number;
	/** Jobs that one worker runs at once. */
	readonly tasksPerWorker: number;
}

/** How steadily a load must call for a change, and how long the last change is left to work first. */
export interface ScaleTiming {
	/** Looks in a row that call for more, or for fewer. */
	readonly upLooks: number;
	readonly downLooks: number;
	readonly upCoolDownMs: number;
	readonly downCoolDownMs: number;
}

/** What is remembered between two looks. */
export interface ScaleState {
	readonly workers: number;
	/** When `workers` last changed. */
	readonly changedAt: number;
	/** Looks in a row that called for more, and for fewer. */
	readonly over: number;
	readonly under: number;
}

/** More is wanted soon, since jobs wait; fewer only when it has been quiet for a while, since the next burst may come. */
export const SCALE_TIMING: ScaleTiming = { upLooks: 2, downLooks: 5, upCoolDownMs: 1000, downCoolDownMs: 10_000 };

export const scaleRule = ({ workersMin, workersMax, scaleUpAbove, scaleDownBelow, tasksPerWorker }: Config): ScaleRule => ({
	min: workersMin,
	max: workersMax,
	upAbove: scaleUpAbove,
	downBelow: scaleDownBelow,
	tasksPerWorker,
});

/**
 * The workers that a load calls for, without memory: so many that at most `upAbove` jobs wait for each, and that what runs has room.
 * Never outside of `min` to `max`, and never fewer for more pending jobs.
 *
 * With `min` 0 and `max` Infinity it is what a whole queue calls for, whoever answers: `workers.desired` in the metrics. One who scales
 * machines by it (KEDA, an HPA) divides it by the workers of a machine. It counts jobs that run, so that machines are not taken away from
 * under them, and nothing that could not run on more of them: what is delayed, waits for another job of its key, or is kept waiting by a
 * limit, a pause, a hold or a circuit. It answers 0 for an empty queue, and leaves steadiness to whoever asks.
 */
export function desiredWorkers({ pending, running }: Load, { min, max, upAbove, tasksPerWorker }: ScaleRule): number {
	return Math.max(min, Math.min(max, Math.max(Math.ceil(pending / upAbove), Math.ceil(running / tasksPerWorker))));
}

/**
 * One look at the load, with memory: the same rule, steadied. More workers when more than `upAbove` jobs per worker have waited for
 * `upLooks` looks in a row; fewer when fewer than `downBelow` have for `downLooks`; and only when the last change is old enough. A change
 * goes at once to what is desired, and a load that stays the same changes the number once at most in each direction.
 */
export function autoscale(state: ScaleState, load: Load, rule: ScaleRule, timing: ScaleTiming, nowMs: number): ScaleState {
	const { workers, changedAt } = state;
	const desired = desiredWorkers(load, rule);
	const isOver = workers < rule.min || load.pending > rule.upAbove * workers;
	const isUnder = workers > rule.max || load.pending < rule.downBelow * workers;
	const over = isOver && desired > workers ? state.over + 1 : 0;
	const under = isUnder && desired < workers ? state.under + 1 : 0;
	const ageMs = nowMs - changedAt;
	const changes =
		workers < rule.min ||
		workers > rule.max ||
		(over >= timing.upLooks && ageMs >= timing.upCoolDownMs) ||
		(under >= timing.downLooks && ageMs >= timing.downCoolDownMs);
	return changes ? { workers: desired, changedAt: nowMs, over: 0, under: 0 } : { workers, changedAt, over, under };
}

/** Jobs that call for so many workers: as far as need be counted. */
export const jobsFor = (workers: number, { upAbove }: Pick<ScaleRule, "upAbove">): number => upAbove * workers;

/**
 * Which side of the rule a load is on, for people.
 * @param most how far pending jobs were counted: there may be more
 */
export function scaleReason(
	{ pending }: Load,
	workers: number,
	{ upAbove, downBelow }: ScaleRule,
	most = Number.POSITIVE_INFINITY,
): string {
	const ratio = `pending ${pending < most ? pending : `${pending} or more`} / ${workers} ${workers === 1 ? "worker" : "workers"}`;
	if (pending > upAbove * workers) return `${ratio} > ${upAbove}`;
	return pending < downBelow * workers ? `${ratio} < ${downBelow}` : `${ratio} is between ${downBelow} and ${upAbove}`;
}
