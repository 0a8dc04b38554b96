import { describe, expect, it } from "vitest";
import { createLog, LOG_LEVELS, type LogRecord, messageOf } from "../../lib/log.ts";

const logged = (least: (typeof LOG_LEVELS)[number]) => {
	const records: LogRecord[] = [];
	return {
		records,
		log: createLog(
			record => records.push(record),
			() => 42,
			least,
		),
	};
};

describe("createLog", () => {
	it.each(LOG_LEVELS)("drops what is below %s", least => {
		const { records, log } = logged(least);
		for (const level of LOG_LEVELS) log[level](level);
		expect(records.map(({ level }) => level)).toEqual(LOG_LEVELS.slice(LOG_LEVELS.indexOf(least)));
	});

	it("carries the fields of with, which a record's own win over", () => {
		const { records, log } = logged("debug");
		log.with({ a: 1, b: 1 }).with({ b: 2 }).info("hello", { c: 3, a: 4 });
		expect(records).toEqual([{ level: "info", at: 42, message: "hello", a: 4, b: 2, c: 3 }]);
	});

	it("lets no field pass for the level, the time or the message", () => {
		const { records, log } = logged("debug");
		log.with({ level: "error" }).debug("real", { level: "error", at: 1, message: "false" });
		expect(records).toEqual([{ level: "debug", at: 42, message: "real" }]);
	});
});

describe("messageOf", () => {
	it.each<[unknown, string]>([
		[new Error("no"), "no"],
		[new TypeError(), "TypeError"],
		["text", "text"],
		["", "unknown error"],
		[undefined, "undefined"],
		[null, "null"],
		[5n, "5"],
		[Symbol("s"), "Symbol(s)"],
	])("says what %o says", (thrown, message) => {
		expect(messageOf(thrown)).toBe(message);
	});

	// Bug: String() throws on what has no primitive value, and a message may be no text at all.
	it.each<[string, unknown]>([
		["has no prototype", Object.create(null)],
		[
			"throws when it is made text",
			{
				toString: () => {
					throw new Error("no");
				},
			},
		],
		["is an error whose message is an object", Object.assign(new Error("x"), { message: { code: 5 } })],
	])("is a text for what %s", (_, thrown) => {
		expect(typeof messageOf(thrown)).toBe("string");
	});
});
