/** What the commands can be told, by flag or environment: one table that parsing, checking and --help read. */
import { CONFIG_BOUNDS, CONFIG_DEFAULT, type Config, variableOf } from "../lib/config.ts";
import { LOG_LEVELS, type LogLevel, messageOf } from "../lib/log.ts";
import { ALLOW_NOTHING, type Allow, readAllow } from "../lib/outside.ts";
import { readWebhookSecrets } from "../lib/webhook.ts";

export interface Settings {
	readonly port: number;
	/** A file, or the address of a PostgreSQL database. It may hold a password: what is shown is `databaseName` of it. */
	readonly database: string;
	/** Whether missing migrations are applied at the start. */
	readonly migrate: boolean;
	/** Whether jobs are run, and whether there is an API: not both are missing. */
	readonly work: boolean;
	readonly http: boolean;
	/** Whether tasks run in the main thread, for breakpoints, instead of in worker threads. */
	readonly inline: boolean;
	/** The tasks that are run; absent: all. */
	readonly tasks?: readonly string[];
	readonly logLevel: LogLevel;
	readonly logFormat: "auto" | "text" | "json";
	/** Hosts and networks inside that tasks may call although a user named them. */
	readonly outsideAllow: Allow;
	/** `whsec_…`, the current one first. Never shown. */
	readonly webhookSecrets: readonly string[];
	readonly config: Config;
}

/** A mistake in the settings, and the line to type instead. */
export interface Mistake {
	readonly what: string;
	readonly instead: string;
}

/** What a command takes, and how it says so. */
export interface Command {
	/** The first lines of --help. */
	readonly usage: string;
	/** What it takes without a value, such as --json. */
	readonly switches?: readonly Switch[];
	/** The only settings it takes; all if absent. */
	readonly only?: readonly string[];
	/** Its defaults, where they are others. */
	readonly defaults?: Readonly<Record<string, string>>;
}
export interface Switch {
	readonly flag: string;
	/** How the environment says the same. */
	readonly env?: string;
	readonly about: string;
}

/** The switches of whatever opens a database to work on it. */
export const MIGRATE_SWITCHES: readonly Switch[] = [
	{ flag: "migrate", env: "TICKQ_MIGRATE=1", about: "apply missing migrations at the start: the default" },
	{ flag: "no-migrate", env: "TICKQ_MIGRATE=0", about: "refuse a database that lacks one: npm run migrate applies them" },
];
/** The switches of the programs that run until they are stopped. */
export const ROLE_SWITCHES: readonly Switch[] = [
	{ flag: "no-work", about: "run no jobs: only the API, the dashboard, schedules" },
	{ flag: "no-http", about: "listen nowhere: only run jobs" },
	{ flag: "inline", env: "TICKQ_INLINE=1", about: "run tasks in the main thread, for breakpoints: one that hangs stops all" },
	...MIGRATE_SWITCHES,
];

interface Option {
	readonly flag: string;
	readonly env: readonly string[];
	readonly value: string;
	readonly about: string;
}

const OPTIONS: readonly Option[] = [
	{ flag: "port", env: ["TICKQ_PORT", "PORT"], value: "8000", about: "where it listens, on this machine only" },
	{
		flag: "database",
		env: ["TICKQ_DATABASE", "DATABASE_URL"],
		value: "tickq.db",
		about: "a SQLite file, made if it is not there, or postgres://user@host:5432/db",
	},
	{ flag: "tasks", env: ["TICKQ_TASKS"], value: "all", about: "run only these, such as echo,sleep; the API takes all" },
	{
		flag: "outside-allow",
		env: ["TICKQ_OUTSIDE_ALLOW"],
		value: "",
		about: "hosts and networks inside that may be called, such as 10.1.2.0/24",
	},
	{ flag: "log-level", env: ["TICKQ_LOG_LEVEL"], value: "info", about: `${LOG_LEVELS.join(", ")}` },
	{ flag: "log-format", env: ["TICKQ_LOG_FORMAT"], value: "auto", about: "text or json; auto: text on a terminal, else JSON lines" },
];

const CONFIG_ABOUT: Record<keyof Config, string> = {
	leaseMs: "a lease ends by itself after this",
	timeoutMs: "longest attempt of a task that does not say",
	timeoutMsMax: "longest attempt a task or job may ask for",
	graceMs: "what a stopped attempt gets to end by itself",
	tenantConcurrency: "running at once per tenant",
	tenantBacklog: "waiting per tenant; beyond, a submit is refused",
	payloadBytesMax: "largest request body",
	resultBytesMax: "largest result of a job",
	workersMin: "worker threads at least",
	workersMax: "worker threads at most",
	tasksPerWorker: "jobs that share a worker",
	workerMemoryMb: "heap of a worker thread; one that needs more is ended",
	scaleUpAbove: "waiting jobs per worker above which there are more workers",
	scaleDownBelow: "waiting jobs per worker below which there are fewer",
	tickBudgetMs: "a tick starts no job after this",
	tickJobsMax: "jobs a tick starts at most",
	tickStatementsMax: "statements after which a tick starts no more",
	sweepJobsMax: "lost leases, missed deadlines, old jobs per tick, each",
	keepDoneMs: "how long done and cancelled jobs stay",
	keepDeadMs: "how long failed jobs and dead letters stay",
	idempotencyMs: "how long an idempotency key is remembered",
	circuitFailures: "failures in a row until a tenant's task waits; 0: never",
};

/** What only the environment says, since a list of processes shows flags to everybody. */
const SECRETS = { name: "webhook-secrets", env: "TICKQ_WEBHOOK_SECRETS", about: "sign calls to users: whsec_…, the current one first" };

const kebab = (name: string): string => name.replaceAll(/[A-Z]/g, letter => `-${letter.toLowerCase()}`);

const ALL: readonly Option[] = [
	...OPTIONS,
	...(Object.keys(CONFIG_DEFAULT) as (keyof Config)[]).map(name => ({
		flag: kebab(name),
		env: [variableOf(name)],
		value: String(CONFIG_DEFAULT[name]),
		about: CONFIG_ABOUT[name],
	})),
];

const optionsOf = ({ only, defaults = {} }: Command): Option[] =>
	ALL.filter(({ flag }) => only?.includes(flag) ?? true).map(option => ({ ...option, value: defaults[option.flag] ?? option.value }));

export const isPostgres = (database: string): boolean => /^postgres(?:ql)?:\/\//i.test(database);
/** An address without the password in it, whatever it is the address of and however it is mistyped. */
const withoutPassword = (text: string): string => text.replace(/(:\/\/[^:]*):[\s\S]*@/, "$1@");
/** A database as it may be shown: without password, and without parameters, which may hold one. */
export const databaseName = (database: string): string =>
	isPostgres(database) ? withoutPassword(database).replace(/[?#][\s\S]*$/, "") : database;

/** What was given for a setting, and by which name. */
interface Given {
	readonly text: string;
	readonly name: string;
}

/** What stands in the environment and in the arguments, which win; nothing of it is checked yet. */
function readGiven(
	args: readonly string[],
	env: Readonly<Record<string, string | undefined>>,
	options: readonly Option[],
	switches: readonly string[],
): { given: ReadonlyMap<string, Given>; on: ReadonlySet<string>; mistakes: Mistake[] } {
	const mistakes: Mistake[] = [];
	const given = new Map<string, Given>();
	const on = new Set<string>();
	for (const option of options) {
		const name = option.env.find(key => env[key] !== undefined && env[key] !== "");
		if (name !== undefined) given.set(option.flag, { text: env[name]!, name });
	}
	for (let i = 0; i < args.length; i++) {
		const [, flag, , inline] = /^--([a-z-]+)(=(.*))?$/s.exec(args[i]!) ?? [];
		const option = options.find(option => option.flag === flag);
		if (flag !== undefined && switches.includes(flag) && inline === undefined) on.add(flag);
		else if (option !== undefined) {
			const text = inline ?? args[++i];
			if (text === undefined || text.startsWith("--"))
				mistakes.push({ what: `--${flag} has no value`, instead: `--${flag} ${option.value}` });
			else given.set(option.flag, { text, name: `--${flag}` });
		} else {
			mistakes.push({ what: `${withoutPassword(args[i]!)} is not known`, instead: "--help lists what is" });
			// Its value, if it looks like one, is no second mistake.
			if (flag !== undefined && inline === undefined && args[i + 1]?.startsWith("-") === false) i++;
		}
	}
	return { given, on, mistakes };
}

/** `on` are the switches that were given. Every mistake is found, not just the first. */
export function readSettings(
	args: readonly string[],
	env: Readonly<Record<string, string | undefined>>,
	command: Command = { usage: "" },
): { settings: Settings; on: ReadonlySet<string>; mistakes: Mistake[] } {
	const options = optionsOf(command);
	const switches = (command.switches ?? []).map(({ flag }) => flag);
	const initial = (flag: string): string => [...options, ...ALL].find(option => option.flag === flag)!.value;
	const { given, on, mistakes } = readGiven(args, env, options, switches);
	const text = (flag: string): string => given.get(flag)?.text ?? initial(flag);
	const named = (flag: string): string => `${given.get(flag)?.name ?? `--${flag}`}=${withoutPassword(text(flag))}`;
	const integer = (flag: string, least: number, most: number): number => {
		const number = Number(text(flag));
		const instead = `${initial(flag)} is the default`;
		if (!/^\d+$/.test(text(flag))) mistakes.push({ what: `${named(flag)} is not a whole number`, instead });
		else if (number < least) mistakes.push({ what: `${named(flag)} is below the least, ${least}`, instead });
		else if (number > most) mistakes.push({ what: `${named(flag)} is above the most, ${most}`, instead });
		return number;
	};
	const oneOf = <T extends string>(flag: string, values: readonly T[]): T => {
		if (!values.includes(text(flag) as T))
			mistakes.push({ what: `${named(flag)} is none of ${values.join(", ")}`, instead: `--${flag} ${values[0]}` });
		return text(flag) as T;
	};
	const others = mistakes.length;
	const config = Object.fromEntries(
		(Object.keys(CONFIG_DEFAULT) as (keyof Config)[]).map(name => [name, integer(kebab(name), ...CONFIG_BOUNDS[name])]),
	) as unknown as Config;
	// A number that is wrong by itself is told once.
	if (mistakes.length === others) {
		if (config.workersMin > config.workersMax)
			mistakes.push({
				what: `${named("workers-min")} is above ${named("workers-max")}`,
				instead: `--workers-min ${config.workersMin} --workers-max ${config.workersMin}`,
			});
		if (config.scaleDownBelow > config.scaleUpAbove)
			mistakes.push({
				what: `${named("scale-down-below")} is above ${named("scale-up-above")}`,
				instead: `--scale-up-above ${config.scaleDownBelow} --scale-down-below ${config.scaleDownBelow}`,
			});
	}
	const database = text("database").replace(/^file:(\/\/)?/i, "");
	if (database === "" || (/^[a-z][a-z0-9+]+:/i.test(database) && !isPostgres(database)))
		mistakes.push({
			what: `${named("database")} is neither a file nor the address of a PostgreSQL database`,
			instead: "--database ./tickq.db, or postgres://user:password@host:5432/db",
		});
	/** What the environment says of a switch; undefined: nothing. */
	const switched = (flag: string, variable: string, instead: string): boolean | undefined => {
		const text = switches.includes(flag) ? (env[variable] ?? "").toLowerCase() : "";
		if (!["", "0", "false", "1", "true"].includes(text)) mistakes.push({ what: `${variable}=${text} is neither 1 nor 0`, instead });
		return text === "" ? undefined : text === "1" || text === "true";
	};
	const migrates = switched("no-migrate", "TICKQ_MIGRATE", "TICKQ_MIGRATE=0, or --no-migrate");
	const inline = switched("inline", "TICKQ_INLINE", "TICKQ_INLINE=1, or --inline");
	if (on.has("migrate") && on.has("no-migrate"))
		mistakes.push({ what: "--migrate and --no-migrate contradict each other", instead: "one of them" });
	if (on.has("no-work") && on.has("no-http"))
		mistakes.push({ what: "--no-work and --no-http together leave nothing to do", instead: "one of them, or neither" });
	const tasks =
		text("tasks") === "all"
			? undefined
			: [
					...new Set(
						text("tasks")
							.split(",")
							.map(name => name.trim()),
					),
				].filter(Boolean);
	if (tasks?.length === 0) mistakes.push({ what: `${named("tasks")} names no task`, instead: "--tasks echo,sleep, or all" });
	const readable = <T>(name: string, instead: string, read: () => T, otherwise: T): T => {
		try {
			return read();
		} catch (error) {
			mistakes.push({ what: `${name}: ${messageOf(error)}`, instead });
			return otherwise;
		}
	};
	const outsideAllow = readable(
		"--outside-allow",
		"--outside-allow 10.1.2.0/24,hooks.internal",
		() => readAllow(text("outside-allow")),
		ALLOW_NOTHING,
	);
	const webhookSecrets = readable(
		SECRETS.env,
		"one made by: node -p \"'whsec_' + crypto.randomBytes(32).toString('base64')\"",
		() => readWebhookSecrets(env[SECRETS.env] ?? ""),
		[],
	);
	const settings = {
		port: integer("port", 0, 65535),
		database,
		migrate: on.has("migrate") || !(on.has("no-migrate") || migrates === false),
		work: !on.has("no-work"),
		http: !on.has("no-http"),
		inline: on.has("inline") || inline === true,
		...(tasks === undefined ? {} : { tasks }),
		logLevel: oneOf("log-level", LOG_LEVELS),
		logFormat: oneOf("log-format", ["auto", "text", "json"] as const),
		outsideAllow,
		webhookSecrets,
		config,
	};
	return { settings, on, mistakes };
}

/** What --tasks names and nobody has registered. */
export const unknownTasks = ({ tasks = [] }: Pick<Settings, "tasks">, registered: readonly string[]): Mistake[] =>
	tasks
		.filter(name => !registered.includes(name))
		.map(name => ({ what: `there is no task "${name}" to run (--tasks, TICKQ_TASKS)`, instead: `known: ${registered.join(", ")}` }));

export const asksForHelp = (args: readonly string[]): boolean => args.includes("--help") || args.includes("-h");

export function helpText(command: Command): string {
	const rows = [
		...(command.switches ?? []).map(({ flag, env = "", about }) => [`--${flag}`, env, about]),
		...optionsOf(command).map(option => [`--${option.flag} ${option.value}`, option.env[0]!, option.about]),
		...((command.only?.includes(SECRETS.name) ?? true) ? [["", SECRETS.env, SECRETS.about]] : []),
		["--help", "", "this"],
	];
	const widths = [0, 1].map(column => Math.max(...rows.map(row => row[column]!.length)));
	const lines = rows.map(([flag, env, about]) => `  ${flag!.padEnd(widths[0]!)}  ${env!.padEnd(widths[1]!)}  ${about}`);
	return `${command.usage}\n\nOptions, with their defaults; a flag wins over the environment:\n${lines.join("\n")}\n`;
}

/** All mistakes at once, each with what to type. */
export const mistakesText = (mistakes: readonly Mistake[], cannot = "start"): string =>
	`  tickq cannot ${cannot}, ${mistakes.length === 1 ? "1 problem" : `${mistakes.length} problems`}:\n${mistakes.map(({ what, instead }, i) => `   ${i + 1}. ${what}\n      → ${instead}\n`).join("")}`;
