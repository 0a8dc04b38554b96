import { setImmediate as turn } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { catchStrays, startTraced, traced } from "../../emulator/pool/origins.ts";
import { CONFIG_DEFAULT } from "../../lib/config.ts";
import { createLog, type LogRecord } from "../../lib/log.ts";
import { type Attempt, startAttempt } from "../../lib/runJob.ts";
import { createTestClock, createTestRandom } from "../support/harness.ts";
import { claimed } from "./inPool.ts";
import { tasks } from "./poolTasks.ts";

/** Those of the test runner, which would take such errors for the test's own. */
const KINDS = ["uncaughtException", "unhandledRejection"];
const listeners = new Map(KINDS.map(kind => [kind, process.rawListeners(kind)]));
const listen = (heard: (kind: string) => readonly unknown[]): void => {
	for (const kind of KINDS) {
		process.removeAllListeners(kind);
		for (const listener of heard(kind)) process.on(kind, listener as () => void);
	}
};
afterEach(() => listen(kind => listeners.get(kind)!));

/** As `--inline` does it, with what nobody knows the origin of. */
function inline() {
	const logs: LogRecord[] = [];
	const unknown: unknown[] = [];
	const clock = createTestClock();
	const log = createLog(record => logs.push(record), clock.now, "debug");
	listen(() => []);
	catchStrays(log, { onUnknown: error => unknown.push(error) });
	const needs = {
		clock,
		random: createTestRandom(),
		log,
		config: CONFIG_DEFAULT,
		tasks: traced(tasks),
		fetchOutside: fetch,
		webhookSecrets: [],
	};
	const run = (task: string, payload?: unknown): Attempt => {
		const job = claimed(task, payload);
		return startTraced(job, () => startAttempt(job, needs)).attempt;
	};
	return { run, logs, unknown };
}

describe("tasks in the main thread", () => {
	it.each(["strayThrow", "strayReject"])("fail their own attempt with an error that nobody catches: %s", async task => {
		const { run, logs, unknown } = inline();
		const neighbour = run("wait");
		expect(await run(task).ending).toMatchObject({ outcome: "retry" });
		expect(logs.find(({ level }) => level === "error")).toMatchObject({ task, attempt: 1, tenant_id: "acme" });
		expect(unknown).toEqual([]);
		neighbour.stop("cancelled");
		expect(await neighbour.ending).toMatchObject({ outcome: "cancelled" });
	});

	it("leave errors of anybody else to Node", async () => {
		const { logs, unknown } = inline();
		setImmediate(() => {
			throw new Error("not a task's");
		});
		await turn();
		await turn();
		expect(unknown).toMatchObject([{ message: "not a task's" }]);
		expect(logs).toEqual([]);
	});

	it("end as without it: result, error, follow-ups", async () => {
		const { run } = inline();
		expect(await run("echo", 5).ending).toMatchObject({ outcome: "done", result: "5" });
		expect(await run("follows", 5).ending).toMatchObject({ outcome: "done", followUps: [{ task: "echo" }] });
		expect(await run("throws", { kind: "failed" }).ending).toMatchObject({ outcome: "failed" });
	});
});
