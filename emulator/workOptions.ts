/** What `tickq work` alone can be told; the rest of the command line is left to the settings that all commands share. */
import type { Mistake } from "./settings.ts";

export interface WorkOptions {
	readonly url: string;
	readonly key?: string;
	readonly name: string;
	readonly concurrency: number;
	/** The module that exports the tasks; null: functions/tasks. */
	readonly module: string | null;
	/** The tasks that it runs; null: all of the module. */
	readonly names: readonly string[] | null;
}

const OPTIONS = {
	url: { env: "TICKQ_URL", value: "http://localhost:8000" },
	tasks: { env: "TICKQ_TASKS", value: "all" },
	concurrency: { env: "TICKQ_CONCURRENCY", value: "5" },
	name: { env: "TICKQ_WORKER", value: "" },
	key: { env: "TICKQ_KEY", value: "" },
} as const;
type Flag = keyof typeof OPTIONS;

const CONCURRENCY_MAX = 1000;
const NAME_CHARS_MAX = 200;

/**
 * Reads flags, then the environment.
 * @param ownName the worker's name if none is given
 * @returns `rest`: the arguments that are none of these
 */
export function readWorkOptions(
	args: readonly string[],
	env: Readonly<Record<string, string | undefined>>,
	ownName: string,
): { options: WorkOptions; rest: string[]; mistakes: Mistake[] } {
	const mistakes: Mistake[] = [];
	const rest: string[] = [];
	const given = new Map<Flag, string>();
	for (let i = 0; i < args.length; i++) {
		const [, flag, inline] = /^--([a-z-]+)(?:=(.*))?$/s.exec(args[i]!) ?? [];
		if (flag === undefined || !Object.hasOwn(OPTIONS, flag)) {
			rest.push(args[i]!);
			continue;
		}
		const value = inline ?? args[++i];
		if (value === undefined || value.startsWith("--"))
			mistakes.push({ what: `--${flag} has no value`, instead: "--help says what it takes" });
		else given.set(flag as Flag, value);
	}
	const text = (flag: Flag): string => given.get(flag) ?? (env[OPTIONS[flag].env] || OPTIONS[flag].value);

	const url = URL.parse(text("url"));
	if (url === null || !/^https?:$/.test(url.protocol))
		mistakes.push({ what: "--url is no http or https address", instead: `--url ${OPTIONS.url.value}` });
	else if (url.username !== "" || url.password !== "")
		mistakes.push({ what: "--url has a user or a password in it", instead: "TICKQ_KEY=… for a key" });
	const key = text("key");
	if (/[^\x21-\x7e]/.test(key))
		mistakes.push({ what: "--key has a character that no header takes", instead: "the key as it was given to you" });
	const concurrency = Number(text("concurrency"));
	if (!(Number.isInteger(concurrency) && concurrency >= 1 && concurrency <= CONCURRENCY_MAX))
		mistakes.push({
			what: `--concurrency ${text("concurrency")} is not a whole number from 1 to ${CONCURRENCY_MAX}`,
			instead: `--concurrency ${OPTIONS.concurrency.value}`,
		});
	const name = text("name") || ownName;
	if (name.length > NAME_CHARS_MAX) mistakes.push({ what: `--name has more than ${NAME_CHARS_MAX} characters`, instead: "--name gpu-1" });

	const tasks = text("tasks");
	const isModule = /[/\\]|\.[cm]?[jt]s$/.test(tasks);
	const names = [
		...new Set(
			tasks
				.split(",")
				.map(task => task.trim())
				.filter(Boolean),
		),
	];
	if (names.length === 0) mistakes.push({ what: "--tasks names no task", instead: "--tasks echo,sleep, or ./tasks/index.ts, or all" });
	return {
		options: {
			url: url === null ? "" : `${url.origin}${url.pathname.replace(/\/+$/, "")}`,
			...(key === "" ? {} : { key }),
			name,
			concurrency,
			module: isModule ? tasks : null,
			names: isModule || tasks === "all" ? null : names,
		},
		rest,
		mistakes,
	};
}
