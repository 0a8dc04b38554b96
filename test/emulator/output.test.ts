import { stripVTControlCharacters } from "node:util";
import { describe, expect, it } from "vitest";
import { bytesText, durationText, jsonOutput, textOutput } from "../../emulator/output.ts";
import { type AttemptOutcome, OUTCOMES } from "../../lib/context.ts";

const outcome = (more: Partial<AttemptOutcome> = {}): AttemptOutcome => ({
	id: "job_1KDVDNA000000000100000002",
	tenant_id: "acme",
	task: "echo",
	attempt: 1,
	max_attempts: 4,
	outcome: "done",
	waited_ms: 5,
	ran_ms: 1234,
	trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
	...more,
});
const STEER = "\u001b[2J\u001b]0;title\u0007\r\n\u0008\u009b31mred\u007f";
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for.
const CONTROL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/;

const written = (make: typeof textOutput, use: (output: ReturnType<typeof textOutput>) => void): string => {
	let text = "";
	use(
		make(more => {
			text += more;
		}),
	);
	return text;
};
const lines = (use: (output: ReturnType<typeof textOutput>) => void) =>
	stripVTControlCharacters(written(textOutput, use)).split("\n").slice(0, -1);

describe("textOutput", () => {
	it("writes one line for an ending: what, task, tenant, job, how long, trace", () => {
		expect(lines(output => output.outcome(outcome()))).toEqual([
			expect.stringMatching(/^\d\d:\d\d:\d\d {2}done {8}echo {10}acme {5}job_1KDVDNA000000000100000002 {2}1\.2 s {2}trace 4bf92f35$/),
		]);
	});

	it("says of a failed attempt what it said, and when it is tried again", () => {
		const [line] = lines(output => output.outcome(outcome({ outcome: "retry", error: "no", again_in_ms: 1600, attempt: 2 })));
		expect(line).toContain("attempt 2 of 4 failed: no · again in 1.6 s");
		expect(lines(output => output.outcome(outcome({ outcome: "dead_letter", error: "no", again_in_ms: 5 })))[0]).not.toContain("again in");
	});

	it.each(OUTCOMES)("has a line for %s", kind => {
		expect(lines(output => output.outcome(outcome({ outcome: kind })))[0]).toContain(kind);
	});

	it("lets no control character of a message or field through: one line stays one line", () => {
		const text = written(textOutput, output => {
			output.outcome(outcome({ outcome: "retry", error: STEER }));
			output.log({ level: "warn", at: 0, message: STEER, [STEER]: STEER, more: { deep: STEER } });
		});
		expect(text.split("\n")).toHaveLength(3);
		expect(stripVTControlCharacters(text).replaceAll("\n", "")).not.toMatch(CONTROL);
		expect(text).not.toContain("\u001b[2J");
		expect(text).not.toContain("\u001b]0");
	});

	it("keeps a long message short", () => {
		expect(lines(output => output.outcome(outcome({ outcome: "failed", error: "x".repeat(10_000) })))[0]!.length).toBeLessThan(300);
	});

	it("writes log records with their fields", () => {
		expect(lines(output => output.log({ level: "info", at: 0, message: "hello", a: 1, b: "c", d: { e: null } }))[0]).toMatch(
			/info +hello {2}a=1 b=c d=\{"e":null\}$/,
		);
	});

	it("says when the queue falls asleep, and until when", () => {
		expect(lines(output => output.asleep(null, "nothing"))[0]).toContain("nothing due · until a job comes");
		expect(lines(output => output.asleep(0, "delayed"))[0]).toMatch(/next wake \d\d:\d\d:\d\d \(delayed\)$/);
	});

	it("writes the banner as it is", () => {
		expect(lines(output => output.banner(["", "tickq", ""], {}))).toEqual(["", "  tickq", ""]);
	});
});

describe("jsonOutput", () => {
	const records = (use: (output: ReturnType<typeof jsonOutput>) => void) =>
		written(jsonOutput, use)
			.split("\n")
			.slice(0, -1)
			.map(line => JSON.parse(line));

	it("writes one JSON object a line, with level, time and message", () => {
		const all = records(output => {
			output.banner(["ignored"], { url: "http://localhost:1" });
			output.log({ level: "warn", at: 0, message: STEER, field: STEER });
			output.outcome(outcome());
			output.outcome(outcome({ outcome: "retry", error: STEER }));
			output.asleep(0, "delayed");
			output.asleep(null, "nothing");
		});
		expect(all).toHaveLength(6);
		for (const { level, time, message } of all) {
			expect(["info", "warn"]).toContain(level);
			expect(new Date(time).toISOString()).toBe(time);
			expect(message.length).toBeGreaterThan(0);
		}
		expect(all[0]).toMatchObject({ message: "started", url: "http://localhost:1" });
		expect(all[1]).toMatchObject({ time: "1970-01-01T00:00:00.000Z", message: STEER, field: STEER });
		expect(all[2]).toMatchObject({ level: "info", message: "attempt ended", outcome: "done", id: outcome().id });
		expect(all[3]).toMatchObject({ level: "warn", error: STEER });
		expect(all[4]).toMatchObject({ message: "asleep", next_wake_at: "1970-01-01T00:00:00.000Z", reason: "delayed" });
		expect(all[5].next_wake_at).toBeNull();
	});

	// Bug: the fields stand after level, time and message and so may replace them; a task's log line can claim another time.
	it("lets no field pass for the time", () => {
		expect(records(output => output.log({ level: "info", at: 0, message: "m", time: "never" }))[0].time).toBe("1970-01-01T00:00:00.000Z");
	});
});

describe("durationText and bytesText", () => {
	it("choose a unit that can be read", () => {
		expect([0, 999, 1000, 59_000, 60_000, 3_540_000, 3_600_000, 86_400_000].map(durationText)).toEqual([
			"0 ms",
			"999 ms",
			"1.0 s",
			"59.0 s",
			"1 min",
			"59 min",
			"1.0 h",
			"24.0 h",
		]);
		expect([0, 1024, 1024 * 1023, 1024 * 1024 * 1.25].map(bytesText)).toEqual(["1 KB", "1 KB", "1023 KB", "1.3 MB"]);
	});

	// Bug: the unit is chosen before the number is rounded: "1000 ms", "60.0 s", "60 min".
	it("round before they choose it", () => {
		expect([999.7, 59_990, 3_599_000].map(durationText)).toEqual(["1.0 s", "1 min", "1.0 h"]);
	});
});
