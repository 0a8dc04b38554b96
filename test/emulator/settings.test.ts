import { describe, expect, it } from "vitest";
import { EMULATE, START } from "../../emulator/main.ts";
import { type Command, databaseName, helpText, mistakesText, readSettings, unknownTasks } from "../../emulator/settings.ts";
import { CONFIG_BOUNDS, CONFIG_DEFAULT } from "../../lib/config.ts";
import { ALLOW_NOTHING } from "../../lib/outside.ts";

const what = (args: readonly string[], env: Record<string, string> = {}) => readSettings(args, env).mistakes.map(({ what }) => what);
const kebab = (name: string) => name.replaceAll(/[A-Z]/g, letter => `-${letter.toLowerCase()}`);
const shout = (name: string) => `TICKQ_${kebab(name).replaceAll("-", "_").toUpperCase()}`;

describe("readSettings", () => {
	it("answers the defaults when nothing is said", () => {
		expect(readSettings([], {})).toEqual({
			settings: {
				port: 8000,
				database: "tickq.db",
				migrate: true,
				work: true,
				http: true,
				inline: false,
				logLevel: "info",
				logFormat: "auto",
				outsideAllow: ALLOW_NOTHING,
				webhookSecrets: [],
				config: CONFIG_DEFAULT,
			},
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

	/** What must be said with a value that its partner's default does not allow. */
	const PARTNERS: Partial<Record<keyof typeof CONFIG_DEFAULT, string[]>> = {
		workersMin: ["--workers-max", "1000"],
		workersMax: ["--workers-min", "1"],
		scaleDownBelow: ["--scale-up-above", "1000000"],
	};
	it.each(Object.keys(CONFIG_DEFAULT) as (keyof typeof CONFIG_DEFAULT)[])("takes %s by flag and environment, within its bounds", name => {
		const [least, most] = CONFIG_BOUNDS[name];
		const flag = `--${kebab(name)}`;
		for (const value of [least, most]) {
			const partner = PARTNERS[name] ?? [];
			const taken = { settings: { config: { [name]: value } }, mistakes: [] };
			expect(readSettings([flag, String(value), ...partner], {})).toMatchObject(taken);
			expect(readSettings(partner, { [shout(name)]: String(value) })).toMatchObject(taken);
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
			[
				"--nonsense",
				"--port",
				"99999",
				"--log-level=loud",
				"--workers-min",
				"stray",
				"--database",
				"mysql://u:secret@host/db",
				"--lease-ms",
			],
			{ TICKQ_GRACE_MS: "x" },
		);
		expect(mistakes.map(({ what }) => what)).toEqual(
			[
				"--nonsense is not known",
				"--lease-ms has no value",
				"TICKQ_GRACE_MS=x is not a whole number",
				"--workers-min=stray is not a whole number",
				"--database=mysql://u@host/db is neither a file nor the address of a PostgreSQL database",
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
		expect(what(["--port", "--workers-min", "5"])).toEqual(
			["--port has no value", "5 is not known"].filter(text => what(["--port", "--workers-min", "5"]).includes(text)),
		);
		expect(what(["--port", "--workers-min", "5"])[0]).toBe("--port has no value");
	});

	it("knows the switches of a command, and no others", () => {
		const command: Command = {
			usage: "",
			switches: [
				{ flag: "json", about: "" },
				{ flag: "dry-run", about: "" },
			],
		};
		const { on, mistakes } = readSettings(["--json", "--dry-run"], {}, command);
		expect([...on]).toEqual(["json", "dry-run"]);
		expect(mistakes).toEqual([]);
		expect(what(["--json"])).toEqual(["--json is not known"]);
		expect(readSettings(["--json=1"], {}, command).mistakes).toHaveLength(1);
	});

	it("takes of the settings only what the command takes, flag and environment", () => {
		const command: Command = { usage: "", only: ["database"] };
		expect(readSettings([], { TICKQ_WORKERS_MIN: "x", TICKQ_MIGRATE: "x", TICKQ_DATABASE: "a.db" }, command)).toMatchObject({
			settings: { database: "a.db", config: CONFIG_DEFAULT, migrate: true },
			mistakes: [],
		});
		expect(readSettings(["--workers-min", "5"], {}, command).mistakes).toEqual([
			{ what: "--workers-min is not known", instead: "--help lists what is" },
		]);
	});

	it("takes a file or the address of a PostgreSQL database, and nothing else", () => {
		for (const address of ["postgres://u:secret@h/db", "postgresql://h:5432/db?schema=a", "POSTGRES://h/db"])
			expect(readSettings(["--database", address], {})).toMatchObject({ settings: { database: address }, mistakes: [] });
		for (const other of ["", "mysql://h/db", "postgres:db", "postgress://h/db"]) expect(what([`--database=${other}`])).toHaveLength(1);
	});
});

describe("the settings of npm start", () => {
	const start = (args: readonly string[], env: Record<string, string> = {}) => readSettings(args, env, START);

	it("log as JSON unless told otherwise", () => {
		expect(start([]).settings.logFormat).toBe("json");
		expect(start(["--log-format", "text"]).settings.logFormat).toBe("text");
		expect(start([], { TICKQ_LOG_FORMAT: "auto" }).settings.logFormat).toBe("auto");
		expect(readSettings([], {}, EMULATE).settings.logFormat).toBe("auto");
	});

	it("choose its part: without work, without HTTP, not without both", () => {
		expect(start(["--no-work"])).toMatchObject({ settings: { work: false, http: true }, mistakes: [] });
		expect(start(["--no-http"])).toMatchObject({ settings: { work: true, http: false }, mistakes: [] });
		expect(start(["--no-http", "--no-work"]).mistakes.map(({ what }) => what)).toEqual([
			"--no-work and --no-http together leave nothing to do",
		]);
	});

	it("choose its tasks, of those that there are", () => {
		expect(start([]).settings).not.toHaveProperty("tasks");
		expect(start(["--tasks", "all"]).settings).not.toHaveProperty("tasks");
		expect(start(["--tasks", "echo, sleep,echo,"]).settings.tasks).toEqual(["echo", "sleep"]);
		expect(start([], { TICKQ_TASKS: "echo" }).settings.tasks).toEqual(["echo"]);
		expect(start(["--tasks=,"]).mistakes).toEqual([{ what: "--tasks=, names no task", instead: "--tasks echo,sleep, or all" }]);
		expect(unknownTasks(start(["--tasks", "echo,ehco"]).settings, ["echo", "sleep"])).toEqual([
			{ what: 'there is no task "ehco" to run (--tasks, TICKQ_TASKS)', instead: "known: echo, sleep" },
		]);
		expect(unknownTasks(start([]).settings, ["echo"])).toEqual([]);
	});

	it.each([
		[[], {}, true],
		[["--no-migrate"], {}, false],
		[["--no-migrate"], { TICKQ_MIGRATE: "1" }, false],
		[["--migrate"], { TICKQ_MIGRATE: "0" }, true],
		[[], { TICKQ_MIGRATE: "0" }, false],
		[[], { TICKQ_MIGRATE: "False" }, false],
		[[], { TICKQ_MIGRATE: "true" }, true],
		[[], { TICKQ_MIGRATE: "" }, true],
	])("say whether to migrate: %j %j is %s", (args, env, migrate) => {
		expect(start(args, env)).toMatchObject({ settings: { migrate }, mistakes: [] });
	});

	it.each([
		[[], {}, false],
		[["--inline"], {}, true],
		[["--inline"], { TICKQ_INLINE: "0" }, true],
		[[], { TICKQ_INLINE: "1" }, true],
		[[], { TICKQ_INLINE: "TRUE" }, true],
		[[], { TICKQ_INLINE: "0" }, false],
	])("say whether tasks run in the main thread: %j %j is %s", (args, env, inline) => {
		expect(start(args, env)).toMatchObject({ settings: { inline }, mistakes: [] });
	});

	it("name fewer workers at most than at least, or borders that cross: told", () => {
		expect(start(["--workers-min", "20"]).mistakes).toEqual([
			{ what: "--workers-min=20 is above --workers-max=10", instead: "--workers-min 20 --workers-max 20" },
		]);
		expect(start(["--scale-down-below", "9"]).mistakes).toEqual([
			{ what: "--scale-down-below=9 is above --scale-up-above=5", instead: "--scale-up-above 9 --scale-down-below 9" },
		]);
		expect(start(["--workers-min", "20", "--workers-max", "20"]).mistakes).toEqual([]);
	});

	it("contradict each other or make no sense: told", () => {
		expect(start([], { TICKQ_INLINE: "perhaps" }).mistakes).toHaveLength(1);
		expect(start(["--migrate", "--no-migrate"]).mistakes).toHaveLength(1);
		expect(start([], { TICKQ_MIGRATE: "perhaps" }).mistakes).toHaveLength(1);
		expect(what(["--no-work"])).toEqual(["--no-work is not known"]);
	});
});

describe("databaseName", () => {
	it.each([
		["tickq.db", "tickq.db"],
		["./a?b@c.db", "./a?b@c.db"],
		["postgres://host/db", "postgres://host/db"],
		["postgres://u@host:5432/db", "postgres://u@host:5432/db"],
		["postgres://u:secret@host:5432/db", "postgres://u@host:5432/db"],
		["postgresql://u:secret@host/db?schema=a&password=secret", "postgresql://u@host/db"],
		["postgres://:secret@host/db", "postgres://@host/db"],
		["postgres://u:sec@ret@host/db", "postgres://u@host/db"],
		["postgres://u:sec/ret?x#y z@host/db", "postgres://u@host/db"],
		["postgres://u@corp:secret@host/db", "postgres://u@corp@host/db"],
		["postgres://u:secret@one:1,two:2/db", "postgres://u@one:1,two:2/db"],
	])("shows %s as %s", (database, name) => {
		expect(databaseName(database)).toBe(name);
	});

	it("is what mistakes show: no password, wherever it was typed", () => {
		const { mistakes } = readSettings(
			["--databse=postgres://u:secret@h/db", "postgres://u:secret@h/db", "--database", "mysql://u:secret@h/db"],
			{
				TICKQ_PORT: "postgres://u:secret@h/db",
			},
		);
		expect(mistakes).toHaveLength(4);
		expect(JSON.stringify(mistakes)).not.toContain("secret");
	});
});

describe("helpText", () => {
	it("lists every setting with its flag, its default, its variable and what it is", () => {
		const lines = helpText({ usage: "Usage: x", switches: [{ flag: "dry-run", about: "say what" }] }).split("\n");
		for (const [name, value] of Object.entries(CONFIG_DEFAULT))
			expect(lines).toContainEqual(expect.stringMatching(new RegExp(`^  --${kebab(name)} ${value} +${shout(name)} +\\w.{5,}$`)));
		for (const flag of ["port 8000", "database tickq.db", "log-level info", "log-format auto", "dry-run", "help"])
			expect(lines.filter(line => line.startsWith(`  --${flag}`))).toHaveLength(1);
		for (const line of lines) expect(line.length).toBeLessThan(140);
	});

	it("lists what the command takes, and only that", () => {
		const flags = (command: Command) => [...helpText(command).matchAll(/^ {2}--([a-z-]+)/gm)].map(([, flag]) => flag);
		expect(flags({ usage: "", only: ["database"] })).toEqual(["database", "help"]);
		for (const program of [START, EMULATE]) {
			expect(flags(program).slice(0, 5)).toEqual(["no-work", "no-http", "inline", "migrate", "no-migrate"]);
			for (const flag of flags(program).filter(flag => flag !== "help"))
				expect(readSettings([`--${flag}`], {}, program).mistakes.map(({ what }) => what)).not.toContain(`--${flag} is not known`);
		}
		expect(helpText(START)).toMatch(/^ +TICKQ_WEBHOOK_SECRETS +sign/m);
		expect(helpText({ usage: "", only: ["database"] })).not.toContain("TICKQ_WEBHOOK_SECRETS");
		expect(helpText(START)).toMatch(/--log-format json /);
		expect(helpText(EMULATE)).toMatch(/--log-format auto /);
	});
});
