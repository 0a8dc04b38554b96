/** `npm run migrate`: brings the database to the schema of this code, and says what it did; with --dry-run the SQL that is missing. */
import { fileNameOf, type Migration, scriptOf } from "../lib/storage/migrate.ts";
import { storageMistake } from "./nodeDeps.ts";
import { migrateFile } from "./openStorage.ts";
import { asksForHelp, type Command, databaseName, helpText, isPostgres, mistakesText, readSettings } from "./settings.ts";

const MIGRATE: Command = {
	usage: "Usage: npm run migrate -- [--dry-run] [options]\n\nApplies the migrations that the database lacks, one line each.",
	switches: [{ flag: "dry-run", about: "print the SQL of what is missing; nothing is written (npm run -s, to pipe it)" }],
	only: ["database"],
};

/** Runs the command; answers its exit code: 0 fine, 1 the database could not be brought there, 2 wrong use. */
export async function migrateCommand(args: readonly string[]): Promise<number> {
	if (asksForHelp(args)) {
		process.stdout.write(helpText(MIGRATE));
		return 0;
	}
	const { settings, on, mistakes } = readSettings(args, process.env, MIGRATE);
	if (mistakes.length > 0) {
		process.stderr.write(mistakesText(mistakes, "migrate"));
		return 2;
	}
	const dryRun = on.has("dry-run");
	try {
		const { has, missing, inSchema } = await migrateDatabase(settings.database, dryRun);
		if (missing.length === 0) process.stdout.write(`${dryRun ? "-- " : ""}nothing to do: schema ${has}\n`);
		else if (dryRun) process.stdout.write(scriptOf(missing, inSchema));
		else for (const migration of missing) process.stdout.write(`applied ${fileNameOf(migration)}\n`);
		return 0;
	} catch (error) {
		process.stderr.write(mistakesText([storageMistake(error, settings.database)], "migrate"));
		return 1;
	}
}

interface Migrated {
	/** The number of its schema. */
	readonly has: number;
	readonly missing: readonly Migration[];
	/** The name of its schema, where it has one. */
	readonly inSchema?: string;
}

async function migrateDatabase(database: string, dryRun: boolean): Promise<Migrated> {
	if (!isPostgres(database)) {
		const { schema: has, missing } = migrateFile(database, { dryRun });
		return { has, missing };
	}
	const { migratePostgresUrl } = await import("./openPostgres.ts");
	const { readAddress } = await import("./postgresPool.ts");
	const say = (line: string): void => {
		process.stderr.write(`${line.replaceAll(database, databaseName(database))}\n`);
	};
	const { schema: has, missing } = await migratePostgresUrl(database, { dryRun, say });
	return { has, missing, inSchema: readAddress(database).schema };
}
