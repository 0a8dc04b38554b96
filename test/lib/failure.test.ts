import { describe, expect, it } from "vitest";
import { failureOf } from "../../lib/failure.ts";
import { fingerprintOf } from "../../lib/fingerprint.ts";

const at = (file: string, line: number): string => `Error: x\n    at sendMail (${file}:${line}:7)\n    at run (node:internal/process:1:1)`;

describe("fingerprintOf", () => {
	it.each([
		["numbers", "order 41 of 7 is gone", "order 99 of 12345 is gone"],
		["ids", "no job_01JDE3M8Q2AB here", "no job_09ZZZZM8Q2CD here"],
		["uuids", "user 0b6ff9a2-7f2f-4d53-9a57-6f3f1a2b3c4d", "user ffffffff-7f2f-4d53-9a57-6f3f1a2b3c4d"],
		["addresses", "GET https://a.example/x?y=1 failed", "GET https://b.example/zzz failed"],
		["quoted values", 'unknown city "Oslo"', 'unknown city "Rome, Italy"'],
		["hexadecimal text", "commit deadbeefcafe is missing", "commit 0123456789ab is missing"],
	])("is the same where only %s differ", (_, a, b) => {
		expect(fingerprintOf({ name: "Error", message: a })).toBe(fingerprintOf({ name: "Error", message: b }));
	});

	it.each([
		["words of the message", { message: "refused" }, { message: "timed out" }],
		["kinds of error", { name: "TypeError", message: "x" }, { name: "RangeError", message: "x" }],
		["places", { message: "x", stack: at("/app/mail.ts", 3) }, { message: "x", stack: at("/app/post.ts", 3) }],
	])("differs for other %s", (_, a, b) => {
		expect(fingerprintOf(a)).not.toBe(fingerprintOf(b));
	});

	it("stays when the file grows, or is elsewhere on another machine", () => {
		expect(fingerprintOf({ message: "x", stack: at("/app/mail.ts", 3) })).toBe(
			fingerprintOf({ message: "x", stack: at("/srv/app/mail.ts", 90) }),
		);
		expect(fingerprintOf({ message: "x", stack: at("file:///a/mail.ts?generation=3", 3) })).toBe(
			fingerprintOf({ message: "x", stack: at("file:///a/mail.ts", 4) }),
		);
	});

	it("reads the stacks of Python, too", () => {
		const python = (name: string, line: number): string =>
			`Traceback (most recent call last):\n  File "/app/worker.py", line 9, in run\n  File "/app/tasks.py", line ${line}, in ${name}\nKeyError: 'x'`;
		const of = (stack: string): string => fingerprintOf({ name: "KeyError", message: "'x'", stack });
		expect(of(python("resize", 4))).toBe(of(python("resize", 80)));
		expect(of(python("resize", 4))).not.toBe(of(python("crop", 4)));
	});

	it("is f_ and 14 hex digits, and few of many differ by chance", () => {
		const many = new Set(
			Array.from({ length: 20_000 }, (_, i) =>
				fingerprintOf({
					message: `word${"abcdefghij"[i % 10]}${String.fromCharCode(97 + (i % 26), 97 + ((i / 26) % 26), 97 + ((i / 676) % 26), 97 + ((i / 17576) % 26))}`,
				}),
			),
		);
		for (const one of many) expect(one).toMatch(/^f_[0-9a-f]{14}$/);
		expect(many.size).toBeGreaterThan(19_000);
	});

	// Bug: a stack of 60,000 line breaks, or one word as long, took seconds of the server's only thread.
	it.each([
		["a long message", { message: `${"a".repeat(1_000_000)}1` }],
		["line breaks", { message: "x", stack: "\n".repeat(1_000_000) }],
		["blanks", { message: "x", stack: " ".repeat(1_000_000) }],
		["one long word", { message: "x", stack: `    at ${"a".repeat(1_000_000)}` }],
		["lines that look like Python's", { message: "x", stack: `${'  File "'.repeat(100_000)}` }],
	])("looks at a bounded part of %s", (_, error) => {
		const before = process.cpuUsage().user;
		failureOf(error, 1);
		expect(process.cpuUsage().user - before).toBeLessThan(500_000);
	});
});

describe("failureOf", () => {
	it("keeps message, name, attempt, fingerprint, and the task's own part of the stack", () => {
		const { error, fingerprint } = failureOf({ message: "boom", name: "TypeError", stack: at("/app/mail.ts", 3) }, 2);
		expect(JSON.parse(error)).toEqual({
			message: "boom",
			attempt: 2,
			fingerprint,
			name: "TypeError",
			stack: "Error: x\n    at sendMail (/app/mail.ts:3:7)",
		});
	});

	it("keeps a few kilobytes of the longest", () => {
		const { error } = failureOf({ message: "m".repeat(1e6), name: "n".repeat(1e6), stack: `${"s".repeat(1e6)}\n`.repeat(3) }, 1);
		expect(error.length).toBeLessThan(7000);
	});

	it("leaves out what it was not given", () => {
		expect(Object.keys(JSON.parse(failureOf({ message: "boom" }, 1).error))).toEqual(["message", "attempt", "fingerprint"]);
	});
});
