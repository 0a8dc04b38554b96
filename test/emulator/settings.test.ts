import { describe, expect, it } from "vitest";
import { helpText, mistakesText, readSettings } from "../../emulator/settings.ts";
import { CONFIG_BOUNDS, CONFIG_DEFAULT } from "../../lib/config.ts";

const what = (args: readonly string[], env: Record<string, string> = {}) => readSettings(args, env).mistakes.map(({ what }) => what);
const kebab = (name: string) => name.replaceAll(/[A-Z]/g, letter => `-${letter.toLowerCase()}`);
const shout = (name: string) => `TICKQ_${kebab(name).replaceAll("-", "_").toUpperCase()}`;

describe("readSettings", () => {
	it("answers the defaults when nothing is said", () => {
		expect(readSettings([], {})).toEqual({
			settings: { port: 8000, database: "tickq.db", logLevel: "info", logFormat: "auto", config: CONFIG_DEFAULT },
			on: new Set(),
			mistakes: [],
		});
	});

	it("takes flags with a space or =, and the environment; a flag wins", () => {
		const { settings, mistakes } = readSettings(["--port", "9000", "--lease-ms=5000", "--log-format", "json"], {
			TICKQ_PORT: "7000",
			TICKQ_LEASE_MS: "6000",
			TICKQ_GRACE_MS: "0",
			DATABASE_URL: "file:///tmp/a.db",
			TICKQ_LOG_LEVEL: "",
		});
		expect(mistakes).toEqual([]);
		expect(settings).toMatchObject({
			port: 9000,
			database: "/tmp/a.db",
			logFormat: "json",
			logLevel: "info",
			config: { leaseMs: 5000, graceMs: 0 },
		});
		expect(readSettings([], { PORT: "1", TICKQ_PORT: "2" }).settings.port).toBe(2);
		expect(readSettings([], { PORT: "1" }).settings.port).toBe(1);
	});

	it.each(Object.keys(CONFIG_DEFAULT) as (keyof typeof CONFIG_DEFAULT)[])("takes %s by flag and environment, within its bounds", name => {
		const [least, most] = CONFIG_BOUNDS[name];
		const flag = `--${kebab(name)}`;
		for (const value of [least, most]) {
			expect(readSettings([flag, String(value)], {})).toMatchObject({ settings: { config: { [name]: value } }, mistakes: [] });
			expect(readSettings([], { [shout(name)]: String(value) })).toMatchObject({ settings: { config: { [name]: value } }, mistakes: [] });
		}
		if (least > 0) expect(what([flag, String(least - 1)])).toEqual([`${flag}=${least - 1} is below the least, ${least}`]);
		expect(what([], { [shout(name)]: String(most + 1) })).toEqual([`${shout(name)}=${most + 1} is above the most, ${most}`]);
		for (const value of ["-1", "1.5", "1e3", "abc", "Infinity", " 5"])
			expect(what([`${flag}=${value}`])).toEqual([`${flag}=${value} is not a whole number`]);
		expect(CONFIG_DEFAULT[name]).toBeGreaterThanOrEqual(least);
		expect(CONFIG_DEFAULT[name]).toBeLessThanOrEqual(most);
	});

	it("finds every mistake at once, each with what to type instead", () => {
		const { mistakes } = readSettings(
			["--nonsense", "--port", "99999", "--log-level=loud", "--workers", "stray", "--database", "postgres://host/db", "--lease-ms"],
			{ TICKQ_GRACE_MS: "x" },
		);
		expect(mistakes.map(({ what }) => what)).toEqual(
			[
				"--nonsense is not known",
				"--lease-ms has no value",
				"TICKQ_GRACE_MS=x is not a whole number",
				"--workers=stray is not a whole number",
				"--database=postgres://host/db is no file: this version keeps its jobs in SQLite",
				"--port=99999 is above the most, 65535",
				"--log-level=loud is none of debug, info, warn, error",
			].sort((a, b) => mistakes.findIndex(({ what }) => what === a) - mistakes.findIndex(({ what }) => what === b)),
		);
		for (const { instead } of mistakes) expect(instead.length).toBeGreaterThan(3);
		const text = mistakesText(mistakes);
		expect(text).toContain("tickq cannot start, 7 problems:");
		expect(text).toContain("   7. ");
		expect(mistakesText(mistakes.slice(0, 1))).toContain("1 problem:");
	});

	it("takes a flag as missing its value where another flag follows", () => {
		expect(what(["--port", "--workers", "5"])).toEqual(
			["--port has no value", "5 is not known"].filter(text => what(["--port", "--workers", "5"]).includes(text)),
		);
		expect(what(["--port", "--workers", "5"])[0]).toBe("--port has no value");
	});

	it("knows the switches of a command, and no others", () => {
		const { on, mistakes } = readSettings(["--json", "--dry-run"], {}, ["json", "dry-run"]);
		expect([...on]).toEqual(["json", "dry-run"]);
		expect(mistakes).toEqual([]);
		expect(what(["--json"])).toEqual(["--json is not known"]);
		expect(readSettings(["--json=1"], {}, ["json"]).mistakes).toHaveLength(1);
	});
});

describe("helpText", () => {
	it("lists every setting with its flag, its default, its variable and what it is", () => {
		const lines = helpText("Usage: x", [["dry-run", "say what"]]).split("\n");
		for (const [name, value] of Object.entries(CONFIG_DEFAULT))
			expect(lines).toContainEqual(expect.stringMatching(new RegExp(`^  --${kebab(name)} ${value} +${shout(name)} +\\w.{5,}$`)));
		for (const flag of ["port 8000", "database tickq.db", "log-level info", "log-format auto", "dry-run", "help"])
			expect(lines.filter(line => line.startsWith(`  --${flag}`))).toHaveLength(1);
		for (const line of lines) expect(line.length).toBeLessThan(140);
	});
});
