import { describe, expect, it } from "vitest";
import { inQueue, tick } from "./inQueue.ts";
import { call, jobsOf, made } from "./inSchedules.ts";

const HOUR_MS = 3_600_000;

describe("deleteSchedule", () => {
	it("deletes the schedule and leaves its jobs", () =>
		inQueue(async queue => {
			await made(queue);
			await queue.clock.advance(HOUR_MS);
			await tick(queue);
			const { status, body } = await call.remove(queue);
			expect([status, body]).toEqual([204, null]);
			expect((await call.get(queue)).status).toBe(404);
			await queue.clock.advance(HOUR_MS);
			await tick(queue);
			expect(await jobsOf(queue)).toHaveLength(1);
		}));

	it("deletes once, and never another tenant's", () =>
		inQueue(async queue => {
			await made(queue);
			expect((await call.remove(queue, "hourly", "beta")).body.code).toBe("schedule_not_found");
			expect((await call.remove(queue)).status).toBe(204);
			expect((await call.remove(queue)).body.code).toBe("schedule_not_found");
		}));

	it("makes room for a new one of the name, which begins afresh", () =>
		inQueue(async queue => {
			await made(queue);
			await queue.clock.advance(HOUR_MS);
			await tick(queue);
			await call.remove(queue);
			expect(await made(queue)).toMatchObject({ last_at: null, last_job_id: null, next_at: "2026-01-01T02:00:00.000Z" });
			await queue.clock.advance(HOUR_MS);
			await tick(queue);
			expect(await jobsOf(queue)).toHaveLength(2);
		}));
});
