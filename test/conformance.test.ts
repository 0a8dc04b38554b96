/** `npm run conformance`: the verdict is right, nothing is left behind, and no password is shown. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { wrongSkips } from "./storage/conformance.ts";

const COMMAND = fileURLToPath(new URL("conformance.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "tickq-"));
afterAll(() => rmSync(folder, { recursive: true }));
const left = () => readdirSync(folder).filter(name => name !== "mine.db");

function conformance(args: readonly string[], env: Record<string, string> = {}) {
	// Not those of the run that this test is part of.
	const { NODE_OPTIONS: _, VITEST: __, NODE_ENV: ___, ...own } = process.env;
	const { status, stdout, stderr } = spawnSync(process.execPath, [COMMAND, ...args], { encoding: "utf8", env: { ...own, ...env } });
	return { status, stdout, stderr, last: stdout.trimEnd().split("\n").at(-1) };
}

/** A SQLite that keeps no history. */
const FORGETFUL = `data:text/javascript,${encodeURIComponent(`
import Database from ${JSON.stringify(import.meta.resolve("better-sqlite3"))};
const { prepare } = Database.prototype;
Database.prototype.prepare = function (sql) {
	return prepare.call(this, /^\\s*SELECT[^;]*FROM job_events/.test(sql) ? "SELECT * FROM (" + sql + ") WHERE 0" : sql);
};`)}`;

describe("npm run conformance", () => {
	it("tests a SQLite of the same kind beside the file that is named, and leaves nothing", () => {
		const file = join(folder, "mine.db");
		writeFileSync(file, "not for you");
		for (const database of [file, `file:${file}`]) {
			const { status, stdout, stderr, last } = conformance(["--database", database, "--only", "nextDue"]);
			expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
			expect(stdout).toMatch(/^Testing SQLite 3\.\d+\.\d+ in .*mine\.db\.conformance-\w+\n {2}ok {3}nextDue +\d\n/);
			expect(last).toMatch(/^no verdict: \d of \d\d\d tests were run on SQLite 3\.\d+\.\d+ in \d+ s, and passed$/);
		}
		expect(left()).toEqual([]);
		expect(readFileSync(file, "utf8")).toBe("not for you");
	});

	it("says what failed in a database that does not conform", () => {
		const file = join(folder, "forgetful.db");
		const { status, stdout, last } = conformance(["--only=history", `--database=${file}`], { NODE_OPTIONS: `--import ${FORGETFUL}` });
		expect(stdout).toMatch(/\n {2}NOT {2}history +\d\n {9}tells the attempts by number, worker, error and next run\n {11}expected /);
		expect(last).toMatch(/^DOES NOT conform: \d+ of \d+ failed$/);
		expect(status).toBe(1);
		expect(left()).toEqual([]);
	});

	it.each([
		["nothing to test", [], "no verdict: --database does not say which database to test\n"],
		["an empty address", ["--database="], "no verdict: --database does not say which database to test\n"],
		["an unknown flag", ["--url=postgres://me:hidden@host/db"], "no verdict: --url is not known\n"],
		["another database", ["--database", "mysql://me:hidden@host/db"], "no verdict: mysql: is no database that tickq knows"],
		["a database in memory", ["--database", ":memory:"], "no verdict: a database in memory is nobody's"],
		["a folder", ["--database", folder], "is a folder: give the path of a file in it\n"],
		["a folder that is not there", ["--database", join(folder, "none", "x.db")], "none is not there\n"],
		["an address of nothing", ["--database", "postgres://me:hidden@127.0.0.1:1/db"], "the database cannot be used: "],
		["a setting that is not known", ["--database", "postgres://me:hidden@127.0.0.1:1/db?colour=red"], "colour in the address is not known"],
	])("is clear about %s", (_, args, message) => {
		const { status, stdout, stderr } = conformance(args);
		expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
		expect(stderr).toContain(message);
		expect(stderr).toContain("npm run conformance -- --database ");
		expect(stderr).not.toContain("hidden");
	});

	it("helps", () => {
		const { status, stdout } = conformance(["--help"]);
		expect(status).toBe(0);
		expect(stdout).toContain("--database postgres://");
	});
});

describe("a skip", () => {
	const titles = new Set(["keys > hold", "keys > pass on"]);
	it("names a test and has a reason", () => {
		expect(wrongSkips({ "keys > hold": "this engine has no keys" }, titles)).toEqual([]);
		expect(wrongSkips({}, titles)).toEqual([]);
	});
	it("fails when it names no test, or says nothing", () => {
		expect(wrongSkips({ hold: "no keys", "keys > pass on": " " }, titles)).toEqual([
			'there is no test "hold"',
			'"keys > pass on" is skipped without a reason',
		]);
	});
});
