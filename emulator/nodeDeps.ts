/** What the functions are handed on Node. */
import { systemClock, systemRandom } from "../lib/clock.ts";
import { Announcements, Bell, type Deps, Slots } from "../lib/context.ts";
import type { Log } from "../lib/log.ts";
import { messageOf } from "../lib/log.ts";
import { SchemaTooNew } from "../lib/storage/migrate.ts";
import type { Storage, StorageDefaults } from "../lib/storage/storage.ts";
import type { TaskRegistry } from "../lib/task.ts";
import { workerName } from "./recover.ts";
import type { Mistake, Settings } from "./settings.ts";

export const nodeClock = systemClock(setImmediate);

export function nodeDeps(settings: Settings, storage: Storage, tasks: TaskRegistry, log: Log): Deps {
	const wake = new Bell();
	return {
		storage,
		clock: nodeClock,
		random: systemRandom(),
		log,
		config: settings.config,
		tasks,
		worker: workerName(),
		wake,
		ended: new Announcements(),
		slots: new Slots(settings.config.workers, wake),
		running: new Map(),
		ticks: { lastTickAt: null, nextWakeAt: null },
	};
}

export const storageDefaults = ({ config }: Settings): StorageDefaults => ({
	concurrency: config.tenantConcurrency,
	backlog: config.tenantBacklog,
	keepDoneMs: config.keepDoneMs,
	keepDeadMs: config.keepDeadMs,
});

/** Why the store cannot be opened, and what to do. */
export function storageMistake(error: unknown, file: string): Mistake {
	const code = String((error as { code?: unknown }).code ?? "");
	if (error instanceof SchemaTooNew)
		return { what: `${file}: ${error.message}`, instead: "or start with another file: --database ./other.db" };
	if (code === "SQLITE_NOTADB") return { what: `${file} is no SQLite database`, instead: "name another file: --database ./tickq.db" };
	if (code === "SQLITE_CORRUPT")
		return {
			what: `${file} is damaged (${messageOf(error)})`,
			instead: "restore a backup, or start with another file: --database ./new.db",
		};
	return { what: `${file} cannot be opened: ${messageOf(error)}`, instead: "check that its folder is there and may be written to" };
}
