/** What the commands can be told, by flag or environment: one table that parsing, checking and --help read. */
import { CONFIG_BOUNDS, CONFIG_DEFAULT, type Config } from "../lib/config.ts";
import { LOG_LEVELS, type LogLevel } from "../lib/log.ts";

export interface Settings {
	readonly port: number;
	readonly database: string;
	readonly logLevel: LogLevel;
	readonly logFormat: "auto" | "text" | "json";
	readonly config: Config;
}

/** A mistake in the settings, and the line to type instead. */
export interface Mistake {
	readonly what: string;
	readonly instead: string;
}

interface Option {
	readonly flag: string;
	readonly env: readonly string[];
	readonly value: string;
	readonly about: string;
}

const OPTIONS: readonly Option[] = [
	{ flag: "port", env: ["TICKQ_PORT", "PORT"], value: "8000", about: "where it listens, on this machine only" },
	{ flag: "database", env: ["TICKQ_DATABASE", "DATABASE_URL"], value: "tickq.db", about: "the SQLite file; made if it is not there" },
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
	workers: "jobs that run at once here",
	tickBudgetMs: "a tick starts no job after this",
	tickJobsMax: "jobs a tick starts at most",
	tickStatementsMax: "statements after which a tick starts no more",
	sweepJobsMax: "lost leases, missed deadlines, old jobs per tick, each",
	keepDoneMs: "how long done and cancelled jobs stay",
	keepDeadMs: "how long failed jobs and dead letters stay",
	idempotencyMs: "how long an idempotency key is remembered",
};

const kebab = (name: string): string => name.replaceAll(/[A-Z]/g, letter => `-${letter.toLowerCase()}`);
const shout = (name: string): string => `TICKQ_${kebab(name).replaceAll("-", "_").toUpperCase()}`;

const ALL: readonly Option[] = [
	...OPTIONS,
	...(Object.keys(CONFIG_DEFAULT) as (keyof Config)[]).map(name => ({
		flag: kebab(name),
		env: [shout(name)],
		value: String(CONFIG_DEFAULT[name]),
		about: CONFIG_ABOUT[name],
	})),
];

/** `flags` are switches of the command without a value, such as --json. Every mistake is found, not just the first. */
export function readSettings(
	args: readonly string[],
	env: Readonly<Record<string, string | undefined>>,
	flags: readonly string[] = [],
): { settings: Settings; on: ReadonlySet<string>; mistakes: Mistake[] } {
	const mistakes: Mistake[] = [];
	const given = new Map<string, { text: string; name: string }>();
	const on = new Set<string>();
	for (const option of ALL) {
		const name = option.env.find(key => env[key] !== undefined && env[key] !== "");
		if (name !== undefined) given.set(option.flag, { text: env[name]!, name });
	}
	for (let i = 0; i < args.length; i++) {
		const [, flag, , inline] = /^--([a-z-]+)(=(.*))?$/s.exec(args[i]!) ?? [];
		if (flag !== undefined && flags.includes(flag) && inline === undefined) on.add(flag);
		else if (flag !== undefined && ALL.some(option => option.flag === flag)) {
			const text = inline ?? args[++i];
			if (text === undefined || text.startsWith("--"))
				mistakes.push({ what: `--${flag} has no value`, instead: `--${flag} ${ALL.find(option => option.flag === flag)!.value}` });
			else given.set(flag, { text, name: `--${flag}` });
		} else {
			mistakes.push({ what: `${args[i]} is not known`, instead: "--help lists what is" });
			// Its value, if it looks like one, is no second mistake.
			if (flag !== undefined && inline === undefined && args[i + 1]?.startsWith("-") === false) i++;
		}
	}
	const text = (flag: string): string => given.get(flag)?.text ?? ALL.find(option => option.flag === flag)!.value;
	const named = (flag: string): string => `${given.get(flag)?.name ?? `--${flag}`}=${text(flag)}`;
	const integer = (flag: string, least: number, most: number): number => {
		const number = Number(text(flag));
		const initial = ALL.find(option => option.flag === flag)!.value;
		if (!/^\d+$/.test(text(flag))) mistakes.push({ what: `${named(flag)} is not a whole number`, instead: `${initial} is the default` });
		else if (number < least) mistakes.push({ what: `${named(flag)} is below the least, ${least}`, instead: `${initial} is the default` });
		else if (number > most) mistakes.push({ what: `${named(flag)} is above the most, ${most}`, instead: `${initial} is the default` });
		return number;
	};
	const oneOf = <T extends string>(flag: string, values: readonly T[]): T => {
		if (!values.includes(text(flag) as T))
			mistakes.push({ what: `${named(flag)} is none of ${values.join(", ")}`, instead: `--${flag} ${values[0]}` });
		return text(flag) as T;
	};
	const config = Object.fromEntries(
		(Object.keys(CONFIG_DEFAULT) as (keyof Config)[]).map(name => [name, integer(kebab(name), ...CONFIG_BOUNDS[name])]),
	) as unknown as Config;
	if (/^[a-z][a-z0-9+]+:/i.test(text("database")) && !/^file:/i.test(text("database")))
		mistakes.push({ what: `${named("database")} is no file: this version keeps its jobs in SQLite`, instead: "--database ./tickq.db" });
	const settings = {
		port: integer("port", 0, 65535),
		database: text("database").replace(/^file:(\/\/)?/i, ""),
		logLevel: oneOf("log-level", LOG_LEVELS),
		logFormat: oneOf("log-format", ["auto", "text", "json"] as const),
		config,
	};
	return { settings, on, mistakes };
}

export function helpText(usage: string, flags: readonly (readonly [flag: string, about: string])[] = []): string {
	const rows = [
		...flags.map(([flag, about]) => [`--${flag}`, "", about]),
		...ALL.map(option => [`--${option.flag} ${option.value}`, option.env[0]!, option.about]),
		["--help", "", "this"],
	];
	const widths = [0, 1].map(column => Math.max(...rows.map(row => row[column]!.length)));
	const lines = rows.map(([flag, env, about]) => `  ${flag!.padEnd(widths[0]!)}  ${env!.padEnd(widths[1]!)}  ${about}`);
	return `${usage}\n\nOptions, with their defaults; a flag wins over the environment:\n${lines.join("\n")}\n`;
}

/** All mistakes at once, each with what to type. */
export const mistakesText = (mistakes: readonly Mistake[]): string =>
	`  tickq cannot start, ${mistakes.length === 1 ? "1 problem" : `${mistakes.length} problems`}:\n${mistakes.map(({ what, instead }, i) => `   ${i + 1}. ${what}\n      → ${instead}\n`).join("")}`;
