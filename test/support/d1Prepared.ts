/** A statement as D1 prepares it, sent by whoever stands in for D1. */
import type { D1Answer, D1Prepared } from "../../lib/storage/sqlite/d1.ts";
import type { Param } from "../../lib/storage/sqlite/driver.ts";

export class Prepared implements D1Prepared {
	readonly sql: string;
	readonly params: readonly Param[];
	readonly #send: (statement: Prepared) => Promise<D1Answer>;
	constructor(sql: string, send: (statement: Prepared) => Promise<D1Answer>, params: readonly Param[] = []) {
		this.sql = sql;
		this.params = params;
		this.#send = send;
	}
	bind(...params: Param[]): D1Prepared {
		return new Prepared(this.sql, this.#send, params);
	}
	all(): Promise<D1Answer> {
		return this.#send(this);
	}
}
