/** Opens the database that the settings name: a SQLite file or, by its address, PostgreSQL. */
import { realpathSync, watch } from "node:fs";
import type Database from "better-sqlite3";
import type { StorageDefaults } from "../lib/storage/storage.ts";
import type { Opened, OpenOptions } from "./openPostgres.ts";
import { openStorage } from "./openStorage.ts";
import { isPostgres } from "./settings.ts";

export async function openDatabase(
	database: string,
	defaults: StorageDefaults,
	tasks: readonly string[],
	options: OpenOptions,
): Promise<Opened> {
	if (isPostgres(database)) {
		const { openPostgres } = await import("./openPostgres.ts");
		return openPostgres(database, defaults, tasks, options);
	}
	const { storage, migrated, database: connection } = await openStorage(database, defaults, tasks, options);
	return { storage, migrated, hear: ring => hearCommits(connection, ring) };
}

/** Waits before the looks that follow a write to the log: the first, doubled up to the last. */
const LOOK_MS = 5;
const LOOK_MS_MAX = 640;
/** Wait before a log that has gone away is listened to again. */
const AGAIN_MS = 1000;

/**
 * Rings when another connection has committed to the file. A write to its log (`-wal`) says that somebody is at it, perhaps we ourselves;
 * `data_version` moves with what others committed, and only with that. The write comes before its sync, and the commit is seen after
 * it: so there are several looks, for a second after the last write. Then nothing is asked until the next.
 * Where the log cannot be watched it never rings.
 */
export function hearCommits(database: Pick<Database.Database, "name" | "pragma">, ring: () => void): () => void {
	if (database.name === ":memory:") return () => {};
	const version = (): unknown => database.pragma("data_version", { simple: true });
	let seen = version();
	let pauseMs = LOOK_MS;
	let timer: NodeJS.Timeout | undefined;
	let stopWatching = () => {};

	const look = (): void => {
		timer = undefined;
		try {
			const now = version();
			if (now !== seen) {
				seen = now;
				ring();
			}
		} catch {
			// Somebody holds the whole file: the next look tells.
		}
		pauseMs *= 2;
		if (pauseMs <= LOOK_MS_MAX) timer = setTimeout(look, pauseMs);
	};
	const wrote = (): void => {
		if (timer !== undefined && pauseMs === LOOK_MS) return;
		clearTimeout(timer);
		pauseMs = LOOK_MS;
		timer = setTimeout(look, pauseMs);
	};
	const listen = (): void => {
		const again = (): void => {
			stopWatching();
			const retry = setTimeout(listen, AGAIN_MS).unref();
			stopWatching = () => clearTimeout(retry);
		};
		try {
			const watcher = watch(`${realpathSync(database.name)}-wal`, { persistent: false }, event => (event === "rename" ? again() : wrote()));
			watcher.on("error", again);
			stopWatching = () => watcher.close();
			wrote();
		} catch {
			again();
		}
	};
	listen();
	return () => {
		clearTimeout(timer);
		stopWatching();
	};
}
