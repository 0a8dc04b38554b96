/** The Worker as it is deployed, in workerd: its routes, its files, its wake-ups; and the same handlers in this process, where each statement is counted. */
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { createTestHarness } from "wrangler";
import type { OpenedStorage } from "../../emulator/openStorage.ts";
import { openStorage } from "../../emulator/openStorage.ts";
import { type D1Trouble, d1Fake } from "../support/d1Fake.ts";
import { type Answered, answered, STORAGE_DEFAULTS, toRequest } from "../support/harness.ts";
import { projectPath } from "../support/workerHarness.ts";

const worker = (env?: string) => createTestHarness({ workers: [{ configPath: projectPath("wrangler.jsonc"), ...(env ? { env } : {}) }] });
type Server = ReturnType<typeof worker>;

async function ask(server: Server, path: string, { body, tenant = "acme", ...more }: Parameters<typeof toRequest>[1] & object = {}) {
	const response = await server.fetch(path, {
		method: body === undefined ? "GET" : "POST",
		headers: { "content-type": "application/json", "x-tenant-id": tenant ?? "acme", ...more.headers },
		...(body === undefined ? {} : { body: JSON.stringify(body) }),
	});
	const text = await response.text();
	const isJson = response.headers.get("content-type")?.includes("json");
	return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : undefined };
}
async function until<T>(look: () => Promise<T>, found: (value: T) => boolean, ms = 5000): Promise<T> {
	for (const end = Date.now() + ms; ; ) {
		const value = await look();
		if (found(value) || Date.now() > end) return value;
		await sleep(20);
	}
}

describe("the Worker", () => {
	const server = worker();
	let url: URL;
	beforeAll(async () => {
		({ url } = await server.listen());
		const empty = await ask(server, "/api/metrics");
		expect(empty).toMatchObject({
			status: 503,
			body: { code: "not_ready", detail: expect.stringContaining("migrations apply DB --remote") },
		});
		expect((await ask(server, "/health")).status).toBe(200);
		await server.getWorker().applyD1Migrations("DB");
	}, 30_000);
	afterAll(() => server.close());

	it("does what the README's curls ask, and wakes itself after a submit", async () => {
		const submitted = await ask(server, "/api/jobs", { tenant: "tenant-demo", body: { payload: { task: "process_data" } } });
		expect(submitted).toMatchObject({ status: 201, body: { task: "process_data", tenant_id: "tenant-demo" } });
		const path = `/api/jobs/${submitted.body.job_id}`;
		const job = await until(
			() => ask(server, path, { tenant: "tenant-demo" }),
			({ body }) => body.status === "done",
		);
		expect(job.body).toMatchObject({ status: "done", result: { message: "Processed successfully" } });
		expect((await ask(server, path, { tenant: "somebody-else" })).status).toBe(404);
		expect((await ask(server, "/api/jobs", { tenant: "tenant-demo" })).body.jobs.map(({ id }: { id: string }) => id)).toEqual([
			job.body.id,
		]);
		expect((await ask(server, "/api/metrics", { tenant: "tenant-demo" })).body).toMatchObject({ done: 1, pending: 0 });
		expect((await ask(server, "/ready")).body).toMatchObject({ status: "ready", last_tick_at: expect.any(String) });
	});

	it("answers with the result when it is asked to wait", async () => {
		const { status, body } = await ask(server, "/api/jobs?wait_ms=5000", { body: { task: "echo", payload: { hello: "world" } } });
		expect([status, body.status, body.result]).toEqual([201, "done", { hello: "world" }]);
	});

	it("runs a retry and a delayed job with the cron trigger", async () => {
		const retried = await ask(server, "/api/jobs?wait_ms=300", { body: { task: "flaky", payload: { fail_times: 1 } } });
		const delayed = await ask(server, "/api/jobs", { body: { task: "echo", delay_ms: 200 } });
		expect([retried.body.status, delayed.body.status]).toEqual(["pending", "pending"]);
		await sleep(700);
		expect(await server.getWorker().scheduled({ cron: "* * * * *" })).toMatchObject({ outcome: "ok" });
		for (const { body } of [retried, delayed]) expect((await ask(server, `/api/jobs/${body.id}`)).body.status).toBe("done");
	});

	it("serves the dashboard and all that it loads, with the headers that keep it apart", async () => {
		const seen = new Map<string, string>();
		const visit = async (path: string): Promise<void> => {
			if (seen.has(path)) return;
			seen.set(path, "");
			const { status, headers, text } = await ask(server, path);
			expect([path, status]).toEqual([path, 200]);
			expect(headers.get("content-security-policy")).toContain("default-src 'self'");
			expect(headers.get("x-content-type-options")).toBe("nosniff");
			seen.set(path, headers.get("content-type") ?? "");
			const links = path.endsWith(".js")
				? [...text.matchAll(/^(?:import|export)\s(?:[^"';]*?\sfrom\s)?"([^"]+)";/gm)]
				: /^<!doctype html>/.test(text)
					? [...text.matchAll(/(?:src|href)="([^"#]+)"/g)]
					: [];
			for (const [, link] of links) await visit(new URL(link!, new URL(path, url)).pathname);
		};
		await visit("/");
		await visit("/static/index.html");
		expect(seen.size).toBeGreaterThan(20);
		expect(seen.get("/vendor/uplot/uPlot.esm.js")).toContain("javascript");
		expect(seen.get("/static/style.css")).toContain("css");
		const { headers } = await ask(server, "/static/app.js");
		expect((await ask(server, "/static/app.js", { headers: { "if-none-match": headers.get("etag")! } })).status).toBe(304);
	});

	it("pushes the metrics on a WebSocket at once, and to no other site's pages", async () => {
		const socket = new WebSocket(Object.assign(new URL("/ws/metrics", url), { protocol: "ws:" }));
		const first = await new Promise<string>((resolve, reject) => {
			socket.addEventListener("message", ({ data }) => resolve(data));
			socket.addEventListener("error", () => reject(new Error("no connection")));
		});
		expect(JSON.parse(first)).toMatchObject({ done: expect.any(Number), pending: expect.any(Number), workers: { size: 10 } });
		socket.close();
		const foreign = await ask(server, "/ws/metrics", { headers: { upgrade: "websocket", origin: "https://evil.example" } }).catch(
			() => null,
		);
		expect(foreign === null || foreign.status === 403).toBe(true);
		expect((await ask(server, "/ws/metrics")).status).toBe(404);
	});

	it("refuses as everywhere: unknown paths, methods, bodies", async () => {
		expect(await ask(server, "/nothing")).toMatchObject({ status: 404, body: { code: "not_found" } });
		expect(await ask(server, "/static/nothing.js")).toMatchObject({ status: 404, body: { code: "not_found" } });
		expect((await ask(server, "/api/metrics", { body: {} })).body.code).toBe("method_not_allowed");
		expect((await ask(server, "/api/jobs", { body: { task: "echo", payload: "x".repeat(300_000) } })).body.code).toBe("payload_too_large");
		expect((await ask(server, "/api/jobs", { body: { task: "nobody" } })).body.code).toBe("unknown_task");
		expect((await ask(server, "/api/jobs", { body: { task: "echo", timeout_ms: 60_000 } })).body).toMatchObject({
			status: 422,
			code: "body_invalid",
			detail: expect.stringContaining("20000 ms"),
			errors: [{ pointer: "/timeout_ms" }],
		});
	});

	it("is closed to every name but this machine's", async () => {
		for (const path of ["/", "/api/metrics", "/static/app.js", "/ready", "/openapi.json"])
			expect([path, (await ask(server, `http://tickq.example${path}`)).body?.code]).toEqual([path, "access_closed"]);
		expect((await ask(server, "http://tickq.example/health")).status).toBe(200);
	});
});

describe("the Worker with an alarm clock", () => {
	it("runs delayed jobs and retries when they are due, without the cron trigger", { timeout: 30_000 }, async () => {
		const server = worker("alarm");
		await server.listen();
		try {
			await server.getWorker().applyD1Migrations("DB");
			const later = await ask(server, "/api/jobs", { body: { task: "echo", delay_ms: 600 } });
			const sooner = await ask(server, "/api/jobs", { body: { task: "echo", delay_ms: 150 } });
			const retried = await ask(server, "/api/jobs", { body: { task: "flaky", payload: { fail_times: 2 } } });
			for (const { body } of [sooner, later, retried]) {
				const job = await until(
					() => ask(server, `/api/jobs/${body.id}`),
					answer => answer.body.status === "done",
				);
				expect(job.body.status).toBe("done");
				expect(Date.parse(job.body.completed_at) - Date.parse(job.body.run_at)).toBeLessThan(500);
			}
		} finally {
			await server.close();
		}
	});
});

describe("each invocation", () => {
	let opened: OpenedStorage;
	afterEach(async () => {
		const violations = await opened.storage.operator.verify();
		await opened.storage.close();
		expect(violations).toEqual([]);
	});

	/** The handlers as in a new isolate, over a database of their own. */
	async function isolate(vars: Record<string, unknown> = {}, trouble: D1Trouble = {}, at?: OpenedStorage) {
		opened = at ?? (await openStorage(":memory:", STORAGE_DEFAULTS, []));
		vi.resetModules();
		vi.spyOn(console, "log").mockImplementation(() => {});
		const { default: handlers } = await import("../../functions/worker.ts");
		let statements = 0;
		const count = (texts: readonly string[]): void => {
			statements += texts.length;
		};
		const database = d1Fake(opened.database, {
			...trouble,
			before(texts) {
				count(texts);
				trouble.before?.(texts);
			},
		});
		const env = { DB: database, ...vars } as never;
		/** What one invocation sends, with all that it leaves behind. */
		const counted = async <T>(
			run: (waitUntil: { waitUntil(work: Promise<unknown>): void }) => Promise<T>,
		): Promise<{ answer: T; sent: number }> => {
			const before = statements;
			const left: Promise<unknown>[] = [];
			const answer = await run({ waitUntil: work => void left.push(work) });
			for (let i = 0; i < left.length; i++) await left[i];
			return { answer, sent: statements - before };
		};
		return {
			statements: () => statements,
			call: (path: string, options?: Parameters<typeof toRequest>[1]): Promise<{ answer: Answered; sent: number }> =>
				counted(invocation => answered(handlers.fetch(toRequest(path, options), env, invocation))),
			at: (address: string) => counted(invocation => answered(handlers.fetch(new Request(address), env, invocation))),
			cron: () => counted(() => handlers.scheduled({ cron: "* * * * *" }, env)),
		};
	}

	const backlog = (jobs: number) =>
		Promise.all(
			Array.from({ length: jobs }, (_, i) =>
				opened.storage
					.tenant(`t${i % 20}`)
					.insertJob(
						{ task: i % 3 === 0 ? "flaky" : "echo", payload: '{"fail_times":0}', maxRetries: 3, tail: i, traceId: "0" },
						Date.now(),
					),
			),
		);

	it("sends few statements: a submit with its tick, cold and warm; a cron that finds nothing; nothing in between", async () => {
		const { call, cron, statements } = await isolate();
		const submit = () => call("/api/jobs", { body: { task: "echo", payload: 1 } });
		const cold = await submit();
		const warm = await submit();
		expect(cold.sent).toBeLessThanOrEqual(26);
		expect(warm.sent).toBeLessThanOrEqual(17);
		expect((await cron()).sent).toBe(1);
		const before = statements();
		await sleep(100);
		for (const path of ["/health", "/openapi.json", "/nothing"]) await call(path);
		expect(statements()).toBe(before);
	});

	it("runs a new isolate's first job while somebody waits for it, within 40 statements", async () => {
		await isolate();
		for (const key of ["first", "second"]) {
			const { call } = await isolate({}, {}, opened);
			const { answer, sent } = await call("/api/jobs?wait_ms=2000", {
				body: { task: "echo", payload: key, tags: ["t"] },
				headers: key === "first" ? {} : { "idempotency-key": key },
			});
			expect([answer.body.status, answer.body.result]).toEqual(["done", key]);
			expect(sent).toBeLessThanOrEqual(40);
		}
	});

	it.each([40, 60])("keeps to %i statements: with a backlog, while somebody waits, and by hand", async max => {
		const { call, cron } = await isolate({ TICKQ_TICK_STATEMENTS_MAX: String(max) });
		await backlog(80);
		const sent = [
			await call("/api/jobs?wait_ms=1500", { body: { task: "sleep", payload: { ms: 50 } } }),
			await call("/api/jobs", { body: { task: "echo" }, headers: { "idempotency-key": "k" } }),
			await call("/api/tick", { method: "POST" }),
			await call("/api/tick?dry_run=true", { method: "POST" }),
			await cron(),
		].map(({ sent }) => sent);
		expect(Math.max(...sent)).toBeLessThanOrEqual(max);
		for (let i = 0; i < 20; i++) await cron();
		expect((await call("/api/metrics", { tenant: null })).answer.body).toMatchObject({ done: 82, pending: 0, running: 0 });
	});

	it("keeps to them with a tick by hand, also in a new isolate", async () => {
		const { call } = await isolate();
		await backlog(60);
		const { answer, sent } = await call("/api/tick", { method: "POST" });
		expect(answer.body).toMatchObject({ stopped_by: "statements", outcomes: { done: answer.body.claimed } });
		expect(answer.body.claimed).toBeGreaterThanOrEqual(20);
		expect(sent).toBeLessThanOrEqual(40);
	});

	it("answers 503 while D1 is away, loses nothing, and goes on when it is back", async () => {
		let away = false;
		const { call, cron } = await isolate(
			{},
			{
				before() {
					if (away) throw new Error("D1_ERROR: Network connection lost.");
				},
			},
		);
		const { answer: first } = await call("/api/jobs", { body: { task: "echo", delay_ms: 1 } });
		away = true;
		expect((await call("/api/jobs", { body: { task: "echo" } })).answer).toMatchObject({
			status: 503,
			body: { code: "storage_unavailable" },
		});
		await expect(cron()).rejects.toThrow("D1 cannot be used");
		away = false;
		await cron();
		expect((await call(`/api/jobs/${first.body.id}`)).answer.body.status).toBe("done");
	});

	it("is refused under a foreign name, unless the Worker is open", async () => {
		expect((await (await isolate()).at("https://tickq.example/api/metrics")).answer).toMatchObject({
			status: 503,
			body: { code: "access_closed", detail: expect.stringContaining("TICKQ_OPEN") },
		});
		await opened.storage.close();
		expect((await (await isolate({ TICKQ_OPEN: "true" })).at("https://tickq.example/api/metrics")).answer.status).toBe(200);
	});

	it("is refused with all mistakes in the Worker's variables", async () => {
		const { at } = await isolate({ TICKQ_TIMEOUT_MS_MAX: "60000", TICKQ_WORKERS_MIN: "many" });
		const { answer } = await at("http://localhost/api/metrics");
		expect(answer).toMatchObject({ status: 503, body: { code: "not_ready" } });
		expect(answer.body.detail).toMatch(/TICKQ_TIMEOUT_MS_MAX=60000 is not a whole number between 1 and 25000.*TICKQ_WORKERS_MIN=many/);
	});

	it("gives tenants that are there what is set for all", async () => {
		const { call } = await isolate({ TICKQ_TENANT_BACKLOG: "1" });
		await opened.storage.operator.setTask("echo", { paused: true });
		await call("/api/jobs", { body: { task: "echo" } });
		expect((await call("/api/jobs", { body: { task: "echo" } })).answer.body.code).toBe("tenant_backlog_full");
	});
});

describe("the bundle", () => {
	it.each(["", "alarm", "postgres"])(
		"is made offline and has 136 KiB at most (env %j); over D1 it knows no Node",
		{ timeout: 30_000 },
		async env => {
			const folder = mkdtempSync(join(tmpdir(), "tickq-worker-"));
			const wrangler = projectPath("node_modules/wrangler/bin/wrangler.js");
			const { stdout } = await promisify(execFile)(
				process.execPath,
				[wrangler, "deploy", `--env=${env}`, "--dry-run", "--outdir", folder],
				{ cwd: projectPath(""), env: { PATH: process.env.PATH, HOME: folder, WRANGLER_SEND_METRICS: "false" } },
			);
			const files = readdirSync(folder).filter(name => name.endsWith(".js"));
			const text = readFileSync(join(folder, files[0]!), "utf8");
			rmSync(folder, { recursive: true });
			expect(files).toHaveLength(1);
			expect(/from\s*"node:/.test(text)).toBe(env === "postgres");
			expect(gzipSync(text).length).toBeLessThanOrEqual(136 * 1024);
			expect(stdout).toMatch(/gzip: [\d.]+ KiB/);
		},
	);
});
