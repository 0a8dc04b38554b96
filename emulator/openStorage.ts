/** Opens the SQLite file: migrations, then the storage over it. */
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import Database from "better-sqlite3";
import { type Migration, toMigration } from "../lib/storage/migrate.ts";
import { migrateBetterSqlite3, openBetterSqlite3 } from "../lib/storage/sqlite/betterSqlite3.ts";
import { openSqliteStorage } from "../lib/storage/sqlite/sqliteStorage.ts";
import type { Storage, StorageDefaults } from "../lib/storage/storage.ts";

const MIGRATIONS = new URL("../lib/storage/migrations/sqlite/", import.meta.url);

export const readMigrations = (): Migration[] =>
	readdirSync(MIGRATIONS)
		.filter(name => name.endsWith(".sql"))
		.map(name => toMigration(name, readFileSync(new URL(name, MIGRATIONS), "utf8")));

export interface OpenedStorage {
	readonly storage: Storage;
	/** Migrations that were applied on the way. */
	readonly migrated: readonly Migration[];
	/** The connection itself, for tests that look underneath. */
	readonly database: Database.Database;
}

/**
 * Opens the store in `file` (":memory:" for one that lives with the process), brings it to this code's schema and answers it.
 * Throws SchemaTooNew when newer code made it, and SQLite's own error when it is no database or cannot be written.
 */
export async function openStorage(file: string, defaults: StorageDefaults, tasks: readonly string[]): Promise<OpenedStorage> {
	const database = new Database(file, { timeout: 5000 });
	try {
		const migrated = migrateBetterSqlite3(database, readMigrations());
		const driver = await openBetterSqlite3(database, { defer: setImmediate, sleep: ms => sleep(ms), random: Math.random });
		return { storage: await openSqliteStorage(driver, defaults, tasks), migrated, database };
	} catch (error) {
		database.close();
		throw error;
	}
}
