/** Opens a PostgreSQL database: waits for it, brings it to the schema of this code, and answers the storage over it. */
import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import postgres from "postgres";
import { messageOf } from "../lib/log.ts";
import { type Migration, SchemaTooOld, toMigration } from "../lib/storage/migrate.ts";
import { codeOf, isPassing, PostgresDriver, type PostgresHandle } from "../lib/storage/postgres/driver.ts";
import { migratePostgres } from "../lib/storage/postgres/migrate.ts";
import { PostgresEngine } from "../lib/storage/postgres/postgresEngine.ts";
import type { Storage, StorageDefaults } from "../lib/storage/storage.ts";
import { openStore } from "../lib/storage/store.ts";

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
}

export interface Opened {
	readonly storage: Storage;
	/** What was applied now. */
	readonly migrated: readonly Migration[];
	/** Calls back when another process may have put work into the store: a hint. Answers how to stop listening. */
	readonly hear: (ring: () => void) => () => void;
}

/** What an address says beside host, user and database. https://www.postgresql.org/docs/current/libpq-connect.html names the TLS ones. */
interface Address {
	readonly url: URL;
	/** Schema that everything is kept in. */
	readonly schema: string;
	/** Connections at most. */
	readonly pool: number;
	/** false behind a transaction pooler that does not know prepared statements. */
	readonly prepare: boolean;
	readonly ssl: postgres.Options<never>["ssl"];
}

const SSL_MODES = ["disable", "prefer", "require", "verify-full"] as const;

/** Reads ?schema=tickq&pool=10&prepare=true&sslmode=prefer&sslrootcert=FILE. Throws a sentence for what it does not know. */
export function readAddress(address: string): Address {
	const url = new URL(address);
	const given = new Map(url.searchParams);
	url.search = "";
	const take = (name: string, initial: string): string => {
		const value = given.get(name) ?? initial;
		given.delete(name);
		return value;
	};
	const schema = take("schema", "tickq");
	const pool = Number(take("pool", "10"));
	const prepare = take("prepare", "true");
	const sslmode = take("sslmode", "prefer") as (typeof SSL_MODES)[number];
	const rootCert = take("sslrootcert", "");
	if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema)) throw new Error(`schema=${schema} is no name of a schema: small letters, digits and _`);
	if (!Number.isInteger(pool) || pool < 1 || pool > 1000) throw new Error("pool is not a whole number between 1 and 1000");
	if (prepare !== "true" && prepare !== "false") throw new Error("prepare is neither true nor false");
	if (!SSL_MODES.includes(sslmode)) throw new Error(`sslmode=${sslmode} is none of ${SSL_MODES.join(", ")}`);
	if (given.size > 0)
		throw new Error(`${[...given.keys()].join(", ")} in the address is not known. Known: schema, pool, prepare, sslmode, sslrootcert`);
	const ssl = rootCert !== "" ? { ca: readFileSync(rootCert, "utf8"), rejectUnauthorized: true } : sslmode === "disable" ? false : sslmode;
	return { url, schema, pool, prepare: prepare === "true", ssl };
}

const connect = ({ url, pool, ssl, prepare }: Address) =>
	postgres(url.href, {
		max: pool,
		prepare,
		...(ssl === undefined ? {} : { ssl }),
		fetch_types: false,
		connect_timeout: 10,
		onnotice: () => {},
		connection: { application_name: "tickq" },
		types: { bigint: { to: 20, from: [20], serialize: String, parse: Number } },
	});

const WAIT_MS = 250;
const WAIT_MS_MAX = 5000;

/** Calls until the database answers, for at most `waitMs`, and says what it waits for. */
async function whenThere<T>({ waitMs = 0, say = () => {} }: OpenOptions, { url }: Address, call: () => Promise<T>): Promise<T> {
	const giveUpAt = performance.now() + waitMs;
	for (let pauseMs = WAIT_MS; ; pauseMs = Math.min(2 * pauseMs, WAIT_MS_MAX)) {
		try {
			return await call();
		} catch (error) {
			if (!isPassing(error) || performance.now() + pauseMs > giveUpAt) throw error;
			say(`waiting for the database at ${url.host}: ${messageOf(error) || codeOf(error)}`);
			await sleep(pauseMs);
		}
	}
}

/** Submits that follow each other closely share a call to the other processes. */
const ANNOUNCE_MS = 20;

/** Tells others through NOTIFY, at once and then at most every ANNOUNCE_MS. */
function announcer(sql: postgres.Sql, channel: string, self: string): () => void {
	let again = false;
	let timer: NodeJS.Timeout | undefined;
	const tell = (): void => {
		again = false;
		timer = setTimeout(() => {
			timer = undefined;
			if (again) tell();
		}, ANNOUNCE_MS);
		sql.notify(channel, self).catch(() => {});
	};
	return () => {
		if (timer === undefined) tell();
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
	const sql = connect(read);
	const channel = `tickq_${read.schema}`;
	const self = randomUUID();
	const announce = announcer(sql, channel, self);
	const handle = sql as unknown as PostgresHandle;
	const driver = new PostgresDriver(handle, { schema: read.schema, prepare: read.prepare, defer: setImmediate, announce });
	try {
		const migrations = readMigrations();
		const dryRun = options.migrate === false;
		const { missing } = await whenThere(options, read, () => migratePostgres(handle, read.schema, migrations, { dryRun }));
		if (dryRun && missing.length > 0) throw new SchemaTooOld(missing);
		const storage = await openStore(new PostgresEngine(driver), defaults, tasks);
		const hear = (ring: () => void): (() => void) => {
			const listening = sql.listen(channel, from => {
				if (from !== self) ring();
			});
			listening.catch(() => {});
			return () => void listening.then(({ unlisten }) => unlisten()).catch(() => {});
		};
		return { storage, migrated: missing, hear };
	} catch (error) {
		await sql.end({ timeout: 1 });
		throw error;
	}
}

/** What of the migrations the database lacks, and the schema it has then; applied unless `dryRun`. */
export async function migratePostgresUrl(
	address: string,
	{ dryRun, say }: { readonly dryRun: boolean; readonly say?: (line: string) => void },
): Promise<{ readonly schema: number; readonly missing: readonly Migration[] }> {
	const read = readAddress(address);
	const sql = connect({ ...read, pool: 1 });
	const migrations = readMigrations();
	try {
		const { schema, missing } = await whenThere(say === undefined ? {} : { say }, read, () =>
			migratePostgres(sql as unknown as PostgresHandle, read.schema, migrations, { dryRun }),
		);
		return { schema: dryRun ? schema : Math.max(schema, migrations.length), missing };
	} finally {
		await sql.end({ timeout: 1 });
	}
}
