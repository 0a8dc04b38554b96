/** A pool of real threads, with a clock that only moves when told, and jobs as a tick would hand them over. */
import type { Pool } from "../../emulator/pool/pool.ts";
import { createScaledPool } from "../../emulator/pool/scaler.ts";
import { CONFIG_DEFAULT, type Config, slotsOf } from "../../lib/config.ts";
import { Bell, Slots } from "../../lib/context.ts";
import { createLog, type LogRecord } from "../../lib/log.ts";
import { ALLOW_NOTHING } from "../../lib/outside.ts";
import type { Attempt } from "../../lib/runJob.ts";
import type { Claimed, Ending } from "../../lib/storage/storage.ts";
import { createTestClock, createTestRandom, settle, type TestClock } from "../support/harness.ts";
import { tasks } from "./poolTasks.ts";

export interface Ran extends Attempt {
	readonly job: Claimed;
	/** The ending if there is one by now, else "none". */
	now(): Promise<Ending | null | "none">;
}
export interface PoolQueue {
	readonly pool: Pool;
	close(): Promise<void>;
	readonly clock: TestClock;
	readonly slots: Slots;
	readonly logs: readonly LogRecord[];
	run(task: string, payload?: unknown, more?: Partial<Claimed>): Ran;
	/** Looks again with each turn of the event loop until there is something. The test's own time bounds it. */
	until<T>(look: () => T | undefined | false): Promise<T>;
	/** The next record with this message that nobody has waited for. */
	logged(message: string): Promise<LogRecord>;
}

let ids = 0;
export const claimed = (task: string, payload: unknown = null, more: Partial<Claimed> = {}): Claimed =>
	({
		id: ++ids,
		tail: 1,
		tenant: "acme",
		task,
		state: "running",
		reason: null,
		priority: 0,
		seq: 0,
		createdAt: 0,
		runAt: 0,
		startBy: null,
		startedAt: 0,
		completedAt: null,
		expiresAt: null,
		failures: 0,
		losses: 0,
		maxRetries: 3,
		timeoutMs: null,
		taskInPayload: false,
		traceId: "0af7651916cd43dd8448eb211c80319c",
		payload: JSON.stringify(payload),
		token: 7,
		...more,
	}) as Partial<Claimed> as Claimed;

export async function inPool(
	use: (queue: PoolQueue) => Promise<void>,
	{
		config = {},
		tasksIndex = new URL("poolTasks.ts", import.meta.url).href,
		pending = async () => 0,
	}: {
		readonly config?: Partial<Config>;
		readonly tasksIndex?: string;
		/** What the store would say of jobs that wait. */
		readonly pending?: (most: number) => Promise<number>;
	} = {},
): Promise<void> {
	const whole = { ...CONFIG_DEFAULT, ...config };
	const clock = createTestClock();
	const slots = new Slots(slotsOf(whole), new Bell());
	const logs: LogRecord[] = [];
	const heard = new Set<LogRecord>();
	const { pool, close } = createScaledPool({
		clock,
		random: createTestRandom(),
		config: whole,
		slots,
		log: createLog(record => logs.push(record), clock.now, "debug"),
		onLog: record => logs.push(record),
		logLevel: "debug",
		tasks: () => tasks,
		tasksIndex,
		webhookSecrets: [],
		outsideAllow: ALLOW_NOTHING,
		pending,
	});
	const until: PoolQueue["until"] = async look => {
		for (;;) {
			const found = look();
			if (found !== undefined && found !== false) return found;
			await settle();
		}
	};
	try {
		await use({
			pool,
			close,
			clock,
			slots,
			logs,
			run(task, payload, more) {
				const job = claimed(task, payload, more);
				const attempt = pool.execute(job);
				// The tick takes a slot before, and frees it after.
				const taken = slots.take(1);
				void attempt.ending.then(() => slots.free(taken));
				return {
					job,
					ending: attempt.ending,
					stop: why => attempt.stop(why),
					takeProgress: () => attempt.takeProgress(),
					now: async () => {
						await settle();
						return Promise.race([attempt.ending, Promise.resolve("none" as const)]);
					},
				};
			},
			until,
			logged: message =>
				until(() => {
					const found = logs.find(record => record.message === message && !heard.has(record));
					if (found !== undefined) heard.add(found);
					return found;
				}),
		});
	} finally {
		await close();
	}
}
