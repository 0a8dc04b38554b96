/** Bringing a database to the schema of this code, one numbered file after the other. */

export interface Migration {
	readonly number: number;
	readonly name: string;
	readonly sql: string;
}

/** What a migration needs of a database: any number of statements in one transaction, and the schema it has (0: none). */
export interface MigrationTarget {
	schema(): number;
	apply(migration: Migration): void;
}

/** The database was made by newer code; this one must not touch it. */
export class SchemaTooNew extends Error {
	override readonly name = "SchemaTooNew";
}

/** The database lacks migrations, and whoever opened it was told not to apply them. */
export class SchemaTooOld extends Error {
	override readonly name = "SchemaTooOld";
	constructor(missing: readonly Migration[]) {
		const has = missing[0]!.number - 1;
		super(
			`the database ${has === 0 ? "is empty" : `has schema ${has}`}, this version of tickq needs schema ${missing.at(-1)!.number}: run npm run migrate`,
		);
	}
}

/** `0001_first.sql` → {number: 1, name: "first"}. */
export function toMigration(fileName: string, sql: string): Migration {
	const match = /^(\d{4})_(\w+)\.sql$/.exec(fileName);
	if (match === null) throw new Error(`${fileName} is not named like 0001_first.sql`);
	return { number: Number(match[1]), name: match[2]!, sql };
}

/**
 * What a database with schema `has` lacks, in order.
 * @param oldest the oldest schema whose code may still use the database: what is newer than this code and says so is left as it is
 */
export function missingOf(has: number, migrations: readonly Migration[], oldest = has): Migration[] {
	const ordered = [...migrations].sort((a, b) => a.number - b.number);
	ordered.forEach((migration, i) => {
		if (migration.number !== i + 1) throw new Error(`migration ${i + 1} is missing: found ${migration.number}_${migration.name}`);
	});
	if (Math.min(has, oldest) > ordered.length)
		throw new SchemaTooNew(
			`the database has schema ${has}, this version of tickq knows ${ordered.length}: start the newer version, or restore a backup`,
		);
	return ordered.filter(migration => migration.number > has);
}

/** Applies what is missing, in order, each in a transaction of its own. Answers what was applied. */
export function migrate(target: MigrationTarget, migrations: readonly Migration[]): Migration[] {
	const missing = missingOf(target.schema(), migrations);
	for (const migration of missing) target.apply(migration);
	return missing;
}

/** `0001_first`, as its file is called. */
export const fileNameOf = ({ number, name }: Migration): string => `${String(number).padStart(4, "0")}_${name}`;

/** The migrations as a script, each in a transaction of its own. `schema` is made if need be, and is where they happen; absent: as it is. */
export const scriptOf = (migrations: readonly Migration[], schema?: string): string =>
	migrations
		.map(migration => {
			const make = migration.number === 1 ? `CREATE SCHEMA IF NOT EXISTS "${schema}";\n` : "";
			const where = schema === undefined ? "" : `${make}SET LOCAL search_path = "${schema}";\n`;
			return `-- ${fileNameOf(migration)}\nBEGIN;\n${where}${migration.sql.trim()}\nCOMMIT;\n`;
		})
		.join("\n");
