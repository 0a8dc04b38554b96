/** What the PostgreSQL dialect needs from a client, and what its errors mean. The client itself is postgres.js, which a root brings. */
import type { Row } from "../rows.ts";
import { StorageUnavailable } from "../storage.ts";

export type Param = string | number | boolean | null;

/** The part of a postgres.js `Sql` that is used here, so that its types stay out of the portable core. */
export interface PostgresHandle {
	unsafe(sql: string, params?: Param[], options?: { prepare?: boolean }): PromiseLike<Row[]>;
	begin<T>(work: (handle: PostgresHandle) => Promise<T>): Promise<T>;
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

/** SQLSTATEs and client codes after which the same call may work later. */
const PASSING =
	/^(?:08|53|57P0|55P03|57014|40001|40P01|25006|ECONN|ETIMEDOUT|EPIPE|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|CONNECTION_|CONNECT_TIMEOUT)/;

/** The code of a PostgreSQL or connection error; an empty text for others. */
export function codeOf(error: unknown): string {
	const { code, errors } = error as { code?: unknown; errors?: readonly { code?: unknown }[] };
	return String(code ?? errors?.[0]?.code ?? "");
}
export const isPassing = (error: unknown): boolean => PASSING.test(codeOf(error));

/** A schema name as it stands in SQL. */
export const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/** A list of numbers as the text of a bigint[]. */
export const list = (numbers: readonly number[]): string => `{${numbers.join(",")}}`;

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
	async #on(handle: PostgresHandle, sql: string, params: Param[]): Promise<Row[]> {
		this.#sent++;
		try {
			return await handle.unsafe(sql, params, { prepare: this.#prepare });
		} catch (error) {
			throw isPassing(error) ? new StorageUnavailable((error as Error).message || codeOf(error), { cause: error }) : error;
		}
	}

	/** Does work in one transaction and takes it back. */
	async rehearse<T>(work: (query: PostgresDriver["query"]) => Promise<T>): Promise<T> {
		let answer: { value: T } | undefined;
		const undo = new Error("taken back");
		try {
			await this.#handle.begin(async handle => {
				answer = { value: await work((sql, params = []) => this.#on(handle, sql, params)) };
				throw undo;
			});
		} catch (error) {
			if (error !== undo) throw isPassing(error) ? new StorageUnavailable((error as Error).message, { cause: error }) : error;
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
