/**
 * The driver for better-sqlite3, with group commit: batches that arrive in one turn of the event loop share one transaction, and so one
 * sync to disk. Another process that holds the file is waited for without blocking this one.
 */
import { type Migration, migrate } from "../migrate.ts";
import type { Row } from "../rows.ts";
import { StorageUnavailable } from "../storage.ts";
import type { Param, SqlDriver, Statement } from "./driver.ts";

/** The part of a better-sqlite3 `Database` that is used here, so that its types stay out of the portable core. */
export interface SqliteHandle {
	prepare(sql: string): PreparedStatement;
	exec(sql: string): unknown;
	close(): unknown;
}
interface PreparedStatement {
	readonly reader: boolean;
	all(params: object): unknown[];
	run(params: object): unknown;
}

export interface BetterSqlite3Options {
	/** Calls back once the input of this turn has been read: `setImmediate` on Node. */
	readonly defer: (callback: () => void) => void;
	readonly sleep: (ms: number) => Promise<void>;
	/** 0 ≤ n < 1. */
	readonly random: () => number;
	/** How long another process may hold the file before a call is refused, in milliseconds. */
	readonly busyMs?: number;
}

interface Waiting {
	readonly statements: readonly Statement[] | (() => readonly Statement[]);
	readonly resolve: (rows: Row[][]) => void;
	readonly reject: (error: unknown) => void;
}

const GROUP_MAX = 500;
/** Mean wait between two tries at a file that another process is writing to; each is drawn anew, so that nobody is starved. */
const BUSY_RETRY_MS = 2;

/**
 * glibc gives memory back to the system after every statement with several sorters or CTEs and asks for it again in the next, which
 * costs 0.3–0.6 ms a claim. Freeing one large block raises its threshold for the life of the process.
 */
const KEEP_FREED_MEMORY = "SELECT length(replace(zeroblob(30000000), x'01', x'02'))";
let keepsFreedMemory = false;

/** The settings every connection has: an accepted job survives a power cut, and readers never wait for the writer. */
const PRAGMAS = `
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA busy_timeout = 0;
PRAGMA foreign_keys = ON;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -8000;
PRAGMA wal_autocheckpoint = 4000;
PRAGMA journal_size_limit = 67108864;`;

const codeOf = (error: unknown): string => String((error as { code?: unknown } | null)?.code ?? "");
const isBusy = (error: unknown): boolean => codeOf(error).startsWith("SQLITE_BUSY");

/** What a disk does to a file that is open: nothing was written, and the same call may work when it is mended. https://sqlite.org/rescode.html */
const DISK_TROUBLES: readonly (readonly [code: string, message: string])[] = [
	["SQLITE_FULL", "the disk is full, or the database has reached its greatest size"],
	["SQLITE_READONLY", "the database may not be written to"],
	["SQLITE_IOERR", "the disk failed"],
	["SQLITE_CANTOPEN", "a file of the database cannot be opened"],
];
function thrownFor(error: unknown): unknown {
	const trouble = DISK_TROUBLES.find(([code]) => codeOf(error).startsWith(code));
	return trouble === undefined ? error : new StorageUnavailable(`${trouble[1]} (${codeOf(error)})`, { cause: error });
}

/** Sets up a connection and answers the driver over it. Throws when another process keeps the file locked while it is opened. */
export async function openBetterSqlite3(handle: SqliteHandle, options: BetterSqlite3Options): Promise<SqlDriver> {
	const busyMs = options.busyMs ?? 10_000;
	const prepared = new Map<string, PreparedStatement>();
	let waiting: Waiting[] = [];
	let scheduled = false;
	let sent = 0;

	function run(sql: string, params: readonly Param[]): Row[] {
		let statement = prepared.get(sql);
		if (statement === undefined) {
			statement = handle.prepare(sql);
			prepared.set(sql, statement);
		}
		sent++;
		const named: Record<string, Param> = {};
		for (let i = 0; i < params.length; i++) named[i + 1] = params[i]!;
		if (statement.reader) return statement.all(named) as Row[];
		statement.run(named);
		return [];
	}

	function runAll(statements: readonly Statement[]): Row[][] {
		return statements.map(({ sql, params, onlyIf }) =>
			onlyIf !== undefined && run(onlyIf.sql, onlyIf.params).length === 0 ? [] : run(sql, params),
		);
	}

	function transaction<T>(work: () => T, end: "COMMIT" | "ROLLBACK" = "COMMIT"): T {
		handle.exec("BEGIN IMMEDIATE");
		try {
			const result = work();
			handle.exec(end);
			return result;
		} catch (error) {
			try {
				handle.exec("ROLLBACK");
			} catch {
				// SQLite has rolled back by itself (disk full, I/O error); the first error says why.
			}
			throw error;
		}
	}

	/** Repeats `work` while another process holds the file; the event loop goes on meanwhile. */
	async function unlessBusy<T>(work: () => T): Promise<T> {
		for (let waited = 0; ; ) {
			try {
				return work();
			} catch (error) {
				if (!isBusy(error)) throw thrownFor(error);
				if (waited >= busyMs) throw new StorageUnavailable(`another process kept the database locked for ${busyMs} ms`, { cause: error });
				const pauseMs = BUSY_RETRY_MS * 2 * options.random();
				waited += pauseMs;
				await options.sleep(pauseMs);
			}
		}
	}

	async function flush(): Promise<void> {
		const group = waiting.slice(0, GROUP_MAX);
		waiting = waiting.slice(GROUP_MAX);
		const batches = group.flatMap(item => {
			try {
				return [{ ...item, list: typeof item.statements === "function" ? item.statements() : item.statements }];
			} catch (error) {
				item.reject(error);
				return [];
			}
		});
		try {
			const answers = await unlessBusy(() => transaction(() => batches.map(batch => runAll(batch.list))));
			batches.forEach((batch, i) => {
				batch.resolve(answers[i]!);
			});
		} catch (error) {
			if (batches.length === 1 || error instanceof StorageUnavailable) for (const batch of batches) batch.reject(error);
			// One bad batch has rolled back its neighbours: each gets a transaction of its own.
			else
				for (const batch of batches) {
					try {
						batch.resolve(await unlessBusy(() => transaction(() => runAll(batch.list))));
					} catch (own) {
						batch.reject(own);
					}
				}
		}
		if (waiting.length > 0) options.defer(() => void flush());
		else scheduled = false;
	}

	await unlessBusy(() => handle.exec(PRAGMAS));
	// A file that cannot be written to is told now rather than with the first job.
	await unlessBusy(() => transaction(() => handle.exec("PRAGMA user_version = 0"), "ROLLBACK"));
	if (!keepsFreedMemory) handle.prepare(KEEP_FREED_MEMORY).all({});
	keepsFreedMemory = true;

	return {
		batch(statements) {
			return new Promise((resolve, reject) => {
				waiting.push({ statements, resolve, reject });
				if (!scheduled) {
					scheduled = true;
					options.defer(() => void flush());
				}
			});
		},
		rehearse: (statements, question) =>
			unlessBusy(() => transaction(() => runAll([...statements, question]).at(-1)![0]!.answer as string, "ROLLBACK")),
		all: async statement => unlessBusy(() => run(statement.sql, statement.params)),
		count: () => sent,
		async close() {
			while (scheduled) await new Promise<void>(resolve => options.defer(resolve));
			handle.close();
		},
	};
}

/**
 * Brings a database to the schema of this code and answers what was applied. Two processes may start on one new file: the schema is read
 * again inside the transaction that changes it.
 */
export function migrateBetterSqlite3(handle: SqliteHandle, migrations: readonly Migration[]): Migration[] {
	const read = (sql: string): Row | undefined => handle.prepare(sql).all({})[0] as Row | undefined;
	const schema = (): number =>
		read("SELECT 1 FROM sqlite_schema WHERE name = 'meta'") === undefined
			? 0
			: Number(read("SELECT value FROM meta WHERE name = 'schema'")?.value);
	const apply = (migration: Migration): void => {
		handle.exec("BEGIN IMMEDIATE");
		try {
			if (schema() < migration.number) handle.exec(migration.sql);
			handle.exec("COMMIT");
		} catch (error) {
			handle.exec("ROLLBACK");
			throw error;
		}
	};
	return migrate({ schema, apply }, migrations);
}
