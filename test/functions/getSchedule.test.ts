import { describe, expect, it } from "vitest";
import type { TenantStore } from "../../lib/storage/storage.ts";
import type { Harness } from "../support/harness.ts";
import { inQueue, tick } from "./inQueue.ts";
import { call, jobsOf, made } from "./inSchedules.ts";

const HOUR_MS = 3_600_000;

describe("getSchedule", () => {
	it("says when the last slot was, which job it made, and which five come next", () =>
		inQueue(async queue => {
			await made(queue);
			await queue.clock.advance(HOUR_MS + 1000);
			await tick(queue);
			const [job] = await jobsOf(queue);
			expect((await call.get(queue)).body).toMatchObject({
				last_at: "2026-01-01T01:00:00.000Z",
				last_job_id: job.id,
				next_at: "2026-01-01T02:00:00.000Z",
				next_five: [2, 3, 4, 5, 6].map(hour => `2026-01-01T0${hour}:00:00.000Z`),
				updated_at: "2026-01-01T00:00:00.000Z",
			});
		}));

	it("forgets a job that is deleted", () =>
		inQueue(async queue => {
			await made(queue);
			await queue.clock.advance(HOUR_MS);
			await tick(queue);
			const [job] = await jobsOf(queue);
			await queue.call("deleteJob", `/api/jobs/${job.id}`, { method: "DELETE" });
			expect((await call.get(queue)).body).toMatchObject({ last_at: "2026-01-01T01:00:00.000Z", last_job_id: null });
		}));

	it("shows the slots by the clocks of its time zone, through their changes", () =>
		inQueue(async queue => {
			await queue.clock.advance(Date.UTC(2026, 2, 27) - queue.clock.now());
			const { next_five } = await made(queue, { cron: "30 2 * * *", timezone: "Europe/Zurich" });
			expect(next_five.map((slot: string) => slot.slice(0, 16))).toEqual([
				"2026-03-27T01:30",
				"2026-03-28T01:30",
				"2026-03-29T01:00",
				"2026-03-30T00:30",
				"2026-03-31T00:30",
			]);
		}));

	it("does not know another tenant's, and none of a name that cannot be one", () =>
		inQueue(async queue => {
			await made(queue);
			for (const [name, tenant] of [
				["hourly", "beta"],
				["nightly", "acme"],
				["%20", "acme"],
				["%E0%A4%A", "acme"],
				["x".repeat(5000), "acme"],
			] as const) {
				const { status, body } = await call.get(queue, name, tenant);
				expect([status, body.code]).toEqual([404, "schedule_not_found"]);
			}
		}));

	it("is asked for one tenant", () =>
		inQueue(async queue => {
			expect((await call.get(queue, "hourly", "*")).body.code).toBe("tenant_invalid");
		}));

	// Bug: PostgreSQL takes no text with a NUL in it, and the answer was a 500.
	it.each(["%00", "a%00b", "-a", "a%2Fb", "%ED%A0%80", "%F0%9F%98%80", "x".repeat(91)])(
		"does not look for %s, which no schedule can be called, and neither do its siblings",
		name =>
			inQueue(async queue => {
				queue.deps.storage.tenant = () => {
					const refuse = () => Promise.reject(new Error("invalid byte sequence"));
					return { tenant: "acme", getSchedule: refuse, deleteSchedule: refuse } as unknown as TenantStore;
				};
				for (const ask of [call.get, call.remove, call.run, (q: Harness) => call.update(q, { paused: true }, name)])
					expect((await ask(queue, name)).body).toMatchObject({ status: 404, code: "schedule_not_found" });
			}),
	);
});
