/** The pool under the tick, the store and the API. */
import { describe, expect, it } from "vitest";
import { startLoop } from "../../emulator/loop.ts";
import { createPool, STUCK_MS } from "../../emulator/pool/pool.ts";
import type { Config } from "../../lib/config.ts";
import { ALLOW_NOTHING } from "../../lib/outside.ts";
import { inQueue, read, submit } from "../functions/inQueue.ts";
import { type Harness, settle } from "../support/harness.ts";
import { tasks } from "./poolTasks.ts";

interface Threaded extends Harness {
	until<T>(look: () => Promise<T | undefined | false>): Promise<T>;
	/** Until so many records have this message. */
	logged(message: string, times?: number): Promise<unknown>;
	/** Until a job is in one of these states. */
	is(id: string, ...statuses: string[]): Promise<Awaited<ReturnType<typeof read>>>;
	scaleTo(threads: number): void;
}

async function inThreads(run: (queue: Threaded) => Promise<void>, config: Partial<Config> = {}): Promise<void> {
	await inQueue(
		async queue => {
			const { deps, clock, logs } = queue;
			const pool = createPool({
				...deps,
				onLog: record => logs.push(record),
				logLevel: "debug",
				tasks: () => deps.tasks,
				tasksIndex: new URL("poolTasks.ts", import.meta.url).href,
				outsideAllow: ALLOW_NOTHING,
			});
			Object.assign(deps, { execute: pool.execute, pool });
			const loop = startLoop(() => ({ ...deps, store: deps.storage.worker }), { backstop: "0 0 0 1 1 *" });
			const until: Threaded["until"] = async look => {
				for (;;) {
					const found = await look();
					if (found !== undefined && found !== false) return found;
					await settle();
				}
			};
			try {
				await run({
					...queue,
					until,
					logged: (message, times = 1) => until(async () => logs.filter(record => record.message === message).length >= times),
					is: (id, ...statuses) =>
						until(async () => {
							const job = await read(queue, id);
							return statuses.includes(job.status) && job;
						}),
					scaleTo: threads => pool.scaleTo(threads, "told to"),
				});
			} finally {
				const stopped = loop.stop();
				await clock.advance(deps.config.graceMs);
				await clock.advance(STUCK_MS);
				await stopped;
				await pool.close();
			}
		},
		{ tasks, config },
	);
}
const cancel = (queue: Harness, id: string) => queue.call("cancelJob", `/api/jobs/${id}/cancel`, { method: "POST" });

describe("a queue whose jobs run in threads", () => {
	it("cancels a running job at once", () =>
		inThreads(async queue => {
			const { id } = await submit(queue, { task: "wait" });
			await queue.logged("waits");
			await cancel(queue, id);
			expect(await queue.is(id, "cancelled")).toMatchObject({ retry_count: 0 });
			expect(queue.deps.slots.busy).toBe(0);
		}));

	it("ends one that does not yield at the end of its grace; its slot is taken until then", () =>
		inThreads(async queue => {
			const { id } = await submit(queue, { task: "spin" });
			await queue.logged("spins");
			await cancel(queue, id);
			await queue.clock.advance(10_000);
			expect(await read(queue, id)).toMatchObject({ status: "running" });
			expect(queue.deps.slots.busy).toBe(1);
			await queue.clock.advance(STUCK_MS);
			await queue.is(id, "cancelled");
			expect(queue.deps.slots.busy).toBe(0);
		}));

	it("extends the leases of what does not yield, so that nobody else takes it", () =>
		inThreads(async queue => {
			const { id } = await submit(queue, { task: "spin", timeout_ms: 300_000 });
			await queue.logged("spins");
			await queue.clock.advance(120_000);
			expect(await read(queue, id)).toMatchObject({ status: "running", lost_count: 0, attempt: 1 });
		}));

	it("gives a neighbour back without burning an attempt, and runs it again", () =>
		inThreads(
			async queue => {
				const { id: neighbour } = await submit(queue, { task: "slow", payload: { turns: 1e9 }, timeout_ms: 600_000 });
				await queue.logged("goes slowly");
				const { id: spin } = await submit(queue, { task: "spin", timeout_ms: 5000, max_retries: 0 });
				await queue.logged("spins");
				await queue.clock.advance(250);
				await queue.clock.advance(5000);
				await queue.clock.advance(STUCK_MS);
				expect(await queue.is(spin, "dead_letter")).toMatchObject({ retry_count: 1 });
				await queue.logged("goes slowly", 2);
				expect(await read(queue, neighbour)).toMatchObject({ status: "running", retry_count: 0, lost_count: 0, attempt: 1 });
				await cancel(queue, neighbour);
				await queue.is(neighbour, "cancelled");
			},
			{ workersMin: 1, workersMax: 1 },
		));

	it("keeps the progress that a thread tells", () =>
		inThreads(async queue => {
			const { id } = await submit(queue, { task: "progresses", timeout_ms: 900_000 });
			await queue.logged("waits");
			await queue.until(async () => {
				await queue.clock.advance(10_000);
				return (await read(queue, id)).progress !== null;
			});
			expect((await read(queue, id)).progress).toMatchObject({ percent: 40, message: "half way, nearly" });
		}));

	it("stores what a task submits together with its success, and runs it", () =>
		inThreads(async queue => {
			await submit(queue, { task: "follows", payload: { a: 1 } });
			const followed = await queue.until(async () => {
				const { jobs } = (await queue.call("listJobs", "/api/jobs?task=echo")).body;
				return jobs.length > 0 && jobs[0];
			});
			expect(await queue.is(followed.id, "done")).toMatchObject({ result: { a: 1 }, tags: ["followed"] });
		}));

	it("says in the history why a job was given back whose thread is gone, and burns no attempt by that", () =>
		inThreads(
			async queue => {
				await submit(queue, { task: "wait" });
				await queue.logged("waits");
				const { id } = await submit(queue, { task: "exitLater", max_retries: 0 });
				const ended = await queue.is(id, "dead_letter");
				expect(ended).toMatchObject({ attempt: 1, error_message: "its thread was ended by process.exit(3)" });
				const { history } = await read(queue, id, "?include=history");
				expect(history.map(({ kind }: { kind: string }) => kind)).toEqual(["submitted", "claimed", "released", "claimed", "dead_letter"]);
				expect(history[2]).toMatchObject({
					text: "Given back without using an attempt: its thread was ended by process.exit(3); it runs alone next time, which will tell.",
					error: { message: expect.any(String) },
				});
			},
			{ workersMin: 1, workersMax: 2 },
		));

	it("runs every job once while threads come and go", () =>
		inThreads(
			async queue => {
				const ids: string[] = [];
				for (let i = 0; i < 120; i++) {
					ids.push((await submit(queue, { task: "slow", payload: { turns: i % 7 } })).id);
					if (i % 10 === 9) queue.scaleTo([4, 1, 3, 2][((i / 10) % 4) | 0]!);
				}
				for (const id of ids)
					expect(await queue.is(id, "done", "failed", "dead_letter")).toMatchObject({ status: "done", attempt: 1, lost_count: 0 });
				expect(queue.logs.filter(({ message }) => message === "goes slowly")).toHaveLength(120);
				expect(queue.deps.slots.busy).toBe(0);
			},
			{ tenantConcurrency: 100, tasksPerWorker: 3 },
		));
});
