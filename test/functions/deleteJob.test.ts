import { Failed } from "tickq";
import { describe, expect, it } from "vitest";
import type { Harness } from "../support/harness.ts";
import { createGate, createScript, inQueue, read, startTicking, submit, throwing, tick } from "./inQueue.ts";

const remove = (queue: Harness, id: string, tenant = "acme") => queue.call("deleteJob", `/api/jobs/${id}`, { method: "DELETE", tenant });

describe("deleteJob", () => {
	it.each([
		["done", "ok"],
		["failed", "no"],
		["dead_letter", "bad"],
		["cancelled", "ok"],
	])("deletes a job that is %s, with its history and tags", (status, task) =>
		inQueue(
			async queue => {
				const { id } = await submit(queue, { task, max_retries: 0, tags: ["red"] });
				const kept = await submit(queue, { task: "ok", tags: ["red"] });
				if (status === "cancelled") await queue.call("cancelJob", `/api/jobs/${id}/cancel`, { method: "POST" });
				await tick(queue);
				expect((await read(queue, id)).status).toBe(status);
				const answer = await remove(queue, id);
				expect(answer).toMatchObject({ status: 204, body: null });
				expect((await read(queue, id)).code).toBe("job_not_found");
				expect((await read(queue, id, "?include=history")).code).toBe("job_not_found");
				const { jobs } = (await queue.call("listJobs", "/api/jobs?tag=red")).body;
				expect(jobs.map(({ id }: { id: string }) => id)).toEqual([kept.id]);
				expect((await queue.call("metrics", "/api/metrics")).body).toMatchObject({
					done: 1,
					failed: 0,
					dead_letter_queue: 0,
					cancelled: 0,
				});
			},
			{ tasks: { ok: createScript(() => 1), no: throwing(new Failed("no")), bad: throwing(new Error("bad")) } },
		),
	);

	it.each(["pending", "running"])("refuses a job that is %s, and says so", wanted => {
		const gate = createGate();
		return inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "gate" });
				const ticking = wanted === "pending" ? null : await startTicking(queue);
				const { status, body } = await remove(queue, id);
				expect(status).toBe(409);
				expect(body).toMatchObject({ code: "job_not_ended", job_status: wanted });
				expect((await read(queue, id)).status).toBe(wanted);
				await gate.attempts[0]?.finish();
				await ticking?.report;
			},
			{ tasks: { gate: gate.task } },
		);
	});

	it("knows a job that it has deleted no more", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo" });
			await tick(queue);
			await remove(queue, id);
			expect((await remove(queue, id)).body).toMatchObject({ status: 404, code: "job_not_found" });
		}));

	it("knows no job of another tenant, and leaves it alone", () =>
		inQueue(async queue => {
			const { id } = await submit(queue, { task: "echo" });
			await tick(queue);
			expect((await remove(queue, id, "other")).body).toMatchObject({ status: 404, code: "job_not_found" });
			expect((await read(queue, id)).status).toBe("done");
		}));

	it("leaves the idempotency key taken: a submit that comes late does not run again", () =>
		inQueue(async queue => {
			const body = { task: "echo", idempotency_key: "k" };
			const { id } = await submit(queue, body);
			await tick(queue);
			await remove(queue, id);
			const again = await queue.call("submitJob", "/api/jobs", { body });
			expect(again.body).toMatchObject({ status: 404, code: "job_not_found" });
			expect(again.body.detail).toContain("deleted");
			expect((await queue.call("listJobs", "/api/jobs")).body.count).toBe(0);
		}));
});
