/** When a failed attempt is repeated. Pure: the random number is an argument. */
import type { RetryAfter, RetryPolicy } from "./task.ts";

/** 4 attempts, up to 2 s, 6 s and 18 s apart. */
export const RETRY_DEFAULT: RetryPolicy = { maxRetries: 3, baseMs: 2000, factor: 3, maxMs: 5 * 60_000 };

/**
 * Exponential backoff with full jitter: a random wait between 0 and min(maxMs, baseMs × factor^(failures−1)), so that jobs that failed
 * together do not come back together.
 *
 * @param failures attempts that failed so far, the one that just ended included
 * @param random 0 ≤ random < 1
 */
export function backoffMs(policy: RetryPolicy, failures: number, random: number): number {
	return Math.round(random * Math.min(policy.maxMs, policy.baseMs * Math.min(policy.factor ** (failures - 1), Number.MAX_SAFE_INTEGER)));
}

/** A header comes from somebody else's server: it is believed for so long at most. */
const HEADER_MS_MAX = 24 * 3_600_000;

/** How long a {@link RetryAfter} asks to wait, in milliseconds; null when it does not say, or says nothing that can be read. */
export function retryAfterMs({ after }: RetryAfter, nowMs: number): number | null {
	if (after === null) return null;
	if (typeof after === "number") return Number.isFinite(after) ? Math.max(0, after) : null;
	if (after instanceof Date) return Number.isNaN(after.getTime()) ? null : Math.max(0, after.getTime() - nowMs);
	if (/^\s*\d+\s*$/.test(after)) return Math.min(Number(after) * 1000, HEADER_MS_MAX);
	// A date has letters; `Date.parse` makes one of "-5" too.
	const at = /[a-z]/i.test(after) ? Date.parse(after) : Number.NaN;
	return Number.isNaN(at) ? null : Math.min(Math.max(0, at - nowMs), HEADER_MS_MAX);
}
