import { defineTask, Failed } from "tickq";
import { describe, expect, it } from "vitest";
import { functions } from "../../functions/all.ts";
import { operations } from "../../lib/contract.ts";
import { answered, type Harness, toRequest } from "../support/harness.ts";
import { createGate, inQueue, startTicking, submit, throwing, tick } from "./inQueue.ts";

const metrics = (queue: Harness, tenant: string | null = null, headers = {}) => queue.call("metrics", "/api/metrics", { tenant, headers });

describe("metrics", () => {
	it("answers zeros for an empty queue, in the form of the contract", () =>
		inQueue(async queue => {
			const { status, body } = await metrics(queue);
			expect(status).toBe(200);
			expect(operations.metrics.answer.parse(body)).toEqual(body);
			expect(body).toMatchObject({
				pending: 0,
				running: 0,
				done: 0,
				failed: 0,
				dead_letter_queue: 0,
				active_tenants: 0,
				timestamp: "2026-01-01T00:00:00.000Z",
				workers: { busy: 0, size: 10 },
				last_tick_at: null,
				next_wake_at: null,
			});
		}));

	it("counts exactly, for the queue and for each tenant", () => {
		const gate = createGate();
		return inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "ok", delay_ms: 1 });
				await queue.call("cancelJob", `/api/jobs/${id}/cancel`, { method: "POST" });
				await submit(queue, { task: "ok" });
				await submit(queue, { task: "no" });
				await submit(queue, { task: "bad", max_retries: 0 }, "other");
				await tick(queue);
				await submit(queue, { task: "gate" });
				await submit(queue, { task: "gate" }, "other");
				const { report } = await startTicking(queue, { limit: 2 });
				await submit(queue, { task: "ok", delay_ms: 60_000 });
				await submit(queue, { task: "ok", key: "k" });
				await submit(queue, { task: "ok", key: "k" });
				const zero = { pending: 0, running: 0, done: 0, failed: 0, dead_letter_queue: 0, cancelled: 0, ready: 0, delayed: 0, blocked: 0 };
				expect((await metrics(queue)).body).toMatchObject({
					pending: 3,
					running: 2,
					done: 1,
					failed: 1,
					dead_letter_queue: 1,
					cancelled: 1,
					ready: 1,
					delayed: 1,
					blocked: 1,
					active_tenants: 2,
					submitted_total: 9,
					finished_total: 4,
					workers: { busy: 2, size: 10 },
				});
				expect((await metrics(queue, "*")).body).toEqual((await metrics(queue)).body);
				expect((await metrics(queue, "acme")).body).toMatchObject({
					pending: 3,
					running: 1,
					done: 1,
					failed: 1,
					dead_letter_queue: 0,
					cancelled: 1,
					active_tenants: 1,
					submitted_total: 7,
					finished_total: 3,
				});
				expect((await metrics(queue, "other")).body).toMatchObject({
					...zero,
					running: 1,
					dead_letter_queue: 1,
					active_tenants: 1,
					submitted_total: 2,
					finished_total: 1,
				});
				expect((await metrics(queue, "nobody")).body).toMatchObject({ ...zero, active_tenants: 0, submitted_total: 0, finished_total: 0 });
				for (const attempt of gate.attempts) await attempt.finish();
				await report;
			},
			{
				tasks: { ok: defineTask({ run: () => 1 }), no: throwing(new Failed("no")), bad: throwing(new Error("bad")), gate: gate.task },
			},
		);
	});

	it("answers 304 while nothing has changed, and a new version with every change", () =>
		inQueue(async queue => {
			const first = await metrics(queue);
			const etag = first.headers.get("etag")!;
			expect(etag).toBe(`"${first.body.version}"`);
			expect(first.headers.get("cache-control")).toBe("no-cache");
			const same = await metrics(queue, null, { "if-none-match": etag });
			expect(same).toMatchObject({ status: 304, body: null });
			expect(same.headers.get("etag")).toBe(etag);
			const versions = [first.body.version];
			const { id } = await submit(queue, { task: "echo" });
			versions.push((await metrics(queue, null, { "if-none-match": etag })).body.version);
			await queue.call("cancelJob", `/api/jobs/${id}/cancel`, { method: "POST" });
			versions.push((await metrics(queue)).body.version);
			await queue.call("retryJob", `/api/jobs/${id}/retry`, { method: "POST" });
			versions.push((await metrics(queue)).body.version);
			await tick(queue);
			versions.push((await metrics(queue)).body.version);
			expect(versions).toEqual([...new Set(versions)].sort((a, b) => a - b));
		}));

	it("keeps the answers of two tenants apart in a cache", () =>
		inQueue(async queue => {
			await submit(queue, { task: "echo" });
			const [mine, theirs] = [await metrics(queue, "acme"), await metrics(queue, "other")];
			expect(mine.headers.get("vary")).toBe("x-tenant-id");
			expect(mine.headers.get("etag")).not.toBe(theirs.headers.get("etag"));
			// Bug: a browser asks again by the tag it has, whoever's it is, and was told that nothing had changed.
			expect((await metrics(queue, "other", { "if-none-match": mine.headers.get("etag")! })).status).toBe(200);
			expect((await metrics(queue, "acme", { "if-none-match": mine.headers.get("etag")! })).status).toBe(304);
		}));

	it.each(['W/"0"', '"5", "0"', "*"])("takes If-None-Match: %s", value =>
		inQueue(async queue => {
			const { body } = await metrics(queue);
			expect((await metrics(queue, null, { "if-none-match": value.replace("0", body.version) })).status).toBe(304);
		}),
	);

	it("says when the last tick was and when the next is due", () =>
		inQueue(async queue => {
			await submit(queue, { task: "echo", delay_ms: 5000 });
			await queue.clock.advance(1000);
			await tick(queue);
			expect((await metrics(queue)).body).toMatchObject({
				last_tick_at: "2026-01-01T00:00:01.000Z",
				next_wake_at: "2026-01-01T00:00:05.000Z",
			});
		}));

	it("has no workers in a process that only answers", () =>
		inQueue(async queue => {
			const { body } = await answered(functions.metrics(toRequest("/api/metrics", { tenant: null }), { ...queue.deps, answersOnly: true }));
			expect(body.workers).toMatchObject({ busy: 0, size: 0, running: 0, min: 0, max: 0 });
		}));

	it("says how many workers the waiting and running jobs call for, beyond what this process may have", () => {
		const gate = createGate();
		return inQueue(
			async queue => {
				for (let i = 0; i < 12; i++) await submit(queue, { task: "gate" });
				const { report } = await startTicking(queue, { limit: 7 });
				expect((await metrics(queue)).body.workers).toMatchObject({
					busy: 7,
					running: 2,
					desired: 2,
					reason: "pending 5 / 2 workers is between 1 and 5",
				});
				for (let i = 0; i < 60; i++) await submit(queue, { task: "gate" });
				await submit(queue, { task: "gate", delay_ms: 1000 });
				expect((await metrics(queue)).body.workers).toMatchObject({ desired: 13, reason: "pending 65 / 2 workers > 5", scaled: [] });
				const pool = { running: 3, min: 2, max: 10, scaled: [{ at: queue.clock.now(), from: 2, to: 3, reason: "because" }] };
				const answer = await answered(functions.metrics(toRequest("/api/metrics", { tenant: null }), { ...queue.deps, pool }));
				expect(answer.body.workers).toMatchObject({
					running: 3,
					max: 10,
					desired: 13,
					reason: "pending 65 / 3 workers > 5",
					scaled: [{ at: "2026-01-01T00:00:00.000Z", from: 2, to: 3, reason: "because" }],
				});
				expect(operations.metrics.answer.parse(answer.body)).toEqual(answer.body);
				for (const attempt of gate.attempts) await attempt.finish();
				await report;
			},
			{ tasks: { gate: gate.task }, config: { tenantConcurrency: 100 } },
		);
	});

	it("calls for no worker by jobs that a limit, a pause or a circuit keeps waiting, of the queue or of one tenant", () =>
		inQueue(
			async queue => {
				const desired = async (tenant: string | null = null) => (await metrics(queue, tenant)).body.workers;
				for (let i = 0; i < 40; i++) await submit(queue, { task: "echo" }, i % 2 === 0 ? "acme" : "beta");
				for (let i = 0; i < 40; i++) await submit(queue, { task: "bad", max_retries: 0 }, "broken");
				expect(await desired()).toMatchObject({ desired: 3, reason: "pending 15 / 2 workers > 5" });
				expect(await desired("acme")).toMatchObject({ desired: 1, reason: "pending 5 / 2 workers is between 1 and 5" });
				await queue.deps.storage.operator.setLimits("beta", { paused: true });
				await queue.deps.storage.operator.setTask("echo", { paused: true });
				await tick(queue);
				expect((await metrics(queue)).body).toMatchObject({ ready: 70, workers: { desired: 0, reason: "pending 0 / 2 workers < 1" } });
				await queue.deps.storage.operator.setTask("echo", { paused: false });
				expect(await desired()).toMatchObject({ desired: 1 });
				expect(await desired("nobody")).toMatchObject({ desired: 0 });
			},
			{ tasks: { echo: defineTask({ run: () => 1 }), bad: throwing(new Error("down")) }, config: { tenantConcurrency: 5 } },
		));

	it("counts waiting jobs no further than 100 workers need, and says so; one read more at most", () =>
		inQueue(
			async queue => {
				const { worker } = queue.deps.storage;
				const sent = async (headers = {}) => {
					const before = worker.statements();
					const answer = await metrics(queue, null, headers);
					return { ...answer, sent: worker.statements() - before };
				};
				expect((await sent()).sent).toBe(1);
				for (let i = 0; i < 250; i++) await submit(queue, { task: "echo" });
				const full = await sent();
				expect(full.sent).toBe(2);
				expect(full.body.workers).toMatchObject({ desired: 100, reason: "pending 200 or more / 2 workers > 2" });
				expect((await sent({ "if-none-match": full.headers.get("etag")! })).sent).toBe(1);
			},
			{ config: { tenantConcurrency: 1000, scaleUpAbove: 2, scaleDownBelow: 1 } },
		));

	it("calls for no worker where nothing waits or runs, and for some while jobs only run", () => {
		const gate = createGate();
		return inQueue(
			async queue => {
				expect((await metrics(queue)).body.workers).toMatchObject({ desired: 0, reason: "pending 0 / 2 workers < 1" });
				for (let i = 0; i < 6; i++) await submit(queue, { task: "gate" });
				const { report } = await startTicking(queue);
				expect((await metrics(queue)).body.workers.desired).toBe(2);
				for (const attempt of gate.attempts) await attempt.finish();
				await report;
			},
			{ tasks: { gate: gate.task }, config: { tenantConcurrency: 100 } },
		);
	});
});
