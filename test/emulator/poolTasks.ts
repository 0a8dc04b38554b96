/** Tasks that do what a pool has to stand. Each thread of the pool loads this file; they speak to the tests by their logs. */
import { parentPort } from "node:worker_threads";
import { defineTask, Failed, RetryAfter, Snooze, type TaskContext } from "tickq";
import * as z from "zod";

const forever = (): never => {
	for (;;);
};
const said = ({ log }: TaskContext, what: string): void => log.info(what);
const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));
const kept: unknown[] = [];

export const tasks = {
	echo: defineTask({ run: payload => payload }),
	/** Never yields, from its first line on. */
	spin: defineTask({
		run(_, context) {
			said(context, "spins");
			forever();
		},
	}),
	/** Never yields after it has yielded once. */
	spinLater: defineTask({
		async run(_, context) {
			await turn();
			await turn();
			said(context, "spins");
			forever();
		},
	}),
	/** Waits until it is told to stop, and ends then. */
	wait: defineTask({
		run: (_, context) =>
			new Promise((_, reject) => {
				said(context, "waits");
				context.signal.addEventListener("abort", () => {
					said(context, "stops");
					reject(context.signal.reason);
				});
			}),
	}),
	/** Waits for ever, whatever it is told. */
	ignore: defineTask({
		run: (_, context) => {
			said(context, "waits");
			return new Promise(() => {});
		},
	}),
	/** Stops yielding when it is told to stop. */
	stubborn: defineTask({
		run: (_, context) =>
			new Promise(() => {
				said(context, "waits");
				context.signal.addEventListener("abort", forever);
			}),
	}),
	/** Does what libraries do that take any thread for their own. */
	posts: defineTask({
		async run(messages, context) {
			for (const message of messages as unknown[]) parentPort!.postMessage(message);
			await turn();
			parentPort!.close();
			await turn();
			said(context, "posted");
			return "posted";
		},
	}),
	exit: defineTask({
		run(_, context) {
			said(context, "exits");
			process.exit(3);
		},
	}),
	exitLater: defineTask({
		async run(_, context) {
			await turn();
			said(context, "exits");
			process.exit(3);
		},
	}),
	hog: defineTask({
		async run() {
			for (;;) {
				kept.push(Array.from({ length: 100_000 }, (_, i) => ({ i })));
				await turn();
			}
		},
	}),
	/** Throws in a timer's callback, and waits. */
	strayThrow: defineTask({
		run: () =>
			new Promise(() => {
				setTimeout(() => {
					throw new Error("thrown in a timer");
				}, 0);
			}),
	}),
	/** Has a promise rejected that nobody awaits, and waits. */
	strayReject: defineTask({
		run: () =>
			new Promise(() => {
				void (async () => {
					await turn();
					throw new Error("rejected, and nobody awaits it");
				})();
			}),
	}),
	/** Is done, and throws later. */
	strayAfter: defineTask({
		run() {
			setImmediate(() => {
				throw new Error("thrown after the end");
			});
			return "done";
		},
	}),
	logs: defineTask({
		run(_, { log }) {
			const circle: Record<string, unknown> = { when: new Date(0), url: new URL("http://a.example/") };
			circle.self = circle;
			log.warn("what a task logs", { circle, count: 1n, call: () => {} });
		},
	}),
	/** Logs without ever yielding. */
	floods: defineTask({
		run(_, { log }) {
			for (let line = 0; ; line++) log.info("line", { line });
		},
	}),
	progresses: defineTask({
		run: (_, context) => {
			context.progress(40, "half way, nearly");
			said(context, "waits");
			return new Promise((_, reject) => context.signal.addEventListener("abort", () => reject(context.signal.reason)));
		},
	}),
	follows: defineTask({
		run(payload, { submit }) {
			submit("echo", payload, { tags: ["followed"] });
			return "submitted";
		},
	}),
	throws: defineTask({
		input: z.strictObject({ kind: z.string() }),
		retry: { baseMs: 1000 },
		run({ kind }) {
			if (kind === "failed") throw new Failed("no, for good");
			if (kind === "snooze") throw new Snooze(5000);
			if (kind === "retry_after") throw new RetryAfter(7000);
			throw new TypeError("an ordinary error");
		},
	}),
	context: defineTask({
		run: (_, { attempt, maxAttempts, jobId, tenant, traceId, idempotencyKey }) => ({
			attempt,
			maxAttempts,
			jobId,
			tenant,
			traceId,
			idempotencyKey,
		}),
	}),
	/** Does not yield for so long, and is done. */
	busy: defineTask({
		input: z.strictObject({ ms: z.int() }),
		run({ ms }, context) {
			said(context, "is busy");
			const until = performance.now() + ms;
			while (performance.now() < until);
		},
	}),
	/** Takes so many turns of its thread, unless it is told to stop. */
	slow: defineTask({
		input: z.strictObject({ turns: z.int() }),
		async run({ turns }, context) {
			said(context, "goes slowly");
			for (let i = 0; i < turns; i++) {
				await turn();
				context.signal.throwIfAborted();
			}
		},
	}),
};
