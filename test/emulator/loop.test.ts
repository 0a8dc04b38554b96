import { beforeEach, describe, expect, it, vi } from "vitest";
import { startLoop } from "../../emulator/loop.ts";
import { rehearseTick } from "../../lib/tick.ts";
import { createGate, inQueue, read, submit } from "../functions/inQueue.ts";
import { type Harness, settle } from "../support/harness.ts";

/** The backstop's cron, which here rings only when told. */
const cron = vi.hoisted(() => ({ ring: [] as (() => void)[] }));
vi.mock("node-cron", () => ({
	schedule: (_: string, callback: () => void) => {
		cron.ring.push(callback);
		return { destroy: async () => void cron.ring.splice(cron.ring.indexOf(callback), 1) };
	},
}));
beforeEach(() => {
	cron.ring.length = 0;
});

async function inLoop(
	run: (queue: Harness, asleep: { at: number | null; reason: string }[]) => Promise<void>,
	options: Parameters<typeof inQueue>[1] = {},
): Promise<void> {
	await inQueue(async queue => {
		const asleep: { at: number | null; reason: string }[] = [];
		const loop = startLoop(() => ({ ...queue.deps, store: queue.deps.storage.worker }), {
			backstop: "*/5 * * * * *",
			onAsleep: next => asleep.push(next),
		});
		try {
			await settle();
			await run(queue, asleep);
		} finally {
			const stopped = loop.stop();
			await queue.clock.advance(queue.deps.config.graceMs);
			await stopped;
		}
	}, options);
}
const sent = (queue: Harness) => queue.deps.storage.worker.statements();

describe("startLoop", () => {
	it("falls asleep over an empty queue and sends nothing", () =>
		inLoop(async (queue, asleep) => {
			expect(asleep).toEqual([{ at: null, reason: "nothing" }]);
			const before = sent(queue);
			await queue.clock.advance(3_600_000);
			expect(sent(queue)).toBe(before);
		}));

	it("wakes by the bell for a job, and falls asleep again", () =>
		inLoop(async (queue, asleep) => {
			const { id } = await submit(queue, { task: "echo", payload: 1 });
			await settle();
			await settle();
			expect((await read(queue, id)).status).toBe("done");
			expect(asleep).toHaveLength(2);
		}));

	it("wakes when something is due, to the millisecond", () =>
		inLoop(async (queue, asleep) => {
			const { id } = await submit(queue, { task: "echo", delay_ms: 12_345 });
			await settle();
			await queue.clock.advance(12_344);
			expect((await read(queue, id)).status).toBe("pending");
			await queue.clock.advance(1);
			expect(await read(queue, id)).toMatchObject({ status: "done", started_at: "2026-01-01T00:00:12.345Z" });
			expect(asleep.at(-1)!.reason).toBe("prune");
		}));

	it("wakes for the retry of a failed attempt", () =>
		inLoop(async queue => {
			const { id } = await submit(queue, { task: "flaky", payload: { fail_times: 1 } });
			await settle();
			await settle();
			expect(await read(queue, id)).toMatchObject({ status: "pending", retry_count: 1 });
			await queue.clock.advance(250);
			await settle();
			expect(await read(queue, id)).toMatchObject({ status: "done", result: { attempts: 2 } });
		}));

	it("hears of another process's job with the cron backstop", () =>
		inLoop(async queue => {
			const { id } = await submit(queue, { task: "echo", delay_ms: 1 });
			queue.deps.wake.heard();
			await queue.clock.advance(10);
			await queue.deps.storage
				.tenant("acme")
				.insertJob({ task: "echo", payload: "5", maxRetries: 0, tail: 9, traceId: "0".repeat(32) }, queue.clock.now());
			await queue.clock.advance(60_000);
			expect((await queue.call("metrics", "/api/metrics")).body.pending).toBe(1);
			cron.ring[0]!();
			await settle();
			await settle();
			expect((await queue.call("metrics", "/api/metrics")).body).toMatchObject({ pending: 0, done: 2 });
			expect((await read(queue, id)).status).toBe("done");
		}));

	it("goes on with another tick when one has used its budget while a job runs", () => {
		const gate = createGate({ timeoutMs: 600_000 });
		return inLoop(
			async queue => {
				await submit(queue, { task: "gate" });
				await settle();
				await queue.clock.advance(60_000);
				const { id } = await submit(queue, { task: "echo" });
				await settle();
				await settle();
				expect((await read(queue, id)).status).toBe("done");
				await gate.attempts[0]!.finish();
			},
			{ tasks: { gate: gate.task, echo: { run: () => 1 } } },
		);
	});

	it("waits for a free slot where all are taken, without asking the store for jobs meanwhile", () => {
		const gate = createGate({ timeoutMs: 600_000 });
		return inLoop(
			async queue => {
				await submit(queue, { task: "gate" });
				const second = await submit(queue, { task: "gate" });
				await settle();
				await queue.clock.advance(60_000);
				const before = sent(queue);
				await queue.clock.advance(60_000);
				expect(sent(queue) - before).toBeLessThan(20);
				await gate.attempts[0]!.finish();
				await settle();
				await settle();
				expect((await read(queue, second.id)).status).toBe("running");
				await gate.attempts[1]!.finish();
			},
			{ tasks: { gate: gate.task }, config: { workersMin: 1, tasksPerWorker: 1 } },
		);
	});

	it("goes on when the store fails for a while", () =>
		inQueue(async queue => {
			let broken = true;
			const store = new Proxy(queue.deps.storage.worker, {
				get(real, name) {
					const value = Reflect.get(real, name);
					if (name === "nextDue" && broken)
						return async () => {
							throw new Error("gone");
						};
					return typeof value === "function" ? value.bind(real) : value;
				},
			});
			const loop = startLoop(() => ({ ...queue.deps, store }), { backstop: "* * * * * *" });
			await settle();
			const { id } = await submit(queue, { task: "echo" });
			await queue.clock.advance(5000);
			const failures = queue.logs.filter(({ message }) => message === "a tick failed").length;
			expect(failures).toBeGreaterThan(1);
			expect(failures).toBeLessThan(20);
			broken = false;
			await queue.clock.advance(2000);
			await settle();
			expect((await read(queue, id)).status).toBe("done");
			await loop.stop();
		}));

	it("takes tasks that were exchanged while it slept", () =>
		inQueue(async queue => {
			let tasks = queue.deps.tasks;
			const loop = startLoop(() => ({ ...queue.deps, tasks, store: queue.deps.storage.worker }), { backstop: "* * * * * *" });
			await settle();
			tasks = { ...tasks, echo: { run: () => "exchanged" } };
			const { id } = await submit(queue, { task: "echo" });
			await settle();
			await settle();
			expect((await read(queue, id)).result).toBe("exchanged");
			await loop.stop();
		}));

	it("runs of its tasks only those it is to, also after they were exchanged; the others' jobs let it sleep", () =>
		inQueue(async queue => {
			let { tasks } = queue.deps;
			const deps = () => ({ ...queue.deps, tasks, works: ["echo", "gone"], store: queue.deps.storage.worker });
			const { id: left } = await submit(queue, { task: "sleep", payload: { ms: 1 } });
			const { id } = await submit(queue, { task: "echo" });
			expect((await rehearseTick(deps(), { trigger: "cli" })).jobs.map(job => job.id)).toEqual([id]);
			const loop = startLoop(deps, { backstop: "* * * * * *" });
			await settle();
			await settle();
			expect((await read(queue, id)).status).toBe("done");
			const before = sent(queue);
			await queue.clock.advance(60_000);
			expect(sent(queue)).toBe(before);
			tasks = { ...tasks, echo: { run: () => "exchanged" }, added: { run: () => null } };
			const { id: again } = await submit(queue, { task: "echo" });
			await settle();
			await settle();
			expect((await read(queue, again)).result).toBe("exchanged");
			expect((await read(queue, left)).status).toBe("pending");
			await loop.stop();
		}));

	it("shows among the workers with what it runs, and says so again when it is awake, half a minute later at the earliest", () =>
		inLoop(async queue => {
			const seen = async () => (await queue.call("listWorkers", "/api/workers", { tenant: null })).body.workers;
			expect(await seen()).toEqual([
				expect.objectContaining({
					name: "test-worker",
					kind: "process",
					tasks: Object.keys(queue.deps.tasks),
					last_seen_at: "2026-01-01T00:00:00.000Z",
				}),
			]);
			for (const [after, at] of [
				[29_999, "00:00.000"],
				[1, "00:30.000"],
			] as const) {
				await queue.clock.advance(after);
				for (const ring of cron.ring) ring();
				await settle();
				expect((await seen())[0].last_seen_at).toBe(`2026-01-01T00:${at}Z`);
			}
		}));

	it("takes back leases and submits what is due also where it runs no task itself", () =>
		inQueue(async queue => {
			const loop = startLoop(() => ({ ...queue.deps, works: [], store: queue.deps.storage.worker }), { backstop: "* * * * * *" });
			await settle();
			const { id } = await submit(queue, { task: "echo" });
			const leased = await queue.call("leaseJobs", "/api/leases", { body: { worker: "elsewhere", tasks: ["echo"] }, tenant: null });
			expect(leased.body.jobs).toHaveLength(1);
			await queue.call("createSchedule", "/api/schedules", { body: { name: "s", task: "echo", cron: "* * * * *" } });
			await settle();
			await queue.clock.advance(60_000);
			await settle();
			expect(await read(queue, id)).toMatchObject({ status: "pending", lost_count: 1 });
			expect((await queue.call("metrics", "/api/metrics")).body).toMatchObject({ pending: 2, running: 0 });
			expect(
				(await queue.call("listWorkers", "/api/workers", { tenant: null })).body.workers.map((one: { name: string }) => one.name),
			).toEqual(["elsewhere"]);
			await loop.stop();
		}));

	it("stops: starts nothing more, waits for what runs, and gives back what does not end", () => {
		const gate = createGate();
		return inQueue(
			async queue => {
				const loop = startLoop(() => ({ ...queue.deps, store: queue.deps.storage.worker }), { backstop: "* * * * * *" });
				const jobs = [await submit(queue, { task: "gate", payload: 1 }), await submit(queue, { task: "gate", payload: 2 })];
				await settle();
				await settle();
				let stopped = false;
				const stopping = loop.stop().then(() => {
					stopped = true;
				});
				await settle();
				const late = await submit(queue, { task: "gate" });
				await queue.clock.advance(100);
				await gate.attempts[0]!.finish();
				expect(stopped).toBe(false);
				await queue.clock.advance(10_000);
				await stopping;
				expect((await read(queue, jobs[0].id)).status).toBe("done");
				expect(await read(queue, jobs[1].id)).toMatchObject({ status: "pending", retry_count: 0 });
				expect((await read(queue, late.id)).status).toBe("pending");
				expect(gate.attempts).toHaveLength(2);
				expect(cron.ring).toHaveLength(0);
			},
			{ tasks: { gate: gate.task } },
		);
	});
});
