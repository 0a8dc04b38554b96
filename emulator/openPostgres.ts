/** Opens a PostgreSQL database: waits for it, brings it to the schema of this code, and answers the storage over it. */
import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../lib/log.ts";
import { type Migration, SchemaTooOld, toMigration } from "../lib/storage/migrate.ts";
import { isPassing, notify, PostgresDriver, thrownFor } from "../lib/storage/postgres/driver.ts";
import { migratePostgres } from "../lib/storage/postgres/migrate.ts";
import { PostgresEngine } from "../lib/storage/postgres/postgresEngine.ts";
import type { Storage, StorageDefaults } from "../lib/storage/storage.ts";
import { openStore } from "../lib/storage/store.ts";
import { type Address, connectOnce, listen, type Patience, Pool, readAddress, SILENCE_MS } from "./postgresPool.ts";

const MIGRATIONS = new URL("../lib/storage/migrations/postgres/", import.meta.url);
const readMigrations = (): Migration[] =>
	readdirSync(MIGRATIONS)
		.filter(name => name.endsWith(".sql"))
		.map(name => toMigration(name, readFileSync(new URL(name, MIGRATIONS), "utf8")));

export interface OpenOptions {
	/** Whether missing migrations are applied (the default); if not, a store with an older schema is refused. */
	readonly migrate?: boolean;
	/** Told, as one line for a person, what opening waits for. */
	readonly say?: (line: string) => void;
	/** How long to wait for a database that does not answer yet, in milliseconds. 0: not at all. */
	readonly waitMs?: number;
	/** A statement is given up when its connection has been silent for so long. */
	readonly silenceMs?: number;
}

export interface Opened {
	readonly storage: Storage;
	/** What was applied now. */
	readonly migrated: readonly Migration[];
	/** Calls back when another process may have put work into the store: a hint. Answers how to stop listening. */
	readonly hear: (ring: () => void) => () => void;
}

const WAIT_MS = 250;
const WAIT_MS_MAX = 5000;

/** Calls until the database answers, for at most `waitMs`, and says what it waits for. */
async function whenThere<T>({ waitMs = 0, say = () => {} }: OpenOptions, { url }: Address, call: () => Promise<T>): Promise<T> {
	const giveUpAt = performance.now() + waitMs;
	for (let pauseMs = WAIT_MS; ; pauseMs = Math.min(2 * pauseMs, WAIT_MS_MAX)) {
		try {
			return await call();
		} catch (error) {
			if (!isPassing(error) || performance.now() + pauseMs > giveUpAt) throw thrownFor(error);
			say(`waiting for the database at ${url.host}: ${messageOf(thrownFor(error))}`);
			await sleep(pauseMs);
		}
	}
}

/** Of names in PostgreSQL. */
const CHANNEL_LENGTH_MAX = 63;
/** Submits that follow each other closely share a call to the other processes. */
const ANNOUNCE_MS = 20;

/** Tells others, at once and then at most every ANNOUNCE_MS. */
function announcer(tell: () => PromiseLike<unknown>): () => void {
	let again = false;
	let timer: NodeJS.Timeout | undefined;
	const announce = (): void => {
		again = false;
		timer = setTimeout(() => {
			timer = undefined;
			if (again) announce();
		}, ANNOUNCE_MS);
		tell().then(undefined, () => {});
	};
	return () => {
		if (timer === undefined) announce();
		else again = true;
	};
}

/** Opens the store at `address` (see `readAddress`). Throws SchemaTooNew, SchemaTooOld, or an error whose message is for a person. */
export async function openPostgres(
	address: string,
	defaults: StorageDefaults,
	tasks: readonly string[],
	options: OpenOptions = {},
): Promise<Opened> {
	const read = readAddress(address);
	const patience: Patience = { silenceMs: options.silenceMs ?? SILENCE_MS, isMigrating: true };
	const handle = new Pool(read, patience);
	const channel = `tickq_${read.schema}`.slice(0, CHANNEL_LENGTH_MAX);
	const self = randomUUID();
	const { schema, prepare } = read;
	const announce = announcer(() => notify(handle, channel, self, prepare));
	const driver = new PostgresDriver(handle, { schema, prepare, defer: setImmediate, announce });
	try {
		const migrations = readMigrations();
		const dryRun = options.migrate === false;
		const { missing } = await whenThere(options, read, () => migratePostgres(handle, schema, migrations, { dryRun }));
		if (dryRun && missing.length > 0) throw new SchemaTooOld(missing);
		patience.isMigrating = false;
		const storage = await openStore(new PostgresEngine(driver), defaults, tasks);
		const hear = (ring: () => void): (() => void) => {
			const stop = listen(
				onLost => connectOnce(read, null, onLost),
				channel,
				said => {
					if (said !== self) ring();
				},
			);
			handle.endings.add(stop);
			return () => {
				handle.endings.delete(stop);
				stop();
			};
		};
		return { storage, migrated: missing, hear };
	} catch (error) {
		await handle.end({ timeout: 1 });
		throw error;
	}
}

/** What of the migrations the database lacks, and the schema it has then; applied unless `dryRun`. */
export async function migratePostgresUrl(
	address: string,
	{ dryRun, say }: { readonly dryRun: boolean; readonly say?: (line: string) => void },
): Promise<{ readonly schema: number; readonly missing: readonly Migration[] }> {
	const read = readAddress(address);
	const handle = new Pool({ ...read, pool: 1 }, { silenceMs: SILENCE_MS, isMigrating: true });
	const migrations = readMigrations();
	try {
		const { schema, missing } = await whenThere(say === undefined ? {} : { say }, read, () =>
			migratePostgres(handle, read.schema, migrations, { dryRun }),
		);
		return { schema: dryRun ? schema : Math.max(schema, migrations.length), missing };
	} finally {
		await handle.end({ timeout: 1 });
	}
}
