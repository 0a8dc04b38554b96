/** Opens the SQLite file: migrations, then the storage over it. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import Database from "better-sqlite3";
import { type Migration, SchemaTooOld, toMigration } from "../lib/storage/migrate.ts";
import { migrateBetterSqlite3, openBetterSqlite3 } from "../lib/storage/sqlite/betterSqlite3.ts";
import { SqliteEngine } from "../lib/storage/sqlite/sqliteEngine.ts";
import type { Storage, StorageDefaults } from "../lib/storage/storage.ts";
import { openStore } from "../lib/storage/store.ts";

const MIGRATIONS = new URL("../lib/storage/migrations/sqlite/", import.meta.url);

export const readMigrations = (): Migration[] =>
	readdirSync(MIGRATIONS)
		.filter(name => name.endsWith(".sql"))
		.map(name => toMigration(name, readFileSync(new URL(name, MIGRATIONS), "utf8")));

export interface OpenedStorage {
	readonly storage: Storage;
	/** Migrations that were applied on the way. */
	readonly migrated: readonly Migration[];
	/** The connection itself: to hear of others' commits, and for tests that look underneath. */
	readonly database: Database.Database;
}

/** What of the migrations the file lacks, and the schema it has then; applied unless `dryRun`, which makes no file either. */
export function migrateFile(
	file: string,
	{ dryRun }: { readonly dryRun: boolean },
): { readonly schema: number; readonly missing: readonly Migration[] } {
	const migrations = readMigrations();
	const database = new Database(dryRun && !existsSync(file) ? ":memory:" : file, { timeout: 5000 });
	try {
		// The same steps, through a handle that changes nothing.
		const handle = dryRun ? { prepare: (sql: string) => database.prepare(sql), exec: () => {}, close: () => {} } : database;
		const missing = migrateBetterSqlite3(handle, migrations);
		return { schema: migrations.length - (dryRun ? missing.length : 0), missing };
	} finally {
		database.close();
	}
}

/**
 * Opens the store in `file` (":memory:" for one that lives with the process), brings it to this code's schema and answers it.
 * Throws SchemaTooNew when newer code made it, SchemaTooOld when it lacks migrations and may not get them (`migrate: false`; then no file
 * is made either), and SQLite's own error when it is no database or cannot be written.
 */
export async function openStorage(
	file: string,
	defaults: StorageDefaults,
	tasks: readonly string[],
	{ migrate = true }: { readonly migrate?: boolean } = {},
): Promise<OpenedStorage> {
	// A database in memory has nobody else who could bring it there.
	const mayMigrate = migrate || file === ":memory:";
	if (!mayMigrate) {
		const { missing } = migrateFile(file, { dryRun: true });
		if (missing.length > 0) throw new SchemaTooOld(missing);
	}
	const database = new Database(file, { timeout: 5000 });
	try {
		const migrated = mayMigrate ? migrateBetterSqlite3(database, readMigrations()) : [];
		const driver = await openBetterSqlite3(database, { defer: setImmediate, sleep: ms => sleep(ms), random: Math.random });
		return { storage: await openStore(new SqliteEngine(driver), defaults, tasks), migrated, database };
	} catch (error) {
		database.close();
		throw error;
	}
}
