import { defineTask } from "tickq";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { operations } from "../../lib/contract.ts";
import { type Harness, settle } from "../support/harness.ts";
import { history, inQueue, read, submit, tick } from "./inQueue.ts";
import { askForJobs, heartbeat, type LeasedJob, leaseOf, leaseOne, serveRemote, settleWith } from "./remote.ts";

const NO_JOB = "job_00000000000000000000000000";
/** Submits a job of a remote task and leases it. */
async function given(queue: Harness, body: object = {}): Promise<LeasedJob> {
	await serveRemote(queue);
	await submit(queue, { task: "remote", ...body });
	return leaseOne(queue);
}
const eventsOf = async (queue: Harness, id: string) => (await read(queue, id, "?include=history")).history;

describe("settleLeases", () => {
	it("ends a job as done, with its result, and tells whoever waits for it", () =>
		inQueue(async queue => {
			const leased = await given(queue);
			const waited = queue.call("getJob", `/api/jobs/${leased.id}?wait_ms=20000`);
			await queue.clock.advance(400);
			const { status, body } = await settleWith(queue, { ...leaseOf(leased), outcome: "done", result: { a: [1, null, "ü"] } });
			expect(status).toBe(200);
			expect(operations.settleLeases.answer.parse(body)).toEqual(body);
			expect(body).toEqual({ results: [{ id: leased.id, status: "done" }] });
			expect((await waited).body).toMatchObject({
				status: "done",
				result: { a: [1, null, "ü"] },
				worker: "py-1",
				completed_at: "2026-01-01T00:00:00.400Z",
			});
			expect(await history(queue, leased.id)).toEqual(["submitted", "claimed", "done"]);
			expect(queue.deps.wake.heard()).toBe(true);
		}));

	it.each([
		["nothing", {}, null],
		["null", { result: null }, null],
		["false", { result: false }, false],
		["text", { result: "" }, ""],
		["a number", { result: 0 }, 0],
	])("takes a result that is %s", (_, more, result) =>
		inQueue(async queue => {
			const leased = await given(queue);
			await settleWith(queue, { ...leaseOf(leased), outcome: "done", ...more });
			expect(await read(queue, leased.id)).toMatchObject({ status: "done", result });
		}),
	);

	it("keeps a result that is too large as an error, and says so: it is not lost silently", () =>
		inQueue(
			async queue => {
				const [fits, large] = [await given(queue), await given(queue)];
				const { body } = await settleWith(
					queue,
					{ ...leaseOf(fits), outcome: "done", result: "x".repeat(1022) },
					{ ...leaseOf(large), outcome: "done", result: "ü".repeat(600) },
				);
				expect(body.results.map(({ status }: { status: string }) => status)).toEqual(["done", "failed"]);
				expect(await read(queue, large.id)).toMatchObject({
					status: "failed",
					reason: "not_retryable",
					result: null,
					error: {
						name: "Failed",
						attempt: 1,
						message: "the result has 1202 bytes, above the limit of 1024: store it elsewhere and return where it is",
					},
				});
			},
			{ config: { resultBytesMax: 1024 } },
		));

	it("refuses a body that is larger than several results, and says what it may have", () =>
		inQueue(
			async queue => {
				const leased = await given(queue);
				const { status, body } = await settleWith(queue, { ...leaseOf(leased), outcome: "done", result: "x".repeat(10_000) });
				expect({ status, code: body.code, limit: body.limit_bytes }).toEqual({ status: 413, code: "payload_too_large", limit: 4096 });
				expect((await read(queue, leased.id)).status).toBe("running");
			},
			{ config: { resultBytesMax: 1024 } },
		));

	it("refuses a result that is not JSON, and the lease is still held", () =>
		inQueue(async queue => {
			const leased = await given(queue);
			for (const result of ["nonsense", "NaN", "'a'", "{", "1e999", ""]) {
				const text = `{"results":[{"id":"${leased.id}","lease_token":"${leased.lease_token}","outcome":"done","result":${result}}]}`;
				const { status, body } = await queue.call("settleLeases", "/api/leases/settle", { tenant: null, body: text });
				expect([result, status, body.code]).toEqual([result, 400, "json_invalid"]);
			}
			expect((await heartbeat(queue, [leaseOf(leased)])).body.leases[0].status).toBe("held");
		}));

	describe("an attempt that failed", () => {
		it("is tried again, with what went wrong kept: message, name, stack, attempt, fingerprint", () =>
			inQueue(async queue => {
				const leased = await given(queue);
				const error = { name: "KeyError", message: "'size'", stack: `Traceback\n${"  File x\n".repeat(100)}` };
				const { body } = await settleWith(queue, { ...leaseOf(leased), outcome: "retry", error });
				expect(body.results).toEqual([{ id: leased.id, status: "pending" }]);
				const job = await read(queue, leased.id);
				expect(job).toMatchObject({
					status: "pending",
					retry_count: 1,
					attempt: 2,
					error_message: "'size'",
					error: { name: "KeyError", message: "'size'", attempt: 1, fingerprint: job.fingerprint },
				});
				expect(job.fingerprint).toMatch(/^f_[0-9a-f]{13,14}$/);
				expect(job.error.stack.split("\n").length).toBeLessThanOrEqual(12);
				expect(await history(queue, leased.id)).toEqual(["submitted", "claimed", "retry"]);
			}));

		it("waits between 0 and what the backoff of its task says; ½ here", () =>
			inQueue(
				async queue => {
					const remote = await given(queue);
					await settleWith(queue, { ...leaseOf(remote), outcome: "retry", error: "down" });
					await submit(queue, { task: "own" });
					const own = await leaseOne(queue, { tasks: ["own"] });
					await settleWith(queue, { ...leaseOf(own), outcome: "retry", error: "down" });
					expect((await read(queue, remote.id)).run_at).toBe("2026-01-01T00:00:01.000Z");
					expect((await read(queue, own.id)).run_at).toBe("2026-01-01T00:00:50.000Z");
				},
				{ tasks: { own: defineTask({ retry: { baseMs: 100_000 }, run: () => 1 }) } },
			));

		it("waits as long as the worker says", () =>
			inQueue(async queue => {
				const leased = await given(queue);
				await settleWith(queue, { ...leaseOf(leased), outcome: "retry", error: "busy", retry_after_ms: 7000 });
				expect((await read(queue, leased.id)).run_at).toBe("2026-01-01T00:00:07.000Z");
				await queue.clock.advance(7000);
				expect(await leaseOne(queue)).toMatchObject({ id: leased.id, attempt: 2 });
			}));

		it("is a dead letter when the retries are spent", () =>
			inQueue(async queue => {
				const leased = await given(queue, { max_retries: 0 });
				const { body } = await settleWith(queue, { ...leaseOf(leased), outcome: "retry", error: "no" });
				expect(body.results[0].status).toBe("dead_letter");
				expect(await read(queue, leased.id)).toMatchObject({ reason: "retries_exhausted", error_message: "no", attempt: 1 });
			}));

		it("ends for good when the worker says so", () =>
			inQueue(async queue => {
				const leased = await given(queue);
				await settleWith(queue, { ...leaseOf(leased), outcome: "failed", error: { message: "no such file" } });
				expect(await read(queue, leased.id)).toMatchObject({ status: "failed", reason: "not_retryable", error_message: "no such file" });
			}));

		it.each([
			["without a word", {}, "the worker did not say why"],
			["with null", { error: null }, "the worker did not say why"],
			["with an empty text", { error: "" }, "the worker did not say why"],
			["with only a name", { error: { name: "OSError", message: "" } }, "OSError"],
			["with a long message", { error: "x".repeat(10_000) }, "x".repeat(2000)],
		])("has a message, %s", (_, more, message) =>
			inQueue(async queue => {
				const leased = await given(queue);
				await settleWith(queue, { ...leaseOf(leased), outcome: "failed", ...more });
				expect((await read(queue, leased.id)).error_message).toBe(message);
			}),
		);

		it("holds its tenant's jobs of the task, or everybody's, where its dependency says when to come back", () =>
			inQueue(async queue => {
				await serveRemote(queue);
				for (const tenant of ["a", "a", "b"]) await submit(queue, { task: "remote" }, tenant);
				const first = await leaseOne(queue);
				await settleWith(queue, { ...leaseOf(first), outcome: "retry", error: "429", retry_after_ms: 60_000, retry_scope: "tenant" });
				const second = await leaseOne(queue);
				expect(second.tenant).not.toBe(first.tenant);
				expect((await askForJobs(queue)).body.jobs).toHaveLength(first.tenant === "a" ? 0 : 1);
				await queue.clock.advance(29_000);
				await settleWith(queue, { ...leaseOf(second), outcome: "retry", error: "503", retry_after_ms: 120_000, retry_scope: "task" });
				await queue.clock.advance(60_000);
				await tick(queue);
				expect((await askForJobs(queue, { limit: 10 })).body.jobs).toEqual([]);
				await queue.clock.advance(60_000);
				expect((await askForJobs(queue, { limit: 10 })).body.jobs).toHaveLength(3);
			}));

		it("opens the circuit of its tenant when so many failed alike, unless it says whom to wait for", () =>
			inQueue(
				async queue => {
					await serveRemote(queue);
					const fail = async (more: object) => {
						await submit(queue, { task: "remote", max_retries: 0 });
						await settleWith(queue, { ...leaseOf(await leaseOne(queue)), outcome: "retry", error: "down", ...more });
					};
					const open = async () =>
						(await queue.call("listTasks", "/api/tasks")).body.tasks.find(({ name }: { name: string }) => name === "remote").circuits_open;
					for (let i = 0; i < 3; i++) await fail({ retry_scope: "job", retry_after_ms: 0 });
					expect(await open()).toBe(0);
					for (let i = 0; i < 2; i++) await fail({ retry_after_ms: 0 });
					expect(await open()).toBe(0);
					await fail({ retry_after_ms: 0 });
					expect(await open()).toBe(1);
					expect(queue.logs.filter(({ message }) => message.includes("kept failing alike"))).toEqual([
						expect.objectContaining({
							level: "warn",
							tenant_id: "acme",
							task: "remote",
							error: "down",
							probes_at: "2026-01-01T00:01:00.000Z",
						}),
					]);
					const { id } = await submit(queue, { task: "remote", max_retries: 0 });
					expect((await askForJobs(queue)).body.jobs).toEqual([]);
					// Nor does it close one: the probe only learned when to come back.
					await queue.clock.advance(60_000);
					await settleWith(queue, {
						...leaseOf(await leaseOne(queue)),
						outcome: "retry",
						error: "429",
						retry_scope: "job",
						retry_after_ms: 5000,
					});
					expect(await open()).toBe(1);
					expect((await queue.call("getJob", `/api/jobs/${id}`)).body).toMatchObject({ status: "pending", retry_count: 0 });
				},
				{ config: { circuitFailures: 3 } },
			));
	});

	it("snoozes a job, or gives it back, without using an attempt", () =>
		inQueue(async queue => {
			const [later, now] = [await given(queue), await given(queue)];
			const { body } = await settleWith(
				queue,
				{ ...leaseOf(later), outcome: "snooze", retry_after_ms: 60_000 },
				{ ...leaseOf(now), outcome: "release" },
			);
			expect(body.results.map(({ status }: { status: string }) => status)).toEqual(["pending", "pending"]);
			expect(await read(queue, later.id)).toMatchObject({ retry_count: 0, attempt: 1, run_at: "2026-01-01T00:01:00.000Z" });
			expect((await leaseOne(queue)).id).toBe(now.id);
			expect(await history(queue, now.id)).toEqual(["submitted", "claimed", "released", "claimed"]);
		}));

	describe("a cancel", () => {
		const cancel = (queue: Harness, id: string) => queue.call("cancelJob", `/api/jobs/${id}/cancel`, { method: "POST" });

		it("is acknowledged", () =>
			inQueue(async queue => {
				const leased = await given(queue);
				await cancel(queue, leased.id);
				const { body } = await settleWith(queue, { ...leaseOf(leased), outcome: "cancelled" });
				expect(body.results).toEqual([{ id: leased.id, status: "cancelled" }]);
				expect(await read(queue, leased.id)).toMatchObject({ status: "cancelled", reason: "requested" });
			}));

		it("comes too late for a job that is done: done wins", () =>
			inQueue(async queue => {
				const leased = await given(queue);
				await cancel(queue, leased.id);
				const { body } = await settleWith(queue, { ...leaseOf(leased), outcome: "done", result: 1 });
				expect(body.results[0].status).toBe("done");
			}));

		it("keeps a job that failed from running again", () =>
			inQueue(async queue => {
				const leased = await given(queue);
				await cancel(queue, leased.id);
				const { body } = await settleWith(queue, { ...leaseOf(leased), outcome: "retry", error: "stopped" });
				expect(body.results[0].status).toBe("cancelled");
			}));

		it("that nobody asked for is none: the job waits again", () =>
			inQueue(async queue => {
				const leased = await given(queue);
				const { body } = await settleWith(queue, { ...leaseOf(leased), outcome: "cancelled" });
				expect(body.results[0].status).toBe("pending");
				expect((await leaseOne(queue)).id).toBe(leased.id);
			}));

		it("that ended the job after its grace leaves nothing to settle", () =>
			inQueue(
				async queue => {
					const leased = await given(queue);
					await cancel(queue, leased.id);
					await queue.clock.advance(31_000);
					await tick(queue);
					const { status, body } = await settleWith(queue, { ...leaseOf(leased), outcome: "done", result: 1 });
					expect({ status, code: body.code }).toEqual({ status: 409, code: "lease_lost" });
					expect(await read(queue, leased.id)).toMatchObject({ status: "cancelled", result: null });
					expect((await history(queue, leased.id)).at(-1)).toBe("refused");
				},
				{ config: { graceMs: 1000 } },
			));
	});

	describe("a lease that is not held", () => {
		it("lost to another worker changes nothing, alone a 409; it stands in the history as refused", () =>
			inQueue(async queue => {
				const first = await given(queue);
				await queue.clock.advance(30_000);
				await tick(queue);
				const second = await leaseOne(queue, { worker: "py-2" });
				expect(second.id).toBe(first.id);
				const { status, body } = await settleWith(queue, { ...leaseOf(first), outcome: "done", result: "late" });
				expect({ status, code: body.code, instance: body.instance }).toEqual({
					status: 409,
					code: "lease_lost",
					instance: "/api/leases/settle",
				});
				expect(await read(queue, first.id)).toMatchObject({ status: "running", worker: "py-2", result: null });
				await settleWith(queue, { ...leaseOf(second), outcome: "done", result: "right" });
				expect(await read(queue, first.id)).toMatchObject({ status: "done", result: "right" });
				const events = await eventsOf(queue, first.id);
				expect(events.map(({ kind }: { kind: string }) => kind)).toEqual(["submitted", "claimed", "lost", "claimed", "refused", "done"]);
				expect(events[4]).toMatchObject({ outcome: "done" });
			}));

		it("does not keep those beside it from being accepted; each says how it went, in the order asked", () =>
			inQueue(async queue => {
				const [a, b] = [await given(queue), await given(queue)];
				const { status, body } = await settleWith(
					queue,
					{ ...leaseOf(a), lease_token: "1234567890123456", outcome: "done" },
					{ ...leaseOf(b), outcome: "done" },
					{ id: NO_JOB, lease_token: "1", outcome: "done" },
					{ id: "nonsense", lease_token: "1", outcome: "failed", error: "x" },
				);
				expect(status).toBe(200);
				expect(operations.settleLeases.answer.parse(body)).toEqual(body);
				expect(body.results.map(({ id, status, problem }: Record<string, { code: string }>) => [id, status ?? problem?.code])).toEqual([
					[a.id, "lease_lost"],
					[b.id, "done"],
					[NO_JOB, "lease_lost"],
					["nonsense", "lease_lost"],
				]);
				expect((await read(queue, a.id)).status).toBe("running");
			}));

		it("several at once, all lost, are answered one by one", () =>
			inQueue(async queue => {
				const lost = { id: NO_JOB, lease_token: "1", outcome: "done" };
				expect(await settleWith(queue, lost, lost)).toMatchObject({
					status: 200,
					body: { results: [{ problem: { code: "lease_lost" } }, { problem: { code: "lease_lost" } }] },
				});
			}));

		it.each([
			["of nobody", () => ({ id: NO_JOB, lease_token: "1" })],
			["whose id is none", () => ({ id: "job_", lease_token: "1" })],
			["with a wrong token", (leased: LeasedJob) => ({ id: leased.id, lease_token: "1" })],
			["with a token beyond all numbers", (leased: LeasedJob) => ({ id: leased.id, lease_token: "9999999999999999" })],
		])("%s is 409, whatever the outcome", (_, lease) =>
			inQueue(async queue => {
				const leased = await given(queue);
				for (const ending of [
					{ outcome: "done" },
					{ outcome: "retry", error: "x" },
					{ outcome: "failed" },
					{ outcome: "snooze", retry_after_ms: 1 },
					{ outcome: "release" },
					{ outcome: "cancelled" },
				])
					expect([ending, (await settleWith(queue, { ...lease(leased), ...ending })).body.code]).toEqual([ending, "lease_lost"]);
				expect((await heartbeat(queue, [leaseOf(leased)])).body.leases[0].status).toBe("held");
			}),
		);

		it("with the token of another job is 409, and ends neither", () =>
			inQueue(async queue => {
				const [a, b] = [await given(queue), await given(queue)];
				expect((await settleWith(queue, { id: a.id, lease_token: b.lease_token, outcome: "done" })).status).toBe(409);
				for (const { id } of [a, b]) expect((await read(queue, id)).status).toBe("running");
			}));
	});

	describe("more than once", () => {
		it("is answered as it stands", () =>
			inQueue(async queue => {
				const [done, again] = [await given(queue), await given(queue)];
				for (let i = 0; i < 2; i++) {
					const { status, body } = await settleWith(queue, { ...leaseOf(done), outcome: "done", result: i });
					expect({ status, results: body.results }).toEqual({ status: 200, results: [{ id: done.id, status: "done" }] });
					const retried = await settleWith(queue, { ...leaseOf(again), outcome: "retry", error: "x", retry_after_ms: 5000 });
					expect(retried.body.results).toEqual([{ id: again.id, status: "pending" }]);
				}
				expect((await read(queue, done.id)).result).toBe(0);
				expect(await read(queue, again.id)).toMatchObject({ retry_count: 1 });
				expect(await history(queue, again.id)).toEqual(["submitted", "claimed", "retry"]);
			}));

		it("in one call counts as it is said first", () =>
			inQueue(async queue => {
				const leased = await given(queue);
				const { body } = await settleWith(
					queue,
					{ ...leaseOf(leased), outcome: "done", result: "first" },
					{ ...leaseOf(leased), outcome: "failed", error: "second" },
				);
				expect(body.results).toMatchObject([{ status: "done" }, { problem: { code: "lease_lost" } }]);
				expect(await read(queue, leased.id)).toMatchObject({ status: "done", result: "first", error: null });
			}));

		// Bug: an id with the right number and any tail was noted in the history of somebody's job.
		it("of an id that was guessed is lost, and stands in no history", () =>
			inQueue(async queue => {
				const leased = await given(queue);
				const guessed = `${leased.id.slice(0, -8)}00000001`;
				const { status, body } = await settleWith(queue, { id: guessed, lease_token: "7", outcome: "done" });
				expect([status, body.code]).toEqual([409, "lease_lost"]);
				const waiting = await submit(queue, { task: "remote" });
				await settleWith(queue, { id: waiting.id, lease_token: "7", outcome: "done" });
				expect(await history(queue, leased.id)).toEqual(["submitted", "claimed"]);
				expect(await history(queue, waiting.id)).toEqual(["submitted"]);
			}));

		it("under two leases of one job is told apart: the lost one is refused, the held one accepted", () =>
			inQueue(async queue => {
				const first = await given(queue);
				await queue.clock.advance(30_000);
				await tick(queue);
				const second = await leaseOne(queue);
				const { body } = await settleWith(
					queue,
					{ ...leaseOf(first), outcome: "failed", error: "old" },
					{ ...leaseOf(second), outcome: "done", result: "new" },
				);
				expect(body.results.map(({ status, problem }: Record<string, { code: string }>) => status ?? problem?.code)).toEqual([
					"lease_lost",
					"done",
				]);
				expect(await read(queue, first.id)).toMatchObject({ status: "done", result: "new" });
			}));
	});

	it("takes no instant from a worker: one whose clock is an hour off is like any other", () =>
		inQueue(async queue => {
			const leased = await given(queue);
			await queue.clock.advance(1000);
			const skewed = { headers: { date: "Thu, 01 Jan 2026 01:00:00 GMT" }, tenant: null };
			const body = { results: [{ ...leaseOf(leased), outcome: "retry", error: "x", retry_after_ms: 5000 }] };
			const { status } = await queue.call("settleLeases", "/api/leases/settle", { ...skewed, body });
			expect(status).toBe(200);
			expect((await read(queue, leased.id)).run_at).toBe("2026-01-01T00:00:06.000Z");
			for (const field of ["completed_at", "started_at", "run_at", "now"]) {
				const refused = await settleWith(queue, { ...leaseOf(leased), outcome: "done", [field]: "2026-01-01T01:00:00Z" });
				expect([field, refused.status]).toEqual([field, 422]);
			}
		}));

	it("takes 1000 results in a few statements, and not 1001", () =>
		inQueue(
			async queue => {
				await serveRemote(queue);
				for (let i = 0; i < 1000; i++) await submit(queue, { task: "remote" });
				const results: object[] = [];
				while (results.length < 1000)
					results.push(
						...(await askForJobs(queue, { limit: 100 })).body.jobs.map((job: LeasedJob) => ({ ...leaseOf(job), outcome: "done" })),
					);
				expect((await settleWith(queue, ...results, results[0]!)).status).toBe(422);
				const before = queue.deps.storage.worker.statements();
				const { body } = await settleWith(queue, ...results);
				expect(queue.deps.storage.worker.statements() - before).toBeLessThanOrEqual(6);
				expect(body.results.every(({ status }: { status: string }) => status === "done")).toBe(true);
				expect((await queue.deps.storage.operator.counts()).done).toBe(1000);
			},
			{ config: { tenantConcurrency: 1000 } },
		));

	it("takes hundreds of failures at once, each with its own message", () =>
		inQueue(
			async queue => {
				await serveRemote(queue);
				for (let i = 0; i < 250; i++) await submit(queue, { task: "remote", max_retries: 0 });
				const results: object[] = [];
				while (results.length < 250)
					results.push(
						...(await askForJobs(queue, { limit: 100 })).body.jobs.map((job: LeasedJob) => ({
							...leaseOf(job),
							outcome: "retry",
							error: `no ${job.id}`,
						})),
					);
				const { body } = await settleWith(queue, ...results);
				expect(body.results.every(({ status }: { status: string }) => status === "dead_letter")).toBe(true);
				const { jobs } = (await queue.call("listJobs", "/api/jobs?status=dead_letter&limit=200")).body;
				for (const job of jobs) expect(job.error).toMatchObject({ message: `no ${job.id}`, attempt: 1 });
				expect(new Set(jobs.map(({ fingerprint }: { fingerprint: string }) => fingerprint)).size).toBe(1);
			},
			{ config: { tenantConcurrency: 1000, circuitFailures: 0 } },
		));

	describe("follow-ups", () => {
		it("are submitted with a done that is accepted, for the same tenant and trace", () =>
			inQueue(async queue => {
				const leased = await given(queue);
				const follow_ups = [
					{ task: "echo", payload: { n: 1 }, delay_ms: 5000, tags: ["x"], priority: 3, max_retries: 7 },
					{ task: "remote", key: "k" },
				];
				await settleWith(queue, { ...leaseOf(leased), outcome: "done", result: 1, follow_ups });
				const { jobs } = (await queue.call("listJobs", "/api/jobs")).body;
				expect(jobs).toHaveLength(3);
				expect(jobs.find(({ task }: { task: string }) => task === "echo")).toMatchObject({
					payload: { n: 1 },
					run_at: "2026-01-01T00:00:05.000Z",
					tags: ["x"],
					priority: 3,
					max_retries: 7,
					trace_id: leased.trace_id,
				});
				expect(jobs.find(({ key }: { key: string }) => key === "k")).toMatchObject({ task: "remote", payload: {}, max_retries: 3 });
			}));

		it("are submitted once, however often the done is sent, and not at all with one that is refused", () =>
			inQueue(async queue => {
				const leased = await given(queue);
				const ending = { outcome: "done", follow_ups: [{ task: "echo" }] };
				expect((await settleWith(queue, { id: leased.id, lease_token: "1", ...ending })).status).toBe(409);
				for (let i = 0; i < 2; i++) await settleWith(queue, { ...leaseOf(leased), ...ending });
				expect((await queue.call("listJobs", "/api/jobs")).body.jobs).toHaveLength(2);
			}));

		const strict = defineTask({ input: z.strictObject({ n: z.int() }), run: () => 1 });
		it.each([
			["of a task that nobody knows", { task: "nothing" }, "there is no task nothing"],
			["whose payload does not fit", { task: "strict", payload: { n: "x" } }, "n must be"],
			["whose payload is too large", { task: "strict2", payload: "x".repeat(2000) }, "more than 1024 bytes"],
		])("%s fail the job, and say why", (_, followUp, message) =>
			inQueue(
				async queue => {
					const leased = await given(queue);
					const { body } = await settleWith(queue, { ...leaseOf(leased), outcome: "done", follow_ups: [followUp] });
					expect(body.results).toEqual([{ id: leased.id, status: "failed" }]);
					const job = await read(queue, leased.id);
					expect(job.error_message).toMatch(/^a follow-up was refused: /);
					expect(job.error_message).toContain(message);
					expect((await queue.call("listJobs", "/api/jobs")).body.jobs).toHaveLength(1);
				},
				{ tasks: { strict, strict2: defineTask({ run: () => 1 }) }, config: { payloadBytesMax: 1024 } },
			),
		);

		it("are 100 of a job at most", () =>
			inQueue(async queue => {
				const leased = await given(queue);
				const follow_ups = Array.from({ length: 101 }, () => ({ task: "echo" }));
				const { status, body } = await settleWith(queue, { ...leaseOf(leased), outcome: "done", follow_ups });
				expect([status, body.errors[0].pointer]).toEqual([422, "/results/0/follow_ups"]);
			}));

		it("are 1000 at most in one call", () =>
			inQueue(async queue => {
				const ending = { id: NO_JOB, lease_token: "1", outcome: "done", follow_ups: Array.from({ length: 100 }, () => ({ task: "echo" })) };
				const { status, body } = await settleWith(queue, ...Array.from({ length: 11 }, () => ending));
				expect([status, body.errors[0].pointer]).toEqual([422, "/results"]);
				expect((await settleWith(queue, ...Array.from({ length: 10 }, () => ending))).status).toBe(200);
			}));
	});

	it("answers 503 while the store is away, and takes the same call afterwards", () =>
		inQueue(async queue => {
			const leased = await given(queue);
			const { storage } = queue.deps;
			const { StorageUnavailable } = await import("../../lib/storage/storage.ts");
			const worker = new Proxy(storage.worker, {
				get: (_, name) =>
					name === "statements"
						? () => 0
						: () => {
								throw new StorageUnavailable("away");
							},
			});
			const away = { ...queue, deps: { ...queue.deps, storage: { ...storage, worker } } } as unknown as Harness;
			const { functions } = await import("../../functions/all.ts");
			const { answered, toRequest } = await import("../support/harness.ts");
			const request = () =>
				toRequest("/api/leases/settle", { tenant: null, body: { results: [{ ...leaseOf(leased), outcome: "done", result: 1 }] } });
			expect((await answered(functions.settleLeases(request(), away.deps))).body.code).toBe("storage_unavailable");
			expect((await answered(functions.settleLeases(request(), queue.deps))).body.results[0].status).toBe("done");
			await settle();
		}));

	it("refuses what cannot be, and points at it", () =>
		inQueue(async queue => {
			const lease = { id: NO_JOB, lease_token: "1" };
			const cases: readonly [object, string][] = [
				[{ ...lease }, "/results/0/outcome"],
				[{ ...lease, outcome: "expired" }, "/results/0/outcome"],
				[{ ...lease, outcome: "snooze" }, "/results/0/retry_after_ms"],
				[{ ...lease, outcome: "retry", retry_after_ms: -1 }, "/results/0/retry_after_ms"],
				[{ ...lease, outcome: "retry", retry_scope: "everybody" }, "/results/0/retry_scope"],
				[{ ...lease, outcome: "retry", error: 5 }, "/results/0/error"],
				[{ ...lease, outcome: "done", follow_ups: [{ payload: 1 }] }, "/results/0/follow_ups/0/task"],
				[{ id: NO_JOB, lease_token: "abc", outcome: "done" }, "/results/0/lease_token"],
			];
			for (const [result, pointer] of cases) {
				const { status, body } = await settleWith(queue, result);
				expect([result, status, body.errors?.[0]?.pointer]).toEqual([result, 422, pointer]);
			}
			expect((await settleWith(queue)).body.errors[0].pointer).toBe("/results");
		}));

	// Bug: a round of statements for each token that one job was named with.
	it("asks for a job under three tokens at most: beyond that its leases are lost", () =>
		inQueue(async queue => {
			const leased = await given(queue);
			const wrong = Array.from({ length: 998 }, (_, i) => ({ id: leased.id, lease_token: String(1_000_000 + i), outcome: "done" }));
			const before = queue.deps.storage.worker.statements();
			const { body } = await settleWith(queue, wrong[0]!, { ...leaseOf(leased), outcome: "done", result: 7 }, ...wrong);
			expect(queue.deps.storage.worker.statements() - before).toBeLessThanOrEqual(3 * 12);
			const [first, second, ...others] = body.results;
			expect([first.problem.code, second.status]).toEqual(["lease_lost", "done"]);
			expect(others.every(({ problem }: { problem?: { code: string } }) => problem?.code === "lease_lost")).toBe(true);
			expect(await read(queue, leased.id)).toMatchObject({ status: "done", result: 7 });
		}));

	// Bug: the second was answered 200 "failed", as if it had been taken.
	it.each([
		["failed", "done"],
		["done", "failed"],
		["done", "retry"],
		["done", "snooze"],
		["failed", "retry"],
		["failed", "release"],
		["retry", "done"],
		["retry", "failed"],
		["snooze", "done"],
		["release", "failed"],
		["cancelled", "done"],
	])("refuses another ending under a token that has ended its attempt: %s, then %s", (first, second) =>
		inQueue(async queue => {
			const leased = await given(queue);
			const settleAs = (outcome: string) => settleWith(queue, { ...leaseOf(leased), outcome, retry_after_ms: 1000 });
			const ended = await settleAs(first);
			expect(ended.status).toBe(200);
			const before = await read(queue, leased.id);
			expect(await settleAs(second)).toMatchObject({ status: 409, body: { code: "lease_lost" } });
			expect(await settleAs(first)).toMatchObject({ status: 200, body: ended.body });
			expect(await read(queue, leased.id)).toEqual(before);
		}),
	);

	it("answers a retry that was taken although a cancel was asked for, or no attempt was left, when it is sent again", () =>
		inQueue(async queue => {
			const [last, stopped] = [await given(queue, { max_retries: 0 }), await given(queue)];
			await queue.call("cancelJob", `/api/jobs/${stopped.id}/cancel`, { method: "POST" });
			const results = [last, stopped].map(leased => ({ ...leaseOf(leased), outcome: "retry", error: "no" }));
			for (let i = 0; i < 2; i++)
				expect((await settleWith(queue, ...results)).body.results).toMatchObject([{ status: "dead_letter" }, { status: "cancelled" }]);
		}));

	// Bug: one worker could hold everybody's jobs of a task for ten years.
	it.each(["tenant", "task"])("holds the jobs of a %s for an hour at most, and its own for as long as it says", scope =>
		inQueue(async queue => {
			const leased = await given(queue);
			const other = await submit(queue, { task: "remote" });
			const ms = 10 * 365 * 24 * 3_600_000;
			await settleWith(queue, { ...leaseOf(leased), outcome: "retry", error: "busy", retry_after_ms: ms, retry_scope: scope });
			expect(Date.parse((await read(queue, leased.id)).run_at) - queue.clock.now()).toBe(ms);
			await queue.clock.advance(3_599_000);
			expect((await askForJobs(queue)).body.jobs).toEqual([]);
			await queue.clock.advance(1000);
			expect(await leaseOne(queue)).toMatchObject({ id: other.id });
		}),
	);
});
