/** The server's role, and several of them on one file: as processes, so that what one writes is another's to hear. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { ended, folder, json, post, ROOT, type Running, run, start } from "./processes.ts";

const server = (args: readonly string[], options: Parameters<typeof start>[2] = {}): Promise<Running> =>
	start("start.js", [...(args.includes("--no-http") ? [] : ["--port", "0"]), "--database", "a.db", ...args], options);
const submit = async ({ url }: Running, body: unknown): Promise<string> => {
	const response = await post(`${url}/api/jobs`, body);
	expect(response.status).toBe(201);
	return (await response.json()).id;
};
const outcomes = ({ lines }: Running) => lines.filter(({ message }) => message === "attempt ended");
async function stops(...servers: readonly Running[]): Promise<void> {
	for (const { child } of servers) child.kill("SIGTERM");
	expect(await Promise.all(servers.map(({ exit }) => exit))).toEqual(servers.map(() => 0));
}

describe("npm start", { timeout: 30_000 }, () => {
	it("logs JSON lines, answers /ready, runs jobs, and stops cleanly when told", async () => {
		const one = await server([]);
		expect(one.lines[0]).toMatchObject({
			message: "started",
			url: one.url,
			database: "a.db",
			workers: { min: 2, max: 10, tasks_per_worker: 5 },
			inline: false,
		});
		expect(one.lines[0]!.works).toEqual(one.lines[0]!.tasks);
		expect((await fetch(`${one.url}/ready`)).status).toBe(200);
		expect((await fetch(`${one.url}/`)).status).toBe(200);
		const id = await submit(one, { task: "echo", payload: 1 });
		expect(await json(`${one.url}/api/jobs/${id}?wait_ms=5000`)).toMatchObject({ status: "done" });
		await stops(one);
		expect(one.lines.at(-1)).toMatchObject({ level: "info", message: "SIGTERM: stopping" });
	});

	// Bug: npm and its shell ended, and the program went on, held the port and answered.
	it("ends with npm, when npm is told to", async () => {
		const npm = spawn("npm", ["start", "--silent", "--", "--port", "0", "--database", join(folder(), "a.db")], {
			cwd: ROOT,
			stdio: ["ignore", "pipe", "ignore"],
		});
		ended.push(() => npm.kill("SIGKILL"));
		const lines = createInterface({ input: npm.stdout });
		const [first] = (await once(lines, "line")) as [string];
		const { url } = JSON.parse(first);
		expect((await fetch(`${url}/health`)).status).toBe(200);
		npm.kill("SIGTERM");
		// Its output ends when nobody is left who holds it.
		await once(lines, "close");
		await expect(fetch(`${url}/health`)).rejects.toThrow();
	});

	it("--no-work only accepts, until a tick by hand; --no-http runs what the other accepted, as soon as it is there", async () => {
		const cwd = folder();
		const api = await server(["--no-work"], { cwd });
		expect(api.lines[0]).toMatchObject({ works: [], workers: null });
		const first = await submit(api, { task: "echo", payload: 1 });
		expect(await json(`${api.url}/api/jobs/${first}?wait_ms=700`)).toMatchObject({ status: "pending" });
		expect(await (await post(`${api.url}/api/tick`, {})).json()).toMatchObject({ claimed: 1, outcomes: { done: 1 } });
		expect(await json(`${api.url}/api/jobs/${first}`)).toMatchObject({ status: "done" });

		const worker = await server(["--no-http"], { cwd });
		expect(worker.lines[0]).toMatchObject({ url: null });
		await worker.line(({ message }) => message === "asleep");
		// The backstop comes every 5 s: it can be early for one of them, not for all.
		for (let i = 0; i < 4; i++) {
			const id = await submit(api, { task: "echo", payload: i });
			const { waited_ms } = await worker.line(line => line.message === "attempt ended" && line.id === id);
			expect(waited_ms).toBeLessThan(1000);
			await sleep(100);
		}
		await stops(api, worker);
	});

	it("gives back what a tick by request runs when it is told to stop", async () => {
		const cwd = folder();
		const api = await server(["--no-work", "--grace-ms", "200"], { cwd });
		const ids = [];
		for (let i = 0; i < 7; i++) ids.push(await submit(api, { task: "sleep", payload: { ms: 60_000 } }));
		const ticking = post(`${api.url}/api/tick`, {}).catch(() => null);
		while ((await json(`${api.url}/api/jobs/${ids[4]}`)).status !== "running") await sleep(10);
		await stops(api);
		await ticking;
		const again = await server(["--no-work"], { cwd });
		for (const id of ids)
			expect(await json(`${again.url}/api/jobs/${id}`)).toMatchObject({ status: "pending", lost_count: 0, retry_count: 0 });
		await stops(again);
	});

	it("--tasks runs only these and accepts all; what it leaves another server runs", async () => {
		const cwd = folder();
		const one = await server(["--tasks", "echo"], { cwd });
		expect(one.lines[0]).toMatchObject({ works: ["echo"] });
		const slept = await submit(one, { task: "sleep", payload: { ms: 1 } });
		const echoed = await submit(one, { task: "echo", payload: 1 });
		expect(await json(`${one.url}/api/jobs/${echoed}?wait_ms=5000`)).toMatchObject({ status: "done" });
		expect(await json(`${one.url}/api/jobs/${slept}?wait_ms=500`)).toMatchObject({ status: "pending" });
		const two = await server(["--no-http"], { cwd, env: { TICKQ_TASKS: "sleep" } });
		await two.line(line => line.message === "attempt ended" && line.id === slept);
		expect(outcomes(one).map(({ task }) => task)).toEqual(["echo"]);
		await stops(one, two);
	});

	it("shares one new file with others that start at once: every job runs once", async () => {
		const cwd = folder();
		const servers = await Promise.all([server([], { cwd }), server([], { cwd }), server(["--no-http"], { cwd })]);
		const ids = await Promise.all(Array.from({ length: 60 }, (_, i) => submit(servers[i % 2]!, { task: "sleep", payload: { ms: 20 } })));
		for (const id of ids)
			expect(await json(`${servers[0]!.url}/api/jobs/${id}?wait_ms=10000`)).toMatchObject({ status: "done", attempt: 1 });
		await stops(...servers);
		expect(
			servers
				.flatMap(outcomes)
				.map(({ id }) => id)
				.sort(),
		).toEqual(ids.sort());
	});

	it("--no-migrate refuses a database that lacks migrations, and starts on one that has them", async () => {
		const cwd = folder();
		for (const [flags, env] of [[["--no-migrate"]], [[], { TICKQ_MIGRATE: "0" }]] as [string[], Record<string, string>?][]) {
			const { code, out, err } = await run("start.js", ["--port", "0", "--database", "a.db", ...flags], { cwd, ...(env ? { env } : {}) });
			expect({ code, out }).toEqual({ code: 1, out: "" });
			expect(err).toContain("a.db: the database is empty");
			expect(err).toContain("npm run migrate");
		}
		expect(existsSync(join(cwd, "a.db"))).toBe(false);
		expect((await run("migrate.js", ["--database", "a.db"], { cwd })).code).toBe(0);
		await stops(await server(["--no-migrate"], { cwd }));
	});

	it("says at once what is wrong with its settings, and what to type instead", async () => {
		const { code, out, err } = await run("start.js", ["--no-work", "--no-http", "--tasks", "ehco", "--port", "x"]);
		expect({ code, out }).toEqual({ code: 1, out: "" });
		expect(err).toContain("tickq cannot start, 3 problems:");
		expect(err).toContain('there is no task "ehco" to run');
		expect(err).toMatch(/→ known: .*echo/);
		const help = await run("start.js", ["--help"]);
		expect(help.code).toBe(0);
		expect(help.out).toContain("Usage: npm start");
	});

	it.each(["emulate.js", "migrate.js", "tick.js"])("shows no password when %s cannot reach the database", async file => {
		const { code, out, err } = await run(file, file === "emulate.js" ? ["--port", "0"] : [], {
			env: { DATABASE_URL: "postgres://u:secret@127.0.0.1:1/db?application_name=x" },
		});
		expect(code).not.toBe(0);
		expect(err).toContain("postgres://u@127.0.0.1:1/db");
		expect(out + err).not.toMatch(/secret| {4}at /);
	});
});
