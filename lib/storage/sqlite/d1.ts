/**
 * The driver for Cloudflare D1. A batch is sent as a whole and is a transaction there; there is no other. A handle belongs to the
 * request that it came with, so make a driver, and the store over it, for each.
 */
import { PARAM_BYTES_MAX } from "../fitting.ts";
import type { Row } from "../rows.ts";
import { StorageUnavailable } from "../storage.ts";
import type { Param, SqlDriver, Statement } from "./driver.ts";

/** The part of a `D1Database` that is used here, so that Cloudflare's types stay out of the portable core. */
export interface D1Like {
	prepare(sql: string): D1Prepared;
	batch(statements: D1Prepared[]): Promise<D1Answer[]>;
}
export interface D1Prepared {
	bind(...params: Param[]): D1Prepared;
	all(): Promise<D1Answer>;
}
export interface D1Answer {
	readonly results: Row[];
	readonly meta: { readonly rows_read?: number; readonly rows_written?: number };
}

/** What D1 bills. */
export interface D1Cost {
	readonly statements: number;
	readonly rowsRead: number;
	readonly rowsWritten: number;
}

/** What D1 says when it is not the statement's fault, and the same one may work in a moment; or tomorrow, where a limit of the day is reached. */
const PASSING = new RegExp(
	[
		"network connection lost|connection (?:closed|refused|reset)|object (?:to be )?reset|reset because|overloaded|requests queued|exceeded timeout",
		"timed out|transient|internal error|client disconnected|error code: 1\\d\\d\\d|fetch failed",
		"too many (?:api |sub)?requests|SQLITE_BUSY|SQLITE_LOCKED|SQLITE_FULL|database is locked|database or disk is full|exceeded maximum (?:db|account)",
		"\\bdaily\\b.*\\blimit|\\blimit.*\\b(?:daily|per day)\\b|free[ -]tier.*\\blimit",
	].join("|"),
	"i",
);

/** Round the answer of a rehearsal, in the message that brings it. */
const BEGIN = "!tickq<";
const END = ">tickq!";

/** SQLite says in its message which JSON path is a bad one, with each ' doubled: the only word that comes out of a batch that is taken back. */
const askByFailing = ({ sql, params }: Statement): Statement => ({
	sql: `SELECT json_extract('{}', '${BEGIN}' || coalesce((${sql}), '') || '${END}')`,
	params,
});
function answerIn(message: string): string | null {
	const from = message.indexOf(BEGIN);
	const to = message.lastIndexOf(END);
	return from === -1 || to < from ? null : message.slice(from + BEGIN.length, to).replaceAll("''", "'");
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export function d1Driver(database: D1Like): SqlDriver & { cost(): D1Cost } {
	let sent = 0;
	let rowsRead = 0;
	let rowsWritten = 0;

	const prepare = ({ sql, params }: Statement): D1Prepared => {
		const prepared = database.prepare(sql);
		return params.length === 0 ? prepared : prepared.bind(...params);
	};
	async function send(statements: readonly Statement[], how: () => Promise<D1Answer[]>): Promise<Row[][]> {
		sent += statements.length;
		try {
			const answers = await how();
			for (const { meta } of answers) {
				rowsRead += meta.rows_read ?? 0;
				rowsWritten += meta.rows_written ?? 0;
			}
			return answers.map(({ results }) => results);
		} catch (error) {
			if (PASSING.test(messageOf(error))) throw new StorageUnavailable(`D1 cannot be used: ${messageOf(error)}`, { cause: error });
			throw error;
		}
	}
	const sendBatch = async (statements: readonly Statement[]): Promise<Row[][]> =>
		statements.length === 0 ? [] : send(statements, () => database.batch(statements.map(prepare)));

	return {
		paramBytesMax: PARAM_BYTES_MAX,
		async batch(statements) {
			// What arrives in this turn is gathered.
			await Promise.resolve();
			return sendBatch(typeof statements === "function" ? statements() : statements);
		},
		async rehearse(statements, question) {
			try {
				await sendBatch([...statements, askByFailing(question)]);
			} catch (error) {
				const answer = answerIn(messageOf(error));
				if (answer !== null) return answer;
				throw error;
			}
			throw new Error("a rehearsal was not taken back: this database answers a bad JSON path");
		},
		all: async statement => (await send([statement], async () => [await prepare(statement).all()]))[0]!,
		count: () => sent,
		cost: () => ({ statements: sent, rowsRead, rowsWritten }),
		async close() {},
	};
}
