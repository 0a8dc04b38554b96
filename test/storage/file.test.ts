/** What only shows with real files: several processes, kills, and files that are not what they should be. */
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { afterAll, describe, expect, it } from "vitest";
import { openStorage, readMigrations } from "../../emulator/openStorage.ts";
import { SchemaTooNew } from "../../lib/storage/migrate.ts";
import { migrateBetterSqlite3 } from "../../lib/storage/sqlite/betterSqlite3.ts";
import { StorageUnavailable } from "../../lib/storage/storage.ts";
import { DEFAULTS, Desk, TASKS } from "./desk.ts";

const SCRIPT = fileURLToPath(new URL("hotProcess.ts", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "tickq-"));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;
const newFile = () => join(folder, `queue${++files}.db`);
const open = (file: string) => openStorage(file, DEFAULTS, TASKS);

interface Child {
	readonly process: ChildProcess;
	/** Resolves when it has printed this line. */
	says(line: string): Promise<void>;
	/** What it printed last, once it has ended well. */
	answer(): Promise<Answer>;
	readonly ended: Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>;
}
// biome-ignore lint/suspicious/noExplicitAny: whatever the script prints.
type Answer = any;

function start(...args: readonly (string | number)[]): Child {
	const child = spawn(process.execPath, [SCRIPT, ...args.map(String)], { stdio: ["pipe", "pipe", "pipe"] });
	let stdout = "";
	let stderr = "";
	let heard = () => {};
	child.stdout.on("data", data => {
		stdout += data;
		heard();
	});
	child.stderr.on("data", data => {
		stderr += data;
	});
	const ended = new Promise<{ code: number | null; stdout: string; stderr: string }>(resolve =>
		child.on("close", code => {
			resolve({ code, stdout, stderr });
			heard();
		}),
	);
	return {
		process: child,
		ended,
		async says(line) {
			while (!stdout.split("\n").includes(line)) {
				if (child.exitCode !== null) throw new Error(`ended without "${line}": ${stderr}`);
				await new Promise<void>(resolve => {
					heard = resolve;
				});
			}
		},
		async answer() {
			const { code, stdout, stderr } = await ended;
			expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
			return JSON.parse(stdout.trim().split("\n").at(-1)!);
		},
	};
}
/** Lets processes go at the same moment. */
async function go(children: readonly Child[]): Promise<void> {
	await Promise.all(children.map(child => child.says("ready")));
	for (const child of children) child.process.stdin!.write("go\n");
}

describe("two processes on one file", () => {
	it("work hot side by side: none fails, none starves, no job ends twice", async () => {
		const file = newFile();
		await (await open(file)).storage.close();
		const rounds = 120;
		const children = [start("hot", file, "one", rounds), start("hot", file, "two", rounds)];
		await go(children);
		const answers = await Promise.all(children.map(child => child.answer()));
		const finished = answers.flatMap(answer => answer.finished);
		expect(new Set(finished).size).toBe(finished.length);
		expect(finished.length).toBeGreaterThan(rounds * 5);
		for (const { finished, longestMs } of answers) {
			expect(finished.length).toBeGreaterThan(rounds);
			expect(longestMs).toBeLessThan(5000);
		}
		const [fast, slow] = answers.map(answer => answer.ms).sort((a, b) => a - b);
		expect(slow / fast).toBeLessThan(5);
		const { storage } = await open(file);
		const q = new Desk(storage);
		await q.audit();
		expect(await storage.operator.counts()).toMatchObject({ submitted: rounds * 5 * 2, done: finished.length });
		await storage.close();
	});

	it("may open a new file at the same moment: the schema is made once", async () => {
		for (let round = 0; round < 2; round++) {
			const file = newFile();
			const children = Array.from({ length: 3 }, (_, i) => start("open", file, `t${i}`));
			const answers = await Promise.all(children.map(child => child.answer()));
			expect(answers.map(answer => answer.migrated).filter(count => count === 0).length).toBeLessThan(3);
			for (const { verify } of answers) expect(verify).toEqual([]);
			const { storage, migrated } = await open(file);
			expect(migrated).toEqual([]);
			expect((await storage.operator.counts()).ready).toBe(3);
			await storage.close();
		}
	});

	it("leave a store that adds up when they are killed in the middle of their work", async () => {
		const file = newFile();
		for (let round = 0; round < 2; round++) {
			const children = [start("endless", file, "one", 1e9), start("endless", file, "two", 1e9)];
			await go(children);
			await Promise.all(children.map(child => child.says("under way")));
			for (const child of children) child.process.kill("SIGKILL");
			for (const child of children) expect((await child.ended).stderr).toBe("");
			const { storage, database } = await open(file);
			expect(database.pragma("integrity_check")).toEqual([{ integrity_check: "ok" }]);
			const q = new Desk(storage);
			await q.audit();
			// What was leased is given back when its lease has run out, and the store drains.
			q.now += 1e9;
			for (let i = 0; i < 500 && (await storage.operator.counts()).activeTenants > 0; i++) {
				await q.expire();
				await q.finish(await q.claim({ limit: 200 }));
			}
			expect((await storage.operator.counts()).activeTenants).toBe(0);
			await q.audit();
			await storage.close();
		}
	});
});

describe("opening a file", () => {
	it("makes it, with its schema, once", async () => {
		const file = newFile();
		const first = await open(file);
		expect(first.migrated.map(({ number }) => number)).toEqual(readMigrations().map(({ number }) => number));
		const id = await new Desk(first.storage).submit();
		await first.storage.close();
		const second = await open(file);
		expect(second.migrated).toEqual([]);
		expect(await second.storage.tenant("acme").getJobById(id)).toMatchObject({ state: "ready" });
		await second.storage.close();
	});

	it("keeps accepted jobs through a power cut: write-ahead log, synced at every commit", async () => {
		const { storage, database } = await open(newFile());
		expect(database.pragma("journal_mode", { simple: true })).toBe("wal");
		expect(database.pragma("synchronous", { simple: true })).toBe(2);
		expect(database.pragma("foreign_keys", { simple: true })).toBe(1);
		await storage.close();
	});

	it("refuses one that newer code made, and leaves it as it is", async () => {
		const file = newFile();
		const { storage, database } = await open(file);
		database.exec("UPDATE meta SET value = '999' WHERE name = 'schema'");
		await storage.close();
		const before = readFileSync(file);
		await expect(open(file)).rejects.toThrow(SchemaTooNew);
		await expect(open(file)).rejects.toThrow(/schema 999/);
		expect(readFileSync(file).equals(before)).toBe(true);
	});

	it("gives an error for what is no database, and leaves it as it is", async () => {
		for (const text of ["this is no database, it is a letter. ".repeat(50), "short"]) {
			const file = newFile();
			writeFileSync(file, text);
			await expect(open(file)).rejects.toThrow(/not a database/);
			expect(readFileSync(file, "utf8")).toBe(text);
		}
	});

	it("gives an error for a folder that is not there, and for a folder", async () => {
		const missing = join(folder, "missing");
		await expect(open(join(missing, "queue.db"))).rejects.toThrow(/does not exist|unable to open/);
		expect(existsSync(missing)).toBe(false);
		await expect(open(folder)).rejects.toThrow(/unable to open/);
	});

	it.skipIf(process.getuid?.() === 0)("gives an error for a file that may not be written", async () => {
		const file = newFile();
		await (await open(file)).storage.close();
		chmodSync(file, 0o444);
		await expect(open(file)).rejects.toThrow(/may not be written/);
	});

	it("gives an error for a file that cannot be written, whoever asks", async () => {
		const file = newFile();
		await (await open(file)).storage.close();
		const database = new Database(file, { readonly: true });
		const { openBetterSqlite3 } = await import("../../lib/storage/sqlite/betterSqlite3.ts");
		await expect(openBetterSqlite3(database, { defer: setImmediate, sleep: async () => {}, random: Math.random })).rejects.toThrow(
			/may not be written/,
		);
		database.close();
	});

	it("takes back a migration that fails in the middle", () => {
		const database = new Database(newFile());
		const migrations = readMigrations();
		const broken = { number: migrations.length + 1, name: "broken", sql: "CREATE TABLE half (x); INSERT INTO nowhere VALUES (1);" };
		expect(() => migrateBetterSqlite3(database, [...migrations, broken])).toThrow(/nowhere/);
		expect(database.prepare("SELECT name FROM sqlite_schema WHERE name = 'half'").all()).toEqual([]);
		expect(database.prepare("SELECT value FROM meta WHERE name = 'schema'").get()).toEqual({ value: String(migrations.length) });
		const mended = { ...broken, sql: `CREATE TABLE half (x); UPDATE meta SET value = '${broken.number}' WHERE name = 'schema';` };
		expect(migrateBetterSqlite3(database, [...migrations, mended])).toEqual([mended]);
		expect(migrateBetterSqlite3(database, [...migrations, mended])).toEqual([]);
		database.close();
	});
});

describe("a file that another process keeps locked", () => {
	it("is waited for without blocking, then refused as unavailable", async () => {
		const file = newFile();
		const { storage } = await open(file);
		const q = new Desk(storage);
		await q.submit();
		const other = new Database(file);
		other.exec("BEGIN IMMEDIATE");
		let done = false;
		const submitted = q.submit().then(id => {
			done = true;
			return id;
		});
		for (let i = 0; i < 20; i++) await new Promise<void>(resolve => setImmediate(resolve));
		expect(done).toBe(false);
		expect((await storage.operator.counts()).ready).toBe(1);
		other.exec("COMMIT");
		expect(await submitted).toBe(2);
		other.close();
		await q.audit();
		await storage.close();
	});
});

describe("a disk that fails", () => {
	const broken = [
		["is full", "max_page_count = 1", "max_page_count = 1073741823", /full/],
		["may only be read", "query_only = ON", "query_only = OFF", /may not be written/],
	] as const;
	it.each(broken)("and %s is told, and nothing is half done: all goes on when it is mended", async (_, breaks, mends, message) => {
		const { storage, database } = await open(newFile());
		const q = new Desk(storage);
		const first = await q.submit();
		const lease = await q.claimOne();
		await q.submit({ key: "k", tags: ["x"] });
		const before = [await q.all(), await q.operator.counts()];
		// The last page is full, so that the next row needs one more.
		database.pragma(breaks);
		const payload = JSON.stringify("x".repeat(20_000));
		const calls = {
			submit: () => q.offer({ payload }),
			submitWithKey: () => q.offer({ payload, idempotency: { key: "i", fingerprint: "f", expiresAt: q.now + 1000 } }),
			finish: () => q.finish(lease, { outcome: "done", result: payload }),
			retry: () => q.finish(lease, { outcome: "retry", delayMs: 5, error: payload, fingerprint: "f" }),
		};
		for (const [name, call] of Object.entries(calls)) {
			const error = await call().then(
				() => `${name} worked`,
				error => error,
			);
			expect(error).toBeInstanceOf(StorageUnavailable);
			expect(error.message).toMatch(message);
		}
		expect([await q.all(), await q.operator.counts()]).toEqual(before);
		database.pragma(mends);
		expect(await q.finish(lease, { outcome: "done", result: payload })).toMatchObject([{ id: first, state: "done" }]);
		expect((await q.offer({ payload })).status).toBe("created");
		await q.audit();
		await storage.close();
	});
});
