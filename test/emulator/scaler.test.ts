import { describe, expect, it } from "vitest";
import { openStorage } from "../../emulator/openStorage.ts";
import type { Attempt } from "../../lib/runJob.ts";
import { STORAGE_DEFAULTS } from "../support/harness.ts";
import { inPool, type PoolQueue, type Ran } from "./inPool.ts";

/** Many looks of the scaler. */
const WHILE_MS = 30_000;

async function fill({ run, logged }: PoolQueue, jobs: number): Promise<Ran[]> {
	const all = Array.from({ length: jobs }, () => run("wait", null, { timeoutMs: 3_600_000 }));
	for (let i = 0; i < jobs; i++) await logged("waits");
	return all;
}
async function end(jobs: readonly Ran[]): Promise<void> {
	for (const job of jobs) job.stop("cancelled");
	await Promise.all(jobs.map(({ ending }) => ending));
}

describe("the pool's scaler", () => {
	it("starts threads when jobs wait and all slots are taken, drains them when it is quiet, and says why; no job is lost", () => {
		let pending = 38;
		return inPool(
			async queue => {
				const { pool, slots, clock, until } = queue;
				const jobs = await fill(queue, 10);
				await clock.advance(1100);
				await until(() => slots.size === 40);
				expect(pool).toMatchObject({ running: 8, scaled: [{ from: 2, to: 8, reason: "pending 38 / 2 workers > 5" }] });
				pending = 0;
				const more = await fill(queue, 5);
				await clock.advance(WHILE_MS);
				expect(pool.running).toBe(3);
				expect(slots.size).toBe(15);
				for (const job of [...jobs, ...more]) expect(await job.now()).toBe("none");
				await end([...jobs, ...more]);
				await clock.advance(WHILE_MS);
				expect(pool.running).toBe(2);
				expect(pool.scaled.map(({ from, to }) => [from, to])).toEqual([
					[2, 8],
					[8, 3],
					[3, 2],
				]);
				expect(await queue.run("echo").ending).toMatchObject({ outcome: "done" });
			},
			{ pending: async () => pending },
		);
	});

	// Bug: up counted all that waited, down what could run, so that it went up and down for ever.
	for (const each of [8, 12])
		it(`comes to rest under a steady load that tenants' limits hold: 5 tenants with ${each} long jobs each`, async () => {
			const { storage } = await openStorage(":memory:", { ...STORAGE_DEFAULTS, concurrency: 5 }, ["wait"]);
			let asked = 0;
			try {
				await inPool(
					async ({ pool, slots, clock, until, logged }) => {
						for (let i = 0; i < 5 * each; i++)
							await storage
								.tenant(`t${i % 5}`)
								.insertJob({ task: "wait", payload: "null", maxRetries: 0, timeoutMs: 900_000, tail: i, traceId: "0" }, 0);
						const attempts: Attempt[] = [];
						for (let look = 0; look < 120; look++) {
							// What a tick does: it fills the slots.
							const free = slots.take(1000);
							const request = { tasks: ["wait"], limit: free, leaseMs: 1e9, token: look + 1, worker: "w" };
							const jobs = await storage.worker.claimDueJobs(request, clock.now());
							slots.untake(free - jobs.length);
							for (const job of jobs) {
								attempts.push(pool.execute(job));
								await logged("waits");
							}
							await clock.advance(250);
							await until(() => slots.size === 5 * (pool.scaled.at(-1)?.to ?? 2));
						}
						expect(pool.scaled).toMatchObject([{ from: 2, to: 3, reason: "pending 15 / 2 workers > 5" }]);
						expect(asked).toBeGreaterThan(50);
						expect(attempts).toHaveLength(15);
						for (const attempt of attempts) attempt.stop("cancelled");
						await Promise.all(attempts.map(({ ending }) => ending));
					},
					{
						pending: most => {
							asked++;
							return storage.operator.runnable(["wait"], most, 0);
						},
					},
				);
			} finally {
				await storage.close();
			}
		});

	it("says that there are more where it counted no further", () =>
		inPool(
			async queue => {
				const jobs = await fill(queue, 10);
				await queue.clock.advance(1100);
				await queue.until(() => queue.slots.size === 15);
				expect(queue.pool.scaled).toMatchObject([{ from: 2, to: 3, reason: "pending 16 or more / 2 workers > 5" }]);
				await end(jobs);
			},
			{ pending: async most => Math.min(most, 4112), config: { workersMax: 3 } },
		));

	it("asks the store only while all slots are taken: what waits beside free slots is held by a limit", () => {
		let asked = 0;
		const pending = async () => {
			asked++;
			return 1000;
		};
		return inPool(
			async queue => {
				const jobs = await fill(queue, 9);
				await queue.clock.advance(WHILE_MS);
				expect(asked).toBe(0);
				expect(queue.pool.running).toBe(2);
				const last = await fill(queue, 1);
				await queue.clock.advance(1000);
				expect(asked).toBeGreaterThan(1);
				await end([...jobs, ...last]);
			},
			{ pending },
		);
	});

	it("rests when nothing runs: no look, no statement, no timer", () => {
		let asked = 0;
		return inPool(
			async queue => {
				let timers = 0;
				const { after } = queue.clock;
				Object.assign(queue.clock, {
					after(ms: number, callback: () => void) {
						timers++;
						return after(ms, callback);
					},
				});
				await queue.run("echo").ending;
				await queue.clock.advance(WHILE_MS);
				timers = 0;
				await queue.clock.advance(3_600_000);
				expect({ timers, asked }).toEqual({ timers: 0, asked: 0 });
			},
			{
				pending: async () => {
					asked++;
					return 0;
				},
			},
		);
	});

	it("goes on when the store cannot be asked", () => {
		let isAway = true;
		return inPool(
			async queue => {
				const jobs = await fill(queue, 10);
				await queue.clock.advance(3000);
				expect(queue.logs.filter(({ message }) => message === "the jobs that wait could not be counted").length).toBeGreaterThan(1);
				expect(queue.pool.running).toBe(2);
				isAway = false;
				await queue.clock.advance(1000);
				await queue.until(() => queue.pool.running === 10);
				await end(jobs);
			},
			{
				pending: async () => {
					if (isAway) throw new Error("gone");
					return 500;
				},
			},
		);
	});
});
