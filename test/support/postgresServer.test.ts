import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import process from "node:process";
import postgres from "postgres";
import { afterEach, describe, expect, it } from "vitest";
import { freshSchema, postgresUrl } from "./postgres.ts";
import { type PostgresServer, startPostgres } from "./postgresServer.ts";

const OWNER = 'import { startPostgres } from "./postgresServer.ts"; process.stdout.write((await startPostgres()).url);';

const opened: { end(): Promise<void> }[] = [];
afterEach(async () => {
	for (const each of opened.splice(0).reverse()) await each.end();
});

function connect(url: string): postgres.Sql {
	const sql = postgres(url, { max: 1, onnotice: () => {} });
	opened.push(sql);
	return sql;
}

async function start(options?: Parameters<typeof startPostgres>[0]): Promise<PostgresServer> {
	const server = await startPostgres(options);
	opened.push({ end: () => server.stop() });
	return server;
}

/** Where the server keeps its data. */
async function dataOf(sql: postgres.Sql): Promise<string> {
	const [row] = await sql`SELECT current_setting('data_directory') AS data`;
	return row!.data;
}

describe("the PostgreSQL of a run", () => {
	it.skipIf(process.env.TEST_DATABASE_URL)("is version 18", async () => {
		const [row] = await connect(postgresUrl)`SELECT current_setting('server_version_num')::int AS version`;
		expect(Math.floor(row!.version / 10_000)).toBe(18);
	});

	it("gives a schema that two connections share and that is gone after its drop", async () => {
		const { url, drop } = freshSchema();
		const schema = new URL(url).searchParams.get("schema")!;
		const [one, other] = [connect(postgresUrl), connect(postgresUrl)];
		await one`CREATE SCHEMA ${one(schema)}`;
		await one`CREATE TABLE ${one(schema)}.notes AS SELECT 'seen' AS text`;
		expect(await other`SELECT text FROM ${other(schema)}.notes`).toEqual([{ text: "seen" }]);
		await drop();
		expect(await other`SELECT 1 FROM pg_namespace WHERE nspname = ${schema}`).toEqual([]);
	});

	it("carries a notification from one connection to another", async () => {
		const [one, other] = [connect(postgresUrl), connect(postgresUrl)];
		const { promise, resolve } = Promise.withResolvers<string>();
		const channel = randomUUID();
		await one.listen(channel, resolve);
		await other.notify(channel, "wake up");
		expect(await promise).toBe("wake up");
	});
});

describe("a server of one's own", () => {
	it("keeps what was committed over a restart and over a crash, at the same address", async () => {
		const server = await start();
		await connect(server.url)`CREATE TABLE notes AS SELECT 'kept' AS text`;
		await server.restart();
		await connect(server.url)`INSERT INTO notes VALUES ('kept too')`;
		await server.stopNow();
		await expect(connect(server.url)`SELECT 1`).rejects.toMatchObject({ code: "ECONNREFUSED" });
		await server.start();
		expect(await connect(server.url)`SELECT text FROM notes`).toEqual([{ text: "kept" }, { text: "kept too" }]);
	});

	it("lets nobody in without its password", async () => {
		const url = new URL((await start()).url);
		url.password = "guessed";
		await expect(connect(url.href)`SELECT 1`).rejects.toMatchObject({ code: "28P01" });
	});

	it("leaves nothing behind", async () => {
		const server = await startPostgres();
		const data = await dataOf(connect(server.url));
		await server.stop();
		expect(existsSync(data)).toBe(false);
	});
});

describe("when its owner is killed", () => {
	it.each([
		["by SIGTERM, it goes with it", "SIGTERM"],
		["by SIGKILL, the next start clears up", "SIGKILL"],
	] as const)("%s", async (_, signal) => {
		const owner = spawn(process.execPath, ["--input-type=module", "--eval", OWNER], { cwd: import.meta.dirname });
		opened.push({
			end: async () => {
				owner.kill("SIGKILL");
			},
		});
		const [url] = await once(owner.stdout, "data");
		const data = await dataOf(connect(`${url}`));
		expect(existsSync(data)).toBe(true);
		const gone = once(owner, "exit");
		owner.kill(signal);
		await gone;
		if (signal === "SIGKILL") await start();
		expect(existsSync(data)).toBe(false);
	});
});

const accounts = existsSync("/etc/passwd") ? readFileSync("/etc/passwd", "utf8") : "";

describe.skipIf(process.getuid?.() !== 0)("started by root", () => {
	it.each(["postgres", "nobody"])("runs as the account %s", async user => {
		const uid = new RegExp(`^${user}:[^:]*:(\\d+):`, "m").exec(accounts)?.[1];
		if (uid === undefined) return await expect(startPostgres({ user })).rejects.toThrow(`no account ${user}`);
		const server = await start({ user });
		const sql = connect(server.url);
		const [row] = await sql`SELECT (pg_stat_file('PG_VERSION')).size > 0 AS runs`;
		expect(row!.runs).toBe(true);
	});
});
