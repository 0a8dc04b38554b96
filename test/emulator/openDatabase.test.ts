import { appendFileSync, existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { hearCommits, openDatabase } from "../../emulator/openDatabase.ts";
import { openStorage } from "../../emulator/openStorage.ts";
import { SchemaTooOld } from "../../lib/storage/migrate.ts";
import { STORAGE_DEFAULTS } from "../support/harness.ts";
import { ended, folder } from "./processes.ts";

const job = { task: "echo", payload: "1", maxRetries: 0, tail: 1, traceId: "0".repeat(32) };
/** Waits until `is` holds; fails after a while. */
async function until(is: () => boolean, withinMs = 3000): Promise<void> {
	for (const end = performance.now() + withinMs; !is(); await sleep(5)) if (performance.now() > end) throw new Error("it did not happen");
}

describe("openDatabase", () => {
	it("hears what another connection commits to the file, and not what it commits itself", async () => {
		const file = join(folder(), "a.db");
		const here = await openDatabase(file, STORAGE_DEFAULTS, ["echo"], {});
		const there = await openDatabase(file, STORAGE_DEFAULTS, ["echo"], {});
		expect([here.migrated.length > 0, there.migrated]).toEqual([true, []]);
		let rings = 0;
		const stop = here.hear(() => rings++);
		for (let i = 0; i < 20; i++) await here.storage.tenant("a").insertJob(job, Date.now());
		await sleep(100);
		expect(rings).toBe(0);
		await there.storage.tenant("a").insertJob(job, Date.now());
		await until(() => rings > 0);
		await sleep(100);
		expect(rings).toBe(1);
		stop();
		await there.storage.tenant("a").insertJob(job, Date.now());
		await sleep(100);
		expect(rings).toBe(1);
		await here.storage.close();
		await there.storage.close();
	});

	it("hears nothing of a database in memory: nobody else is there", async () => {
		const { storage, hear } = await openDatabase(":memory:", STORAGE_DEFAULTS, ["echo"], { migrate: false });
		hear(() => {})();
		await storage.close();
	});
});

describe("openStorage without migrating", () => {
	it("refuses a file that is not there or empty, says what to do, and makes none", async () => {
		const file = join(folder(), "a.db");
		const open = () => openStorage(file, STORAGE_DEFAULTS, ["echo"], { migrate: false });
		await expect(open()).rejects.toThrow(SchemaTooOld);
		await expect(open()).rejects.toThrow("the database is empty, this version of tickq needs");
		expect(existsSync(file)).toBe(false);
		await (await openStorage(file, STORAGE_DEFAULTS, ["echo"])).storage.close();
		const { storage, migrated } = await open();
		expect(migrated).toEqual([]);
		await storage.close();
	});
});

/** A log that is written to and a version that moves, each when told. */
function pretend() {
	const name = join(folder(), "a.db");
	appendFileSync(name, "");
	const state = { version: 1, asked: 0, rings: 0 };
	const write = () => appendFileSync(`${name}-wal`, "x");
	const pragma = () => {
		state.asked++;
		return state.version;
	};
	const listen = () => ended.push(hearCommits({ name, pragma } as unknown as Database.Database, () => state.rings++));
	return { name, state, write, listen };
}

describe("hearCommits", () => {
	it("looks again when the write was seen before its commit, as with a slow disk", async () => {
		const { state, write, listen } = pretend();
		write();
		listen();
		await sleep(50);
		write();
		await sleep(250);
		expect(state.rings).toBe(0);
		state.version++;
		await until(() => state.rings === 1, 600);
	});

	it("stops asking a while after the last write", async () => {
		const { state, write, listen } = pretend();
		write();
		listen();
		for (let i = 0; i < 20; i++) {
			write();
			await sleep(5);
		}
		await sleep(1800);
		const { asked } = state;
		expect(asked).toBeGreaterThan(5);
		await sleep(1200);
		expect(state.asked).toBe(asked);
		write();
		await until(() => state.asked > asked);
	});

	it("waits for a log that is not there yet, and for one that was made anew", async () => {
		const { name, state, write, listen } = pretend();
		listen();
		write();
		state.version++;
		await until(() => state.rings === 1);
		rmSync(`${name}-wal`);
		write();
		state.version++;
		await until(() => state.rings === 2);
		await sleep(1100);
		write();
		state.version++;
		await until(() => state.rings === 3, 500);
	});

	it("goes on when the file cannot be asked at the moment", async () => {
		const file = join(folder(), "a.db");
		const database = new Database(file);
		database.pragma("journal_mode = WAL");
		database.exec("CREATE TABLE t (a)");
		let fails = 3;
		let rings = 0;
		const pragma = (...args: Parameters<typeof database.pragma>) => {
			if (fails < 3 && fails-- > 0) throw new Error("busy");
			return database.pragma(...args);
		};
		const stop = hearCommits({ name: file, pragma }, () => rings++);
		const other = new Database(file);
		fails = 2;
		other.exec("INSERT INTO t VALUES (1)");
		await until(() => rings === 1);
		stop();
		other.close();
		database.close();
	});
});
