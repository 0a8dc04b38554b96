/**
 * Several servers on one PostgreSQL database, as processes of their own. Real tables go through two of them, one of which is killed in
 * the middle: every accepted job is done exactly once as far as the store is concerned, and the survivor takes over what the other had.
 */
import { setTimeout as sleep } from "node:timers/promises";
import postgres from "postgres";
import { afterEach, describe, expect, it } from "vitest";
import { openPostgres } from "../../emulator/openPostgres.ts";
import { readAddress } from "../../emulator/postgresPool.ts";
import { STORAGE_DEFAULTS } from "../support/harness.ts";
import { freshSchema } from "../support/postgres.ts";
import { type EmulatorProcess, startProgram } from "./emulatorProcess.ts";
import { checkTable, submitAll, tables, untilIdle } from "./tables.ts";

const closing: (() => unknown)[] = [];
afterEach(async () => {
	for (const close of closing.splice(0).reverse()) await close();
});

/** A database, and servers on it. */
function queue(): {
	readonly url: string;
	readonly rows: (text: string) => Promise<readonly postgres.Row[]>;
	readonly start: (...args: readonly string[]) => Promise<EmulatorProcess>;
} {
	const { url, drop } = freshSchema();
	closing.push(drop);
	const { schema } = readAddress(url);
	const sql = postgres(url.replace(/\?.*/, ""), { max: 1, onnotice: () => {} });
	closing.push(() => sql.end({ timeout: 1 }));
	return {
		url,
		rows: text => sql.unsafe(text.replaceAll("$", `${schema}.`)),
		async start(...args) {
			const server = await startProgram("start.js", ["--port", "0", ...args], { DATABASE_URL: url });
			closing.push(() => server.kill("SIGKILL"));
			return server;
		},
	};
}
const isOf = ({ child }: EmulatorProcess, worker: string): boolean => worker.split(":")[1] === String(child.pid);

async function submit(url: string, tenant: string, body: object): Promise<string> {
	const response = await fetch(`${url}/api/jobs`, {
		method: "POST",
		headers: { "content-type": "application/json", "x-tenant-id": tenant },
		body: JSON.stringify(body),
	});
	expect(response.status).toBe(201);
	return ((await response.json()) as { job_id: string }).job_id;
}
interface Told {
	readonly status: string;
	readonly history: readonly { readonly kind: string; readonly at: string; readonly data?: { readonly worker?: string } }[];
}

describe("servers on one PostgreSQL database", () => {
	const LEASE_MS = 1500;
	/** What a tick may take on a busy machine. */
	const TICK_MS = 2000;

	it("lose nothing and do nothing twice when one of two is killed, whose jobs the other takes over when their leases end", {
		timeout: 60_000,
	}, async () => {
		const { url, rows, start } = queue();
		const args = ["--workers-min", "2", "--tasks-per-worker", "4", "--lease-ms", String(LEASE_MS)];
		const [first, second] = [await start(...args), await start(...args)];
		const long: string[] = [];
		/** Until the second one is at a long job: then it is there when it is killed. */
		const occupySecond = async (): Promise<void> => {
			for (;;) {
				long.push(await submit(first.url, `long${long.length}`, { task: "sleep", payload: { ms: 3000 } }));
				await sleep(50);
				const running = await rows("SELECT worker FROM $jobs JOIN $tenants USING (tenant_id) WHERE state = 3 AND name LIKE 'long%'");
				if (running.some(({ worker }) => isOf(second, worker))) return;
			}
		};

		const all = tables();
		const slices = all.flatMap(({ slices }) => slices);
		const accepted = new Map<string, string>();
		let turn = 0;
		let isAlive = true;
		let killedAt = 0;
		await submitAll(
			slices,
			() => (isAlive && turn++ % 2 === 0 ? second.url : first.url),
			async (jobId, slice) => {
				accepted.set(slice.key, jobId);
				if (accepted.size !== Math.floor(slices.length / 2)) return;
				await occupySecond();
				isAlive = false;
				killedAt = Date.now();
				await second.kill("SIGKILL");
			},
		);
		expect(accepted.size).toBe(slices.length);
		await untilIdle(() => first.url);

		const workers = await rows("SELECT worker, count(*)::int AS jobs FROM $jobs GROUP BY worker");
		const shareOf = (server: EmulatorProcess): number => workers.find(({ worker }) => isOf(server, worker))?.jobs ?? 0;
		expect(workers).toHaveLength(2);
		expect(shareOf(first)).toBeGreaterThan(slices.length / 50);
		expect(shareOf(second)).toBeGreaterThan(slices.length / 50);

		for (const table of all) await checkTable(first.url, table, accepted);
		let lost = 0;
		for (const [i, id] of long.entries()) {
			const response = await fetch(`${first.url}/api/jobs/${id}?include=history`, { headers: { "x-tenant-id": `long${i}` } });
			const { status, history } = (await response.json()) as Told;
			expect(status).toBe("done");
			expect(history.filter(({ kind }) => kind === "done")).toHaveLength(1);
			const loss = history.findIndex(({ kind }) => kind === "lost");
			if (loss === -1) continue;
			lost++;
			expect(Date.parse(history[loss]!.at) - killedAt).toBeLessThanOrEqual(LEASE_MS + TICK_MS);
			expect(Date.parse(history[loss + 1]!.at) - killedAt).toBeLessThanOrEqual(LEASE_MS + TICK_MS);
		}
		expect(lost).toBeGreaterThan(0);

		await first.kill("SIGTERM");
		const { storage } = await openPostgres(url, STORAGE_DEFAULTS, []);
		expect(await storage.operator.verify()).toEqual([]);
		const jobs = slices.length + long.length;
		expect(await storage.operator.counts()).toMatchObject({ done: jobs, submitted: jobs, finished: jobs, ready: 0, running: 0 });
		await storage.close();
		console.log(
			`${slices.length} jobs of ${all.length} tenants, ${shareOf(second)} by the one that was killed; ${lost} long ones taken over`,
		);
	});

	it("share the work: three of them, and one that only takes it in", { timeout: 30_000 }, async () => {
		const { url, rows, start } = queue();
		const api = await start("--no-work");
		const workers = await Promise.all([1, 2, 3].map(() => start("--no-http", "--workers-min", "2", "--tasks-per-worker", "2")));
		const ids = await Promise.all(
			Array.from({ length: 90 }, (_, i) => submit(api.url, `t${i % 30}`, { task: "sleep", payload: { ms: 60 } })),
		);
		await untilIdle(() => api.url);
		const shares = await rows("SELECT worker, count(*)::int AS jobs FROM $jobs WHERE state = 4 GROUP BY worker");
		expect(shares).toHaveLength(3);
		for (const server of workers) expect(shares.find(({ worker }) => isOf(server, worker))!.jobs).toBeGreaterThan(ids.length / 10);
		for (const server of [api, ...workers]) server.child.kill("SIGTERM");
		await sleep(0);
		const { storage } = await openPostgres(url, STORAGE_DEFAULTS, []);
		expect(await storage.operator.verify()).toEqual([]);
		expect(await storage.operator.counts()).toMatchObject({ done: ids.length, submitted: ids.length, running: 0 });
		await storage.close();
	});
});
