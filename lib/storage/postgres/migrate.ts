/** Bringing a PostgreSQL database to the schema of this code. */
import { type Migration, missingOf } from "../migrate.ts";
import { type PostgresHandle, type PostgresTransaction, quoted } from "./driver.ts";

/** PostgreSQL 14: the oldest that its makers still mended when this was written. */
const VERSION_MIN = 140_000;

/**
 * Takes all tables and views before the first is changed. Who works with the store meanwhile has some of them and waits for others: so these
 * locks are waited for briefly, given up together, and tried for again. A reader that stays, as a backup does, stops nobody but the migration.
 */
const LOCK_TABLES = `
DO $$
DECLARE
  tables text := (SELECT string_agg(oid::regclass::text, ', ' ORDER BY relname) FROM pg_class WHERE relnamespace = current_schema::regnamespace AND relkind IN ('r', 'v'));
  before text := current_setting('lock_timeout');
BEGIN
  IF tables IS NULL THEN RETURN; END IF;
  FOR attempt IN 1..20 LOOP
    BEGIN
      SET LOCAL lock_timeout = 150;
      EXECUTE 'LOCK TABLE ' || tables;
      PERFORM set_config('lock_timeout', before, true);
      RETURN;
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
      PERFORM pg_sleep(0.05);
    END;
  END LOOP;
  RAISE EXCEPTION USING ERRCODE = 'lock_not_available',
    MESSAGE = 'the store could not be migrated: another transaction keeps its tables, perhaps a backup. Try again when it has ended';
END $$`;

export interface Migrated {
	/** The schema it had before. */
	readonly schema: number;
	readonly missing: readonly Migration[];
}

/**
 * Applies what the database lacks, each migration in a transaction of its own; with `dryRun` only says what that is. Processes that start
 * together wait for each other. Throws SchemaTooNew, and a plain sentence when the server is too old or the schema is somebody else's.
 */
export async function migratePostgres(
	handle: PostgresHandle,
	schema: string,
	migrations: readonly Migration[],
	{ dryRun }: { readonly dryRun: boolean },
): Promise<Migrated> {
	const [server] = await handle.unsafe(
		"SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS number, current_setting('default_transaction_isolation') AS isolation",
	);
	if (server!.number < VERSION_MIN) throw new Error(`tickq needs PostgreSQL 14 or newer; this is ${server!.version}`);
	if (server!.isolation !== "read committed")
		throw new Error(`tickq needs the isolation level "read committed"; default_transaction_isolation is "${server!.isolation}" here`);

	const before = await versionOf(handle, schema);
	const missing = missingOf(before.schema, migrations, before.oldest);
	if (!dryRun)
		for (const migration of missing)
			await handle.begin(async transaction => {
				await transaction.unsafe("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))", [`tickq ${schema}`]);
				// Another process may have been here while this one waited.
				if ((await versionOf(transaction, schema)).schema >= migration.number) return;
				await makeSchema(transaction, schema);
				await transaction.unsafe(`SET LOCAL search_path = ${quoted(schema)}`);
				await transaction.unsafe("SET LOCAL client_min_messages = warning");
				await transaction.unsafe(LOCK_TABLES);
				await transaction.unsafe(migration.sql);
			});
	return { schema: before.schema, missing };
}

async function makeSchema(transaction: PostgresTransaction, schema: string): Promise<void> {
	const [found] = await transaction.unsafe(
		`SELECT current_user AS who, has_database_privilege(current_database(), 'CREATE') AS may,
  EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1::text) AS there`,
		[schema],
	);
	if (found!.there) return;
	if (!found!.may) {
		const statement = `CREATE SCHEMA ${quoted(schema)} AUTHORIZATION ${quoted(found!.who)}`;
		throw Object.assign(new Error(`${found!.who} may not make the schema ${schema}: let somebody who may run  ${statement}`), {
			code: "42501",
		});
	}
	await transaction.unsafe(`CREATE SCHEMA ${quoted(schema)}`);
}

async function versionOf(handle: PostgresTransaction, schema: string): Promise<{ schema: number; oldest: number }> {
	const [found] = await handle.unsafe(
		`SELECT to_regclass($1::text) IS NOT NULL AS meta,
  EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $2::text AND c.relname IN ('jobs', 'tenants', 'lanes')) AS jobs`,
		[`${quoted(schema)}.meta`, schema],
	);
	if (!found!.meta) {
		if (found!.jobs)
			throw new Error(
				`the schema ${schema} has tables of something else: name another one, as in postgres://user@host:5432/db?schema=tickq_jobs`,
			);
		return { schema: 0, oldest: 0 };
	}
	const rows = await handle.unsafe(`SELECT name, value FROM ${quoted(schema)}.meta WHERE name IN ('schema', 'oldest')`);
	const numberOf = (name: string): number => Number(rows.find(row => row.name === name)?.value ?? Number.NaN);
	if (!Number.isInteger(numberOf("schema")))
		throw new Error(
			`the schema ${schema} does not say which version it has: it was half made, or belongs to something else. Drop it, or name another`,
		);
	return { schema: numberOf("schema"), oldest: numberOf("oldest") };
}
