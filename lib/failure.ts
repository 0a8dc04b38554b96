/** What is kept of an attempt that failed: enough to find the cause, and never more than a few kilobytes. */
import { fingerprintOf } from "./fingerprint.ts";
import type { Failure } from "./storage/storage.ts";

const MESSAGE_CHARS_MAX = 2000;
const STACK_LINES_MAX = 12;
const STACK_CHARS_MAX = 4000;
const NAME_CHARS_MAX = 200;

export interface ThrownError {
	readonly message: string;
	readonly name?: string | undefined;
	readonly stack?: string | undefined;
}

/** @param attempt which attempt it ended; 1 for the first */
export function failureOf({ message, name, stack }: ThrownError, attempt: number): Failure {
	const fingerprint = fingerprintOf({ message, name, stack });
	const error = JSON.stringify({
		message: message.slice(0, MESSAGE_CHARS_MAX),
		attempt,
		fingerprint,
		...(name === undefined ? {} : { name: name.slice(0, NAME_CHARS_MAX) }),
		...(stack === undefined ? {} : { stack: trimmed(stack) }),
	});
	return { error, fingerprint };
}

/** Lines of Node, and of what runs tasks here. */
const OURS = /^\s*at .*(?:\(node:|at node:|[/\\]lib[/\\]runJob\.[jt]s|[/\\]emulator[/\\]pool[/\\])/;

/** The first lines, without what does not belong to the task. */
const trimmed = (stack: string): string =>
	stack
		.slice(0, 2 * STACK_CHARS_MAX)
		.split("\n")
		.filter(line => !OURS.test(line))
		.slice(0, STACK_LINES_MAX)
		.join("\n")
		.slice(0, STACK_CHARS_MAX);
