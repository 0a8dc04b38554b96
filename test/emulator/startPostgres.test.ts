/** The programs on PostgreSQL, as processes: what start-up says, and that they hear of each other. */
import { setTimeout as sleep } from "node:timers/promises";
import postgres from "postgres";
import { describe, expect, it } from "vitest";
import { freshSchema, postgresUrl } from "../support/postgres.ts";
import { ended, folder, json, post, type Running, run, start } from "./processes.ts";

function schema(): { readonly url: string; readonly env: Record<string, string> } {
	const { url, drop } = freshSchema();
	ended.push(drop);
	return { url, env: { DATABASE_URL: url } };
}
async function stops(...servers: readonly Running[]): Promise<void> {
	for (const { child } of servers) child.kill("SIGTERM");
	expect(await Promise.all(servers.map(({ exit }) => exit))).toEqual(servers.map(() => 0));
}
/** The address of the test's server with something else in it. */
function other(change: (url: URL) => void): Record<string, string> {
	const url = new URL(postgresUrl);
	url.password ||= "none";
	change(url);
	return { DATABASE_URL: url.href };
}

describe("on PostgreSQL", { timeout: 60_000 }, () => {
	it("migrates by a script, by hand, or at the start; else it refuses", async () => {
		const { url, env } = schema();
		const refused = await run("start.js", ["--port", "0", "--no-migrate"], { env });
		expect(refused).toMatchObject({ code: 1, out: "" });
		expect(refused.err).toContain("the database is empty");
		expect(refused.err).toContain("npm run migrate");

		const dry = await run("migrate.js", ["--dry-run"], { env });
		expect(dry).toMatchObject({ code: 0, err: "" });
		const sql = postgres(new URL(url).href.replace(/\?.*/, ""), { max: 1, onnotice: () => {} });
		await sql.unsafe(dry.out).simple();
		await sql.end();
		const { out } = await run("migrate.js", [], { env });
		expect(out).toMatch(/^nothing to do: schema \d+\n$/);
		expect((await run("migrate.js", ["--dry-run"], { env })).out).toBe(`-- ${out}`);
		await stops(await start("start.js", ["--port", "0", "--no-migrate"], { env }));

		const second = schema();
		expect((await run("migrate.js", [], second)).out).toMatch(/^applied 0001_\w+\n/);
		const third = schema();
		const server = await start("start.js", ["--port", "0"], third);
		expect(server.lines[0]!.migrated).not.toEqual([]);
		await stops(server);
	});

	it("runs in one server what another accepted, as soon as it is there", async () => {
		const { env } = schema();
		const [api, worker] = await Promise.all([
			start("start.js", ["--port", "0", "--no-work"], { env }),
			start("start.js", ["--no-http"], { env }),
		]);
		expect((await fetch(`${api.url}/ready`)).status).toBe(200);
		await worker.line(({ message }) => message === "asleep");
		await sleep(200);
		for (let i = 0; i < 4; i++) {
			const { id } = await (await post(`${api.url}/api/jobs`, { task: "echo", payload: i })).json();
			const { waited_ms } = await worker.line(line => line.message === "attempt ended" && line.id === id);
			expect(waited_ms).toBeLessThan(1000);
			expect(await json(`${api.url}/api/jobs/${id}?wait_ms=5000`)).toMatchObject({ status: "done" });
			await sleep(100);
		}
		const tick = await run("tick.js", ["--json"], { env });
		expect(JSON.parse(tick.out)).toMatchObject({ claimed: 0 });
		await stops(api, worker);
	});

	it.each([
		["no such database", other(url => (url.pathname = "/nowhere")), /nowhere.*\n.*→ make it \(createdb\)/],
		["another user", other(url => (url.username = "nobody")), /nobody/],
		["an address that is none", { DATABASE_URL: "postgres://u:sec/ret@h:x/db" }, /→ write @ : \/ \? # in its password as %40/],
		["a parameter that is none", other(url => (url.search = "?pool=many")), /pool is not a whole number/],
		["nobody there", { DATABASE_URL: "postgres://u:secret@127.0.0.1:1/db" }, /ECONNREFUSED.*\n.*→ check that PostgreSQL runs there/],
	])("says what is wrong, and what to do: %s", async (_, env, says) => {
		for (const [file, code] of [
			["emulate.js", 1],
			["tick.js", 2],
			["migrate.js", 1],
		] as const) {
			const ran = await run(file, file === "emulate.js" ? ["--port", "0"] : [], { env });
			expect([file, ran.code]).toEqual([file, code]);
			expect(ran.err).toMatch(says);
			expect(ran.err).toContain("1 problem:");
			expect(ran.out + ran.err).not.toMatch(/sec\/?ret| {4}at /);
			expect(ran.out + ran.err).not.toContain(env.DATABASE_URL);
		}
	});

	it("waits for a database that is not there yet, and says so", async () => {
		const env = { DATABASE_URL: "postgres://u:secret@127.0.0.1:1/db" };
		const waiting = run("start.js", ["--port", "0"], { env, cwd: folder(), stopAfterMs: 1500 });
		const { code, out } = await waiting;
		expect(code).not.toBe(1);
		expect(out).not.toContain("secret");
		const lines = out
			.split("\n")
			.slice(0, -1)
			.map(line => JSON.parse(line));
		expect(lines.length).toBeGreaterThan(1);
		expect(lines[0]).toMatchObject({ level: "warn" });
		expect(lines[0].message).toMatch(/^waiting for the database at .*127\.0\.0\.1:1.*ECONNREFUSED/);
	});
});
