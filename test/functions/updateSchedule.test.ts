import { defineTask } from "tickq";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { inQueue, tick } from "./inQueue.ts";
import { call, HOURLY, jobsOf, made } from "./inSchedules.ts";

const HOUR_MS = 3_600_000;

describe("updateSchedule", () => {
	it.each([
		["payload", { other: 1 }],
		["missed", "one"],
		["overlap", "skip"],
		["max_retries", 0],
	])("changes %s and nothing else", (field, value) =>
		inQueue(async queue => {
			const before = await made(queue);
			await queue.clock.advance(1000);
			const { status, body } = await call.update(queue, { [field]: value });
			expect(status).toBe(200);
			expect(body).toEqual({ ...before, [field]: value, updated_at: "2026-01-01T00:00:01.000Z" });
			expect((await call.get(queue)).body).toEqual(body);
		}),
	);

	it("changes nothing when nothing is given, and null is nothing", () =>
		inQueue(async queue => {
			const before = await made(queue);
			expect((await call.update(queue, {})).body).toEqual(before);
			expect((await call.update(queue, { cron: null, timezone: null, task: null, paused: null, missed: null })).body).toEqual(before);
		}));

	it("waits for a slot of the new line, or of the new time zone", () =>
		inQueue(async queue => {
			await made(queue);
			expect((await call.update(queue, { cron: "15 9 * * *" })).body.next_at).toBe("2026-01-01T09:15:00.000Z");
			const { next_at, next_five } = (await call.update(queue, { timezone: "Asia/Kolkata" })).body;
			expect(next_at).toBe("2026-01-01T03:45:00.000Z");
			expect(next_five[0]).toBe(next_at);
		}));

	it("makes no job while it is paused, and afterwards only for slots that come then", () =>
		inQueue(async queue => {
			await made(queue, { missed: "one" });
			expect((await call.update(queue, { paused: true })).body).toMatchObject({ paused: true, next_at: null, next_five: [] });
			await queue.clock.advance(5 * HOUR_MS + 60_000);
			await tick(queue);
			expect(await jobsOf(queue)).toEqual([]);
			expect((await call.update(queue, { paused: false })).body).toMatchObject({ paused: false, next_at: "2026-01-01T06:00:00.000Z" });
			await tick(queue);
			expect(await jobsOf(queue)).toEqual([]);
			await queue.clock.advance(59 * 60_000);
			await tick(queue);
			expect(await jobsOf(queue)).toHaveLength(1);
		}));

	it("keeps a pause through other changes", () =>
		inQueue(async queue => {
			await made(queue, { paused: true });
			expect((await call.update(queue, { cron: "15 9 * * *" })).body).toMatchObject({ paused: true, next_at: null });
		}));

	it("keeps a slot that is due at this moment", () =>
		inQueue(async queue => {
			await made(queue);
			await queue.clock.advance(HOUR_MS);
			await call.update(queue, { payload: { new: true } });
			await tick(queue);
			expect((await jobsOf(queue)).map(job => job.payload)).toEqual([{ new: true }]);
		}));

	it("makes no second job of a slot that a tick fires at the same time", () =>
		inQueue(async queue => {
			await made(queue);
			await queue.clock.advance(HOUR_MS);
			await Promise.all([tick(queue), call.update(queue, { payload: 1 }), call.update(queue, { payload: 2 })]);
			await tick(queue);
			expect(await jobsOf(queue)).toHaveLength(1);
			expect((await call.get(queue)).body.next_at).toBe("2026-01-01T02:00:00.000Z");
		}));

	it("refuses what createSchedule refuses, and leaves the schedule as it is", () =>
		inQueue(
			async queue => {
				const before = await made(queue, { task: "mail", payload: { to: "a" } });
				for (const [body, code] of [
					[{ cron: "0 0 30 2 *" }, "cron_invalid"],
					[{ cron: "* * *" }, "cron_invalid"],
					[{ timezone: "Mars/Olympus" }, "timezone_unknown"],
					[{ task: "nothing" }, "unknown_task"],
					[{ payload: { to: 7 } }, "invalid_payload"],
					[{ task: "count" }, "invalid_payload"],
					[{ name: "other" }, "body_invalid"],
					[{ paused: "yes" }, "body_invalid"],
				] as const) {
					const answer = await call.update(queue, body);
					expect([answer.status, answer.body.code]).toEqual([422, code]);
				}
				expect((await call.get(queue)).body).toEqual(before);
				expect((await call.update(queue, { task: "count", payload: { n: 1 } })).body).toMatchObject({ task: "count", payload: { n: 1 } });
			},
			{
				tasks: {
					mail: defineTask({ input: z.object({ to: z.string() }), run: () => null }),
					count: defineTask({ input: z.object({ n: z.number() }), run: () => null }),
				},
			},
		));

	it("does not need its task to be known for what has nothing to do with it", () =>
		inQueue(async queue => {
			await queue.deps.storage.tenant("acme").putSchedule(
				{
					...{ name: "old", task: "gone", payload: "{}", cron: "0 * * * *", timezone: "UTC" },
					...{ missed: "skip", overlap: "queue", paused: false, maxRetries: 0, nextAt: queue.clock.now() + HOUR_MS },
				},
				queue.clock.now(),
				10,
			);
			expect((await call.update(queue, { paused: true }, "old")).body).toMatchObject({ paused: true });
			expect((await call.update(queue, { payload: {} }, "old")).body.code).toBe("unknown_task");
		}));

	it("does not bring one back that is deleted at the same moment", () =>
		inQueue(async queue => {
			await made(queue);
			const [changed, deleted] = await Promise.all([call.update(queue, { overlap: "skip" }), call.remove(queue)]);
			expect(deleted.status).toBe(204);
			expect([200, 404]).toContain(changed.status);
			expect((await call.get(queue)).status).toBe(404);
		}));

	it("does not know another tenant's", () =>
		inQueue(async queue => {
			const before = await made(queue);
			expect((await call.update(queue, { paused: true }, HOURLY.name, "beta")).body.code).toBe("schedule_not_found");
			expect((await call.get(queue)).body).toEqual(before);
		}));

	it("rings, so that a queue which sleeps until later looks again", () =>
		inQueue(async queue => {
			await made(queue);
			queue.deps.wake.heard();
			await call.update(queue, { cron: "* * * * *" });
			expect(queue.deps.wake.heard()).toBe(true);
		}));
});
