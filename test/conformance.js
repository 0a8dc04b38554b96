/**
 * `npm run conformance -- --database URL`: whether a database does what tickq needs of it. The suite runs in a folder or a schema of its
 * own, never in what is there. Plain JavaScript up to the guard, since an older Node cannot read the rest.
 */
import "../emulator/guard.js";
import * as crypto from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import * as url from "node:url";

const HELP = `npm run conformance -- --database URL

Runs the storage conformance suite against a database of yours, and says whether it conforms. What the suite stores, it stores beside
what is there, and removes it afterwards.

  --database tickq.db                         SQLite: in a folder tickq.db.conformance-… next to the file; the file is not opened
  --database postgres://user:secret@host/db   PostgreSQL: in schemas conformance_…; ?pool=4 connections each, 16 at most
  --only TEXT                                 only tests with that in their name, for a closer look: no verdict

Ends with 0 when it conforms, 1 when it does not, 2 when that could not be found out.
`;

/** Nothing was found out: the reason is for a person. */
class NoVerdict extends Error {}

/** What is to be tested, as the command line says it. */
function readArguments(args) {
	const left = [...args];
	const said = { database: "", only: "" };
	while (left.length > 0) {
		const [flag, value] = left.shift().split(/=(.*)/s);
		if (flag !== "--database" && flag !== "--only") throw new NoVerdict(`${flag} is not known`);
		said[flag.slice(2)] = value ?? left.shift() ?? "";
	}
	if (said.database === "") throw new NoVerdict("--database does not say which database to test");
	return said;
}

/**
 * A place for the suite in a database, which is there and can be opened.
 * @returns {Promise<{ database: string, engine: string, where: string, remove: () => Promise<void> }>}
 */
async function makePlace(database) {
	if (/^postgres(?:ql)?:/.test(database)) return makeSchemas(database);
	if (/^[a-z][a-z0-9+.-]+:\/\//i.test(database) && !database.startsWith("file:"))
		throw new NoVerdict(`${database.split(":")[0]}: is no database that tickq knows: give a path, file: or postgres://`);
	return makeFolder(database.startsWith("file://") ? url.fileURLToPath(database) : database.replace(/^file:/, ""));
}

async function makeFolder(file) {
	if (file === ":memory:") throw new NoVerdict("a database in memory is nobody's: give the path of a file, which need not be there");
	if (fs.statSync(file, { throwIfNoEntry: false })?.isDirectory())
		throw new NoVerdict(`${file} is a folder: give the path of a file in it`);
	if (!fs.existsSync(path.dirname(file))) throw new NoVerdict(`the folder ${path.dirname(file)} is not there`);
	const { openStorage } = await import("../emulator/openStorage.ts");
	const folder = fs.mkdtempSync(`${file}.conformance-`);
	const remove = async () => fs.rmSync(folder, { recursive: true, force: true });
	try {
		const { storage, database } = await openStorage(path.join(folder, "first.db"), DEFAULTS, ["a"]);
		const version = database.prepare("SELECT sqlite_version()").pluck().get();
		await storage.close();
		return { database: path.join(folder, "queue.db"), engine: `SQLite ${version}`, where: folder, remove };
	} catch (error) {
		await remove();
		throw error;
	}
}

async function makeSchemas(address) {
	const { openPostgres } = await import("../emulator/openPostgres.ts");
	const { readAddress } = await import("../emulator/postgresPool.ts");
	const { default: postgres } = await import("postgres");
	const schema = `conformance_${crypto.randomUUID().replaceAll("-", "").slice(0, 12)}`;
	const own = new URL(address);
	own.searchParams.set("schema", schema);
	// A race has four stores at once, and the server is not the suite's alone.
	if (!own.searchParams.has("pool")) own.searchParams.set("pool", "4");
	const read = readAddress(own.href);
	const sql = postgres(read.url.href, {
		max: 1,
		prepare: read.prepare,
		...(read.ssl === undefined ? {} : { ssl: read.ssl }),
		onnotice() {},
	});
	const remove = async () => {
		const schemas = await sql`SELECT nspname FROM pg_namespace WHERE starts_with(nspname, ${schema})`;
		for (const { nspname } of schemas) await sql`DROP SCHEMA IF EXISTS ${sql(nspname)} CASCADE`;
		await sql.end({ timeout: 5 });
	};
	try {
		const [{ server_version: version }] = await sql`SHOW server_version`;
		const { storage } = await openPostgres(own.href, DEFAULTS, ["a"]);
		await storage.close();
		const where = `${schema} of ${read.url.hostname}${read.url.pathname}`;
		return { database: own.href, engine: `PostgreSQL ${version.split(" ")[0]}`, where, remove };
	} catch (error) {
		await remove().catch(() => sql.end({ timeout: 1 }));
		throw error;
	}
}

const DEFAULTS = { concurrency: 5, backlog: 100, keepDoneMs: 1000, keepDeadMs: 1000 };
const ROOT = url.fileURLToPath(new URL("../", import.meta.url));

/** Tells each section as it ends, with what failed in it. */
class Progress {
	constructor(say) {
		this.say = say;
	}
	onTestSuiteResult(suite) {
		const isSection = suite.parent.type === "suite";
		const tests = [...(isSection ? suite.children.allTests() : suite.children.tests())].filter(wasRun);
		const failed = tests.filter(test => test.result().state === "failed");
		if (isSection && tests.length > 0)
			this.say(`  ${failed.length === 0 ? "ok " : "NOT"}  ${suite.name.padEnd(24)}${String(tests.length - failed.length).padStart(4)}`);
		for (const test of failed) this.say(`         ${test.name}\n           ${firstLine(test.result().errors?.[0])}`);
	}
}
const wasRun = test => test.result().state !== "skipped";
const firstLine = error => String(error?.message ?? "it does not say why").split("\n")[0];

/** Runs the suite, and answers how many tests there are, how many were run, and how many of these failed. */
async function runSuite(database, only, say) {
	const { createVitest } = await import("vitest/node");
	const vitest = await createVitest("test", {
		root: ROOT,
		config: false,
		watch: false,
		include: ["test/storage/given.conformance.ts"],
		env: { TICKQ_CONFORMANCE_DATABASE: database },
		reporters: [new Progress(say)],
		testTimeout: 60_000,
		...(only === "" ? {} : { testNamePattern: RegExp(only.replaceAll(/[^\w ]/g, "\\$&")) }),
	});
	let stopped = false;
	const stop = () => {
		stopped = true;
		void vitest.cancelCurrentRun("keyboard-input");
	};
	process.once("SIGINT", stop);
	try {
		const { testModules, unhandledErrors } = await vitest.start();
		if (stopped) throw new NoVerdict("stopped");
		const tests = testModules.flatMap(module => [...module.children.allTests()]);
		const errors = [...testModules.flatMap(module => module.errors()), ...unhandledErrors];
		if (tests.length === 0) throw new NoVerdict(`the suite could not be loaded: ${firstLine(errors[0])}`);
		for (const error of errors) say(`  NOT  ${firstLine(error)}`);
		const run = tests.filter(wasRun);
		return { tests: tests.length, run: run.length, failed: run.filter(test => test.result().state !== "passed").length + errors.length };
	} finally {
		process.removeListener("SIGINT", stop);
		await vitest.close();
	}
}

/** A person's words for what went wrong with a database. */
const reasonOf = error => firstLine(error) || error.code || error.errors?.[0]?.code || "it does not answer";

async function conform(args) {
	if (args.includes("--help")) {
		process.stdout.write(HELP);
		return 0;
	}
	/** @type {string[]} */
	let secrets = [];
	const hide = text => secrets.reduce((shown, secret) => shown.replaceAll(secret, "***"), text);
	const say = line => process.stdout.write(`${hide(line)}\n`);
	let place;
	try {
		const { database, only } = readArguments(args);
		secrets = secretsOf(database);
		place = await makePlace(database);
		say(`Testing ${place.engine} in ${place.where}`);
		const startedAt = performance.now();
		const { tests, run, failed } = await runSuite(place.database, only, say);
		const took = `on ${place.engine} in ${Math.max(1, Math.round((performance.now() - startedAt) / 1000))} s`;
		if (only !== "" && run === 0) throw new NoVerdict(`none of ${tests} tests has "${only}" in its name`);
		if (failed > 0) say(`DOES NOT conform: ${failed} of ${run} failed`);
		else if (run < tests) say(`no verdict: ${run} of ${tests} tests were run ${took}, and passed`);
		else say(`conforms: ${tests} tests ${took}`);
		return failed === 0 ? 0 : 1;
	} catch (error) {
		const asked = error instanceof NoVerdict;
		process.stderr.write(hide(`no verdict: ${asked ? error.message : `the database cannot be used: ${reasonOf(error)}`}\n`));
		if (place === undefined)
			process.stderr.write("  → npm run conformance -- --database tickq.db, or postgres://user:secret@host/db; --help says more\n");
		return 2;
	} finally {
		await place?.remove();
	}
}

/** The password of an address, as it stands there and as it is meant. */
function secretsOf(database) {
	const written = /^[a-z]+:\/\/[^/@]*?:([^/]*)@/i.exec(database)?.[1] ?? "";
	try {
		return [written, decodeURIComponent(written)].filter(secret => secret !== "");
	} catch {
		return [written];
	}
}

process.exitCode = await conform(process.argv.slice(2));
