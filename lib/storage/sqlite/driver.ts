/** What the SQLite dialect needs from a database: the only thing that differs between better-sqlite3 and D1. */

import type { Row } from "../rows.ts";

export type Param = string | number | null;

export interface Statement {
	readonly sql: string;
	/** `?1` … `?n` of the text, in order. */
	readonly params: readonly Param[];
	/**
	 * A cheap read that finds no row when the statement would change nothing. A driver with a transaction of its own may look first and
	 * skip the statement; one that sends the batch as a whole runs it.
	 */
	readonly onlyIf?: { readonly sql: string; readonly params: readonly Param[] };
}

export interface SqlDriver {
	/** Bytes of one parameter at most, where that is less than anybody asks for. */
	readonly paramBytesMax?: number;
	/**
	 * All or nothing, in order, serialised against other writers; answers the rows of each statement. Given a function, the statements
	 * are asked for when their turn comes, so that a verb can gather what arrives until then.
	 */
	batch(statements: readonly Statement[] | (() => readonly Statement[])): Promise<Row[][]>;
	/**
	 * Runs a batch, asks a question of what the store has become, and takes it all back: nothing is written.
	 * @param question a SELECT of one row with one text, `answer`
	 */
	rehearse(statements: readonly Statement[], question: Statement): Promise<string>;
	/** One read outside a write transaction. */
	all(statement: Statement): Promise<Row[]>;
	/** Statements sent since the start. */
	count(): number;
	close(): Promise<void>;
}
