/**
 * What a test file on Cloudflare D1 stands on: the real one, in workerd. Importing it starts one for the file. A call through Miniflare's
 * own proxy costs 8 ms; so a small Worker takes the calls of a turn together, and what tests are handed looks like D1 and sends them there.
 */
import { Agent, request } from "node:http";
import { json } from "node:stream/consumers";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { afterAll } from "vitest";
import { readMigrations } from "../../emulator/openStorage.ts";
import type { D1Answer, D1Like, D1Prepared } from "../../lib/storage/sqlite/d1.ts";
import { Prepared } from "./d1Prepared.ts";

const WORKER = `export default {
	async fetch(request, { DB }) {
		const answer = async ({ one, statements }) => {
			const prepared = statements.map(({ sql, params }) => DB.prepare(sql).bind(...params));
			try {
				return { answers: one ? [await prepared[0].all()] : await DB.batch(prepared) };
			} catch ({ message }) {
				return { message };
			}
		};
		return Response.json(await Promise.all((await request.json()).map(answer)));
	},
};`;

const miniflare = new Miniflare(
	convertV4MiniflareOptions({ compatibilityDate: "2026-11-01", modules: true, script: WORKER, d1Databases: { DB: "tickq" }, cf: false }),
);
const url = await miniflare.ready;
afterAll(() => miniflare.dispose());

interface Call {
	readonly one: boolean;
	readonly statements: readonly D1Prepared[];
	readonly resolve: (answers: D1Answer[]) => void;
	readonly reject: (error: Error) => void;
}
let calls: Call[] = [];

const send = (statements: readonly D1Prepared[], one = false): Promise<D1Answer[]> =>
	new Promise((resolve, reject) => {
		if (calls.push({ one, statements, resolve, reject }) === 1) setImmediate(() => void sendCalls());
	});

/** A millisecond a call cheaper than fetch. */
const agent = new Agent({ keepAlive: true });
const post = (text: string): Promise<unknown> =>
	new Promise((resolve, reject) => {
		const headers = { "content-length": Buffer.byteLength(text) };
		request(url, { method: "POST", agent, headers }, answer => json(answer).then(resolve, reject))
			.on("error", reject)
			.end(text);
	});

async function sendCalls(): Promise<void> {
	const sent = calls;
	calls = [];
	const all = (await post(JSON.stringify(sent))) as ({ answers: D1Answer[] } | { message: string })[];
	for (const [i, call] of sent.entries()) {
		const answer = all[i]!;
		if ("answers" in answer) call.resolve(answer.answers);
		else call.reject(new Error(answer.message));
	}
}

/** The file's one database. */
export const d1: D1Like = {
	prepare: sql => new Prepared(sql, async statement => (await send([statement], true))[0]!),
	batch: statements => send(statements),
};

/** Every table is dropped and made anew: about 5 ms. */
export async function emptyD1(): Promise<void> {
	const { results } = await d1
		.prepare(
			"SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\'",
		)
		.all();
	await d1.batch(
		[...results.map(({ name }) => `DROP TABLE ${name}`), ...readMigrations().map(({ sql }) => sql)].map(sql => d1.prepare(sql)),
	);
}
