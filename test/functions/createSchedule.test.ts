import { defineTask } from "tickq";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { createScript, inQueue } from "./inQueue.ts";
import { call, HOURLY, jobsOf, made } from "./inSchedules.ts";

describe("createSchedule", () => {
	it("answers the schedule, with what was not given and its next five slots", () =>
		inQueue(async queue => {
			const { status, headers, body } = await call.create(queue);
			expect(status).toBe(201);
			expect(headers.get("location")).toBe("/api/schedules/hourly");
			expect(body).toEqual({
				name: "hourly",
				tenant_id: "acme",
				task: "echo",
				payload: { report: 7 },
				cron: "0 * * * *",
				timezone: "UTC",
				missed: "skip",
				overlap: "queue",
				paused: false,
				max_retries: 3,
				created_at: "2026-01-01T00:00:00.000Z",
				updated_at: "2026-01-01T00:00:00.000Z",
				last_at: null,
				last_job_id: null,
				next_at: "2026-01-01T01:00:00.000Z",
				next_five: [1, 2, 3, 4, 5].map(hour => `2026-01-01T0${hour}:00:00.000Z`),
			});
			expect((await call.get(queue)).body).toEqual(body);
			expect(await jobsOf(queue)).toEqual([]);
		}));

	it("keeps all that is given", () =>
		inQueue(async queue => {
			const given = {
				name: "v1.nightly:eu-west_2",
				task: "echo",
				payload: [null, "ä"],
				cron: "30 2 * * MON-FRI",
				timezone: "Europe/Zurich",
				missed: "one",
				overlap: "skip",
				paused: true,
				max_retries: 0,
			};
			expect((await call.create(queue, given)).body).toMatchObject({ ...given, next_at: null, next_five: [] });
		}));

	it("takes the number of retries of its task, and {} as payload", () =>
		inQueue(
			async queue => {
				expect(await made(queue, { task: "stubborn", payload: null })).toMatchObject({ max_retries: 9, payload: {} });
			},
			{ tasks: { stubborn: { ...createScript(() => 1), retry: { maxRetries: 9 } } } },
		));

	it("refuses a name that is there, for this tenant alone, and leaves what is there as it is", () =>
		inQueue(async queue => {
			await made(queue);
			const { status, body } = await call.create(queue, { ...HOURLY, cron: "0 9 * * *" });
			expect([status, body.code]).toEqual([409, "schedule_exists"]);
			expect(body.detail).toContain("PATCH /api/schedules/hourly");
			expect((await call.get(queue)).body.cron).toBe("0 * * * *");
			expect((await call.create(queue, HOURLY, "beta")).status).toBe(201);
		}));

	it("makes one of two that come at once", () =>
		inQueue(async queue => {
			const statuses = (await Promise.all([1, 2, 3].map(() => call.create(queue)))).map(({ status }) => status);
			expect(statuses.sort()).toEqual([201, 409, 409]);
		}));

	it.each([
		["0 0 30 2 *", "never fires"],
		["0 0 31 4,6,9,11 *", "never fires"],
		["61 * * * *", "cannot be read"],
		["* * * *", "has 4"],
		["@reboot", "not known here"],
		["2026-01-01T00:00:00", "has 1"],
	])("refuses the cron line %s: %s", (cron, why) =>
		inQueue(async queue => {
			const { status, body } = await call.create(queue, { ...HOURLY, cron, paused: true });
			expect([status, body.code, body.errors[0].pointer]).toEqual([422, "cron_invalid", "/cron"]);
			expect(body.detail).toContain(why);
			expect(body.detail).toContain(cron);
			expect((await call.get(queue)).status).toBe(404);
		}),
	);

	it.each(["Mars/Olympus", "Zurich", "+25:00"])("refuses the time zone %s", timezone =>
		inQueue(async queue => {
			const { status, body } = await call.create(queue, { ...HOURLY, timezone });
			expect([status, body.code, body.errors[0].pointer]).toEqual([422, "timezone_unknown", "/timezone"]);
		}),
	);

	it.each([
		["/name", { name: "with space" }],
		["/name", { name: "x".repeat(91) }],
		["/name", { name: undefined }],
		["/cron", { cron: "" }],
		["/cron", { cron: `${"0,".repeat(120)}0 * * * *` }],
		["/timezone", { timezone: "x".repeat(101) }],
		["/missed", { missed: "all" }],
		["/overlap", { overlap: "cancel" }],
		["/max_retries", { max_retries: 101 }],
		["/every", { every: "5m" }],
	])("refuses a body whose %s does not fit", (pointer, more) =>
		inQueue(async queue => {
			const { status, body } = await call.create(queue, { ...HOURLY, ...more });
			expect([status, body.code, body.errors[0].pointer]).toEqual([422, "body_invalid", pointer]);
		}),
	);

	it("refuses a task that nobody has, and takes one that a remote worker serves", () =>
		inQueue(async queue => {
			const refused = await call.create(queue, { ...HOURLY, task: "render" });
			expect([refused.status, refused.body.code, refused.body.errors[0].pointer]).toEqual([422, "unknown_task", "/task"]);
			await queue.deps.storage.worker.seeWorker({ name: "gpu", kind: "remote", tasks: ["render"], version: "1" }, queue.clock.now());
			expect((await call.create(queue, { ...HOURLY, task: "render" })).status).toBe(201);
		}));

	it("refuses a payload that does not fit the task", () =>
		inQueue(
			async queue => {
				const { status, body } = await call.create(queue, { ...HOURLY, task: "mail", payload: { to: 7 } });
				expect([status, body.code, body.errors[0].pointer]).toEqual([422, "invalid_payload", "/payload/to"]);
			},
			{ tasks: { mail: defineTask({ input: z.object({ to: z.string() }), run: () => null }) } },
		));

	it("refuses the 1001st of a tenant, until one is deleted", () =>
		inQueue(async queue => {
			for (let i = 0; i < 1000; i += 100)
				await Promise.all(Array.from({ length: 100 }, (_, j) => made(queue, { name: `n${i + j}`, paused: true })));
			const { status, body } = await call.create(queue);
			expect([status, body.code, body.limit]).toEqual([409, "schedules_full", 1000]);
			expect((await call.create(queue, HOURLY, "beta")).status).toBe(201);
			await call.remove(queue, "n500");
			expect((await call.create(queue)).status).toBe(201);
		}));

	it("rings, so that a queue which sleeps until later looks again", () =>
		inQueue(async queue => {
			queue.deps.wake.heard();
			await made(queue);
			expect(queue.deps.wake.heard()).toBe(true);
		}));
});
