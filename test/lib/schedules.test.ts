/** What a tick does with slots that have come: one job each, or none, whatever happens in between and whoever else looks. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defineTask } from "tickq";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { openStorage } from "../../emulator/openStorage.ts";
import { type FireDeps, fireSchedules, MISSED_AFTER_MS } from "../../lib/schedules.ts";
import { type NewSchedule, StorageUnavailable } from "../../lib/storage/storage.ts";
import { createGate, history, inQueue, read, tick } from "../functions/inQueue.ts";
import { call, jobsOf, made } from "../functions/inSchedules.ts";
import { createTestRandom, type Harness, STORAGE_DEFAULTS, settle } from "../support/harness.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** The queue's own side of the store, with some verbs replaced. */
const depsOf = (queue: Harness, verbs: Partial<FireDeps["store"]> = {}): FireDeps => {
	const { worker } = queue.deps.storage;
	return {
		...queue.deps,
		store: {
			dueSchedules: (...args) => worker.dueSchedules(...args),
			insertJobFor: (...args) => worker.insertJobFor(...args),
			moveSchedule: (...args) => worker.moveSchedule(...args),
			...verbs,
		},
	};
};
const fire = (queue: Harness, verbs?: Partial<FireDeps["store"]>): Promise<void> => fireSchedules(depsOf(queue, verbs), 100);
/** Moves on to an instant of the day on which the tests begin, 2026-01-01, or of another. */
const until = (queue: Harness, time: string): Promise<void> =>
	queue.clock.advance(Date.parse(time.includes("T") ? time : `2026-01-01T${time}Z`) - queue.clock.now());
const lastOf = async (queue: Harness, name = "hourly") => {
	const { last_at, last_job_id, next_at } = (await call.get(queue, name)).body;
	return { last_at, last_job_id, next_at };
};

describe("a slot", () => {
	it("becomes a job of the schedule's task, with its payload, retries and name", () =>
		inQueue(async queue => {
			await made(queue, { max_retries: 1 });
			await until(queue, "00:59:59.999");
			await fire(queue);
			expect(await jobsOf(queue)).toEqual([]);
			await until(queue, "01:00");
			await fire(queue);
			const [job, ...others] = await jobsOf(queue);
			expect(others).toEqual([]);
			expect(job).toMatchObject({ task: "echo", payload: { report: 7 }, max_retries: 1, tags: ["schedule:hourly"], tenant_id: "acme" });
			expect(await lastOf(queue)).toEqual({
				last_at: "2026-01-01T01:00:00.000Z",
				last_job_id: job.id,
				next_at: "2026-01-01T02:00:00.000Z",
			});
		}));

	it("wakes a queue that sleeps, and its job runs in the tick that fires it", () =>
		inQueue(async queue => {
			await made(queue);
			expect((await tick(queue)).body).toMatchObject({ next_wake_at: "2026-01-01T01:00:00.000Z", next_wake_reason: "schedule" });
			await until(queue, "01:00");
			expect((await tick(queue)).body).toMatchObject({ claimed: 1, outcomes: { done: 1 }, next_wake_at: "2026-01-01T02:00:00.000Z" });
		}));

	it("becomes a job above the tenant's backlog", () =>
		inQueue(
			async queue => {
				await made(queue);
				await call.run(queue);
				await until(queue, "01:00");
				await fire(queue);
				expect(await jobsOf(queue)).toHaveLength(2);
			},
			{ config: { tenantBacklog: 1 } },
		));

	it("of each tenant is its own, under one name", () =>
		inQueue(async queue => {
			await made(queue);
			await made(queue, {}, "beta");
			await until(queue, "01:00");
			await fire(queue);
			expect([await jobsOf(queue), await jobsOf(queue, "hourly", "beta")].map(jobs => jobs.length)).toEqual([1, 1]);
		}));

	it("that has been due longest comes first, so many in one look", () =>
		inQueue(async queue => {
			await made(queue, { name: "third", cron: "3 * * * *" });
			await made(queue, { name: "first", cron: "1 * * * *" });
			await made(queue, { name: "second", cron: "2 * * * *" });
			await until(queue, "00:04");
			const fired = async () => (await Promise.all(["first", "second", "third"].map(name => jobsOf(queue, name)))).map(jobs => jobs.length);
			await fireSchedules(depsOf(queue), 2);
			expect(await fired()).toEqual([1, 1, 0]);
			await fireSchedules(depsOf(queue), 2);
			expect(await fired()).toEqual([1, 1, 1]);
		}));

	it("that is left out by a change of clocks has its job right after it, once; one that comes twice has one", () =>
		inQueue(async queue => {
			await until(queue, "2026-03-28T12:00:00Z");
			await made(queue, { cron: "30 2 * * *", timezone: "Europe/Zurich" });
			const created: string[] = [];
			for (const day of ["2026-03-29", "2026-10-25"]) {
				await until(queue, `${day}T00:00:00Z`);
				for (let minute = 0; minute < 180; minute += 5) {
					await fire(queue);
					await queue.clock.advance(5 * MINUTE_MS);
				}
				created.push(...(await jobsOf(queue)).map(job => job.created_at).filter(at => at.startsWith(day)));
			}
			expect(created).toEqual(["2026-03-29T01:00:00.000Z", "2026-10-25T00:30:00.000Z"]);
		}));
});

describe("slots that nobody was there for", () => {
	it("make no job where missed is skip, and a log line says so", () =>
		inQueue(async queue => {
			await made(queue);
			await until(queue, "05:06");
			await fire(queue);
			expect(await jobsOf(queue)).toEqual([]);
			expect(await lastOf(queue)).toEqual({ last_at: "2026-01-01T05:00:00.000Z", last_job_id: null, next_at: "2026-01-01T06:00:00.000Z" });
			expect(queue.logs).toContainEqual(
				expect.objectContaining({ level: "warn", schedule: "hourly", tenant_id: "acme", slot: "2026-01-01T05:00:00.000Z", why: "missed" }),
			);
		}));

	it("are missed after five minutes: a restart misses none", () =>
		inQueue(async queue => {
			await made(queue);
			await queue.clock.advance(HOUR_MS + MISSED_AFTER_MS);
			await fire(queue);
			expect(await jobsOf(queue)).toHaveLength(1);
			await queue.clock.advance(HOUR_MS + 1);
			await fire(queue);
			expect(await jobsOf(queue)).toHaveLength(1);
		}));

	it("make a job of the latest where missed is one, however late it is", () =>
		inQueue(async queue => {
			await made(queue, { missed: "one" });
			await until(queue, "2026-01-03T05:59:00Z");
			await fire(queue);
			await fire(queue);
			expect(await jobsOf(queue)).toHaveLength(1);
			expect(await lastOf(queue)).toMatchObject({ last_at: "2026-01-03T05:00:00.000Z", next_at: "2026-01-03T06:00:00.000Z" });
		}));

	it("do not keep the latest from running when that is not missed", () =>
		inQueue(async queue => {
			await made(queue, { cron: "*/10 * * * *" });
			await until(queue, "00:32");
			await fire(queue);
			expect(await jobsOf(queue)).toHaveLength(1);
			expect(await lastOf(queue)).toMatchObject({ last_at: "2026-01-01T00:30:00.000Z", next_at: "2026-01-01T00:40:00.000Z" });
		}));

	it("of a line of every second make one job a look", () =>
		inQueue(async queue => {
			await made(queue, { cron: "* * * * * *", missed: "one" });
			await until(queue, "2026-02-01T00:00:00.500Z");
			await fire(queue);
			await fire(queue);
			expect(await jobsOf(queue)).toHaveLength(1);
			expect(await lastOf(queue)).toMatchObject({ last_at: "2026-02-01T00:00:00.000Z", next_at: "2026-02-01T00:00:01.000Z" });
		}));
});

describe("a slot whose forerunner has not ended", () => {
	it("is left out where overlap is skip, until that job has ended", () => {
		const gate = createGate();
		return inQueue(
			async queue => {
				await made(queue, { task: "gated", overlap: "skip" });
				await until(queue, "01:00");
				const first = tick(queue);
				await settle();
				expect(gate.attempts).toHaveLength(1);
				const [job] = await jobsOf(queue);
				for (const time of ["02:00", "03:00"]) {
					await until(queue, time);
					await fire(queue);
					expect(await lastOf(queue)).toMatchObject({ last_at: `2026-01-01T${time}:00.000Z`, last_job_id: job.id });
				}
				expect(await jobsOf(queue)).toHaveLength(1);
				await gate.attempts[0]!.finish();
				await first;
				await until(queue, "04:00");
				await fire(queue);
				expect(await jobsOf(queue)).toHaveLength(2);
			},
			{ tasks: { gated: gate.task }, config: { timeoutMs: 24 * HOUR_MS, timeoutMsMax: 24 * HOUR_MS } },
		);
	});

	it("is left out while that job only waits, too", () =>
		inQueue(async queue => {
			await made(queue, { overlap: "skip" });
			for (const time of ["01:00", "02:00"]) {
				await until(queue, time);
				await fire(queue);
			}
			expect(await jobsOf(queue)).toHaveLength(1);
		}));

	it("does not wait for a job that was submitted by hand", () =>
		inQueue(async queue => {
			await made(queue, { overlap: "skip" });
			await call.run(queue);
			await until(queue, "01:00");
			await fire(queue);
			expect(await jobsOf(queue)).toHaveLength(2);
		}));

	it("makes a job where overlap is queue", () =>
		inQueue(async queue => {
			await made(queue, { overlap: "queue" });
			for (const time of ["01:00", "02:00", "03:00"]) {
				await until(queue, time);
				await fire(queue);
			}
			expect(await jobsOf(queue)).toHaveLength(3);
		}));
});

describe("however many look, a slot is one job", () => {
	it("after a crash between the job and the schedule's move", () =>
		inQueue(async queue => {
			await made(queue, { overlap: "skip" });
			await until(queue, "01:00");
			const crash = { moveSchedule: () => Promise.reject(new StorageUnavailable("gone")) };
			await expect(fire(queue, crash)).rejects.toThrow(StorageUnavailable);
			const [job] = await jobsOf(queue);
			expect(await lastOf(queue)).toMatchObject({ last_at: null, next_at: "2026-01-01T01:00:00.000Z" });
			await tick(queue);
			expect((await jobsOf(queue)).map(({ id }) => id)).toEqual([job.id]);
			expect(await lastOf(queue)).toEqual({
				last_at: "2026-01-01T01:00:00.000Z",
				last_job_id: job.id,
				next_at: "2026-01-01T02:00:00.000Z",
			});
		}));

	it("after a crash that is healed days later, before the next slot", () =>
		inQueue(
			async queue => {
				await made(queue, { cron: "@weekly", missed: "one" });
				await until(queue, "2026-01-04T00:00:00Z");
				const crash = { moveSchedule: () => Promise.reject(new StorageUnavailable("gone")) };
				await expect(fire(queue, crash)).rejects.toThrow(StorageUnavailable);
				await until(queue, "2026-01-10T23:59:00Z");
				await tick(queue);
				await tick(queue);
				expect(await lastOf(queue)).toMatchObject({ last_at: "2026-01-04T00:00:00.000Z", next_at: "2026-01-11T00:00:00.000Z" });
				expect((await queue.call("metrics", "/api/metrics")).body.submitted_total).toBe(1);
			},
			{ config: { keepDoneMs: HOUR_MS, idempotencyMs: HOUR_MS } },
		));

	it("when two processes have read it as due before either acts", async () => {
		const folder = mkdtempSync(join(tmpdir(), "tickq-"));
		const other = await openStorage(join(folder, "queue.db"), STORAGE_DEFAULTS, ["echo"]);
		try {
			await inQueue(async mine => {
				const one = await openStorage(join(folder, "queue.db"), STORAGE_DEFAULTS, ["echo"]);
				const queue = { ...mine, deps: { ...mine.deps, storage: one.storage } };
				const schedule: NewSchedule = {
					...{ name: "minutely", task: "echo", payload: "{}", cron: "* * * * *", timezone: "UTC", maxRetries: 0 },
					...{ missed: "skip", overlap: "queue", paused: false, nextAt: queue.clock.now() + MINUTE_MS },
				};
				const acme = one.storage.tenant("acme");
				for (let i = 0; i < 5; i++) await acme.putSchedule({ ...schedule, name: `s${i}` }, queue.clock.now(), 10);
				const second: FireDeps = { ...mine.deps, random: createTestRandom(), store: other.storage.worker };
				for (let slot = 1; slot <= 10; slot++) {
					await queue.clock.advance(MINUTE_MS);
					// Neither goes on before both know the slot as due.
					let read = 0;
					let goOn = () => {};
					const both = new Promise<void>(resolve => {
						goOn = resolve;
					});
					const afterBoth =
						(store: FireDeps["store"]): FireDeps["store"]["dueSchedules"] =>
						async (...args) => {
							const due = await store.dueSchedules(...args);
							if (++read === 2) goOn();
							await both;
							return due;
						};
					await Promise.all(
						[depsOf(queue), second].map(deps => {
							const { store } = deps;
							const bound: FireDeps["store"] = {
								dueSchedules: afterBoth(store),
								insertJobFor: (...args) => store.insertJobFor(...args),
								moveSchedule: (...args) => store.moveSchedule(...args),
							};
							return fireSchedules({ ...deps, store: bound }, 100);
						}),
					);
					for (let i = 0; i < 5; i++) {
						const { jobs } = await acme.listJobs({ tag: `schedule:s${i}`, limit: 100 });
						expect(jobs).toHaveLength(slot);
						expect((await acme.getSchedule(`s${i}`))!.lastJob!.id).toBe(jobs[0]!.id);
					}
				}
				expect(await one.storage.operator.verify()).toEqual([]);
				await one.storage.close();
			});
		} finally {
			await other.storage.close();
			rmSync(folder, { recursive: true });
		}
	});

	it("when one is held up from reading it to storing it, while another fires and time goes on", () =>
		inQueue(async queue => {
			await made(queue);
			await until(queue, "01:00");
			let goOn = () => {};
			const held = new Promise<void>(resolve => {
				goOn = resolve;
			});
			const { worker } = queue.deps.storage;
			const slow = fire(queue, { insertJobFor: (...args) => held.then(() => worker.insertJobFor(...args)) });
			await settle();
			await fire(queue);
			await until(queue, "01:59");
			goOn();
			await slow;
			expect(await jobsOf(queue)).toHaveLength(1);
			expect((await lastOf(queue)).next_at).toBe("2026-01-01T02:00:00.000Z");
		}));

	it("and each has its own job when one store fails for one schedule", () =>
		inQueue(async queue => {
			for (const name of ["a", "b", "c"]) await made(queue, { name });
			await until(queue, "01:00");
			const { worker } = queue.deps.storage;
			const failing: FireDeps["store"]["insertJobFor"] = (tenant, job, nowMs) =>
				job.tags?.includes("schedule:b") ? Promise.reject(new StorageUnavailable("away")) : worker.insertJobFor(tenant, job, nowMs);
			const counts = async () => (await Promise.all(["a", "b", "c"].map(name => jobsOf(queue, name)))).map(jobs => jobs.length);
			await fire(queue, { insertJobFor: failing });
			expect(await counts()).toEqual([1, 0, 1]);
			expect(queue.logs).toContainEqual(expect.objectContaining({ level: "error", schedule: "b", tenant_id: "acme", error: "away" }));
			expect(await lastOf(queue, "b")).toEqual({ last_at: null, last_job_id: null, next_at: "2026-01-01T01:01:00.000Z" });
			// Not at once: whoever is asked again and again has no time for others.
			await fire(queue);
			expect(await counts()).toEqual([1, 0, 1]);
			await queue.clock.advance(MINUTE_MS);
			await fire(queue);
			expect(await counts()).toEqual([1, 1, 1]);
			expect(await lastOf(queue, "b")).toMatchObject({ last_at: "2026-01-01T01:00:00.000Z", next_at: "2026-01-01T02:00:00.000Z" });
		}));

	it("and makes one job of a slot that was put off again and again, also when another has come since", () =>
		inQueue(async queue => {
			await made(queue, { cron: "*/10 * * * *", missed: "one" });
			await until(queue, "00:10");
			const failing = () => Promise.reject(new Error("no"));
			for (let i = 0; i < 10; i++) {
				await fire(queue, { insertJobFor: failing });
				await queue.clock.advance(MINUTE_MS);
			}
			await fire(queue);
			expect(await jobsOf(queue)).toHaveLength(1);
			expect(await lastOf(queue)).toMatchObject({ last_at: "2026-01-01T00:20:00.000Z", next_at: "2026-01-01T00:30:00.000Z" });
		}));

	it("and fails where one cannot even be put off, after the others have their jobs", () =>
		inQueue(async queue => {
			for (const name of ["a", "b", "c"]) await made(queue, { name });
			await until(queue, "01:00");
			const { worker } = queue.deps.storage;
			const failing: FireDeps["store"]["moveSchedule"] = (schedule, moved) =>
				schedule.name === "a" ? Promise.reject(new StorageUnavailable("away")) : worker.moveSchedule(schedule, moved);
			await expect(fire(queue, { moveSchedule: failing })).rejects.toThrow("away");
			await fire(queue);
			expect((await Promise.all(["a", "b", "c"].map(name => jobsOf(queue, name)))).map(jobs => jobs.length)).toEqual([1, 1, 1]);
		}));
});

describe("a schedule that no longer fits", () => {
	const old = (queue: Harness, more: Partial<NewSchedule>) =>
		queue.deps.storage.tenant("acme").putSchedule(
			{
				...{ name: "old", task: "echo", payload: "{}", cron: "0 * * * *", timezone: "UTC", maxRetries: 0 },
				...{ missed: "skip", overlap: "queue", paused: false, nextAt: queue.clock.now() + HOUR_MS },
				...more,
			},
			queue.clock.now(),
			10,
		);

	it("makes jobs of a task that nobody has: they wait for whoever brings it", () =>
		inQueue(async queue => {
			await old(queue, { task: "gone" });
			await until(queue, "01:00");
			await tick(queue);
			expect((await jobsOf(queue, "old")).map(({ task, status }) => [task, status])).toEqual([["gone", "pending"]]);
		}));

	it("makes jobs whose payload does not fit: they fail, and say why", () =>
		inQueue(
			async queue => {
				await old(queue, { task: "mail", payload: '{"to":7}' });
				await until(queue, "01:00");
				await tick(queue);
				const [{ id }] = await jobsOf(queue, "old");
				expect(await read(queue, id)).toMatchObject({ status: "failed", error_message: expect.stringContaining("no longer fits") });
				expect(await history(queue, id)).toEqual(["submitted", "claimed", "failed"]);
			},
			{ tasks: { mail: defineTask({ input: z.object({ to: z.string() }), run: () => null }) } },
		));

	it("is looked at again in an hour where its time zone is not known, and holds up no other", () =>
		inQueue(async queue => {
			await old(queue, { timezone: "Mars/Olympus" });
			await made(queue);
			await until(queue, "01:00");
			expect((await tick(queue)).body).toMatchObject({ claimed: 1 });
			expect(await jobsOf(queue, "old")).toEqual([]);
			expect(queue.logs).toContainEqual(expect.objectContaining({ level: "error", schedule: "old" }));
			const { status, body } = await call.get(queue, "old");
			expect([status, body.next_at, body.next_five]).toEqual([200, "2026-01-01T02:00:00.000Z", []]);
			expect((await call.list(queue)).status).toBe(200);
			// Whoever knows it then goes on from there.
			expect((await call.update(queue, { timezone: "UTC" }, "old")).status).toBe(200);
			await until(queue, "02:00");
			await fire(queue);
			expect(await jobsOf(queue, "old")).toHaveLength(1);
		}));
});
