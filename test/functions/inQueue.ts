/** A queue of its own for each test, closed whatever happens; and tasks whose attempts wait until the test lets them go. */
import { defineTask, type Task, type TaskContext } from "tickq";
import { type Answered, createHarness, type Harness, type HarnessOptions, settle } from "../support/harness.ts";

/** Runs a test in a fresh queue. Closing recounts the store; what the test itself found wrong is told first. */
export async function inQueue(run: (queue: Harness) => Promise<void>, options: HarnessOptions = {}): Promise<void> {
	const queue = await createHarness(options);
	try {
		await run(queue);
	} catch (error) {
		await queue.close().catch(() => {});
		throw error;
	}
	await queue.close();
}

export interface GateAttempt {
	readonly payload: unknown;
	readonly context: TaskContext;
	finish(result?: unknown): Promise<void>;
	fail(error: unknown): Promise<void>;
}
export interface Gate {
	/** Every attempt that was started, in order. */
	readonly attempts: GateAttempt[];
	readonly task: Task;
}

/** A task that runs until the test ends it. It takes no notice of its signal. */
export function createGate(more: Partial<Task> = {}): Gate {
	const attempts: GateAttempt[] = [];
	const task = defineTask({
		...more,
		run: (payload: unknown, context: TaskContext) =>
			new Promise<unknown>((resolve, reject) => {
				attempts.push({
					payload,
					context,
					finish(result) {
						resolve(result);
						return settle();
					},
					fail(error) {
						reject(error);
						return settle();
					},
				});
			}),
	});
	return { attempts, task };
}

/** A task that does what it is told each time, starting with the first of `runs`; the last is repeated. */
export function createScript(...runs: ((payload: unknown, context: TaskContext) => unknown)[]): Task {
	let calls = 0;
	return defineTask({ run: (payload: unknown, context: TaskContext) => runs[Math.min(calls++, runs.length - 1)]!(payload, context) });
}

export const throwing = (thrown: unknown): Task =>
	defineTask({
		run() {
			throw thrown;
		},
	});

export async function submit(queue: Harness, body: unknown, tenant = "acme"): Promise<Answered["body"]> {
	const { status, body: job } = await queue.call("submitJob", "/api/jobs", { body, tenant });
	if (status !== 201) throw new Error(`submit answered ${status}: ${JSON.stringify(job)}`);
	return job;
}
export const read = async (queue: Harness, id: string, query = ""): Promise<Answered["body"]> =>
	(await queue.call("getJob", `/api/jobs/${id}${query}`, { tenant: "*" })).body;
export const history = async (queue: Harness, id: string): Promise<string[]> =>
	(await read(queue, id, "?include=history")).history.map(({ kind }: { kind: string }) => kind);
export const tick = (queue: Harness, body?: unknown): Promise<Answered> =>
	queue.call("processTick", "/api/tick", { method: "POST", tenant: null, ...(body === undefined ? {} : { body }) });
export const dryTick = (queue: Harness, body?: unknown): Promise<Answered> =>
	queue.call("processTick", "/api/tick?dry_run=true", { method: "POST", tenant: null, ...(body === undefined ? {} : { body }) });

/** Starts a tick and lets it run until it waits for something. */
export async function startTicking(queue: Harness, body?: unknown): Promise<{ readonly report: Promise<Answered> }> {
	const report = tick(queue, body);
	report.catch(() => {});
	await settle();
	return { report };
}
