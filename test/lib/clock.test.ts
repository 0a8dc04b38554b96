import { describe, expect, it } from "vitest";
import { systemClock, systemRandom } from "../../lib/clock.ts";
import { createTestClock } from "../support/harness.ts";

describe("systemRandom", () => {
	it("draws each kind within its bounds, and never the same twice", () => {
		const random = systemRandom();
		const drawn = Array.from({ length: 2000 }, () => ({
			fraction: random.fraction(),
			tail: random.tail(),
			token: random.token(),
			traceId: random.traceId(),
		}));
		for (const { fraction, tail, token, traceId } of drawn) {
			expect(fraction >= 0 && fraction < 1).toBe(true);
			expect(Number.isInteger(tail) && tail >= 0 && tail < 2 ** 40).toBe(true);
			expect(Number.isSafeInteger(token) && token > 0 && token < 2 ** 53).toBe(true);
			expect(traceId).toMatch(/^[0-9a-f]{32}$/);
		}
		for (const kind of ["tail", "token", "traceId"] as const) expect(new Set(drawn.map(one => one[kind])).size).toBe(drawn.length);
	});

	it("uses all bits of a tail", () => {
		const random = systemRandom();
		let seen = 0n;
		for (let i = 0; i < 500; i++) seen |= BigInt(random.tail());
		expect(seen).toBe(2n ** 40n - 1n);
	});
});

describe("systemClock", () => {
	it("tells the time and takes turns", async () => {
		const clock = systemClock();
		const before = Date.now();
		await clock.turn();
		expect(clock.now()).toBeGreaterThanOrEqual(before);
	});

	it("calls back once, unless told not to; a wait beyond what timers hold, or below 0, is none at once", async () => {
		const clock = systemClock(setImmediate);
		const called: string[] = [];
		clock.after(0, () => called.push("0"));
		clock.after(-5, () => called.push("-5"));
		const cancel = clock.after(0, () => called.push("cancelled"));
		const cancelFar = clock.after(1e15, () => called.push("far"));
		cancel();
		await new Promise<void>(resolve => clock.after(2, resolve));
		cancelFar();
		expect(called).toEqual(["0", "-5"]);
	});
});

describe("the test clock", () => {
	it("runs timers in order, those they set too, and stands where it was told", async () => {
		const clock = createTestClock(0);
		const seen: string[] = [];
		clock.after(20, () => seen.push(`b ${clock.now()}`));
		clock.after(10, () => {
			seen.push(`a ${clock.now()}`);
			clock.after(5, () => seen.push(`c ${clock.now()}`));
		});
		clock.after(10, () => seen.push(`a2 ${clock.now()}`));
		clock.after(12, () => seen.push("cancelled"))();
		clock.after(31, () => seen.push("late"));
		await clock.advance(30);
		expect(seen).toEqual(["a 10", "a2 10", "c 15", "b 20"]);
		expect(clock.now()).toBe(30);
	});
});
