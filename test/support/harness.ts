/** What the tests stand on: a store in memory, a clock that only moves when told, counting ids, and requests without a server. */

import { openStorage } from "../../emulator/openStorage.ts";
import { functions } from "../../functions/all.ts";
import { tasks as shippedTasks } from "../../functions/tasks/index.ts";
import type { Clock, Random } from "../../lib/clock.ts";
import { CONFIG_DEFAULT, type Config, slotsOf, storageDefaults } from "../../lib/config.ts";
import { Announcements, Bell, type Deps, Slots } from "../../lib/context.ts";
import type { OperationName } from "../../lib/contract.ts";
import { createLog, type LogRecord } from "../../lib/log.ts";
import type { TaskRegistry } from "../../lib/task.ts";

/** 2026-01-01T00:00:00Z */
export const START_MS = Date.UTC(2026, 0, 1);

export const STORAGE_DEFAULTS = storageDefaults(CONFIG_DEFAULT);

export interface TestClock extends Clock {
	/** Moves time on and runs the timers that come due, in order; lets everything that follows from each happen. */
	advance(ms: number): Promise<void>;
}

/** Lets promises and the store's turns run until nothing moves any more. */
export async function settle(): Promise<void> {
	for (let i = 0; i < 20; i++) await new Promise<void>(resolve => setImmediate(resolve));
}

export function createTestClock(startMs = START_MS): TestClock {
	let nowMs = startMs;
	let nextId = 0;
	const timers = new Map<number, { at: number; callback: () => void }>();
	return {
		now: () => nowMs,
		after(ms, callback) {
			const id = nextId++;
			timers.set(id, { at: nowMs + Math.max(0, ms), callback });
			return () => timers.delete(id);
		},
		turn: () => new Promise<void>(resolve => setImmediate(resolve)),
		async advance(ms) {
			const until = nowMs + ms;
			await settle();
			for (;;) {
				const due = [...timers].filter(([, timer]) => timer.at <= until).sort(([a, x], [b, y]) => x.at - y.at || a - b)[0];
				if (due === undefined) break;
				const [id, timer] = due;
				timers.delete(id);
				nowMs = Math.max(nowMs, timer.at);
				timer.callback();
				await settle();
			}
			nowMs = until;
			await settle();
		},
	};
}

/** Counts instead of drawing: ids, tokens and traces are the same in every run. `fraction` is ½ unless told otherwise. */
export function createTestRandom(fraction = 0.5): Random {
	let count = 0;
	return {
		fraction: () => fraction,
		tail: () => ++count,
		token: () => ++count,
		traceId: () => (++count).toString(16).padStart(32, "0"),
	};
}

export interface Harness {
	readonly deps: Deps;
	readonly clock: TestClock;
	readonly logs: LogRecord[];
	/** Calls one function with a request, no router, no server. */
	call(name: OperationName, path: string, options?: CallOptions): Promise<Answered>;
	close(): Promise<void>;
}
export interface CallOptions {
	readonly method?: string;
	/** Sent as JSON; a string is sent as it is. */
	readonly body?: unknown;
	/** The X-Tenant-ID; "acme" if absent, none if null. */
	readonly tenant?: string | null;
	readonly headers?: Record<string, string>;
}
export interface Answered {
	readonly status: number;
	readonly headers: Headers;
	// biome-ignore lint/suspicious/noExplicitAny: tests look at whatever came.
	readonly body: any;
}

export interface HarnessOptions {
	readonly tasks?: TaskRegistry;
	readonly config?: Partial<Config>;
	readonly fraction?: number;
}

/** A whole queue in memory. `close()` recounts the store and fails the test when anything does not add up. */
export async function createHarness({ tasks = shippedTasks, config = {}, fraction }: HarnessOptions = {}): Promise<Harness> {
	const whole = { ...CONFIG_DEFAULT, ...config };
	const defaults = storageDefaults(whole);
	const { storage } = await openStorage(":memory:", defaults, Object.keys(tasks));
	const clock = createTestClock();
	const logs: LogRecord[] = [];
	const wake = new Bell();
	const deps: Deps = {
		storage,
		clock,
		random: createTestRandom(fraction),
		log: createLog(record => logs.push(record), clock.now, "debug"),
		config: whole,
		tasks,
		fetchOutside: () => Promise.reject(new Error("this test calls nobody")),
		webhookSecrets: [],
		worker: "test-worker",
		wake,
		ended: new Announcements(),
		slots: new Slots(slotsOf(whole), wake),
		running: new Map(),
		ticks: { lastTickAt: null, nextWakeAt: null },
	};
	return {
		deps,
		clock,
		logs,
		call: (name, path, options) => answered(functions[name](toRequest(path, options), deps)),
		async close() {
			const violations = await storage.operator.verify();
			await storage.close();
			if (violations.length > 0) throw new Error(`the store does not add up:\n${violations.join("\n")}`);
		},
	};
}

export function toRequest(path: string, { method, body, tenant = "acme", headers = {} }: CallOptions = {}): Request {
	const text = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
	return new Request(`http://localhost${path}`, {
		method: method ?? (text === undefined ? "GET" : "POST"),
		headers: {
			...(text === undefined ? {} : { "content-type": "application/json" }),
			...(tenant === null ? {} : { "x-tenant-id": tenant }),
			...headers,
		},
		...(text === undefined ? {} : { body: text }),
	});
}

export async function answered(response: Response | Promise<Response>): Promise<Answered> {
	const { status, headers, ...rest } = await Promise.resolve(response).then(async response => ({
		status: response.status,
		headers: response.headers,
		text: await response.text(),
	}));
	return { status, headers, body: rest.text === "" ? null : JSON.parse(rest.text) };
}
