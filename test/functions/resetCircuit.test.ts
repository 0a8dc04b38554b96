import { describe, expect, it } from "vitest";
import { operations } from "../../lib/contract.ts";
import type { Harness } from "../support/harness.ts";
import { inQueue, read, submit, throwing, tick } from "./inQueue.ts";
import { serveRemote } from "./remote.ts";

const reset = (queue: Harness, task: string, body: unknown = {}) =>
	queue.call("resetCircuit", `/api/tasks/${task}/circuit/reset`, { method: "POST", tenant: null, body });
const circuits = async (queue: Harness, task: string): Promise<number> =>
	(await queue.call("listTasks", "/api/tasks")).body.tasks.find(({ name }: { name: string }) => name === task).circuits_open;
/** Three failures open a circuit; a fourth job waits. */
async function open(queue: Harness, tenant: string): Promise<string> {
	for (let i = 0; i < 3; i++) {
		await submit(queue, { task: "bad", max_retries: 0 }, tenant);
		await tick(queue);
	}
	const { id } = await submit(queue, { task: "bad", max_retries: 0 }, tenant);
	await tick(queue);
	return id;
}
const options = { tasks: { bad: throwing(new Error("down")) }, config: { circuitFailures: 3 } };

describe("resetCircuit", () => {
	it("lets the jobs of one tenant run again, and says how many had waited", () =>
		inQueue(async queue => {
			const [a, b] = [await open(queue, "a"), await open(queue, "b")];
			expect(await circuits(queue, "bad")).toBe(2);
			const answer = await reset(queue, "bad", { tenant: "a" });
			expect(answer).toMatchObject({ status: 200, body: { task: "bad", reset: 1 } });
			expect(operations.resetCircuit.answer.parse(answer.body)).toEqual(answer.body);
			expect(queue.deps.wake.heard()).toBe(true);
			await tick(queue);
			expect([(await read(queue, a)).status, (await read(queue, b)).status]).toEqual(["dead_letter", "pending"]);
		}, options));

	it("lets the jobs of all tenants run again", () =>
		inQueue(async queue => {
			await open(queue, "a");
			await open(queue, "b");
			expect((await reset(queue, "bad", { tenant: null })).body).toEqual({ task: "bad", reset: 2 });
			expect(await circuits(queue, "bad")).toBe(0);
			expect((await reset(queue, "bad")).body).toEqual({ task: "bad", reset: 0 });
		}, options));

	it("answers 0 for a tenant that nobody knows, and for a task of remote workers", () =>
		inQueue(async queue => {
			await serveRemote(queue);
			expect((await reset(queue, "remote")).body).toEqual({ task: "remote", reset: 0 });
			expect((await reset(queue, "bad", { tenant: "nobody" })).body).toEqual({ task: "bad", reset: 0 });
		}, options));

	it("refuses a task that is not there", () =>
		inQueue(async queue => {
			for (const task of ["nothing", "__proto__", "%00", "x".repeat(5000)])
				expect([task, (await reset(queue, task)).body.code]).toEqual([task, "unknown_task"]);
			expect((await reset(queue, "bad", { tenant: "a b" })).body.code).toBe("body_invalid");
		}, options));
});
