/**
 * Public job ids: `job_`, the millisecond of creation (9 digits), the number in the store (8), a random tail (8), in Crockford's base 32.
 * They sort by time, say what they are, need no index of their own, and knowing one tells nothing about another.
 */
import type { Job, JobRef } from "./job.ts";

const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const PATTERN = /^job_([0-9A-HJKMNP-TV-Z]{9})([0-9A-HJKMNP-TV-Z]{8})([0-9A-HJKMNP-TV-Z]{8})$/;

function encode(value: number, length: number): string {
	let text = "";
	for (let i = 0; i < length; i++) {
		text = DIGITS[value % 32]! + text;
		value = Math.floor(value / 32);
	}
	return text;
}
function decode(text: string): number {
	let value = 0;
	for (const digit of text) value = value * 32 + DIGITS.indexOf(digit);
	return value;
}

export const toJobId = (job: Pick<Job, "id" | "tail" | "createdAt">): string =>
	`job_${encode(job.createdAt, 9)}${encode(job.id, 8)}${encode(job.tail, 8)}`;

/** The parts of a public id, or null when it is none. Letters may be in either case. */
export function fromJobId(text: string): JobRef | null {
	const match = PATTERN.exec(`job_${text.slice(4).toUpperCase()}`);
	if (match === null || !text.startsWith("job_")) return null;
	return { id: decode(match[2]!), tail: decode(match[3]!) };
}
