/**
 * Public job ids: `job_`, the millisecond of creation (9 digits), the number in the store (8), a random tail (8), in Crockford's base 32.
 * They sort by time, say what they are, need no index of their own, and knowing one tells nothing about another.
 */
import type { Job, JobRef } from "./job.ts";

const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const PATTERN = /^job_([0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{9})([0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{8})([0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{8})$/;

/** All pairs of digits: ten bits at a time. */
const PAIRS = Array.from({ length: 1024 }, (_, bits) => DIGITS[bits >> 5]! + DIGITS[bits & 31]!);

/** 40 bits as 8 digits. */
function encode(value: number): string {
	const high = Math.floor(value / 2 ** 20);
	const low = value % 2 ** 20;
	return PAIRS[high >> 10]! + PAIRS[high & 1023]! + PAIRS[low >> 10]! + PAIRS[low & 1023]!;
}
function decode(text: string): number {
	let value = 0;
	for (const digit of text) value = value * 32 + DIGITS.indexOf(digit);
	return value;
}

export const toJobId = (job: Pick<Job, "id" | "tail" | "createdAt">): string =>
	`job_${DIGITS[Math.floor(job.createdAt / 2 ** 40)]}${encode(job.createdAt % 2 ** 40)}${encode(job.id)}${encode(job.tail)}`;

/** The parts of a public id, or null when it is none. Letters may be in either case. */
export function fromJobId(text: string): JobRef | null {
	const match = PATTERN.exec(text);
	if (match === null) return null;
	const [createdAt, id, tail] = match.slice(1).map(part => decode(part.toUpperCase())) as [number, number, number];
	return { id, tail, createdAt };
}
