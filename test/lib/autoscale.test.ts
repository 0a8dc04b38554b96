import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
	autoscale,
	desiredWorkers,
	type Load,
	type ScaleRule,
	type ScaleState,
	type ScaleTiming,
	scaleReason,
} from "../../lib/autoscale.ts";

/** The seed's rule: more above 5 pending per worker, fewer below 1, 2 to 10. */
const SEED: ScaleRule = { min: 2, max: 10, upAbove: 5, downBelow: 1, tasksPerWorker: 5 };
const TIMING: ScaleTiming = { upLooks: 2, downLooks: 5, upCoolDownMs: 1000, downCoolDownMs: 10_000 };
const begin = (workers: number): ScaleState => ({ workers, changedAt: 0, over: 0, under: 0 });

/** A look a second at each load; answers the workers after each. */
function watch(loads: readonly Load[], { from = 2, rule = SEED, timing = TIMING } = {}): number[] {
	let state = begin(from);
	return loads.map((load, i) => {
		state = autoscale(state, load, rule, timing, 100_000 + i * 1000);
		return state.workers;
	});
}
const steady = (load: Load, looks: number): Load[] => Array.from({ length: looks }, () => load);

const anyRule = fc
	.record({
		min: fc.integer({ min: 1, max: 20 }),
		more: fc.nat(50),
		upAbove: fc.integer({ min: 1, max: 50 }),
		down: fc.nat(50),
		tasksPerWorker: fc.integer({ min: 1, max: 20 }),
	})
	.map(
		({ min, more, upAbove, down, tasksPerWorker }): ScaleRule => ({
			min,
			max: min + more,
			upAbove,
			downBelow: Math.min(down, upAbove),
			tasksPerWorker,
		}),
	);
const anyTiming = fc.record({
	upLooks: fc.integer({ min: 1, max: 5 }),
	downLooks: fc.integer({ min: 1, max: 8 }),
	upCoolDownMs: fc.nat(5000),
	downCoolDownMs: fc.nat(20_000),
});
const anyLoad = fc.record({ pending: fc.oneof(fc.nat(20), fc.nat(100_000)), running: fc.nat(500) });

describe("desiredWorkers", () => {
	it.each<[string, Load, number]>([
		["nothing to do: the least", { pending: 0, running: 0 }, 2],
		["10 for 2 workers: not above 5 each", { pending: 10, running: 10 }, 2],
		["11 for 2 workers: one more", { pending: 11, running: 10 }, 3],
		["a flood: the most", { pending: 4112, running: 10 }, 10],
		["none waits, and 33 run: room for them", { pending: 0, running: 33 }, 7],
	])("follows the seed's rule: %s", (_, load, workers) => {
		expect(desiredWorkers(load, SEED)).toBe(workers);
	});

	it("answers for a whole queue without bounds: 0 when it is empty, and what a flood calls for", () => {
		const rule = { ...SEED, min: 0, max: Number.POSITIVE_INFINITY };
		expect(desiredWorkers({ pending: 0, running: 0 }, rule)).toBe(0);
		expect(desiredWorkers({ pending: 1, running: 0 }, rule)).toBe(1);
		expect(desiredWorkers({ pending: 4112, running: 50 }, rule)).toBe(823);
	});

	it("stays between min and max, and never falls when more is pending", () => {
		fc.assert(
			fc.property(anyRule, anyLoad, fc.nat(1000), (rule, load, more) => {
				const desired = desiredWorkers(load, rule);
				expect(desired).toBeGreaterThanOrEqual(rule.min);
				expect(desired).toBeLessThanOrEqual(rule.max);
				expect(desiredWorkers({ ...load, pending: load.pending + more }, rule)).toBeGreaterThanOrEqual(desired);
			}),
		);
	});
});

describe("autoscale", () => {
	it("takes two looks above the border for more, and goes to what is needed at once", () => {
		expect(watch(steady({ pending: 38, running: 10 }, 4))).toEqual([2, 8, 8, 8]);
	});

	it("is not moved by one look", () => {
		const flood = { pending: 500, running: 10 };
		const calm = { pending: 8, running: 10 };
		expect(watch([flood, calm, flood, calm, flood, calm])).toEqual([2, 2, 2, 2, 2, 2]);
	});

	it("stays between the borders: 5 per worker are not too many, 1 is not too few", () => {
		expect(watch(steady({ pending: 20, running: 0 }, 30), { from: 4 })).toEqual(steady({ pending: 0, running: 0 }, 30).map(() => 4));
		expect(watch(steady({ pending: 4, running: 0 }, 30), { from: 4 }).at(-1)).toBe(4);
	});

	it("takes five quiet looks, and 10 s since the last change, for fewer", () => {
		const loads = [...steady({ pending: 100, running: 10 }, 2), ...steady({ pending: 0, running: 0 }, 12)];
		const seen = watch(loads);
		expect(seen.slice(0, 3)).toEqual([2, 10, 10]);
		expect(seen.indexOf(2, 2)).toBe(11);
	});

	it("keeps workers for what runs, also when nothing waits", () => {
		expect(watch(steady({ pending: 0, running: 40 }, 30), { from: 10 }).at(-1)).toBe(8);
	});

	it("comes back between its bounds at once when these were moved", () => {
		expect(watch([{ pending: 0, running: 0 }], { from: 30 })).toEqual([2]);
		expect(watch([{ pending: 0, running: 0 }], { from: 1 })).toEqual([2]);
	});

	it("never leaves min to max, whatever comes", () => {
		fc.assert(
			fc.property(anyRule, anyTiming, fc.array(anyLoad, { maxLength: 40 }), (rule, timing, loads) => {
				for (const workers of watch(loads, { from: rule.min, rule, timing })) {
					expect(workers).toBeGreaterThanOrEqual(rule.min);
					expect(workers).toBeLessThanOrEqual(rule.max);
				}
			}),
		);
	});

	it("never flaps: a load that stays the same changes the number once at most", () => {
		fc.assert(
			fc.property(anyRule, anyTiming, anyLoad, fc.nat(70), (rule, timing, load, from) => {
				const start = Math.min(rule.max, rule.min + from);
				const seen = [start, ...watch(steady(load, 100), { from: start, rule, timing })];
				const changes = seen.filter((workers, i) => i > 0 && workers !== seen[i - 1]);
				expect(changes.length).toBeLessThanOrEqual(1);
			}),
		);
	});

	it("never changes direction within a cool-down, however the load swings around the borders", () => {
		const aroundBorder = fc.record({ pending: fc.integer({ min: 0, max: 70 }), running: fc.nat(50) });
		fc.assert(
			fc.property(fc.array(aroundBorder, { minLength: 20, maxLength: 120 }), loads => {
				const seen = watch(loads);
				let raisedAt = Number.NEGATIVE_INFINITY;
				for (let i = 1; i < seen.length; i++) {
					if (seen[i]! > seen[i - 1]!) raisedAt = i;
					if (seen[i]! < seen[i - 1]!) expect((i - raisedAt) * 1000).toBeGreaterThanOrEqual(TIMING.downCoolDownMs);
				}
			}),
		);
	});

	it("has, for a load that stays, never fewer workers than for a smaller one", () => {
		fc.assert(
			fc.property(anyRule, anyTiming, anyLoad, fc.nat(1000), (rule, timing, load, more) => {
				const end = (pending: number): number => watch(steady({ ...load, pending }, 60), { from: rule.min, rule, timing }).at(-1)!;
				expect(end(load.pending + more)).toBeGreaterThanOrEqual(end(load.pending));
			}),
		);
	});

	it("reaches what a flood needs within the looks that its timing names", () => {
		fc.assert(
			fc.property(anyRule, anyTiming, anyLoad, (rule, timing, load) => {
				const desired = desiredWorkers(load, rule);
				if (load.pending <= rule.upAbove * rule.min) return;
				const looks = Math.max(timing.upLooks, 1);
				expect(watch(steady(load, looks), { from: rule.min, rule, timing }).at(-1)).toBe(desired);
			}),
		);
	});
});

describe("scaleReason", () => {
	it("says which side of the rule a load is on", () => {
		expect(scaleReason({ pending: 4112, running: 4 }, 4, SEED)).toBe("pending 4112 / 4 workers > 5");
		expect(scaleReason({ pending: 0, running: 4 }, 4, SEED)).toBe("pending 0 / 4 workers < 1");
		expect(scaleReason({ pending: 3, running: 4 }, 1, SEED)).toBe("pending 3 / 1 worker is between 1 and 5");
	});
});
