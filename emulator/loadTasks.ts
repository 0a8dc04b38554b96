/** Loads the task registry, and loads it anew when a file changes. */
import { readdirSync, watch } from "node:fs";
import { registerHooks } from "node:module";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { TASK_NAME } from "../lib/contract.ts";
import type { TaskRegistry } from "../lib/task.ts";

export const TASKS_FOLDER = new URL("../functions/tasks/", import.meta.url);
const SETTLE_MS = 60;

let generation = 0;
/** Node keeps what it has loaded under its address; files of the tasks' folder get a new one with each generation. */
registerHooks({
	resolve(specifier, context, next) {
		const resolved = next(specifier, context);
		return generation > 0 && resolved.url.startsWith(TASKS_FOLDER.href) && !resolved.url.includes("?")
			? { ...resolved, url: `${resolved.url}?generation=${generation}` }
			: resolved;
	},
});

/** The module that exports the registry. */
export const TASKS_INDEX = new URL("index.ts", TASKS_FOLDER).href;

/** The registry as it is on disk now. Throws what the files throw. */
export async function loadTasks(index = TASKS_INDEX): Promise<TaskRegistry> {
	const { tasks } = (await import(index)) as { tasks?: TaskRegistry };
	if (tasks === undefined || typeof tasks !== "object") throw new Error("functions/tasks/index.ts must export `tasks`");
	for (const [name, task] of Object.entries(tasks)) {
		if (!TASK_NAME.test(name)) throw new Error(`functions/tasks/index.ts: "${name}" cannot be a task's name (letters, digits, _ . -)`);
		if (typeof task?.run !== "function") throw new Error(`functions/tasks/index.ts: ${name} is no task; make it with defineTask({ run })`);
	}
	return tasks;
}

/** Task files that nobody wrote into the registry: likely forgotten. */
export const unregistered = (tasks: TaskRegistry): string[] =>
	readdirSync(TASKS_FOLDER)
		.filter(name => name.endsWith(".ts") && name !== "index.ts")
		.map(name => basename(name, ".ts"))
		.filter(name => !Object.hasOwn(tasks, name));

/** Calls back with the new registry, or with why it cannot be loaded, after files have changed. Answers how to stop. */
export function watchTasks(onChange: (result: TaskRegistry | Error) => void): () => void {
	let timer: NodeJS.Timeout | undefined;
	const watcher = watch(fileURLToPath(TASKS_FOLDER), { recursive: true, persistent: false }, () => {
		clearTimeout(timer);
		timer = setTimeout(() => {
			generation++;
			loadTasks().then(onChange, onChange);
		}, SETTLE_MS);
	});
	return () => {
		clearTimeout(timer);
		watcher.close();
	};
}
