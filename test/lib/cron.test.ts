import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cronTrouble, isTimezone, latestSlot, nextSlot, nextSlots } from "../../lib/cron.ts";

const at = (text: string): number => Date.parse(text);
/** Slots of a line in a day or two, as instants. */
function between(cron: string, zone: string, from: string, until: string): string[] {
	const slots: string[] = [];
	for (let slot = nextSlot(cron, zone, at(from) - 1); slot !== null && slot < at(until); slot = nextSlot(cron, zone, slot))
		slots.push(new Date(slot).toISOString().replace(":00.000Z", "Z"));
	return slots;
}

describe("a fixed time that is left out when clocks go forward", () => {
	it.each([
		["America/New_York", "30 2 * * *", "2026-03-08", "2026-03-08T07:00Z"],
		["Europe/Zurich", "30 2 * * *", "2026-03-29", "2026-03-29T01:00Z"],
		["Europe/Zurich", "0 2 * * *", "2026-03-29", "2026-03-29T01:00Z"],
		["Europe/Zurich", "59 59 2 * * *", "2026-03-29", "2026-03-29T01:00Z"],
		["Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00Z", "2026-10-03T15:30Z"],
		["Africa/Cairo", "0 0 * * *", "2026-04-23T12:00Z", "2026-04-23T22:00Z"],
		["Antarctica/Troll", "30 1 * * *", "2026-03-29", "2026-03-29T01:00Z"],
		// The gap of Nuuk is the last hour of a Saturday, so what comes after it is on Sunday.
		["America/Nuuk", "30 23 * * *", "2026-03-28T12:00Z", "2026-03-29T01:00Z"],
		["Pacific/Apia", "0 12 * * *", "2011-12-30T00:00Z", "2011-12-30T10:00Z"],
	])("runs right after the gap, once: %s, %s", (zone, cron, from, expected) => {
		const start = new Date(from).toISOString();
		const end = new Date(at(start) + 22 * 3_600_000).toISOString();
		expect(between(cron, zone, start, end).filter(slot => at(slot) < at(expected) + 12 * 3_600_000)).toEqual([expected]);
	});

	it("shares its slot with the others that meet there", () => {
		expect(between("0,15,30,45 2-3 * * *", "Europe/Zurich", "2026-03-29T00:00Z", "2026-03-30T00:00Z")).toEqual([
			"2026-03-29T01:00Z",
			"2026-03-29T01:15Z",
			"2026-03-29T01:30Z",
			"2026-03-29T01:45Z",
		]);
		expect(between("*/10 2 * * *", "Europe/Zurich", "2026-03-29T00:00Z", "2026-03-30T00:00Z")).toEqual(["2026-03-29T01:00Z"]);
	});
});

describe("a fixed time that comes twice when clocks go back", () => {
	it.each([
		["America/New_York", "30 1 * * *", "2026-11-01T00:00Z", "2026-11-01T05:30Z"],
		["Europe/Zurich", "30 2 * * *", "2026-10-25T00:00Z", "2026-10-25T00:30Z"],
		["Europe/Zurich", "0 3 * * *", "2026-10-25T00:00Z", "2026-10-25T02:00Z"],
		["Australia/Lord_Howe", "45 1 * * *", "2026-04-04T12:00Z", "2026-04-04T14:45Z"],
		["America/Nuuk", "30 23 * * *", "2026-10-24T12:00Z", "2026-10-25T00:30Z"],
	])("runs the first time only: %s, %s", (zone, cron, from, expected) => {
		const end = new Date(at(from) + 20 * 3_600_000).toISOString();
		expect(between(cron, zone, from, end)).toEqual([expected]);
	});

	it("has no slot in the second pass, whoever asks from there", () => {
		expect(nextSlot("* * 2 * * *", "Europe/Zurich", at("2026-10-25T01:10:00Z"))).toBe(at("2026-10-26T01:00:00Z"));
		expect(nextSlot("* * 2,3 * * *", "Europe/Zurich", at("2026-10-25T01:10:00Z"))).toBe(at("2026-10-25T02:00:00Z"));
	});
});

describe("a line with a wildcard in the hour", () => {
	it.each([
		["America/New_York", "2026-03-08T06:00Z", "2026-11-01T05:00Z"],
		["Europe/Zurich", "2026-03-29T00:00Z", "2026-10-25T00:00Z"],
		["Australia/Lord_Howe", "2026-10-03T15:00Z", "2026-04-04T14:00Z"],
		["Asia/Kolkata", "2026-03-29T00:00Z", "2026-10-25T00:00Z"],
	])("runs every quarter of an hour through both changes: %s", (zone, ...starts) => {
		for (const start of starts) {
			const slots = nextSlots("*/15 * * * *", zone, at(start) - 1, 12);
			expect(slots).toEqual(Array.from({ length: 12 }, (_, i) => at(start) + i * 15 * 60_000));
		}
	});

	it("runs every hour through both changes, by its name too, and with all hours named", () => {
		for (const cron of ["0 * * * *", "@hourly", "0 0-23 * * *", "0 ? * * *"])
			for (const start of ["2026-03-29T00:00Z", "2026-10-25T00:00Z"])
				expect(nextSlots(cron, "Europe/Zurich", at(start) - 1, 4)).toEqual([0, 1, 2, 3].map(hours => at(start) + hours * 3_600_000));
	});

	it("skips what the clock does not show, and has both of what it shows twice", () => {
		expect(between("0 */2 * * *", "Europe/Zurich", "2026-03-28T23:00Z", "2026-03-29T04:00Z")).toEqual([
			"2026-03-28T23:00Z",
			"2026-03-29T02:00Z",
		]);
		expect(between("0 */2 * * *", "Europe/Zurich", "2026-10-25T00:00Z", "2026-10-25T04:00Z")).toEqual([
			"2026-10-25T00:00Z",
			"2026-10-25T01:00Z",
			"2026-10-25T03:00Z",
		]);
	});
});

describe("the documentation", () => {
	const rows = readFileSync(new URL("../../docs/schedules.md", import.meta.url), "utf8")
		.split("\n")
		.map(line => /^\| `([^`]+)` \| (\w+\/\w+) \| (.*?) \|/.exec(line))
		.flatMap(row => (row === null ? [] : [{ cron: row[1]!, zone: row[2]!, slots: row[3]!.split(", ") }]));

	it("has examples of four zones", () => {
		expect(new Set(rows.map(({ zone }) => zone)).size).toBe(4);
	});
	it.each(rows)("is right about $cron in $zone: $slots", ({ cron, zone, slots }) => {
		const instants = slots.map(slot => at(`${slot.replace(" ", "T")}:00Z`));
		expect(nextSlots(cron, zone, instants[0]! - 1, instants.length)).toEqual(instants);
	});
});

describe("a zone without changes", () => {
	it("has each fixed time once a day", () => {
		expect(nextSlots("30 2 * * *", "Asia/Kolkata", at("2026-03-27T00:00Z"), 3).map(slot => new Date(slot).toISOString())).toEqual([
			"2026-03-27T21:00:00.000Z",
			"2026-03-28T21:00:00.000Z",
			"2026-03-29T21:00:00.000Z",
		]);
		expect(nextSlots("0 0 * * *", "+05:30", at("2026-03-27T00:00Z"), 1)).toEqual([at("2026-03-27T18:30:00Z")]);
	});
});

describe("a cron line", () => {
	it.each([
		["0 9 * * MON-FRI", "2026-01-02T09:00Z"],
		["@daily", "2026-01-02T00:00Z"],
		["@weekly", "2026-01-04T00:00Z"],
		["@Monthly", "2026-02-01T00:00Z"],
		["@yearly", "2027-01-01T00:00Z"],
		["0 9 L * *", "2026-01-31T09:00Z"],
		["0 9 LW * *", "2026-01-30T09:00Z"],
		["0 9 31W * *", "2026-01-30T09:00Z"],
		["0 9 * * MON#2", "2026-01-12T09:00Z"],
		["0 9 * * FRIL", "2026-01-30T09:00Z"],
		["0 12 1 * +MON", "2026-06-01T12:00Z"],
		["0 12 13 * FRI", "2026-01-02T12:00Z"],
		["  5   4 *  * sun ", "2026-01-04T04:05Z"],
		["0 0 29 2 *", "2028-02-29T00:00Z"],
	])("%s is read", (cron, expected) => {
		expect(cronTrouble(cron)).toBeUndefined();
		expect(nextSlot(cron, "UTC", at("2026-01-01T12:00Z"))).toBe(at(expected));
	});

	it("may have seconds in front", () => {
		expect(nextSlots("*/20 * * * * *", "UTC", at("2026-01-01T00:00:01.500Z"), 3)).toEqual(
			[20, 40, 60].map(s => at("2026-01-01T00:00Z") + s * 1000),
		);
	});

	it.each([
		["", /needs five fields .* it has 0/],
		["* * * *", /needs five fields .* it has 4/],
		["0 0 0 1 1 * 2030", /needs five fields .* it has 7/],
		["61 * * * *", /minute: 61/],
		["* 24 * * *", /hour: 24/],
		["* * 0 * *", /day: -1/],
		["5/10 * * * *", /numeric prefix/],
		["0 9 * * FOO", /the field of the day of the week \(FOO\)/],
		["1-0 * * * *", /larger/],
		["*/0 * * * *", /stepping: 0/],
		["@reboot", /not known here: @hourly/],
		["@every 5m", /not known here/],
		["2026-01-01T00:00:00", /it has 1/],
		["2026-01-01T00:00:00 * * * *", /cannot be read/],
		["constructor * * * *", /cannot be read/],
	])("%s is not", (cron, trouble) => {
		expect(cronTrouble(cron)).toMatch(trouble);
	});

	it.each(["0 0 30 2 *", "0 0 31 4,6,9,11 *", "* * * 31 2 *", "0 0 31W 2 *"])("that never fires has no slot: %s", cron => {
		expect(cronTrouble(cron)).toBeUndefined();
		expect(nextSlot(cron, "Europe/Zurich", at("2026-01-01T00:00Z"))).toBeNull();
		expect(nextSlots(cron, "Europe/Zurich", at("2026-01-01T00:00Z"), 5)).toEqual([]);
		expect(latestSlot(cron, "Europe/Zurich", at("2026-01-01T00:00Z"), at("2030-01-01T00:00Z"))).toBeNull();
	});

	it("of any text is refused or gives slots, and never throws", () => {
		const field = fc.stringMatching(/^[0-9*,\-/LW#?A-Z+]{1,6}$/);
		fc.assert(
			fc.property(
				fc.oneof(
					fc.string({ unit: "grapheme" }),
					fc.array(field, { minLength: 4, maxLength: 7 }).map(fields => fields.join(" ")),
				),
				cron => {
					if (cronTrouble(cron) !== undefined) return;
					const slot = nextSlot(cron, "America/New_York", at("2026-03-08T06:59:59.5Z"));
					if (slot !== null) expect(slot).toBeGreaterThan(at("2026-03-08T06:59:59.5Z"));
				},
			),
		);
	});
});

describe("a time zone", () => {
	it("is one that the runtime knows, in whatever letters", () => {
		for (const zone of ["Europe/Zurich", "europe/zurich", "UTC", "Asia/Kolkata", "US/Eastern", "+05:30"])
			expect(isTimezone(zone)).toBe(true);
		for (const zone of ["Zurich", "Europe/Zürich", "+25:00", "", "local", "__proto__"]) expect(isTimezone(zone)).toBe(false);
	});
});

describe("the latest slot", () => {
	it("is found however many lie between", () => {
		expect(latestSlot("* * * * * *", "Europe/Zurich", at("2025-01-01T00:00Z"), at("2026-01-01T00:00:00.999Z"))).toBe(
			at("2026-01-01T00:00Z"),
		);
		expect(latestSlot("* * * 1 1 *", "UTC", at("2020-01-01T00:00Z"), at("2026-12-31T00:00Z"))).toBe(at("2026-01-01T23:59:59Z"));
	});

	it("is not the one that it is looked for after, and may be the end", () => {
		const [first, second] = [at("2026-01-01T09:00Z"), at("2026-01-02T09:00Z")];
		expect(latestSlot("0 9 * * *", "UTC", first, second)).toBe(second);
		expect(latestSlot("0 9 * * *", "UTC", first, second - 1)).toBeNull();
		expect(latestSlot("0 9 * * *", "UTC", first - 1, second - 1)).toBe(first);
		expect(latestSlot("0 9 * * *", "UTC", second, first)).toBeNull();
	});
});

/** What the local clock shows, minute by minute, around each change of clocks: asked of the runtime, and of nothing that is tested. */
function minutesAround(zone: string, change: string): { readonly instants: number[]; readonly local: string[] } {
	const format = new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short", timeStyle: "short" });
	const start = at(change) - 36 * 3_600_000;
	const instants = Array.from({ length: 72 * 60 }, (_, i) => start + i * 60_000);
	return { instants, local: instants.map(instant => format.format(instant)) };
}
const CHANGES = [
	["America/New_York", "2026-03-08T07:00Z"],
	["America/New_York", "2026-11-01T06:00Z"],
	["Europe/Zurich", "2026-03-29T01:00Z"],
	["Europe/Zurich", "2026-10-25T01:00Z"],
	["Australia/Lord_Howe", "2026-10-03T15:30Z"],
	["Australia/Lord_Howe", "2026-04-04T15:00Z"],
	["America/Nuuk", "2026-03-29T01:00Z"],
	["America/Nuuk", "2026-10-25T01:00Z"],
	["Africa/Cairo", "2026-04-23T22:00Z"],
	["Africa/Cairo", "2026-10-29T21:00Z"],
	["Antarctica/Troll", "2026-03-29T01:00Z"],
	["Antarctica/Troll", "2026-10-25T01:00Z"],
	["Asia/Kolkata", "2026-03-29T01:00Z"],
] as const;
const around = CHANGES.map(([zone, change]) => ({ zone, ...minutesAround(zone, change) }));

const two = (value: number): string => String(value).padStart(2, "0");
/** By the rule, and from what the clock shows alone. */
function slotsByRule({ instants, local }: (typeof around)[number], hours: readonly number[] | "*", minutes: readonly number[]): number[] {
	if (hours === "*") return instants.filter((_, i) => minutes.includes(Number(local[i]!.slice(-2))));
	const days = [...new Set(local.map(text => text.slice(0, 10)))];
	const named = days.flatMap(day => hours.flatMap(hour => minutes.map(minute => `${day} ${two(hour)}:${two(minute)}`)));
	const reached = named.filter(text => text > local[0]!).map(text => local.findIndex(shown => shown >= text));
	return [...new Set(reached.filter(i => i !== -1).map(i => instants[i]!))].sort((a, b) => a - b);
}

describe("slots around every change of clocks", () => {
	const anyNumbers = (most: number) => fc.uniqueArray(fc.integer({ min: 0, max: most }), { minLength: 1, maxLength: 8 });
	const anyLine = fc.record({
		place: fc.constantFrom(...around),
		hours: fc.oneof(fc.constant("*" as const), anyNumbers(23)),
		minutes: anyNumbers(59),
		from: fc.integer({ min: 0, max: 72 * 60_000 }),
	});

	it("are those of the rule, strictly one after the other, from wherever one asks", () => {
		fc.assert(
			fc.property(anyLine, ({ place, hours, minutes, from }) => {
				const cron = `${minutes.join(",")} ${hours === "*" ? "*" : hours.join(",")} * * *`;
				const expected = slotsByRule(place, hours, minutes);
				const start = place.instants[0]!;
				const end = place.instants.at(-1)!;
				const found: number[] = [];
				for (let slot = nextSlot(cron, place.zone, start); slot !== null && slot <= end; slot = nextSlot(cron, place.zone, slot))
					found.push(slot);
				expect(found).toEqual(expected.filter(slot => slot > start));
				// From any millisecond of the three days.
				const asked = start + from * 60 + 1;
				expect(nextSlot(cron, place.zone, asked) ?? 0).toBe(expected.find(slot => slot > asked) ?? nextSlot(cron, place.zone, end));
				expect(latestSlot(cron, place.zone, start, asked)).toBe(found.findLast(slot => slot <= asked) ?? null);
				if (hours !== "*") {
					const shown = found.map(slot => place.local[place.instants.indexOf(slot)]);
					expect(new Set(shown).size).toBe(shown.length);
				}
			}),
			{ numRuns: 150 },
		);
	});
});
