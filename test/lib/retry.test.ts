import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { backoffMs, RETRY_DEFAULT, retryAfterMs } from "../../lib/retry.ts";
import { RetryAfter } from "../../lib/task.ts";

const policy = fc.record({
	maxRetries: fc.nat({ max: 100 }),
	baseMs: fc.nat({ max: 1e9 }),
	factor: fc.double({ min: 1, max: 100, noNaN: true }),
	maxMs: fc.nat({ max: 1e9 }),
});
const fraction = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const failures = fc.integer({ min: 1, max: 101 });

describe("backoffMs", () => {
	it("is a whole number of milliseconds between 0 and the most, for any policy", () => {
		fc.assert(
			fc.property(policy, failures, fraction, (policy, failures, fraction) => {
				const ms = backoffMs(policy, failures, fraction);
				expect(Number.isInteger(ms)).toBe(true);
				expect(ms).toBeGreaterThanOrEqual(0);
				expect(ms).toBeLessThanOrEqual(policy.maxMs);
			}),
		);
	});

	it("grows with the failures and with the drawn number", () => {
		fc.assert(
			fc.property(policy, failures, fraction, fraction, (policy, failures, a, b) => {
				expect(backoffMs(policy, failures + 1, a)).toBeGreaterThanOrEqual(backoffMs(policy, failures, a));
				expect(backoffMs(policy, failures, Math.max(a, b))).toBeGreaterThanOrEqual(backoffMs(policy, failures, Math.min(a, b)));
			}),
		);
	});

	it("is up to 2 s, 6 s and 18 s by default, and 5 min at most", () => {
		const most = [1, 2, 3, 4, 5, 6, 50].map(failures => backoffMs(RETRY_DEFAULT, failures, 1));
		expect(most).toEqual([2000, 6000, 18_000, 54_000, 162_000, 300_000, 300_000]);
		expect(backoffMs(RETRY_DEFAULT, 3, 0)).toBe(0);
	});

	// Bug: 0 × factor^n is NaN once the power is infinite; the store then refuses the ending.
	it("is a number also for a base of 0 after very many failures", () => {
		expect(backoffMs({ ...RETRY_DEFAULT, baseMs: 0 }, 1000, 0.5)).toBe(0);
	});
});

describe("retryAfterMs", () => {
	const now = Date.UTC(2026, 0, 1);
	const ask = (after: RetryAfter["after"]) => retryAfterMs(new RetryAfter(after), now);

	it("reads milliseconds, never below 0", () => {
		expect([ask(1500), ask(0), ask(-5), ask(0.5)]).toEqual([1500, 0, 0, 0.5]);
		expect([ask(Number.NaN), ask(Number.POSITIVE_INFINITY), ask(null)]).toEqual([null, null, null]);
	});

	it("reads Dates as what is left until then", () => {
		expect([ask(new Date(now + 5)), ask(new Date(now - 5)), ask(new Date(Number.NaN))]).toEqual([5, 0, null]);
	});

	it("reads what HTTP servers send: seconds, or one of the three forms of a date", () => {
		expect([ask("0"), ask("120"), ask(" 7 ")]).toEqual([0, 120_000, 7000]);
		for (const date of ["Thu, 01 Jan 2026 00:01:00 GMT", "Thursday, 01-Jan-26 00:01:00 GMT", "Thu Jan  1 00:01:00 2026 GMT"])
			expect([date, ask(date)]).toEqual([date, 60_000]);
		expect([ask(""), ask("soon")]).toEqual([null, null]);
	});

	// Bug: an endpoint could put its job off until 2089.
	it("believes a server for a day at most", () => {
		const dayMs = 24 * 3_600_000;
		for (const text of ["99999999999", "86401", "9".repeat(400), "Fri, 02 Jan 2026 00:00:01 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"])
			expect([text, ask(text)]).toEqual([text, dayMs]);
		expect(ask("86399")).toBe(dayMs - 1000);
		expect(ask(2 * dayMs)).toBe(2 * dayMs);
	});

	it("never answers anything but null or a number that is not below 0, whatever the text", () => {
		fc.assert(
			fc.property(fc.oneof(fc.string(), fc.date().map(String), fc.double()), after => {
				const ms = ask(after);
				if (ms !== null) expect(ms).toBeGreaterThanOrEqual(0);
			}),
		);
	});
});
