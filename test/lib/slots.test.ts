import { describe, expect, it } from "vitest";
import { Bell, Slots } from "../../lib/context.ts";

const slots = (size: number): { slots: Slots; bell: Bell } => {
	const bell = new Bell();
	return { slots: new Slots(size, bell), bell };
};

describe("Slots", () => {
	it("are given while there are some", () => {
		const { slots: some } = slots(3);
		expect([some.take(2), some.take(2), some.take(2)]).toEqual([2, 1, 0]);
		expect(some.busy).toBe(3);
	});

	it("ring when there is one again after there was none, freed or added", () => {
		const { slots: some, bell } = slots(2);
		some.take(2);
		some.free(1);
		expect(bell.heard()).toBe(true);
		some.free(1);
		expect(bell.heard()).toBe(false);
		some.take(2);
		some.resize(3);
		expect(bell.heard()).toBe(true);
		some.resize(5);
		expect(bell.heard()).toBe(false);
	});

	it("taken away while they are busy stay busy until as many jobs have ended", () => {
		const { slots: some, bell } = slots(5);
		some.take(5);
		some.resize(2);
		expect(some.take(5)).toBe(0);
		some.free(3);
		expect(bell.heard()).toBe(false);
		expect(some.take(5)).toBe(0);
		some.free(1);
		expect(bell.heard()).toBe(true);
		expect(some.take(5)).toBe(1);
	});
});
