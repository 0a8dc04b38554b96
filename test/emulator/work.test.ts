import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { defineTask, Failed, RetryAfter, Snooze, type TaskContext, type TaskRegistry } from "tickq";
import { describe, expect, it } from "vitest";
import { RemoteWorker } from "../../emulator/remoteWorker.ts";
import { readWorkOptions } from "../../emulator/workOptions.ts";
import { functions } from "../../functions/all.ts";
import { compose } from "../../lib/compose.ts";
import { startAttempt } from "../../lib/runJob.ts";
import { createGate, history, inQueue, read, submit } from "../functions/inQueue.ts";
import { serveRemote } from "../functions/remote.ts";
import { type Harness, settle } from "../support/harness.ts";
import { ended, folder, json, post, run, start } from "./processes.ts";

interface Given {
	readonly worker: RemoteWorker;
	/** Paths of what was sent, in order; `at` when. */
	readonly sent: { path: string; at: number; body: Record<string, never> }[];
	/** What stands between worker and queue: answers instead of it, or throws; undefined lets it through. */
	between: ((path: string) => Response | undefined) | null;
}
/** A worker whose requests reach the queue without a network. */
async function working(
	queue: Harness,
	tasks: TaskRegistry,
	{ concurrency = 5, graceMs = 5000, key = "", between = null as Given["between"] } = {},
): Promise<Given> {
	await serveRemote(queue, ...Object.keys(tasks));
	const app = compose(functions, () => queue.deps);
	const given: { -readonly [K in keyof Given]: Given[K] } = { worker: null as unknown as RemoteWorker, sent: [], between };
	const { clock, random, log } = queue.deps;
	given.worker = new RemoteWorker(
		{
			url: "http://queue.test",
			name: "ts-1",
			version: "1",
			tasks: Object.keys(tasks),
			concurrency,
			leaseMs: 30_000,
			graceMs,
			...(key === "" ? {} : { key }),
		},
		{
			clock,
			random,
			log,
			execute: job => startAttempt(job, { ...queue.deps, config: { ...queue.deps.config, graceMs }, tasks }),
			async fetch(url, init) {
				const path = url.slice("http://queue.test".length);
				given.sent.push({ path, at: clock.now(), body: JSON.parse(String(init.body)) });
				expect(new Headers(init.headers).get("authorization")).toBe(key === "" ? null : `Bearer ${key}`);
				return given.between?.(path) ?? app.request(url, init);
			},
		},
	);
	await settle();
	return given;
}
/** Stops a worker as the first signal does, with time going by. */
async function stop(queue: Harness, { worker }: Given): Promise<void> {
	const stopped = worker.stop();
	await queue.clock.advance(60_000);
	await stopped;
}
const away = () => {
	throw new TypeError("fetch failed", { cause: Object.assign(new Error("no"), { code: "ECONNREFUSED" }) });
};
const warnings = (queue: Harness) => queue.logs.filter(({ level }) => level === "warn" || level === "error");

describe("a remote worker", () => {
	it("runs jobs as they would run here: payload, context, result, progress", () => {
		const seen: Partial<TaskContext>[] = [];
		const remote = defineTask({
			run(payload, { attempt, maxAttempts, jobId, tenant, traceId, idempotencyKey }) {
				seen.push({ attempt, maxAttempts, jobId, tenant, traceId, idempotencyKey });
				return { got: payload };
			},
		});
		return inQueue(async queue => {
			const given = await working(queue, { remote });
			const job = await submit(queue, { task: "remote", payload: { a: 1 } });
			await queue.clock.advance(100);
			expect(await read(queue, job.id)).toMatchObject({ status: "done", result: { got: { a: 1 } }, worker: "ts-1" });
			expect(seen).toEqual([{ attempt: 1, maxAttempts: 4, jobId: job.id, tenant: "acme", traceId: job.trace_id, idempotencyKey: job.id }]);
			await stop(queue, given);
			expect(warnings(queue)).toEqual([]);
		});
	});

	it("ends attempts as what they throw says", () => {
		const tasks = {
			fails: defineTask({ retry: { baseMs: 8000 }, run: () => Promise.reject(new TypeError("broken")) }),
			gives_up: defineTask({ run: () => Promise.reject(new Failed("never")) }),
			later: defineTask({ run: () => Promise.reject(new Snooze(9000)) }),
			busy: defineTask({ run: () => Promise.reject(new RetryAfter(7000, { scope: "tenant" })) }),
		};
		return inQueue(async queue => {
			const given = await working(queue, tasks);
			const ids = Object.fromEntries(
				await Promise.all(Object.keys(tasks).map(async task => [task, (await submit(queue, { task })).id] as const)),
			);
			await queue.clock.advance(0);
			const state = async (task: string) => read(queue, ids[task]!);
			expect(await state("fails")).toMatchObject({
				status: "pending",
				run_at: "2026-01-01T00:00:04.000Z",
				error: { name: "TypeError", message: "broken", attempt: 1, stack: expect.stringContaining("work.test.ts") },
			});
			expect(await state("gives_up")).toMatchObject({ status: "failed", error_message: "never" });
			expect(await state("later")).toMatchObject({ status: "pending", retry_count: 0, run_at: "2026-01-01T00:00:09.000Z" });
			expect(await state("busy")).toMatchObject({ status: "pending", retry_count: 1, run_at: "2026-01-01T00:00:07.000Z" });
			const second = await submit(queue, { task: "busy" });
			await queue.clock.advance(6000);
			expect((await read(queue, second.id)).retry_count).toBe(0);
			await stop(queue, given);
		});
	});

	it("submits follow-ups together with the job's success", () => {
		const remote = defineTask({
			run(_, { submit }) {
				submit("next", { n: 1 }, { delayMs: 60_000, priority: 5, tags: ["a"] });
				return "first";
			},
		});
		return inQueue(async queue => {
			const given = await working(queue, { remote, next: defineTask({ run: () => 2 }) });
			await submit(queue, { task: "remote" });
			await queue.clock.advance(100);
			const { jobs } = (await queue.call("listJobs", "/api/jobs?task=next")).body;
			expect(jobs).toMatchObject([{ payload: { n: 1 }, priority: 5, tags: ["a"], run_at: "2026-01-01T00:01:00.000Z" }]);
			await stop(queue, given);
		});
	});

	it("takes as many as it has free slots, and more as they become free", () => {
		const gate = createGate();
		return inQueue(async queue => {
			const given = await working(queue, { gate: gate.task }, { concurrency: 2 });
			for (let i = 0; i < 4; i++) await submit(queue, { task: "gate" });
			await queue.clock.advance(2000);
			expect(gate.attempts).toHaveLength(2);
			await gate.attempts[0]!.finish();
			await queue.clock.advance(100);
			expect(gate.attempts).toHaveLength(3);
			for (let i = 1; i < 4; i++) {
				await gate.attempts[i]!.finish();
				await queue.clock.advance(100);
			}
			await stop(queue, given);
			expect((await queue.deps.storage.operator.counts()).done).toBe(4);
		});
	});

	it("sends what ends together in one request", () =>
		inQueue(async queue => {
			for (let i = 0; i < 5; i++) await serveRemote(queue, "quick");
			for (let i = 0; i < 5; i++) await submit(queue, { task: "quick" });
			const given = await working(queue, { quick: defineTask({ run: () => 1 }) });
			await queue.clock.advance(100);
			expect(given.sent.filter(({ path }) => path === "/api/leases/settle")).toHaveLength(1);
			await stop(queue, given);
		}));

	it("keeps its leases while tasks live, hands on their progress, and hears of a cancel within a heartbeat", () => {
		const gate = createGate();
		return inQueue(
			async queue => {
				const given = await working(queue, { gate: gate.task });
				const job = await submit(queue, { task: "gate", timeout_ms: 600_000 });
				await queue.clock.advance(100);
				gate.attempts[0]!.context.progress(50, "half");
				await queue.clock.advance(120_000);
				expect(await read(queue, job.id)).toMatchObject({ status: "running", lost_count: 0, progress: { percent: 50, message: "half" } });
				await queue.call("cancelJob", `/api/jobs/${job.id}/cancel`, { method: "POST" });
				await queue.clock.advance(10_000);
				const { signal } = gate.attempts[0]!.context;
				expect(signal.aborted).toBe(true);
				await gate.attempts[0]!.fail(signal.reason);
				await queue.clock.advance(100);
				expect((await read(queue, job.id)).status).toBe("cancelled");
				await stop(queue, given);
			},
			{ config: { timeoutMsMax: 900_000 } },
		);
	});

	it("ends an attempt at its deadline: the job's own, else its task's", () => {
		const gate = createGate({ timeoutMs: 5000 });
		return inQueue(async queue => {
			const given = await working(queue, { gate: gate.task });
			const own = await submit(queue, { task: "gate", timeout_ms: 1000 });
			const tasks = await submit(queue, { task: "gate" });
			await queue.clock.advance(1100);
			expect((await read(queue, own.id)).error_message).toBe("timed out after 1000 ms");
			expect((await read(queue, tasks.id)).status).toBe("running");
			await queue.clock.advance(4000);
			expect((await read(queue, tasks.id)).error_message).toBe("timed out after 5000 ms");
			await stop(queue, given);
		});
	});

	it("stops a job whose lease it lost, and says nothing of how it ended", () => {
		const gate = createGate();
		return inQueue(async queue => {
			const given = await working(queue, { gate: gate.task });
			const job = await submit(queue, { task: "gate" });
			await queue.clock.advance(100);
			await queue.deps.storage.worker.forfeitLeases("ts-1", queue.clock.now());
			await queue.deps.storage.worker.expireLeases(10, queue.clock.now());
			await queue.clock.advance(10_000);
			expect(gate.attempts[0]!.context.signal.aborted).toBe(true);
			await queue.clock.advance(100);
			// It may have it again, since it asks for more.
			expect(gate.attempts).toHaveLength(2);
			await gate.attempts[1]!.finish("second");
			await queue.clock.advance(100);
			expect(await read(queue, job.id)).toMatchObject({ status: "done", result: "second", lost_count: 0 });
			await stop(queue, given);
		});
	});

	it("asks a queue that is away again, twice as late each time, half a minute at most", () =>
		inQueue(async queue => {
			const given = await working(queue, { remote: defineTask({ run: () => 1 }) });
			given.between = away;
			await queue.clock.advance(20_100);
			given.sent.length = 0;
			const from = queue.clock.now();
			await queue.clock.advance(180_000);
			const gaps = given.sent.map(({ at }, i) => at - (given.sent[i - 1]?.at ?? from));
			// ¾ of each: the random number is ½ here.
			expect(gaps.slice(1, 7)).toEqual([750, 1500, 3000, 6000, 12_000, 22_500]);
			expect(Math.max(...gaps)).toBe(22_500);
			expect(warnings(queue)[0]).toMatchObject({
				message: expect.stringContaining("no jobs can be had"),
				error: "fetch failed: ECONNREFUSED",
			});
			given.between = null;
			const job = await submit(queue, { task: "remote" });
			await queue.clock.advance(30_000);
			expect((await read(queue, job.id)).status).toBe("done");
			await stop(queue, given);
		}));

	it("keeps what has ended for a queue that is away, and its lease when it is back in time", () => {
		const gate = createGate();
		return inQueue(async queue => {
			const given = await working(queue, { gate: gate.task });
			const job = await submit(queue, { task: "gate" });
			await queue.clock.advance(100);
			given.between = away;
			await gate.attempts[0]!.finish("kept");
			await queue.clock.advance(15_000);
			expect((await read(queue, job.id)).status).toBe("running");
			given.between = null;
			await queue.clock.advance(30_000);
			expect(await read(queue, job.id)).toMatchObject({ status: "done", result: "kept" });
			await stop(queue, given);
		});
	});

	it("does not take another program for the queue, nor an answer that is none", () =>
		inQueue(async queue => {
			const given = await working(queue, { remote: defineTask({ run: () => 1 }) });
			const answers = [
				() => new Response("<html>", { status: 200 }),
				() => new Response("{}", { status: 200 }),
				() => new Response("nothing here", { status: 404 }),
				() => new Response("", { status: 502 }),
				() => Response.json({ jobs: [], next_wake_at: null }),
			];
			let asked = 0;
			given.between = () => answers[asked++ % answers.length]!();
			await queue.clock.advance(20_100);
			given.sent.length = 0;
			await queue.clock.advance(60_000);
			expect(given.sent.length).toBeLessThan(60);
			given.between = null;
			await queue.clock.advance(60_000);
			await stop(queue, given);
		}));

	it("says once whom it serves, as soon as the queue has answered, and waits for jobs from then on", () =>
		inQueue(async queue => {
			const given = await working(queue, { a: defineTask({ run: () => 1 }), b: defineTask({ run: () => 2 }) });
			await queue.clock.advance(60_000);
			expect(queue.logs.filter(({ message }) => message.startsWith("serving"))).toMatchObject([
				{ level: "info", message: "serving a, b at http://queue.test as ts-1" },
			]);
			expect(given.sent.slice(0, 2).map(({ body }) => body.wait_ms)).toEqual([0, 20_000]);
			expect(given.sent.length).toBeLessThan(6);
			await stop(queue, given);
		}));

	// Bug: a worker that was sent to the wrong address asked there for ever.
	describe("that is refused", () => {
		const problem = (status: number, code: string) => () => Response.json({ code, detail: "why it is not" }, { status });
		const text = (status: number) => () => new Response("<html>", { status });
		const told = async ({ worker }: Given) => Promise.race([worker.refused, Promise.resolve("asks again")]);
		it.each([
			["404 of another program", text(404), "no tickq answers at http://queue.test: POST /api/leases is answered with 404"],
			["405 of another program", text(405), "no tickq answers at http://queue.test: POST /api/leases is answered with 405"],
			["422", problem(422, "validation_failed"), "http://queue.test refuses to lease jobs: why it is not (422 validation_failed)"],
			["404", problem(404, "not_found"), "http://queue.test refuses to lease jobs: why it is not (404 not_found)"],
		])("with %s asks for no more jobs, and tells why", (_, between, why) =>
			inQueue(async queue => {
				const given = await working(queue, { remote: defineTask({ run: () => 1 }) }, { between });
				expect(await told(given)).toBe(why);
				await queue.clock.advance(120_000);
				expect(given.sent).toHaveLength(1);
				await stop(queue, given);
			}),
		);

		it.each([401, 403, 408, 425, 429, 500, 503])("with %d asks again", status =>
			inQueue(async queue => {
				const given = await working(queue, { remote: defineTask({ run: () => 1 }) }, { between: problem(status, "some_code") });
				await queue.clock.advance(10_000);
				expect(given.sent.length).toBeGreaterThan(2);
				given.between = null;
				const job = await submit(queue, { task: "remote" });
				await queue.clock.advance(30_000);
				expect((await read(queue, job.id)).status).toBe("done");
				await stop(queue, given);
			}),
		);

		it("by a queue that it served before ends what runs; a 404 of something before that queue it asks again", () => {
			const gate = createGate();
			return inQueue(async queue => {
				const given = await working(queue, { gate: gate.task });
				const job = await submit(queue, { task: "gate", timeout_ms: 200_000 });
				await queue.clock.advance(100);
				for (const answer of [text(404), problem(422, "validation_failed")]) {
					expect(await told(given)).toBe("asks again");
					given.between = path => (path === "/api/leases" ? answer() : undefined);
					await queue.clock.advance(60_000);
				}
				expect(await told(given)).toContain("refuses to lease jobs");
				await gate.attempts[0]!.finish("in good order");
				await stop(queue, given);
				expect(await read(queue, job.id)).toMatchObject({ status: "done", result: "in good order" });
			});
		});
	});

	it("fails a job whose ending the queue refuses, and none beside it", () => {
		const tasks = {
			large: defineTask({ run: () => "x".repeat(9000) }),
			small: defineTask({ run: () => 1 }),
		};
		return inQueue(
			async queue => {
				await serveRemote(queue, "large", "small");
				const large = await submit(queue, { task: "large" });
				const small = await submit(queue, { task: "small" });
				// The worker has another limit than its queue.
				const wide = { ...queue, deps: { ...queue.deps, config: { ...queue.deps.config, resultBytesMax: 1_000_000 } } };
				const app = compose(functions, () => queue.deps);
				const worker = new RemoteWorker(
					{ url: "http://q.test", name: "w", version: "1", tasks: Object.keys(tasks), concurrency: 5, leaseMs: 30_000, graceMs: 1000 },
					{
						...queue.deps,
						execute: job => startAttempt(job, { ...wide.deps, tasks }),
						fetch: async (url, init) => app.request(url, init),
					},
				);
				await queue.clock.advance(100);
				expect((await read(queue, small.id)).status).toBe("done");
				const job = await read(queue, large.id);
				expect(job).toMatchObject({ status: "failed", result: null });
				expect(job.error_message).toMatch(/^the queue refused what the attempt ended with: .*4096 bytes/);
				const stopped = worker.stop();
				await queue.clock.advance(5000);
				await stopped;
			},
			{ config: { resultBytesMax: 1024 } },
		);
	});

	describe("that is to stop", () => {
		it("takes no more jobs, and lets those that run end", () => {
			const gate = createGate();
			return inQueue(async queue => {
				const given = await working(queue, { gate: gate.task });
				const job = await submit(queue, { task: "gate" });
				await queue.clock.advance(100);
				let stopped = false;
				const stopping = given.worker.stop().then(() => {
					stopped = true;
				});
				const late = await submit(queue, { task: "gate" }, "other");
				await queue.clock.advance(2000);
				expect([stopped, gate.attempts.length]).toEqual([false, 1]);
				await gate.attempts[0]!.finish("in time");
				await queue.clock.advance(100);
				await stopping;
				expect(await read(queue, job.id)).toMatchObject({ status: "done", result: "in time" });
				expect((await read(queue, late.id)).status).toBe("pending");
			});
		});

		it("gives jobs back after the grace period, or at once at a second signal; no attempt is burned", () => {
			const gate = createGate();
			return inQueue(async queue => {
				for (const second of [false, true]) {
					const given = await working(queue, { gate: gate.task }, { graceMs: 5000 });
					const job = await submit(queue, { task: "gate" }, second ? "b" : "a");
					await queue.clock.advance(100);
					const stopping = given.worker.stop();
					await settle();
					if (second) given.worker.release();
					await queue.clock.advance(second ? 10 : 5010);
					await stopping;
					expect(await read(queue, job.id)).toMatchObject({ status: "pending", retry_count: 0, lost_count: 0 });
					expect(await history(queue, job.id)).toEqual(["submitted", "claimed", "released"]);
					await queue.call("cancelJob", `/api/jobs/${job.id}/cancel`, { method: "POST", tenant: second ? "b" : "a" });
				}
			});
		});

		it("does not wait for a queue that is away for ever: the leases run out by themselves", () => {
			const gate = createGate();
			return inQueue(async queue => {
				const given = await working(queue, { gate: gate.task }, { graceMs: 1000 });
				const job = await submit(queue, { task: "gate" });
				await queue.clock.advance(100);
				given.between = away;
				const stopping = given.worker.stop();
				await queue.clock.advance(15_000);
				await stopping;
				await queue.clock.advance(30_000);
				await queue.call("processTick", "/api/tick", { method: "POST", tenant: null });
				expect(await read(queue, job.id)).toMatchObject({ status: "pending", lost_count: 1 });
			});
		});
	});

	it("sends its key with every request", () =>
		inQueue(async queue => {
			const given = await working(queue, { remote: defineTask({ run: () => 1 }) }, { key: "secret" });
			await submit(queue, { task: "remote" });
			await queue.clock.advance(100);
			await stop(queue, given);
			expect(JSON.stringify(queue.logs)).not.toContain("secret");
		}));
});

describe("the options of tickq work", () => {
	const read = (args: string[], env: Record<string, string> = {}) => readWorkOptions(args, env, "host:1");

	it("come from flags, then the environment, then the defaults; what is no option of its own is left", () => {
		expect(read([])).toEqual({
			options: { url: "http://localhost:8000", name: "host:1", concurrency: 5, module: null, names: null },
			rest: [],
			mistakes: [],
		});
		const env = { TICKQ_URL: "https://q.example/base/", TICKQ_KEY: "k", TICKQ_CONCURRENCY: "9", TICKQ_TASKS: "./tasks/index.ts" };
		expect(read(["--concurrency=2", "--lease-ms", "5000", "--inline"], env)).toEqual({
			options: { url: "https://q.example/base", key: "k", name: "host:1", concurrency: 2, module: "./tasks/index.ts", names: null },
			rest: ["--lease-ms", "5000", "--inline"],
			mistakes: [],
		});
		expect(read(["--tasks", "echo, sleep,echo", "--name", "gpu"]).options).toMatchObject({
			names: ["echo", "sleep"],
			module: null,
			name: "gpu",
		});
	});

	it.each([
		[["--url", "ftp://x"], "--url is no http"],
		[["--url", "nonsense"], "--url is no http"],
		[["--url", "http://user:secret@x"], "--url has a user"],
		[["--concurrency", "0"], "--concurrency 0"],
		[["--concurrency", "1e9"], "--concurrency 1e9"],
		[["--tasks", ","], "--tasks names no task"],
		[["--name", "x".repeat(201)], "--name has more"],
		[["--key", "a b"], "--key has a character"],
		[["--url"], "--url has no value"],
		[["--url", "--name", "x"], "--url has no value"],
	])("are told when they cannot be: %s", (args, what) => {
		const { mistakes } = read(args);
		expect(mistakes[0]!.what).toContain(what);
		expect(JSON.stringify(mistakes)).not.toContain("secret");
	});
});

describe("tickq", { timeout: 30_000 }, () => {
	it("lists its commands, and says which was meant", async () => {
		for (const args of [[], ["--help"], ["help"]]) {
			const { code, out } = await run("tickq.js", args);
			expect(code).toBe(0);
			for (const name of ["emulate", "start", "work", "tick", "migrate", "conformance"]) expect(out).toContain(`  ${name} `);
		}
		const { code, out, err } = await run("tickq.js", ["wrok", "--url", "x"]);
		expect({ code, out }).toEqual({ code: 2, out: "" });
		expect(err).toContain("→ tickq work");
	});

	it("hands its commands their part of the command line", async () => {
		expect((await run("tickq.js", ["tick", "--help"])).out).toContain("--dry-run");
		expect((await run("tickq.js", ["emulate", "--help"])).out).toContain("Usage: npm run emulate");
		expect((await run("tickq.js", ["work", "--help"])).out).toContain("Usage: tickq work");
		const wrong = await run("tickq.js", ["work", "--nonsense", "--tasks", "nothing"]);
		expect({ code: wrong.code, out: wrong.out }).toEqual({ code: 2, out: "" });
		expect(wrong.err).toContain("tickq cannot work");
		const unknown = await run("tickq.js", ["work", "--tasks", "nothing"]);
		expect(unknown.err).toContain('there is no task "nothing"');
		const missing = await run("tickq.js", ["work", "--tasks", "./nothing.ts"]);
		expect(missing.err).toContain("the tasks cannot be loaded: Cannot find module 'nothing.ts'\n      → --tasks ./tasks/index.ts");
		expect(missing.err).not.toContain("    at ");
		const cwd = folder();
		writeFileSync(join(cwd, "bad.mts"), "export const task = 1;");
		const bad = await run("tickq.js", ["work", "--tasks", "./bad.mts"], { cwd });
		expect(bad.err).toContain("the tasks cannot be loaded: bad.mts must export `tasks`\n      → mend the file");
	});

	it("works: runs tasks of a module of one's own for a server elsewhere, and ends in good order", async () => {
		const cwd = folder();
		writeFileSync(
			join(cwd, "mine.ts"),
			`import { defineTask } from "tickq";
export const tasks = {
	double: defineTask({ run: (n: number) => 2 * n }),
	spin: defineTask({ timeoutMs: 300, retry: { maxRetries: 0 }, run() { for (;;); } }),
	slow: defineTask({ run: (_: unknown, { signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))) }),
};\n`,
		);
		const server = await start("emulate.js", ["--port", "0", "--database", ":memory:"], { cwd });
		const args = ["work", "--url", server.url, "--tasks", "./mine.ts", "--name", "elsewhere", "--grace-ms", "300", "--log-format", "json"];
		const worker = await start("tickq.js", args, { cwd });
		expect(worker.lines[0]).toMatchObject({ name: "elsewhere", tasks: ["double", "spin", "slow"] });
		const known = async () => (await json(`${server.url}/api/tasks`)).tasks.some(({ name }: { name: string }) => name === "slow");
		while (!(await known()));
		const submitted = async (task: string, payload: unknown, query = "") =>
			(await post(`${server.url}/api/jobs${query}`, { task, payload, max_retries: 0 })).json();
		expect(await submitted("double", 21, "?wait_ms=10000")).toMatchObject({ status: "done", result: 42, worker: "elsewhere" });
		expect(await submitted("spin", 1, "?wait_ms=20000")).toMatchObject({ status: "dead_letter", worker: "elsewhere" });
		expect(await submitted("double", 4, "?wait_ms=10000")).toMatchObject({ status: "done", result: 8 });
		const slow = await submitted("slow", 1);
		while ((await json(`${server.url}/api/jobs/${slow.id}`)).status !== "running");
		expect(await json(`${server.url}/api/workers`)).toMatchObject({
			workers: expect.arrayContaining([expect.objectContaining({ name: "elsewhere", running: 1 })]),
		});
		worker.child.kill("SIGTERM");
		expect(await worker.exit).toBe(0);
		expect(await json(`${server.url}/api/jobs/${slow.id}`)).toMatchObject({ status: "pending", retry_count: 0, lost_count: 0 });
	});

	it("goes on with --inline when a task throws where nobody can catch it: its attempt fails", async () => {
		const cwd = folder();
		writeFileSync(
			join(cwd, "stray.ts"),
			`import { defineTask } from "tickq";
export const tasks = {
	stray: defineTask({ run: () => new Promise(() => setTimeout(() => { throw new Error("astray"); })) }),
	fine: defineTask({ run: () => "fine" }),
};\n`,
		);
		const server = await start("emulate.js", ["--port", "0", "--no-work", "--database", ":memory:"], { cwd });
		const worker = await start("tickq.js", ["work", "--url", server.url, "--tasks", "./stray.ts", "--inline", "--log-format", "json"], {
			cwd,
		});
		await worker.line(({ message }) => String(message).startsWith("serving"));
		const submitted = async (task: string) => (await post(`${server.url}/api/jobs?wait_ms=10000`, { task, max_retries: 0 })).json();
		expect(await submitted("stray")).toMatchObject({ status: "dead_letter", error_message: "astray" });
		expect(await submitted("fine")).toMatchObject({ status: "done", result: "fine" });
	});

	it("ends where there is no queue, with code 1 and a line that says so", async () => {
		const server = createServer((_, response) => response.writeHead(404).end("nothing here")).listen(0, "127.0.0.1");
		await once(server, "listening");
		ended.push(() => server.close());
		const { port } = server.address() as { port: number };
		const { code, out } = await run("tickq.js", ["work", "--url", `http://127.0.0.1:${port}`, "--tasks", "echo", "--log-format", "json"]);
		expect(code).toBe(1);
		expect(JSON.parse(out.trim().split("\n").at(-1)!)).toMatchObject({
			level: "error",
			message: `no tickq answers at http://127.0.0.1:${port}: POST /api/leases is answered with 404; it is not asked again`,
		});
	});

	it("works on while its server is away, and ends when told to", async () => {
		const server = createServer((_, response) => response.writeHead(503).end()).listen(0, "127.0.0.1");
		await once(server, "listening");
		ended.push(() => server.close());
		const { port } = server.address() as { port: number };
		const worker = await start("tickq.js", ["work", "--url", `http://127.0.0.1:${port}`, "--tasks", "echo", "--log-format", "json"]);
		await worker.line(({ message }) => String(message).startsWith("no jobs can be had"));
		worker.child.kill("SIGTERM");
		expect(await worker.exit).toBe(0);
	});
});
