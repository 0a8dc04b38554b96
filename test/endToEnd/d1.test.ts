/** Two hundred slices of a real table through the real Worker on D1, within the free plan's statements, until all are done and add up. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { projectPath, startWorker } from "../support/workerHarness.ts";

interface Flight {
	readonly date: string;
	readonly delay: number;
	readonly distance: number;
	readonly origin: string;
	readonly destination: string;
}
const flights = JSON.parse(readFileSync(projectPath("node_modules/vega-datasets/data/flights-2k.json"), "utf8")) as Flight[];
const JOBS = 200;
const PER_JOB = flights.length / JOBS;

/** What process_data must answer for a slice, computed apart from it. */
const expected = (rows: readonly Flight[], name: "delay" | "distance") => ({
	count: rows.length,
	nulls: 0,
	min: rows.reduce((least, row) => Math.min(least, row[name]), Number.POSITIVE_INFINITY),
	max: rows.reduce((most, row) => Math.max(most, row[name]), Number.NEGATIVE_INFINITY),
	sum: rows.reduce((sum, row) => sum + row[name], 0),
});

describe("real data on Workers and D1", () => {
	it(`runs ${JOBS} jobs of five tenants to their right results`, { timeout: 60_000 }, async () => {
		const { server, close } = await startWorker("functions/worker.ts", {
			d1_databases: [{ binding: "DB", database_name: "tickq", migrations_dir: projectPath("lib/storage/migrations/sqlite") }],
		});
		try {
			const worker = server.getWorker();
			await worker.applyD1Migrations("DB");
			const api = async (address: string, tenant: string, body?: object) => {
				const response = await worker.fetch(`http://localhost${address}`, {
					method: body === undefined ? "GET" : "POST",
					headers: { "content-type": "application/json", "x-tenant-id": tenant },
					...(body === undefined ? {} : { body: JSON.stringify(body) }),
				});
				// biome-ignore lint/suspicious/noExplicitAny: tests look at whatever came.
				return { status: response.status, body: (await response.json()) as any };
			};

			const slices = Array.from({ length: JOBS }, (_, i) => ({
				tenant: `airline-${i % 5}`,
				rows: flights.slice(Math.round(i * PER_JOB), Math.round((i + 1) * PER_JOB)),
				id: "",
			}));
			const queue = [...slices];
			const sender = async (): Promise<void> => {
				for (let slice = queue.pop(); slice !== undefined; slice = queue.pop()) {
					const text = slice.rows.map(row => JSON.stringify(row)).join("\n");
					const { status, body } = await api("/api/jobs", slice.tenant, { payload: { task: "process_data", format: "ndjson", text } });
					expect([status, body.status]).toEqual([201, "pending"]);
					slice.id = body.id;
				}
			};
			await Promise.all(Array.from({ length: 8 }, sender));

			let crons = 0;
			for (; crons < 30; crons++) {
				const { body } = await api("/api/metrics", "*");
				if (body.done === JOBS) break;
				await worker.scheduled({ cron: "* * * * *" });
			}
			for (const { tenant, rows, id } of slices) {
				const { body } = await api(`/api/jobs/${id}?include=history`, tenant);
				expect(body).toMatchObject({ status: "done", attempt: 1, result: { rows: rows.length } });
				const { delay, distance } = body.result.columns;
				expect({ delay, distance }).toMatchObject({ delay: expected(rows, "delay"), distance: expected(rows, "distance") });
				expect(body.history.map(({ kind }: { kind: string }) => kind)).toEqual(["submitted", "claimed", "done"]);
			}
			expect((await api("/api/metrics", "*")).body).toMatchObject({ done: JOBS, pending: 0, running: 0, failed: 0, dead_letter_queue: 0 });
			const lines = server.getLogs().filter(({ level }) => level === "error" || level === "warn");
			expect(lines).toEqual([]);
		} finally {
			await close();
		}
	});
});
