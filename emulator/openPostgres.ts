/** Opens a PostgreSQL database: waits for it, brings it to the schema of this code, and answers the storage over it. */
import type { Migration } from "../lib/storage/migrate.ts";
import type { Storage, StorageDefaults } from "../lib/storage/storage.ts";

export interface OpenOptions {
	/** Whether missing migrations are applied (the default); if not, a store with an older schema is refused. */
	readonly migrate?: boolean;
	/** Told, as one line for a person, what opening waits for. */
	readonly say?: (line: string) => void;
	/** How long to wait for a database that does not answer yet, in milliseconds. 0: not at all. */
	readonly waitMs?: number;
}

export interface Opened {
	readonly storage: Storage;
	/** What was applied now. */
	readonly migrated: readonly Migration[];
	/** Calls back when another process may have put work into the store: a hint. Answers how to stop listening. */
	readonly hear: (ring: () => void) => () => void;
}

export function openPostgres(
	_url: string,
	_defaults: StorageDefaults,
	_tasks: readonly string[],
	_options: OpenOptions = {},
): Promise<Opened> {
	return Promise.reject(new Error("PostgreSQL is not there yet"));
}

/** What of the migrations the database lacks; applied unless `dryRun`. */
export function migratePostgresUrl(
	_url: string,
	_options: { readonly dryRun: boolean; readonly say?: (line: string) => void },
): Promise<{ readonly schema: number; readonly missing: readonly Migration[] }> {
	return Promise.reject(new Error("PostgreSQL is not there yet"));
}
