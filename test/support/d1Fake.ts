/** What looks like D1 and is better-sqlite3 in this process: for tests whose clock only moves when told, and for what D1 does when it fails. */
import type Database from "better-sqlite3";
import type { D1Answer, D1Like } from "../../lib/storage/sqlite/d1.ts";
import { Prepared } from "./d1Prepared.ts";

/** Called round each call with what it sends; what it throws, the caller is told. */
export interface D1Trouble {
	before?(statements: readonly string[]): void;
	/** The call has been carried out, and only its answer is lost. */
	after?(statements: readonly string[]): void;
}

export function d1Fake(database: Database.Database, trouble: D1Trouble = {}): D1Like {
	async function send(prepared: readonly Prepared[]): Promise<D1Answer[]> {
		const texts = prepared.map(({ sql }) => sql);
		trouble.before?.(texts);
		const answers = database.transaction(() =>
			prepared.map(({ sql, params }) => {
				const statement = database.prepare(sql);
				const named = Object.fromEntries(params.map((param, i) => [i + 1, param]));
				const results = statement.reader ? statement.all(named) : [];
				if (!statement.reader) statement.run(named);
				return { results, meta: {} } as D1Answer;
			}),
		)();
		trouble.after?.(texts);
		return answers;
	}
	return {
		prepare: sql => new Prepared(sql, async statement => (await send([statement]))[0]!),
		batch: statements => send(statements as Prepared[]),
	};
}
