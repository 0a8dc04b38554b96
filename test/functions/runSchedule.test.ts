import { defineTask } from "tickq";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { inQueue, read, tick } from "./inQueue.ts";
import { call, jobsOf, made } from "./inSchedules.ts";

describe("runSchedule", () => {
	it("submits the schedule's job now, beside its slots", () =>
		inQueue(async queue => {
			const before = await made(queue, { max_retries: 1 });
			const { status, headers, body } = await call.run(queue);
			expect(status).toBe(201);
			expect(headers.get("location")).toBe(`/api/jobs/${body.id}`);
			expect(body).toMatchObject({ task: "echo", payload: { report: 7 }, max_retries: 1, tags: ["schedule:hourly"], status: "pending" });
			expect(await read(queue, body.id)).toEqual(body);
			expect((await call.get(queue)).body).toEqual(before);
			await tick(queue);
			expect((await jobsOf(queue)).map(job => job.status)).toEqual(["done"]);
		}));

	it("runs as often as it is asked, also while the schedule is paused", () =>
		inQueue(async queue => {
			await made(queue, { paused: true });
			await call.run(queue);
			await call.run(queue);
			expect(await jobsOf(queue)).toHaveLength(2);
		}));

	it("carries the caller's trace", () =>
		inQueue(async queue => {
			await made(queue);
			const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
			expect((await call.run(queue, "hourly", { headers: { traceparent } })).body.trace_id).toBe("0af7651916cd43dd8448eb211c80319c");
		}));

	it("refuses above the tenant's backlog, as a submit does", () =>
		inQueue(
			async queue => {
				await made(queue);
				await call.run(queue);
				const { status, body } = await call.run(queue);
				expect([status, body.code]).toEqual([429, "tenant_backlog_full"]);
			},
			{ config: { tenantBacklog: 1 } },
		));

	it("refuses a task that is not known any more, and a payload that no longer fits", () =>
		inQueue(
			async queue => {
				const times = {
					cron: "0 * * * *",
					timezone: "UTC",
					missed: "skip",
					overlap: "queue",
					paused: true,
					maxRetries: 0,
					nextAt: null,
				} as const;
				const acme = queue.deps.storage.tenant("acme");
				await acme.putSchedule({ name: "gone", task: "gone", payload: "{}", ...times }, queue.clock.now(), 10);
				await acme.putSchedule({ name: "misfit", task: "mail", payload: '{"to":7}', ...times }, queue.clock.now(), 10);
				expect((await call.run(queue, "gone")).body.code).toBe("unknown_task");
				expect((await call.run(queue, "misfit")).body.code).toBe("invalid_payload");
			},
			{ tasks: { mail: defineTask({ input: z.object({ to: z.string() }), run: () => null }) } },
		));

	it("does not know another tenant's", () =>
		inQueue(async queue => {
			await made(queue);
			expect((await call.run(queue, "hourly", { tenant: "beta" })).body.code).toBe("schedule_not_found");
		}));
});
