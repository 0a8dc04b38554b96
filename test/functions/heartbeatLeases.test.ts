import { describe, expect, it } from "vitest";
import { operations } from "../../lib/contract.ts";
import { inQueue, read, submit, tick } from "./inQueue.ts";
import { askForJobs, heartbeat, leaseOf, leaseOne, serveRemote, settleWith } from "./remote.ts";

describe("heartbeatLeases", () => {
	it("extends what is held, by the server's clock, and keeps what is said of its progress", () =>
		inQueue(async queue => {
			await serveRemote(queue);
			const job = await submit(queue, { task: "remote" });
			const leased = await leaseOne(queue);
			await queue.clock.advance(20_000);
			const { status, body } = await heartbeat(queue, [{ ...leaseOf(leased), progress: { percent: 40, message: "resizing" } }]);
			expect(status).toBe(200);
			expect(operations.heartbeatLeases.answer.parse(body)).toEqual(body);
			expect(body.leases).toEqual([{ id: job.id, status: "held", lease_expires_at: "2026-01-01T00:00:50.000Z" }]);
			expect((await read(queue, job.id)).progress).toEqual({ percent: 40, message: "resizing" });
			await heartbeat(queue, [leaseOf(leased)], { lease_ms: 60_000 });
			expect((await read(queue, job.id)).progress).toEqual({ percent: 40, message: "resizing" });
			await queue.clock.advance(59_000);
			await tick(queue);
			expect((await read(queue, job.id)).status).toBe("running");
			await queue.clock.advance(1000);
			await tick(queue);
			expect(await read(queue, job.id)).toMatchObject({ status: "pending", lost_count: 1 });
		}));

	it("answers for each in the order asked: held, cancel_requested, lost", () =>
		inQueue(async queue => {
			await serveRemote(queue);
			for (let i = 0; i < 3; i++) await submit(queue, { task: "remote" });
			const [a, b, c] = (await askForJobs(queue, { limit: 3 })).body.jobs;
			await queue.call("cancelJob", `/api/jobs/${b.id}/cancel`, { method: "POST" });
			await settleWith(queue, { ...leaseOf(c), outcome: "done" });
			const leases = [
				{ id: "job_00000000000000000000000000", lease_token: "1" },
				leaseOf(c),
				leaseOf(a),
				{ id: "nonsense", lease_token: "1" },
				{ ...leaseOf(a), lease_token: "9999999999999999" },
				leaseOf(b),
			];
			const { body } = await heartbeat(queue, leases);
			expect(body.leases.map(({ id, status }: Record<string, string>) => [id, status])).toEqual([
				["job_00000000000000000000000000", "lost"],
				[c.id, "lost"],
				[a.id, "held"],
				["nonsense", "lost"],
				[a.id, "lost"],
				[b.id, "cancel_requested"],
			]);
			expect(body.leases[0].lease_expires_at).toBeNull();
		}));

	it("tells two leases of one job apart: the one before it was lost, and the one since", () =>
		inQueue(async queue => {
			await serveRemote(queue);
			await submit(queue, { task: "remote" });
			const first = await leaseOne(queue);
			await queue.clock.advance(30_000);
			await tick(queue);
			const second = await leaseOne(queue);
			expect(second.id).toBe(first.id);
			for (const leases of [
				[leaseOf(first), leaseOf(second)],
				[leaseOf(second), leaseOf(first)],
			])
				expect((await heartbeat(queue, leases)).body.leases.map(({ status }: { status: string }) => status)).toEqual(
					leases.map(({ lease_token }) => (lease_token === second.lease_token ? "held" : "lost")),
				);
		}));

	it("does not extend a lease beyond the longest attempt and its grace: the worker may hang", () =>
		inQueue(
			async queue => {
				await serveRemote(queue);
				const job = await submit(queue, { task: "remote", timeout_ms: 60_000 });
				const leased = await leaseOne(queue);
				for (let s = 0; s < 60; s += 10) {
					await queue.clock.advance(10_000);
					const [lease] = (await heartbeat(queue, [leaseOf(leased)])).body.leases;
					expect(lease.status).toBe("held");
					expect(Date.parse(lease.lease_expires_at)).toBeLessThanOrEqual(Date.parse("2026-01-01T00:01:15Z"));
				}
				await queue.clock.advance(16_000);
				expect((await heartbeat(queue, [leaseOf(leased)])).body.leases[0].status).toBe("lost");
				await tick(queue);
				const failed = await read(queue, job.id, "?include=history");
				expect(failed).toMatchObject({ status: "pending", lost_count: 0, retry_count: 1, run_at: "2026-01-01T00:01:18.000Z" });
				expect(failed.history.at(-1)).toMatchObject({
					kind: "retry",
					text: "The attempt failed: timed out after 76000 ms. It is tried again.",
					error: { message: "timed out after 76000 ms", attempt: 1, fingerprint: "timed_out" },
				});
			},
			{ config: { graceMs: 5000 } },
		));

	// Bug: a heartbeat set the count of losses back, and so neither ended such a job.
	it("does not keep a job running for ever whose worker hangs, or beats once and goes away each time", () =>
		inQueue(
			async queue => {
				await serveRemote(queue, "remote", "goes");
				const hangs = await submit(queue, { task: "remote", timeout_ms: 60_000, max_retries: 2 });
				const goes = await submit(queue, { task: "goes" });
				for (let lived = 0; lived < 40; lived++) {
					const { jobs } = (await askForJobs(queue, { limit: 1, tasks: ["remote"] })).body;
					const others = (await askForJobs(queue, { limit: 1, tasks: ["goes"] })).body.jobs;
					if (others.length > 0) await heartbeat(queue, others.map(leaseOf));
					for (let beats = 0; beats < 10; beats++) {
						await queue.clock.advance(10_000);
						if (jobs.length > 0) await heartbeat(queue, jobs.map(leaseOf));
						await tick(queue);
					}
				}
				expect(await read(queue, hangs.id)).toMatchObject({ status: "dead_letter", reason: "retries_exhausted", retry_count: 3 });
				expect(await read(queue, goes.id)).toMatchObject({ status: "dead_letter", reason: "lease_lost", lost_count: 3 });
			},
			{ config: { graceMs: 5000 } },
		));

	it("holds no lease for longer than the queue allows, whatever the timeout of its job says", () =>
		inQueue(
			async queue => {
				await serveRemote(queue);
				// Submitted when that was allowed.
				await queue.deps.storage
					.tenant("acme")
					.insertJob(
						{ task: "remote", payload: "null", timeoutMs: 86_400_000, maxRetries: 0, tail: 1, traceId: "0".repeat(32) },
						queue.clock.now(),
					);
				const leased = await leaseOne(queue);
				expect(leased.timeout_ms).toBe(60_000);
				for (let s = 0; s < 70; s += 10) {
					await queue.clock.advance(10_000);
					await heartbeat(queue, [leaseOf(leased)]);
				}
				await queue.clock.advance(10_000);
				expect((await heartbeat(queue, [leaseOf(leased)])).body.leases[0].status).toBe("lost");
			},
			{ config: { graceMs: 5000, timeoutMsMax: 60_000 } },
		));

	it("gives a worker that is to stop a job the grace period, and no longer: then it is cancelled", () =>
		inQueue(
			async queue => {
				await serveRemote(queue);
				const job = await submit(queue, { task: "remote" });
				const leased = await leaseOne(queue);
				await queue.call("cancelJob", `/api/jobs/${job.id}/cancel`, { method: "POST" });
				for (let s = 0; s < 30; s += 10) {
					await queue.clock.advance(10_000);
					await heartbeat(queue, [leaseOf(leased)]);
				}
				await queue.clock.advance(1000);
				await tick(queue);
				expect(await read(queue, job.id)).toMatchObject({ status: "cancelled", reason: "requested" });
				expect((await heartbeat(queue, [leaseOf(leased)])).body.leases[0].status).toBe("lost");
			},
			{ config: { graceMs: 5000 } },
		));

	it.each([1000, 30_000, 90_000])(
		"tells of a cancel with the next heartbeat and leaves the grace period from then on: a lease of %i ms",
		leaseMs =>
			inQueue(
				async queue => {
					await serveRemote(queue);
					const job = await submit(queue, { task: "remote", timeout_ms: 600_000 });
					const leased = await leaseOne(queue, { lease_ms: leaseMs });
					await heartbeat(queue, [leaseOf(leased)], { lease_ms: leaseMs });
					await queue.clock.advance(1);
					await queue.call("cancelJob", `/api/jobs/${job.id}/cancel`, { method: "POST" });
					await queue.clock.advance(Math.round(leaseMs / 3));
					const [told] = (await heartbeat(queue, [leaseOf(leased)], { lease_ms: leaseMs })).body.leases;
					expect(told.status).toBe("cancel_requested");
					expect(Date.parse(told.lease_expires_at) - queue.clock.now()).toBeGreaterThanOrEqual(Math.min(leaseMs * (2 / 3), 4999));
					expect((await settleWith(queue, { ...leaseOf(leased), outcome: "cancelled" })).body.results[0].status).toBe("cancelled");
				},
				{ config: { graceMs: 5000 } },
			),
	);

	it("takes 1000 leases in one statement, none at all, and not 1001", () =>
		inQueue(
			async queue => {
				await serveRemote(queue);
				for (let i = 0; i < 1000; i++) await submit(queue, { task: "remote" });
				const leases: object[] = [];
				while (leases.length < 1000) leases.push(...(await askForJobs(queue, { limit: 100 })).body.jobs.map(leaseOf));
				await queue.clock.advance(10_000);
				const before = queue.deps.storage.worker.statements();
				const { status, body } = await heartbeat(queue, leases);
				// One for the leases, one to say that the worker is there.
				expect(queue.deps.storage.worker.statements() - before).toBeLessThanOrEqual(3);
				expect(status).toBe(200);
				expect(body.leases.every((lease: { status: string }) => lease.status === "held")).toBe(true);
				expect(await heartbeat(queue, [])).toMatchObject({ status: 200, body: { leases: [] } });
				const refused = await heartbeat(queue, [...leases, leases[0]!]);
				expect(refused).toMatchObject({ status: 422, body: { code: "body_invalid", errors: [{ pointer: "/leases" }] } });
			},
			{ config: { tenantConcurrency: 1000 } },
		));

	it("refuses what cannot be, and points at it", () =>
		inQueue(async queue => {
			const id = "job_00000000000000000000000000";
			const cases: readonly [object, string][] = [
				[{ id }, "/leases/0/lease_token"],
				[{ id, lease_token: 5 }, "/leases/0/lease_token"],
				[{ id, lease_token: "-1" }, "/leases/0/lease_token"],
				[{ id, lease_token: "1e3" }, "/leases/0/lease_token"],
				[{ id: "x".repeat(101), lease_token: "1" }, "/leases/0/id"],
				[{ id, lease_token: "1", progress: { percent: 101 } }, "/leases/0/progress/percent"],
				[{ id, lease_token: "1", progress: { percent: 1, message: "x".repeat(501) } }, "/leases/0/progress/message"],
				[{ id, lease_token: "1", expires_at: "2030-01-01T00:00:00Z" }, "/leases/0/expires_at"],
			];
			for (const [lease, pointer] of cases) {
				const { status, body } = await heartbeat(queue, [lease]);
				expect([lease, status, body.errors?.[0]?.pointer]).toEqual([lease, 422, pointer]);
			}
		}));

	// Bug: a round of statements for each token that one job was named with.
	it("asks for a job under three tokens at most, and answers each entry: beyond that they are lost", () =>
		inQueue(async queue => {
			await serveRemote(queue);
			await submit(queue, { task: "remote" });
			const leased = await leaseOne(queue);
			const wrong = Array.from({ length: 997 }, (_, i) => ({ id: leased.id, lease_token: String(1_000_000 + i) }));
			const before = queue.deps.storage.worker.statements();
			const { body } = await heartbeat(queue, [wrong[0]!, leaseOf(leased), ...wrong, leaseOf(leased)]);
			expect(queue.deps.storage.worker.statements() - before).toBeLessThanOrEqual(4);
			expect(body.leases).toHaveLength(1000);
			const held = body.leases.flatMap(({ status }: { status: string }, i: number) => (status === "held" ? [i] : []));
			expect(held).toEqual([1, 999]);
		}));
});
