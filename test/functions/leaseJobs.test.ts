import { defineTask } from "tickq";
import { describe, expect, it } from "vitest";
import { functions } from "../../functions/all.ts";
import { operations } from "../../lib/contract.ts";
import { StorageUnavailable, type WorkerStore } from "../../lib/storage/storage.ts";
import { answered, type Harness, settle, toRequest } from "../support/harness.ts";
import { createGate, history, inQueue, read, startTicking, submit, tick } from "./inQueue.ts";
import { askForJobs, leaseOf, leaseOne, serveRemote, settleWith } from "./remote.ts";

const statements = (queue: Harness) => queue.deps.storage.worker.statements();
/** Asks and waits; answers what will come, and whether it has come. */
function waiting(queue: Harness, more: Record<string, unknown> = {}, signal?: AbortSignal) {
	const request = toRequest("/api/leases", { tenant: null, body: { worker: "py-1", tasks: ["remote"], wait_ms: 20_000, ...more } });
	const asked = signal === undefined ? request : new Request(request, { signal });
	const waited = { done: false, answer: answered(functions.leaseJobs(asked, queue.deps)) };
	void waited.answer.then(() => {
		waited.done = true;
	});
	return waited;
}

describe("leaseJobs", () => {
	it("hands out a job as its worker needs it", () =>
		inQueue(async queue => {
			await serveRemote(queue);
			const job = await submit(queue, { task: "remote", payload: { a: [1, "ü"] }, max_retries: 1, timeout_ms: 5000 });
			await queue.clock.advance(250);
			const { status, body } = await askForJobs(queue);
			expect(status).toBe(200);
			expect(operations.leaseJobs.answer.parse(body)).toEqual(body);
			expect(body.jobs).toEqual([
				{
					id: job.id,
					tenant: "acme",
					task: "remote",
					payload: { a: [1, "ü"] },
					attempt: 1,
					max_attempts: 2,
					timeout_ms: 5000,
					timeout_from: "job",
					lease_token: expect.stringMatching(/^\d{1,16}$/),
					lease_expires_at: "2026-01-01T00:00:30.250Z",
					trace_id: job.trace_id,
				},
			]);
			expect(await read(queue, job.id)).toMatchObject({ status: "running", worker: "py-1", started_at: "2026-01-01T00:00:00.250Z" });
		}));

	it("makes a task known that nobody has served before, and answers nothing for it", () =>
		inQueue(async queue => {
			const refused = await queue.call("submitJob", "/api/jobs", { body: { task: "remote" } });
			expect(refused.body.code).toBe("unknown_task");
			expect(await askForJobs(queue)).toMatchObject({ status: 200, body: { jobs: [], next_wake_at: null } });
			const { status } = await queue.call("submitJob", "/api/jobs", { body: { task: "remote" } });
			expect(status).toBe(201);
		}));

	it("leaves jobs of tasks alone that were not asked for", () =>
		inQueue(async queue => {
			await serveRemote(queue, "remote", "other");
			await submit(queue, { task: "other" });
			await submit(queue, { task: "echo" });
			expect((await askForJobs(queue)).body.jobs).toEqual([]);
			expect((await askForJobs(queue, { tasks: ["remote", "other", "other"], limit: 5 })).body.jobs).toHaveLength(1);
		}));

	it("may take jobs of a task that this program runs too, and no job is given twice", () =>
		inQueue(async queue => {
			const jobs = [await submit(queue, { task: "echo" }), await submit(queue, { task: "echo" }, "other")];
			const leased = await leaseOne(queue, { tasks: ["echo"] });
			expect((await tick(queue)).body.claimed).toBe(1);
			expect(leased.timeout_from).toBe("queue");
			const [mine, others] = [jobs.find(({ id }) => id === leased.id)!, jobs.find(({ id }) => id !== leased.id)!];
			expect([(await read(queue, mine.id)).status, (await read(queue, others.id)).status]).toEqual(["running", "done"]);
		}));

	it("takes the payload's task out of it where that is how it was named, as a task here sees it", () =>
		inQueue(async queue => {
			await serveRemote(queue);
			await submit(queue, { payload: { task: "remote", a: 1 } });
			expect((await leaseOne(queue)).payload).toEqual({ a: 1 });
		}));

	it("says how long an attempt may run: as the job says, the task, or the queue, and never longer than may be", () =>
		inQueue(
			async queue => {
				await serveRemote(queue);
				for (const [task, timeout_ms] of [
					["slow", undefined],
					["slow", 100],
					["remote", undefined],
					["remote", 600_000],
				] as const)
					await submit(queue, { task, timeout_ms });
				const { jobs } = (await askForJobs(queue, { tasks: ["slow", "remote"], limit: 10 })).body;
				expect(jobs.map(({ task, timeout_ms, timeout_from }: Record<string, unknown>) => [task, timeout_ms, timeout_from])).toEqual(
					expect.arrayContaining([
						["slow", 120_000, "task"],
						["slow", 100, "job"],
						["remote", 60_000, "queue"],
						["remote", 600_000, "job"],
					]),
				);
			},
			{ tasks: { slow: defineTask({ timeoutMs: 120_000, run: () => 1 }) } },
		));

	it("is held to the limit of the tenant, as whoever runs jobs here is, and goes round among tenants", () =>
		inQueue(
			async queue => {
				await serveRemote(queue);
				for (let i = 0; i < 4; i++) for (const tenant of ["a", "b", "c"]) await submit(queue, { task: "remote" }, tenant);
				const { body } = await askForJobs(queue, { limit: 100 });
				expect(body.jobs.map(({ tenant }: { tenant: string }) => tenant).sort()).toEqual(["a", "a", "b", "b", "c", "c"]);
				expect((await askForJobs(queue, { limit: 100 })).body.jobs).toEqual([]);
				await settleWith(queue, { ...leaseOf(body.jobs[0]), outcome: "done" });
				expect((await askForJobs(queue, { limit: 100 })).body.jobs.map(({ tenant }: { tenant: string }) => tenant)).toEqual([
					body.jobs[0].tenant,
				]);
			},
			{ config: { tenantConcurrency: 2 } },
		));

	it("shares a tenant's slots with the workers here", () => {
		const gate = createGate();
		return inQueue(
			async queue => {
				await serveRemote(queue);
				await submit(queue, { task: "gate" });
				const { report } = await startTicking(queue);
				await submit(queue, { task: "remote" });
				expect((await askForJobs(queue)).body.jobs).toEqual([]);
				await gate.attempts[0]!.finish();
				await report;
				await leaseOne(queue);
			},
			{ tasks: { gate: gate.task }, config: { tenantConcurrency: 1 } },
		);
	});

	it("leases for as long as is asked for, and no longer than an attempt and its grace can take", () =>
		inQueue(
			async queue => {
				await serveRemote(queue);
				for (let i = 0; i < 2; i++) await submit(queue, { task: "remote" });
				expect((await leaseOne(queue, { lease_ms: 5000 })).lease_expires_at).toBe("2026-01-01T00:00:05.000Z");
				expect((await leaseOne(queue, { lease_ms: 3_600_000 })).lease_expires_at).toBe("2026-01-01T00:01:10.000Z");
			},
			{ config: { timeoutMsMax: 60_000, graceMs: 10_000 } },
		));

	it("ends jobs as expired that had to start before now", () =>
		inQueue(async queue => {
			await serveRemote(queue);
			const late = await submit(queue, { task: "remote", start_by: "2026-01-01T00:00:05Z" });
			await queue.clock.advance(5000);
			const job = await submit(queue, { task: "remote" });
			expect((await leaseOne(queue)).id).toBe(job.id);
			expect(await read(queue, late.id)).toMatchObject({ status: "cancelled", reason: "expired" });
		}));

	it("counts a lease that ran out as lost, not as a failure; the next worker gets the same attempt", () =>
		inQueue(async queue => {
			await serveRemote(queue);
			const job = await submit(queue, { task: "remote" });
			await leaseOne(queue);
			await queue.clock.advance(30_000);
			await tick(queue);
			expect(await leaseOne(queue, { worker: "py-2" })).toMatchObject({ id: job.id, attempt: 1 });
			expect(await read(queue, job.id)).toMatchObject({ status: "running", worker: "py-2", lost_count: 1, retry_count: 0 });
			expect(await history(queue, job.id)).toEqual(["submitted", "claimed", "lost", "claimed"]);
		}));

	describe("the time to ask again", () => {
		it("is now while there may be more", () =>
			inQueue(async queue => {
				await serveRemote(queue);
				for (let i = 0; i < 3; i++) await submit(queue, { task: "remote" });
				expect((await askForJobs(queue, { limit: 2 })).body).toMatchObject({ next_wake_at: "2026-01-01T00:00:00.000Z" });
			}));

		it("is when the first delayed job is due", () =>
			inQueue(async queue => {
				await serveRemote(queue);
				await submit(queue, { task: "remote", delay_ms: 90_000 });
				expect((await askForJobs(queue)).body).toEqual({ jobs: [], next_wake_at: "2026-01-01T00:01:30.000Z" });
			}));

		it("is when a lease ends that somebody else holds, and never in the past", () =>
			inQueue(async queue => {
				await serveRemote(queue);
				await submit(queue, { task: "remote" });
				await leaseOne(queue);
				expect((await askForJobs(queue)).body).toEqual({ jobs: [], next_wake_at: "2026-01-01T00:00:30.000Z" });
				await queue.clock.advance(40_000);
				expect((await askForJobs(queue)).body).toEqual({ jobs: [], next_wake_at: "2026-01-01T00:00:40.000Z" });
			}));
	});

	describe("a worker that waits", () => {
		it("is answered at once when there is a job", () =>
			inQueue(async queue => {
				await serveRemote(queue);
				await submit(queue, { task: "remote" });
				expect((await waiting(queue).answer).body.jobs).toHaveLength(1);
			}));

		it("gets a job when it is submitted, without time going by", () =>
			inQueue(async queue => {
				await serveRemote(queue);
				const waited = waiting(queue);
				await queue.clock.advance(5000);
				expect(waited.done).toBe(false);
				const job = await submit(queue, { task: "remote" });
				await settle();
				expect(waited.done).toBe(true);
				expect((await waited.answer).body.jobs).toMatchObject([{ id: job.id }]);
			}));

		it("gets one that was submitted while the store was asked", () =>
			inQueue(async queue => {
				await serveRemote(queue);
				const waited = waiting(queue);
				const job = await submit(queue, { task: "remote" });
				await queue.clock.advance(100);
				expect((await waited.answer).body.jobs).toMatchObject([{ id: job.id }]);
			}));

		it("gets a delayed one when it is due", () =>
			inQueue(async queue => {
				await serveRemote(queue);
				await submit(queue, { task: "remote", delay_ms: 3456 });
				const waited = waiting(queue);
				await queue.clock.advance(3455);
				expect(waited.done).toBe(false);
				await queue.clock.advance(1);
				expect((await waited.answer).body.jobs).toHaveLength(1);
			}));

		it("gets one that another process has submitted, within a second", () =>
			inQueue(async queue => {
				await serveRemote(queue);
				const waited = waiting(queue);
				await queue.clock.advance(100);
				await queue.deps.storage
					.tenant("acme")
					.insertJob({ task: "remote", payload: "1", maxRetries: 0, tail: 1, traceId: "0".repeat(32) }, queue.clock.now());
				await queue.clock.advance(1000);
				expect(waited.done).toBe(true);
				expect((await waited.answer).body.jobs).toHaveLength(1);
			}));

		it("is told after its time that there was nothing", () =>
			inQueue(async queue => {
				await serveRemote(queue);
				const waited = waiting(queue, { wait_ms: 2500 });
				await queue.clock.advance(2499);
				expect(waited.done).toBe(false);
				await queue.clock.advance(1);
				expect(await waited.answer).toMatchObject({ status: 200, body: { jobs: [], next_wake_at: null } });
			}));

		it("costs one statement a second, and no more when the bell rings for others all the time", () =>
			inQueue(async queue => {
				await serveRemote(queue);
				const idle = waiting(queue);
				await settle();
				const before = statements(queue);
				await queue.clock.advance(10_000);
				expect(statements(queue) - before).toBeLessThanOrEqual(11);
				const rung = statements(queue);
				for (let i = 0; i < 1000; i++) {
					queue.deps.wake.ring();
					await queue.clock.advance(1);
				}
				expect(statements(queue) - rung).toBeLessThanOrEqual(50);
				await queue.clock.advance(20_000);
				await idle.answer;
			}));

		it("does not spin while a job is ready that its tenant may not run", () =>
			inQueue(
				async queue => {
					await serveRemote(queue);
					for (let i = 0; i < 2; i++) await submit(queue, { task: "remote" });
					await leaseOne(queue);
					const waited = waiting(queue);
					await settle();
					const before = statements(queue);
					await queue.clock.advance(10_000);
					expect(statements(queue) - before).toBeLessThan(80);
					await queue.clock.advance(10_000);
					expect((await waited.answer).body.jobs).toEqual([]);
				},
				{ config: { tenantConcurrency: 1 } },
			));

		it("is one of many, and each job goes to one of them", () =>
			inQueue(async queue => {
				await serveRemote(queue);
				const waited = Array.from({ length: 5 }, (_, i) => waiting(queue, { worker: `w${i}` }));
				await queue.clock.advance(1000);
				const ids = [];
				for (let i = 0; i < 3; i++) ids.push((await submit(queue, { task: "remote" })).id);
				await queue.clock.advance(20_000);
				const given = (await Promise.all(waited.map(({ answer }) => answer))).flatMap(({ body }) =>
					body.jobs.map(({ id }: { id: string }) => id),
				);
				expect(given.sort()).toEqual(ids.sort());
			}));

		it("looks no more often than its platform lets it", () =>
			inQueue(async queue => {
				await serveRemote(queue);
				const limited = { ...queue, deps: { ...queue.deps, platform: { looksMax: 4 } } };
				const before = statements(queue);
				const waited = waiting(limited);
				for (let i = 0; i < 20; i++) {
					queue.deps.wake.ring();
					await queue.clock.advance(1000);
				}
				expect((await waited.answer).body.jobs).toEqual([]);
				expect(statements(queue) - before).toBeLessThan(20);
			}));

		it("that has gone is given nothing: a job that came in that moment waits again, without a loss", () =>
			inQueue(async queue => {
				await serveRemote(queue);
				const caller = new AbortController();
				const { storage } = queue.deps;
				// It goes while the store claims.
				const worker = new Proxy(storage.worker, {
					get: (target, name: keyof WorkerStore) =>
						name === "claimDueJobs"
							? async (...args: Parameters<WorkerStore["claimDueJobs"]>) => {
									const jobs = await target.claimDueJobs(...args);
									if (jobs.length > 0) caller.abort();
									return jobs;
								}
							: (target[name] as () => unknown).bind(target),
				});
				const going = { ...queue.deps, storage: { worker, operator: storage.operator, tenant: storage.tenant, close: storage.close } };
				const waited = waiting({ ...queue, deps: going }, {}, caller.signal);
				await queue.clock.advance(100);
				const job = await submit(queue, { task: "remote" });
				await queue.clock.advance(100);
				expect((await waited.answer).body.jobs).toEqual([]);
				expect(await read(queue, job.id)).toMatchObject({ status: "pending", lost_count: 0, retry_count: 0 });
				expect(await history(queue, job.id)).toEqual(["submitted", "claimed", "released"]);
				await leaseOne(queue);
			}));

		it("that has gone is not waited for any longer", () =>
			inQueue(async queue => {
				await serveRemote(queue);
				const caller = new AbortController();
				const waited = waiting(queue, {}, caller.signal);
				await queue.clock.advance(1500);
				caller.abort();
				await settle();
				expect(waited.done).toBe(true);
				const before = statements(queue);
				await queue.clock.advance(20_000);
				expect(statements(queue)).toBe(before);
			}));

		it("is answered when this process is to stop", () =>
			inQueue(async queue => {
				await serveRemote(queue);
				const stopping = new AbortController();
				const waited = waiting({ ...queue, deps: { ...queue.deps, stopping: stopping.signal } });
				await queue.clock.advance(1500);
				stopping.abort();
				await settle();
				expect(waited.done).toBe(true);
				expect(await waited.answer).toMatchObject({ status: 200, body: { jobs: [] } });
			}));
	});

	it("lets no worker bring task after task until there are no numbers for them", () =>
		inQueue(async queue => {
			const named = (round: number) => Array.from({ length: 200 }, (_, i) => `t${round}_${i}`);
			for (let round = 0; round < 49; round++) expect((await askForJobs(queue, { tasks: named(round) })).status).toBe(200);
			// The tasks of the program count, too. Asking again changes nothing.
			for (let i = 0; i < 3; i++)
				expect(await askForJobs(queue, { tasks: named(49) })).toMatchObject({ status: 422, body: { code: "too_many_tasks" } });
			expect((await askForJobs(queue, { tasks: named(3) })).status).toBe(200);
			expect((await askForJobs(queue, { tasks: ["echo"] })).status).toBe(200);
		}));

	it("refuses what cannot be, and points at it", () =>
		inQueue(async queue => {
			const cases: readonly [Record<string, unknown>, string][] = [
				[{ worker: "" }, "/worker"],
				[{ worker: "a\u0000" }, "/worker"],
				[{ worker: "x".repeat(201) }, "/worker"],
				[{ tasks: [] }, "/tasks"],
				[{ tasks: ["a b"] }, "/tasks/0"],
				[{ tasks: "remote" }, "/tasks"],
				[{ tasks: Array.from({ length: 201 }, (_, i) => `t${i}`) }, "/tasks"],
				[{ limit: 0 }, "/limit"],
				[{ limit: 101 }, "/limit"],
				[{ limit: 1.5 }, "/limit"],
				[{ lease_ms: 999 }, "/lease_ms"],
				[{ lease_ms: 3_600_001 }, "/lease_ms"],
				[{ wait_ms: 20_001 }, "/wait_ms"],
				[{ wait_ms: -1 }, "/wait_ms"],
				[{ now: "2026-01-01T00:00:00Z" }, "/now"],
			];
			for (const [more, pointer] of cases) {
				const { status, body } = await askForJobs(queue, more);
				expect([more, status, body.errors?.[0]?.pointer]).toEqual([more, 422, pointer]);
			}
		}));

	// Bug: the jobs were claimed, and nobody was told.
	it("answers the jobs that it has claimed although the store cannot say what is due next", () =>
		inQueue(async queue => {
			await serveRemote(queue);
			await submit(queue, { task: "remote" });
			queue.deps.storage.worker.nextDue = () => Promise.reject(new StorageUnavailable("away"));
			expect(await askForJobs(queue, { limit: 2 })).toMatchObject({ status: 200, body: { jobs: [{ attempt: 1 }], next_wake_at: null } });
		}));
});
