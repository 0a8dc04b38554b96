/** What the PostgreSQL dialect needs from a client, and what its errors mean. The client itself is postgres.js, which a root brings. */
import type { Row } from "../rows.ts";
import { StorageUnavailable } from "../storage.ts";

export type Param = string | number | boolean | null;

/** The part of a postgres.js `Sql` that is used here, so that its types stay out of the portable core. */
export interface PostgresTransaction {
	unsafe(sql: string, params?: Param[], options?: { prepare?: boolean }): PromiseLike<Row[]>;
}
export interface PostgresHandle extends PostgresTransaction {
	begin<T>(work: (transaction: PostgresTransaction) => Promise<T>): Promise<T>;
	end(options?: { timeout?: number }): Promise<void>;
}

export interface PostgresOptions {
	readonly schema: string;
	/** Whether statements are prepared once per connection (the default). Not through a transaction pooler that does not know them. */
	readonly prepare?: boolean;
	/** Calls back in a later turn of the event loop: `setImmediate` on Node. */
	readonly defer: (callback: () => void) => void;
	/** Tells other processes that there may be work. A hint: what it misses is found by the next tick. */
	readonly announce?: () => void;
}

/**
 * SQLSTATEs and client codes after which the same call may work later. https://www.postgresql.org/docs/current/errcodes-appendix.html
 * 08 connection, 53 resources, 57P0 shutdown and start, 58 the server's system, 25P a transaction that idled, 25006 a server that only
 * reads, 55P03 and 57014 waits that were cut short, 40 conflicts.
 */
const PASSING =
	/^(?:08|53|58|57P0|25P0[34]|25006|55P03|57014|40001|40P01|ECONN|ETIMEDOUT|EPIPE|EADDRNOTAVAIL|ENOTFOUND|EAI_AGAIN|E(?:HOST|NET)(?:UNREACH|DOWN)|CONNECTION_|CONNECT_TIMEOUT|POOL_EXHAUSTED)/;

/** The code of a PostgreSQL or connection error; an empty text for others. */
export function codeOf(error: unknown): string {
	const { code, errors } = error as { code?: unknown; errors?: readonly { code?: unknown }[] };
	return String(code ?? errors?.[0]?.code ?? "");
}
export const isPassing = (error: unknown): boolean => PASSING.test(codeOf(error));

/** The same error as a sentence, where postgres.js or PostgreSQL says too little. */
function sayingOf(error: unknown): string {
	const code = codeOf(error);
	const message = (error as Error).message || (error as { errors?: readonly Error[] }).errors?.[0]?.message || code;
	const [, what, where] = /^write (CONNECT\w+) (.*)$/.exec(message) ?? [];
	if (what === "CONNECT_TIMEOUT") return `the database at ${where} does not answer`;
	if (what === "CONNECTION_CLOSED") return `the connection to the database at ${where} was lost`;
	if (what !== undefined) return "the connection to the database is closed";
	if (code === "25006") return `${message}: the server only reads, as a standby does`;
	return message;
}

/** What is thrown for it: `StorageUnavailable` if the same call may work later, else the error itself. */
export const thrownFor = (error: unknown): unknown =>
	isPassing(error) ? new StorageUnavailable(sayingOf(error), { cause: error }) : error;

/** Tells whoever listens on the channel. */
export const notify = (handle: PostgresHandle, channel: string, said: string, prepare: boolean): PromiseLike<Row[]> =>
	handle.unsafe("SELECT pg_notify($1::text, $2::text)", [channel, said], { prepare });

/** A schema name as it stands in SQL. */
export const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/** A list of numbers as the text of a bigint[]. */
export const list = (numbers: readonly number[]): string => `{${numbers.join(",")}}`;

/** What a rehearsal may wait for this process, and for others' locks. */
const REHEARSAL_IDLE_MS = 10_000;
const REHEARSAL_LOCK_MS = 5_000;

export class PostgresDriver {
	readonly #handle: PostgresHandle;
	readonly #prepare: boolean;
	#sent = 0;
	/** Stands before every name in SQL: `"tickq".` */
	readonly at: string;
	readonly defer: (callback: () => void) => void;
	readonly announce: () => void;

	constructor(handle: PostgresHandle, { schema, prepare = true, defer, announce = () => {} }: PostgresOptions) {
		this.#handle = handle;
		this.#prepare = prepare;
		this.at = `${quoted(schema)}.`;
		this.defer = defer;
		this.announce = announce;
	}

	/** One statement, its own transaction. `$1` … `$n` of the text are the params, in order. */
	query(sql: string, params: Param[] = []): Promise<Row[]> {
		return this.#on(this.#handle, sql, params);
	}
	async #on(handle: PostgresTransaction, sql: string, params: Param[]): Promise<Row[]> {
		this.#sent++;
		try {
			return await handle.unsafe(sql, params, { prepare: this.#prepare });
		} catch (error) {
			throw thrownFor(error);
		}
	}

	/** Does work in one transaction and takes it back. */
	async rehearse<T>(work: (query: PostgresDriver["query"]) => Promise<T>): Promise<T> {
		let answer: { value: T } | undefined;
		const undo = new Error("taken back");
		try {
			await this.#handle.begin(async handle => {
				// Its locks are let go of also when this process, or the way to it, ends without a word.
				await handle.unsafe(
					`SET LOCAL idle_in_transaction_session_timeout = ${REHEARSAL_IDLE_MS}; SET LOCAL lock_timeout = ${REHEARSAL_LOCK_MS}`,
				);
				answer = { value: await work((sql, params = []) => this.#on(handle, sql, params)) };
				throw undo;
			});
		} catch (error) {
			if (error !== undo) throw error instanceof StorageUnavailable ? error : thrownFor(error);
		}
		return answer!.value;
	}

	count(): number {
		return this.#sent;
	}
	close(): Promise<void> {
		return this.#handle.end({ timeout: 5 });
	}
}
