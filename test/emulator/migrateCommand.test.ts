import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { readMigrations } from "../../emulator/openStorage.ts";
import { folder, run } from "./processes.ts";

const latest = readMigrations().length;

describe("npm run migrate", { timeout: 20_000 }, () => {
	it("applies what is missing, a line each; then there is nothing to do", async () => {
		const cwd = folder();
		const first = await run("migrate.js", ["--database", "a.db"], { cwd });
		expect(first).toMatchObject({ code: 0, err: "" });
		expect(first.out.split("\n").slice(0, -1)).toHaveLength(latest);
		expect(first.out).toMatch(/^applied 0001_first\n/);
		expect(await run("migrate.js", [], { cwd, env: { TICKQ_DATABASE: "a.db" } })).toEqual({
			code: 0,
			out: `nothing to do: schema ${latest}\n`,
			err: "",
		});
		expect((await run("migrate.js", ["--dry-run", "--database", "a.db"], { cwd })).out).toBe(`-- nothing to do: schema ${latest}\n`);
		expect(readdirSync(cwd)).toEqual(["a.db"]);
	});

	it("prints with --dry-run SQL that does the same, and makes no file", async () => {
		const cwd = folder();
		const { code, out, err } = await run("migrate.js", ["--dry-run", "--database", "a.db"], { cwd });
		expect({ code, err }).toEqual({ code: 0, err: "" });
		expect(existsSync(join(cwd, "a.db"))).toBe(false);
		const database = new Database(join(cwd, "a.db"));
		database.exec(out);
		database.close();
		expect((await run("migrate.js", ["--database", "a.db"], { cwd })).out).toBe(`nothing to do: schema ${latest}\n`);
	});

	it("answers 2 when it is used wrongly, 1 when the database cannot be brought there, and says why", async () => {
		const cwd = folder();
		const wrong = await run("migrate.js", ["--nonsense", "--workers-min", "5"], { cwd, env: { TICKQ_LEASE_MS: "of no concern" } });
		expect(wrong).toMatchObject({ code: 2, out: "" });
		expect(wrong.err).toContain("tickq cannot migrate, 2 problems:");
		writeFileSync(join(cwd, "text.db"), "this is no database, it is a text that is long enough to be looked at. ".repeat(20));
		for (const flags of [[], ["--dry-run"]]) {
			const broken = await run("migrate.js", [...flags, "--database", "text.db"], { cwd });
			expect(broken).toMatchObject({ code: 1, out: "" });
			expect(broken.err).toContain("text.db is no SQLite database");
		}
		const made = new Database(join(cwd, "new.db"));
		made.exec("CREATE TABLE meta (name TEXT, value TEXT); INSERT INTO meta VALUES ('schema', '999')");
		made.close();
		const newer = await run("migrate.js", ["--database", "new.db"], { cwd });
		expect(newer).toMatchObject({ code: 1, out: "" });
		expect(newer.err).toContain("new.db: the database has schema 999");
		expect(wrong.err + newer.err).not.toContain("    at ");
	});

	it("lists in --help what it takes", async () => {
		const { code, out } = await run("migrate.js", ["--help"]);
		expect(code).toBe(0);
		expect([...out.matchAll(/^ {2}--([a-z-]+)/gm)].map(([, flag]) => flag)).toEqual(["dry-run", "database", "help"]);
	});
});
