/** What a tick does beside running jobs: where one part fails, where statements are few, and what is told to jobs that run. */
import { describe, expect, it } from "vitest";
import { openStorage } from "../../emulator/openStorage.ts";
import { CONFIG_DEFAULT, slotsOf } from "../../lib/config.ts";
import { Announcements, Bell, Slots, type TickStatus } from "../../lib/context.ts";
import { createLog } from "../../lib/log.ts";
import { d1Driver } from "../../lib/storage/sqlite/d1.ts";
import { SqliteEngine } from "../../lib/storage/sqlite/sqliteEngine.ts";
import { StorageUnavailable, type WorkerStore } from "../../lib/storage/storage.ts";
import { storeOver } from "../../lib/storage/store.ts";
import { defineTask } from "../../lib/task.ts";
import { startTick, type TickReport } from "../../lib/tick.ts";
import { createGate, inQueue, read, submit } from "../functions/inQueue.ts";
import { createRandom } from "../storage/desk.ts";
import { d1Fake } from "../support/d1Fake.ts";
import { createTestClock, createTestRandom, type Harness, STORAGE_DEFAULTS, settle } from "../support/harness.ts";

const storeWith = (queue: Harness, verbs: Partial<WorkerStore>): WorkerStore =>
	new Proxy(queue.deps.storage.worker, {
		get: (store, name) => {
			const verb = Reflect.get(verbs, name) ?? Reflect.get(store, name);
			return typeof verb === "function" ? verb.bind(store) : verb;
		},
	});
const echo = defineTask({ run: (payload: unknown) => payload });
const hook = { webhook_url: "https://hooks.example/" };

describe("a part of a tick that fails", () => {
	const failing = (error: Error) => () => Promise.reject(error);
	for (const [verb, part, error] of [
		["dueSchedules", "schedules", new Error("a bad row")],
		["untoldWebhooks", "webhooks", new Error("a bad row")],
		["advanceBulkActions", "bulk actions", new StorageUnavailable("away for a moment")],
		["expireLeases", "lost leases", new Error("a bad row")],
		["cancelLate", "start deadlines", new Error("a bad row")],
	] as const)
		it(`keeps the others, and the claim, from nothing: ${part}`, () =>
			inQueue(
				async queue => {
					const { clock, deps, logs } = queue;
					const { operator, worker } = deps.storage;
					// Something of everything is due.
					await submit(queue, { task: "none" });
					await worker.claimDueJobs({ tasks: ["none"], limit: 1, leaseMs: 500, token: 3, worker: "gone" }, clock.now());
					await submit(queue, { task: "echo", start_by: "2026-01-01T00:00:00.500Z", delay_ms: 400, ...hook });
					const nightly = { task: "echo", cron: "* * * * * *", timezone: "UTC", missed: "one", overlap: "queue", payload: "1" } as const;
					await deps.storage
						.tenant("acme")
						.putSchedule({ ...nightly, name: "s", paused: false, maxRetries: 0, nextAt: clock.now() + 1000 }, clock.now(), 10);
					await operator.startBulkAction({ action: "cancel", filter: { task: "gone" } }, clock.now());
					await clock.advance(1000);
					await worker.cancelLate(1, clock.now());
					const late = await submit(queue, { task: "none", start_by: "2026-01-01T00:00:02.000Z" });
					await clock.advance(1000);
					const { id } = await submit(queue, { task: "echo" });

					const tries: number[] = [];
					const store = storeWith(queue, {
						[verb]: () => {
							tries.push(clock.now());
							return failing(error)();
						},
					});
					const report = await startTick({ ...deps, works: ["echo"], store }, { trigger: "cron" }).report;
					expect(tries).toHaveLength(1);
					expect(logs.filter(({ message }) => message.startsWith("a part of a tick failed"))).toMatchObject([
						{ level: "error", part, error: error.message },
					]);
					expect((await read(queue, id)).status).toBe("done");
					expect(report.outcomes.done).toBeGreaterThan(0);
					const due = await worker.nextDue(["echo"], clock.now());
					expect(due).toMatchObject({
						schedules: part === "schedules",
						webhooks: part === "webhooks",
						bulkActions: part === "bulk actions",
						leases: part === "lost leases",
						starts: part === "start deadlines",
					});
					expect((await read(queue, late.id)).status).toBe(part === "start deadlines" ? "pending" : "cancelled");
					// Not in a spin, and not forgotten.
					expect(report.next_wake_at).toBe("2026-01-01T00:00:03.000Z");
					expect(deps.ticks.nextWakeAt).toBe(clock.now() + 1000);
					await startTick({ ...deps, works: ["echo"], store: worker }, { trigger: "due" }).report;
					expect((await worker.nextDue([], clock.now())).at ?? Number.POSITIVE_INFINITY).toBeGreaterThan(clock.now());
				},
				{ tasks: { echo, none: echo } },
			));

	it("is not tried again and again while jobs of the same tick run", () => {
		const gate = createGate();
		return inQueue(
			async queue => {
				const { deps, clock } = queue;
				await submit(queue, { task: "gated", ...hook });
				await submit(queue, { task: "gated" });
				let tries = 0;
				const store = storeWith(queue, {
					untoldWebhooks: () => {
						tries++;
						return Promise.reject(new Error("away"));
					},
				});
				const { report } = startTick({ ...deps, store }, { trigger: "cron" });
				while (gate.attempts.length < 2) await settle();
				await gate.attempts[0]!.finish();
				await settle();
				const before = deps.storage.worker.statements();
				for (let i = 0; i < 10; i++) await clock.advance(500);
				expect(tries).toBe(1);
				expect(deps.storage.worker.statements() - before).toBeLessThan(5);
				await gate.attempts[1]!.finish();
				await report;
			},
			{ tasks: { gated: gate.task } },
		);
	});
});

describe("a bulk action", () => {
	/** A tick in which the action has changed a job that another tick of this process has started since. */
	const carriedOn = (queue: Harness, action: "retry" | "cancel"): Promise<boolean> => {
		const { deps, clock } = queue;
		let cancelled = false;
		return (async () => {
			const { id } = await submit(queue, { task: "later", delay_ms: 60_000 });
			if (action === "retry") await queue.call("cancelJob", `/api/jobs/${id}/cancel`, { method: "POST" });
			await deps.storage.operator.startBulkAction({ action, filter: { task: "later" } }, clock.now());
			const store = storeWith(queue, {
				async advanceBulkActions(...args) {
					const moved = await deps.storage.worker.advanceBulkActions(...args);
					expect(moved).toMatchObject([{ action }]);
					deps.running.set(moved[0]!.id, {
						cancel() {
							cancelled = true;
						},
						release() {},
					});
					return moved;
				},
			});
			await startTick({ ...deps, store, works: [] }, { trigger: "cron" }).report;
			deps.running.clear();
			return cancelled;
		})();
	};

	for (const [action, tells] of [
		["cancel", true],
		["retry", false],
	] as const)
		it(`${tells ? "tells" : "does not tell"} jobs that run here to stop when it is to ${action}`, () =>
			inQueue(async queue => expect(await carriedOn(queue, action)).toBe(tells), { tasks: { later: echo } }));
});

describe("where a tick may send few statements", () => {
	const MINUTE = 60_000;
	async function minutes(
		tickStatementsMax: number,
		{ lives, seed = 1 }: { readonly lives: boolean; readonly seed?: number },
		use: (queue: {
			tick(): Promise<TickReport & { sent: number }>;
			readonly storage: ReturnType<typeof storeOver>;
			readonly now: () => number;
		}) => Promise<void>,
	): Promise<void> {
		const { storage, database } = await openStorage(":memory:", STORAGE_DEFAULTS, []);
		const clock = createTestClock();
		const chance = createRandom(seed);
		const random = { ...createTestRandom(), fraction: chance };
		const config = { ...CONFIG_DEFAULT, tickStatementsMax };
		const kept: TickStatus = { lastTickAt: null, nextWakeAt: null };
		try {
			await use({
				storage,
				now: clock.now,
				async tick() {
					const wake = new Bell();
					const store = storeOver(new SqliteEngine(d1Driver(d1Fake(database))), STORAGE_DEFAULTS);
					const deps = {
						clock,
						random,
						log: createLog(() => {}, clock.now, "error"),
						config,
						tasks: { a: echo, webhook: echo },
						fetchOutside: () => Promise.reject(new Error("this test calls nobody")),
						webhookSecrets: [],
						worker: "w",
						wake,
						ended: new Announcements(),
						slots: new Slots(slotsOf(config), wake),
						running: new Map(),
						ticks: lives ? kept : { lastTickAt: null, nextWakeAt: null },
					};
					await clock.advance(MINUTE);
					const report = await startTick({ ...deps, store: store.worker }, { trigger: "cron" }).report;
					return { ...report, sent: store.worker.statements() };
				},
			});
			expect(await storage.operator.verify()).toEqual([]);
		} finally {
			await storage.close();
		}
	}
	const job = (more: object) => ({ task: "a", payload: "1", maxRetries: 0, tail: 7, traceId: "0".repeat(32), ...more });

	for (const [most, lives] of [
		[30, true],
		[30, false],
		[36, true],
		[40, true],
		[40, false],
		[48, true],
		[48, false],
	] as const)
		it(`comes to everything within a few of them: ${most}, in a process that ${lives ? "goes on" : "is new each time"}`, () =>
			minutes(most, { lives }, async ({ tick, storage, now }) => {
				const acme = storage.tenant("acme");
				const each = { task: "a", payload: "1", cron: "* * * * *", timezone: "UTC", missed: "one", overlap: "queue" } as const;
				for (const name of ["r", "s"])
					await acme.putSchedule({ ...each, name, paused: false, maxRetries: 0, nextAt: now() + MINUTE }, now(), 10);
				for (let i = 0; i < 20; i++) await acme.insertJob(job({ task: "z", tail: i }), now());
				await acme.insertJob(job({ startBy: now() + 1, webhookUrl: "https://hooks.example/" }), now());
				await storage.operator.startBulkAction({ action: "cancel", filter: { task: "z" } }, now());
				for (let minute = 0; minute < 15; minute++) {
					const report = await tick();
					expect(report.sent, JSON.stringify(report)).toBeLessThanOrEqual(most);
				}
				// A minute more for what comes each minute.
				const { schedules, bulkActions, webhooks } = await storage.worker.nextDue(["a"], now() - MINUTE * 5);
				expect({ schedules, bulkActions, webhooks }).toEqual({ schedules: false, bulkActions: false, webhooks: false });
				const { done, cancelled, ready } = await storage.operator.counts();
				expect(cancelled).toBe(21);
				expect(done).toBeGreaterThan(8);
				expect(ready).toBeLessThan(5);
			}));

	it("does not say that it is to be woken at once for what it could not do at all", () =>
		minutes(12, { lives: true }, async ({ tick, storage, now }) => {
			await storage.operator.startBulkAction({ action: "cancel", filter: { task: "z" } }, now());
			const report = await tick();
			expect(report).toMatchObject({ claimed: 0, next_wake_reason: "bulk_action" });
			expect(Date.parse(report.next_wake_at!)).toBe(now() + 1000);
		}));
});
