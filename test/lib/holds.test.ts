/** What a failed attempt means for others of its lane or task: a dependency that asks to be left alone, and circuits that open. */
import { defineTask, Failed, RetryAfter } from "tickq";
import { describe, expect, it } from "vitest";
import { PROBES_FREE_MAX } from "../../lib/job.ts";
import { dryTick, history, inQueue, read, submit, throwing, tick } from "../functions/inQueue.ts";
import type { Harness } from "../support/harness.ts";

const heldOf = async (queue: Harness) => (await dryTick(queue)).body.held;
const circuitsOf = async (queue: Harness, name: string): Promise<number> =>
	(await queue.call("listTasks", "/api/tasks", { tenant: null })).body.tasks.find((task: { name: string }) => task.name === name)
		.circuits_open;

/** A task that answers as its switch says, and counts. */
function switchable() {
	const state = { broken: true, runs: 0, ran: [] as string[] };
	const task = defineTask({
		run(_, { tenant }) {
			state.runs++;
			state.ran.push(tenant);
			if (state.broken) throw new Error("the mail server is away");
			return "sent";
		},
	});
	return { state, task };
}

describe("RetryAfter", () => {
	const asking = (scope?: "job" | "tenant" | "task") => throwing(new RetryAfter(60_000, { message: "429", ...(scope ? { scope } : {}) }));

	it("with the scope of the task leaves the 400 siblings of every tenant alone until then", () =>
		inQueue(
			async queue => {
				for (let i = 0; i < 400; i++) await submit(queue, { task: "mail" }, i % 2 === 0 ? "acme" : "beta");
				await submit(queue, { task: "other" });
				const first = (await tick(queue, { limit: 1 })).body;
				expect(first.outcomes.retry).toBe(1);
				const second = (await tick(queue)).body;
				expect(second).toMatchObject({
					claimed: 1,
					outcomes: { done: 1 },
					next_wake_at: "2026-01-01T00:01:00.000Z",
				});
				expect(await heldOf(queue)).toEqual(expect.arrayContaining([{ code: "retry_after", jobs: 399, tenants: 2 }]));
				await queue.clock.advance(59_999);
				expect((await tick(queue)).body.claimed).toBe(0);
				await queue.clock.advance(1);
				expect((await tick(queue, { limit: 1 })).body.claimed).toBe(1);
			},
			{ tasks: { mail: asking("task"), other: defineTask({ run: () => null }) } },
		));

	it("with the scope of the tenant leaves its jobs of that task alone, and nobody else's", () =>
		inQueue(
			async queue => {
				for (let i = 0; i < 3; i++) await submit(queue, { task: "mail" }, "acme");
				await submit(queue, { task: "other" }, "acme");
				await tick(queue, { limit: 1 });
				await submit(queue, { task: "mail" }, "beta");
				const { body } = await tick(queue);
				expect(body.jobs.map((job: { tenant_id: string; task: string }) => `${job.tenant_id} ${job.task}`).sort()).toEqual([
					"acme other",
					"beta mail",
				]);
				await queue.clock.advance(60_000);
				expect((await tick(queue)).body.claimed).toBeGreaterThan(0);
			},
			{ tasks: { mail: asking("tenant"), other: defineTask({ run: () => null }) } },
		));

	it("speaks for its own job alone where it does not say more", () =>
		inQueue(
			async queue => {
				await submit(queue, { task: "mail" });
				await submit(queue, { task: "mail" });
				expect((await tick(queue)).body.claimed).toBe(2);
			},
			{ tasks: { mail: asking() } },
		));

	it("is taken back by a reset", () =>
		inQueue(
			async queue => {
				await submit(queue, { task: "mail" });
				await submit(queue, { task: "mail" });
				await tick(queue, { limit: 1 });
				expect((await tick(queue)).body.claimed).toBe(0);
				expect((await queue.call("resetCircuit", "/api/tasks/mail/circuit/reset", { method: "POST", tenant: null })).status).toBe(200);
				expect((await tick(queue, { limit: 1 })).body.claimed).toBe(1);
			},
			{ tasks: { mail: asking("task") } },
		));
});

describe("the circuit breaker", () => {
	const failing = async (queue: Harness, jobs: number, tenant = "acme"): Promise<string[]> => {
		const ids: string[] = [];
		for (let i = 0; i < jobs; i++) ids.push((await submit(queue, { task: "mail", max_retries: 0 }, tenant)).id);
		return ids;
	};

	it("lets jobs wait after ten failures that are alike, instead of burning their attempts", () => {
		const { state, task } = switchable();
		return inQueue(
			async queue => {
				const ids = await failing(queue, 40);
				await tick(queue);
				// Five run at once: those that ran when the circuit opened end as they do.
				expect(state.runs).toBeGreaterThanOrEqual(10);
				expect(state.runs).toBeLessThan(15);
				expect(await circuitsOf(queue, "mail")).toBe(1);
				expect(await heldOf(queue)).toEqual([{ code: "circuit_open", jobs: 40 - state.runs, tenants: 1 }]);
				const waiting = (await Promise.all(ids.map(id => read(queue, id)))).filter(job => job.status === "pending");
				expect(waiting).toHaveLength(40 - state.runs);
				for (const job of waiting) expect(job.retry_count).toBe(0);
			},
			{ tasks: { mail: task } },
		);
	});

	it("says in the history of the job that opened it that it did", () => {
		const { task } = switchable();
		return inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "mail", max_retries: 20 });
				for (let i = 0; i < 10; i++) {
					await tick(queue);
					await queue.clock.advance(300_000);
				}
				const events = (await read(queue, id, "?include=history")).history;
				const last = events.filter((event: { kind: string }) => event.kind === "retry").at(-1);
				expect(last).toMatchObject({ circuit: "opened", text: expect.stringContaining("wait now") });
				expect(events.filter((event: { circuit?: string }) => event.circuit === "opened")).toHaveLength(1);
			},
			{ tasks: { mail: task }, config: { circuitFailures: 10 } },
		);
	});

	it("probes with one job a minute, and closes with the first that is done", () => {
		const { state, task } = switchable();
		return inQueue(
			async queue => {
				await failing(queue, 30);
				await tick(queue);
				const opened = state.runs;
				for (let minute = 1; minute <= 3; minute++) {
					await queue.clock.advance(60_000);
					await tick(queue);
					expect(state.runs).toBe(opened + minute);
				}
				state.broken = false;
				await queue.clock.advance(59_999);
				await tick(queue);
				expect(state.runs).toBe(opened + 3);
				await queue.clock.advance(1);
				await tick(queue);
				// Each that was a probe has run once more.
				expect(state.runs).toBe(33);
				expect(await circuitsOf(queue, "mail")).toBe(0);
				expect((await queue.call("metrics", "/api/metrics")).body).toMatchObject({ pending: 0, dead_letter_queue: opened });
			},
			{ tasks: { mail: task } },
		);
	});

	it("burns no attempt by a probe that fails, and says so; another job is the next", () => {
		const { state, task } = switchable();
		return inQueue(
			async queue => {
				const ids = await failing(queue, 13);
				for (let i = 0; i < 10; i++) await tick(queue, { limit: 1 });
				expect(state.runs).toBe(10);
				const probes = ids.slice(10);
				for (let minute = 0; minute < 6; minute++) {
					await queue.clock.advance(60_000);
					await tick(queue);
				}
				expect(state.runs).toBe(16);
				for (const id of probes) {
					const job = await read(queue, id, "?include=history");
					expect(job).toMatchObject({ status: "pending", attempt: 1, retry_count: 0, error_message: "the mail server is away" });
					expect(job.history.filter(({ circuit }: { circuit?: string }) => circuit === "probe")).toHaveLength(2);
					expect(job.history.at(-1)).toMatchObject({
						kind: "retry",
						circuit: "probe",
						text: "The attempt failed while the circuit was open: the mail server is away. No attempt is used.",
					});
				}
				expect((await queue.call("metrics", "/api/metrics")).body.dead_letter_queue).toBe(10);
			},
			{ tasks: { mail: task }, fraction: 0.9 },
		);
	});

	it("makes a dead letter of a job that probes and fails on and on, after as many attempts as are free", () => {
		const { state, task } = switchable();
		return inQueue(
			async queue => {
				await failing(queue, 10);
				await tick(queue);
				const { id } = await submit(queue, { task: "mail", max_retries: 0 });
				for (let minute = 1; minute <= PROBES_FREE_MAX; minute++) {
					await queue.clock.advance(60_000);
					await tick(queue);
				}
				expect(state.runs).toBe(10 + PROBES_FREE_MAX);
				expect(await read(queue, id)).toMatchObject({ status: "pending", retry_count: 0 });
				await queue.clock.advance(60_000);
				await tick(queue);
				expect(state.runs).toBe(11 + PROBES_FREE_MAX);
				expect(await read(queue, id)).toMatchObject({ status: "dead_letter", error_message: "the mail server is away" });
				expect(await circuitsOf(queue, "mail")).toBe(1);
			},
			{ tasks: { mail: task } },
		);
	});

	it("stays open when its probe only learns when to come back", () => {
		let thrown: Error = new Error("down");
		return inQueue(
			async queue => {
				const ids = await failing(queue, 12);
				for (let i = 0; i < 10; i++) await tick(queue, { limit: 1 });
				thrown = new RetryAfter(5000, { message: "429" });
				await queue.clock.advance(60_000);
				await tick(queue);
				expect(await circuitsOf(queue, "mail")).toBe(1);
				expect(await read(queue, ids[10]!)).toMatchObject({ status: "pending", retry_count: 0, error_message: "429" });
				await queue.clock.advance(59_999);
				expect((await tick(queue)).body.claimed).toBe(0);
			},
			{
				tasks: {
					mail: defineTask({
						run() {
							throw thrown;
						},
					}),
				},
			},
		);
	});

	it("leaves one line in the log when it opens, and none with each probe", () => {
		const { task } = switchable();
		return inQueue(
			async queue => {
				await failing(queue, 20);
				await tick(queue);
				for (let minute = 0; minute < 3; minute++) {
					await queue.clock.advance(60_000);
					await tick(queue);
				}
				const lines = queue.logs.filter(({ level, probes_at }) => level === "warn" && probes_at !== undefined);
				expect(lines).toEqual([
					expect.objectContaining({
						message: "a task kept failing alike for a tenant: its jobs wait, and one a minute probes",
						tenant_id: "acme",
						task: "mail",
						error: "the mail server is away",
						probes_at: "2026-01-01T00:01:00.000Z",
					}),
				]);
			},
			{ tasks: { mail: task } },
		);
	});

	it("is a tenant's own: others go on", () => {
		const { state, task } = switchable();
		return inQueue(
			async queue => {
				await failing(queue, 20);
				await tick(queue);
				state.broken = false;
				state.ran = [];
				await failing(queue, 5, "beta");
				await tick(queue);
				expect(state.ran).toEqual(Array(5).fill("beta"));
			},
			{ tasks: { mail: task } },
		);
	});

	it("does not open for failures that differ, nor for what is not retryable, nor with a success between", () => {
		let run = 0;
		const letters = "abcdefghijklmnopqrstuvwxyz";
		return inQueue(
			async queue => {
				for (const task of ["various", "final", "mixed"]) for (let i = 0; i < 25; i++) await submit(queue, { task, max_retries: 0 });
				await queue.clock.advance(1);
				for (let i = 0; i < 80; i++) await tick(queue, { limit: 1 });
				expect((await queue.call("metrics", "/api/metrics")).body.pending).toBe(0);
			},
			{
				tasks: {
					various: defineTask({
						run() {
							throw new Error(`it is ${letters[run++ % 26]}`);
						},
					}),
					final: throwing(new Failed("no such address")),
					mixed: defineTask({
						run() {
							if (run++ % 3 === 0) return null;
							throw new Error("sometimes");
						},
					}),
				},
			},
		);
	});

	it.each([
		["by its task", { circuitBreaker: false as const }, {}],
		["by the settings", {}, { circuitFailures: 0 }],
	])("can be switched off %s", (_, more, config) => {
		const { state, task } = switchable();
		return inQueue(
			async queue => {
				await failing(queue, 40);
				await tick(queue);
				expect(state.runs).toBe(40);
			},
			{ tasks: { mail: { ...task, ...more } }, config },
		);
	});

	it("opens as early as its task says", () => {
		const { state, task } = switchable();
		return inQueue(
			async queue => {
				await failing(queue, 20);
				for (let i = 0; i < 20; i++) await tick(queue, { limit: 1 });
				expect(state.runs).toBe(3);
			},
			{ tasks: { mail: { ...task, circuitBreaker: 3 } } },
		);
	});

	it("is closed by a reset, for one tenant or all", () => {
		const { state, task } = switchable();
		return inQueue(
			async queue => {
				await failing(queue, 15);
				await failing(queue, 15, "beta");
				await tick(queue);
				state.broken = false;
				const reset = (body: unknown) => queue.call("resetCircuit", "/api/tasks/mail/circuit/reset", { body, tenant: null });
				expect((await reset({ tenant: "beta" })).body).toEqual({ task: "mail", reset: 1 });
				await tick(queue);
				expect(await circuitsOf(queue, "mail")).toBe(1);
				expect((await reset({})).body).toEqual({ task: "mail", reset: 1 });
				await tick(queue);
				expect((await queue.call("metrics", "/api/metrics")).body.pending).toBe(0);
			},
			{ tasks: { mail: task } },
		);
	});
});

describe("a late result", () => {
	it("stands in the history as refused, and changes nothing", () =>
		inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "mail" });
				const { worker } = queue.deps.storage;
				const [first] = await worker.claimDueJobs(
					{ tasks: ["mail"], limit: 1, leaseMs: 1000, token: 11, worker: "slow" },
					queue.clock.now(),
				);
				await queue.clock.advance(1000);
				await tick(queue);
				expect((await read(queue, id)).status).toBe("done");
				expect(await worker.finishIfLeased([{ id: first!.id, token: 11, outcome: "done", result: '"late"' }], queue.clock.now())).toEqual(
					[],
				);
				expect(await read(queue, id)).toMatchObject({ status: "done", result: "in time" });
				expect(await history(queue, id)).toEqual(["submitted", "claimed", "lost", "claimed", "done", "refused"]);
			},
			{ tasks: { mail: defineTask({ run: () => "in time" }) } },
		));
});
