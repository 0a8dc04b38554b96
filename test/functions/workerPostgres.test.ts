/** The Worker on PostgreSQL: the same, over what Hyperdrive is on this machine. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openPostgres } from "../../emulator/openPostgres.ts";
import { freshSchema } from "../support/postgres.ts";
import { startWorker } from "../support/workerHarness.ts";

describe("the Worker on PostgreSQL", () => {
	const { url, drop } = freshSchema();
	const schema = new URL(url).searchParams.get("schema")!;
	const bare = Object.assign(new URL(url), { search: "" }).href;
	let worker: Awaited<ReturnType<typeof startWorker>>;
	const ask = async (path: string, body?: object) => {
		const response = await worker.server.fetch(path, {
			method: body === undefined ? "GET" : "POST",
			headers: { "content-type": "application/json", "x-tenant-id": "acme" },
			...(body === undefined ? {} : { body: JSON.stringify(body) }),
		});
		// biome-ignore lint/suspicious/noExplicitAny: tests look at whatever came.
		return { status: response.status, body: (await response.json()) as any };
	};
	beforeAll(async () => {
		worker = await startWorker("functions/workerPostgres.ts", {
			compatibility_flags: ["nodejs_compat"],
			hyperdrive: [{ binding: "HYPERDRIVE", id: "here", localConnectionString: bare }],
			vars: { TICKQ_SCHEMA: schema },
		});
	}, 30_000);
	afterAll(async () => {
		await worker.close();
		await drop();
	});

	it("says what to run while the database is empty, and works when that has been done", { timeout: 30_000 }, async () => {
		expect(await ask("/api/metrics")).toMatchObject({
			status: 503,
			body: { code: "not_ready", detail: expect.stringContaining("npm run migrate") },
		});
		const { storage } = await openPostgres(url, { concurrency: 5, backlog: 100, keepDoneMs: 1e6, keepDeadMs: 1e6 }, []);
		try {
			const jobs = await Promise.all(Array.from({ length: 12 }, (_, i) => ask("/api/jobs?wait_ms=5000", { task: "echo", payload: { i } })));
			expect(jobs.map(({ body }) => [body.status, body.result.i])).toEqual(jobs.map((_, i) => ["done", i]));
			const later = await ask("/api/jobs", { task: "echo", delay_ms: 100 });
			await new Promise(resolve => setTimeout(resolve, 150));
			await worker.server.getWorker().scheduled({ cron: "* * * * *" });
			expect((await ask(`/api/jobs/${later.body.id}`)).body.status).toBe("done");
			expect(await storage.operator.verify()).toEqual([]);
		} finally {
			await storage.close();
		}
	});
});
