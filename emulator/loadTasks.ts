/** Loads the task registry, and loads it anew when a file changes. */
import { readdirSync, watch } from "node:fs";
import { type ResolveFnOutput, type ResolveHookContext, registerHooks } from "node:module";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { TASK_NAME } from "../lib/contract.ts";
import type { TaskRegistry } from "../lib/task.ts";
import { type Asked, explainLoadError, shownPath } from "./explainLoadError.ts";

const TASKS_FOLDER = new URL("../functions/tasks/", import.meta.url);
const SETTLE_MS = 60;
/** What all modules of the tasks together may take to load. */
export const LOAD_MS = 30_000;

type Next = (specifier: string, context?: Partial<ResolveHookContext>) => ResolveFnOutput;

let generation = 0;
/** Files of the tasks' folder that somebody has imported in this generation. */
const imported = new Set<string>();
let asked: Asked | undefined;
let last: string | undefined;
registerHooks({
	resolve(specifier, context, next) {
		const resolved = find(specifier, context, next);
		if (resolved.url.startsWith("file:")) last = resolved.url;
		if (!resolved.url.startsWith(TASKS_FOLDER.href)) return resolved;
		imported.add(resolved.url.slice(TASKS_FOLDER.href.length).split("?")[0]!);
		// Node keeps what it has loaded under its address; files of the tasks' folder get a new one with each generation.
		return generation > 0 && !resolved.url.includes("?") ? { ...resolved, url: `${resolved.url}?generation=${generation}` } : resolved;
	},
});
/** A task finds "tickq" wherever its file is, and it is this one: its errors are known by their class. So does it "zod", if it has none. */
function find(specifier: string, context: ResolveHookContext, next: Next): ResolveFnOutput {
	const here = { ...context, parentURL: import.meta.url };
	if (specifier === "tickq") return next(specifier, here);
	try {
		return next(specifier, context);
	} catch (error) {
		if (/^zod(\/|$)/.test(specifier)) return next(specifier, here);
		asked = { specifier, by: context.parentURL ?? "", error };
		throw error;
	}
}

/** The module that exports the registry. */
export const TASKS_INDEX = new URL("index.ts", TASKS_FOLDER).href;

/** The registry as it is on disk now. Throws an error that says what is wrong with the files, and where. */
export async function loadTasks(index = TASKS_INDEX): Promise<TaskRegistry> {
	asked = undefined;
	last = undefined;
	const file = shownPath(index);
	let timer: NodeJS.Timeout | undefined;
	const late = new Promise<never>((_, reject) => {
		timer = setTimeout(() => reject(new Error(tooLate(index))), LOAD_MS);
	});
	const { tasks } = await Promise.race([import(index) as Promise<{ tasks?: TaskRegistry }>, late])
		.catch((error: unknown) => {
			throw new Error(explainLoadError(error, asked, last), { cause: error });
		})
		.finally(() => clearTimeout(timer));
	if (tasks === undefined || tasks === null || typeof tasks !== "object") throw new Error(`${file} must export \`tasks\``);
	for (const [name, task] of Object.entries(tasks)) {
		if (!TASK_NAME.test(name)) throw new Error(`${file}: "${name}" cannot be a task's name (letters, digits, _ . -)`);
		if (typeof task?.run !== "function") throw new Error(`${file}: ${name} is no task; make it with defineTask({ run })`);
	}
	return tasks;
}
/** What is said of modules that go on loading. */
export const tooLate = (index: string): string =>
	`${shownPath(index)} has not loaded within ${LOAD_MS / 1000} s: an await or a loop outside of any function that never ends?`;

/** Task files that are not in the registry, nor imported by what is: likely forgotten. */
export const unregistered = (tasks: TaskRegistry): string[] =>
	readdirSync(TASKS_FOLDER)
		.filter(name => name.endsWith(".ts") && name !== "index.ts")
		.filter(name => !imported.has(name))
		.map(name => basename(name, ".ts"))
		.filter(name => !Object.hasOwn(tasks, name));

/** Calls back with the new registry, or with why it cannot be loaded, after files have changed. Answers how to stop. */
export function watchTasks(onChange: (result: TaskRegistry | Error) => void): () => void {
	let timer: NodeJS.Timeout | undefined;
	const watcher = watch(fileURLToPath(TASKS_FOLDER), { recursive: true, persistent: false }, () => {
		clearTimeout(timer);
		timer = setTimeout(() => {
			const current = ++generation;
			imported.clear();
			// One that took longer than the next has nothing to say any more.
			const tell = (result: TaskRegistry | Error) => {
				if (current === generation) onChange(result);
			};
			loadTasks().then(tell, tell);
		}, SETTLE_MS);
	});
	return () => {
		clearTimeout(timer);
		watcher.close();
	};
}
