/** What makes errors alike: the same mistake at the same place has the same fingerprint, whatever ids and numbers its message names. */

import type { ThrownError } from "./failure.ts";

/** Numbers, ids, addresses and quoted values of a message: they differ where the mistake is the same. */
const VARYING =
	/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b\w+_[0-9a-zA-Z]{12,}\b|\bhttps?:\/\/[^\s"']+|"[^"]*"|'[^']*'|\b(?:0x)?[0-9a-f]{8,}\b|\d+(?:\.\d+)*/gi;
/** What is looked at: whoever sends it must not decide how long that takes. */
const MESSAGE_CHARS_MAX = 300;
const STACK_CHARS_MAX = 8000;
const PLACE_CHARS_MAX = 500;

/**
 * @param error name, message and, where there is one, the stack (the first line of it that names a place counts, without its line number,
 *   so that a file that grows keeps its groups)
 * @returns `f_` and 14 hex digits
 */
export function fingerprintOf({ name, message, stack }: ThrownError): string {
	return `f_${hash(`${name ?? ""}\n${message.slice(0, MESSAGE_CHARS_MAX).replaceAll(VARYING, "*")}\n${placeOf(stack ?? "")}`)}`;
}

/** Where it was thrown: the first line of a stack from JavaScript, the last of one from Python; without line numbers and folders. */
function placeOf(stack: string): string {
	const first = /^[ \t]*at (.*)$/m.exec(stack.slice(0, STACK_CHARS_MAX))?.[1];
	const last = () => [...stack.slice(-STACK_CHARS_MAX).matchAll(/^[ \t]*File "(.*)", line \d+, in (.*)$/gm)].at(-1);
	const place = (first ?? last()?.slice(1).join(" ") ?? "").slice(0, PLACE_CHARS_MAX);
	return place.replaceAll(/:\d+/g, "").replaceAll(/[^\s(]*[/\\]|\?generation=\d+/g, "");
}

/** cyrb53: 53 bits, in one pass and without waiting. Nothing depends on it being hard to forge. */
function hash(text: string): string {
	let a = 0xdeadbeef;
	let b = 0x41c6ce57;
	for (let i = 0; i < text.length; i++) {
		const code = text.charCodeAt(i);
		a = Math.imul(a ^ code, 2654435761);
		b = Math.imul(b ^ code, 1597334677);
	}
	a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
	b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
	return ((b >>> 0) % 2097152).toString(16).padStart(6, "0") + (a >>> 0).toString(16).padStart(8, "0");
}
