/** The programs with tasks that hang or throw astray: as processes, so that what is said of the HTTP side is true of a real one. */
import { describe, expect, it } from "vitest";
import { json, post, projectWith, type Running, start } from "./processes.ts";

const submit = async ({ url }: Running, body: unknown): Promise<string> => {
	const response = await post(`${url}/api/jobs`, body);
	expect(response.status).toBe(201);
	return (await response.json()).id;
};
async function stops({ child, exit }: Running): Promise<void> {
	child.kill("SIGTERM");
	expect(await exit).toBe(0);
}

describe("worker threads", { timeout: 30_000 }, () => {
	it("let the API answer and other jobs run while four tasks spin; these are ended at their deadline, and their slots are free again", async () => {
		const root = projectWith("spin", "{ timeoutMs: 1500, run(_, { log }) { log.info('spins'); for (;;); } }");
		const server = await start("emulate.js", ["--port", "0", "--database", ":memory:", "--workers-min", "5", "--tasks-per-worker", "1"], {
			root,
		});
		const spins: string[] = [];
		for (let i = 0; i < 4; i++) spins.push(await submit(server, { task: "spin", max_retries: 0 }));
		for (const id of spins) await server.line(({ message, job_id }) => message === "spins" && job_id === id);
		for (let i = 0; i < 20; i++) expect((await fetch(`${server.url}/health`)).status).toBe(200);
		const echo = await submit(server, { task: "echo", payload: "meanwhile" });
		expect(await json(`${server.url}/api/jobs/${echo}?wait_ms=5000`)).toMatchObject({ status: "done", result: "meanwhile" });
		for (const id of spins)
			expect(await json(`${server.url}/api/jobs/${id}?wait_ms=10000`)).toMatchObject({
				status: "dead_letter",
				retry_count: 1,
				lost_count: 0,
				error_message: "timed out after 1500 ms; it did not yield, so its thread was ended",
			});
		const after = await submit(server, { task: "echo", payload: "after" });
		expect(await json(`${server.url}/api/jobs/${after}?wait_ms=5000`)).toMatchObject({ status: "done" });
		expect((await json(`${server.url}/api/metrics`, "*")).workers).toMatchObject({ busy: 0, size: 5, running: 5, min: 5, max: 10 });
		await stops(server);
	});

	it("do not keep a server from stopping: what spins in them is given back", async () => {
		const root = projectWith("spin", "{ timeoutMs: 60_000, run(_, { log }) { log.info('spins'); for (;;); } }");
		const server = await start("start.js", ["--port", "0", "--database", ":memory:", "--grace-ms", "100"], { root });
		const id = await submit(server, { task: "spin" });
		await server.line(({ message }) => message === "spins");
		await stops(server);
		expect(server.lines.find(({ message }) => message === "attempt ended")).toMatchObject({ id, outcome: "released" });
	});

	it("do not keep it from stopping in native code either, which nobody can end", async () => {
		const root = projectWith(
			"native",
			"{ timeoutMs: 60_000, async run(_, { log }) { log.info('calls'); const { execSync } = await import('node:child_process'); execSync('sleep 10'); } }",
		);
		const server = await start("start.js", ["--port", "0", "--database", "a.db", "--grace-ms", "100"], { root });
		const id = await submit(server, { task: "native" });
		await server.line(({ message }) => message === "calls");
		server.child.kill("SIGTERM");
		await server.exit;
		expect(server.lines.find(({ message }) => message === "attempt ended")).toMatchObject({ id, outcome: "released" });
	}, 9000);

	it("are none with --inline, by flag or environment: tasks run in the main thread, and a stray error does not end it", async () => {
		const root = projectWith(
			"astray",
			"{ run: () => new Promise(() => { setTimeout(() => { throw new Error('thrown in a timer, by process ' + process.pid); }, 1); }) }",
		);
		for (const options of [
			{ args: ["--inline"], env: {} },
			{ args: [], env: { TICKQ_INLINE: "1" } },
		]) {
			const args = ["--port", "0", "--database", ":memory:", "--log-format", "json", ...options.args];
			const server = await start("emulate.js", args, { root, env: options.env });
			expect(server.lines[0]).toMatchObject({ inline: true, workers: null });
			const id = await submit(server, { task: "astray", max_retries: 0 });
			expect(await json(`${server.url}/api/jobs/${id}?wait_ms=5000`)).toMatchObject({
				status: "dead_letter",
				error_message: `thrown in a timer, by process ${server.child.pid}`,
			});
			expect(await json(`${server.url}/api/metrics`, "*")).toMatchObject({ workers: { size: 10, running: 2, max: 2 } });
			await stops(server);
		}
	});
});
