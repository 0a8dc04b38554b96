import { describe, expect, it } from "vitest";
import { nearest } from "../../lib/nearest.ts";

describe("nearest", () => {
	it.each([
		["ecko", "echo"],
		["wrok", "work"],
		["Echo", "echo"],
		["send_mail", "send_email"],
		["procss_data", "process_data"],
	])("takes %s for %s", (given, meant) => {
		expect(nearest(given, ["work", "echo", "send_email", "process_data"])).toBe(meant);
	});

	it("guesses nothing where nothing is like it, and nothing of what is too long to be a name", () => {
		expect(nearest("zzzz", ["work", "echo"])).toBeUndefined();
		expect(nearest("", ["work"])).toBeUndefined();
		expect(nearest("echo", [])).toBeUndefined();
		expect(nearest("echo".repeat(1_000_000), ["echo"])).toBeUndefined();
	});
});
