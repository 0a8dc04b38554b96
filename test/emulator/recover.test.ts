import { spawn } from "node:child_process";
import { once } from "node:events";
import { hostname } from "node:os";
import { describe, expect, it } from "vitest";
import { forfeitDeadLeases, workerName } from "../../emulator/recover.ts";
import { history, inQueue, read, submit, tick } from "../functions/inQueue.ts";
import type { Harness } from "../support/harness.ts";

/** Number of a process that has just ended. */
async function deadPid(): Promise<number> {
	const child = spawn(process.execPath, ["-e", ""]);
	await once(child, "exit");
	return child.pid!;
}
async function leaseTo(queue: Harness, worker: string): Promise<string> {
	const { id } = await submit(queue, { task: "echo" });
	await queue.deps.storage.worker.claimDueJobs({ tasks: ["echo"], limit: 1, leaseMs: 30_000, token: 5, worker }, queue.clock.now());
	return id;
}
const SPACE = workerName().split(":").at(-1);
const forfeit = (queue: Harness, self = workerName()) => forfeitDeadLeases(queue.deps.storage.worker, self, queue.clock.now());

describe("workerName", () => {
	it("names machine, process and its start, the same each time", () => {
		expect(workerName()).toMatch(new RegExp(`^${hostname()}:${process.pid}:[0-9a-z]+:[^:]+$`));
		expect(workerName()).toBe(workerName());
	});
});

describe("forfeitDeadLeases", () => {
	it("gives back at once what a dead process of this machine had, without burning an attempt", () =>
		inQueue(async queue => {
			const id = await leaseTo(queue, `${hostname()}:${await deadPid()}:abc:${SPACE}`);
			expect(await forfeit(queue)).toEqual({ givenBack: 1, givenUp: 0 });
			expect((await tick(queue)).body).toMatchObject({ outcomes: { done: 1 } });
			expect(await read(queue, id)).toMatchObject({ status: "done", attempt: 1, retry_count: 0 });
			expect(await history(queue, id)).toContain("lost");
		}));

	it("tells those it gives up on, with the third loss in a row, from those it gives back", () =>
		inQueue(async queue => {
			const dead = `${hostname()}:${await deadPid()}:abc:${SPACE}`;
			const id = await leaseTo(queue, dead);
			const again = () =>
				queue.deps.storage.worker.claimDueJobs({ tasks: ["echo"], limit: 1, leaseMs: 30_000, token: 6, worker: dead }, queue.clock.now());
			expect(await forfeit(queue)).toEqual({ givenBack: 1, givenUp: 0 });
			await again();
			expect(await forfeit(queue)).toEqual({ givenBack: 1, givenUp: 0 });
			await again();
			expect(await forfeit(queue)).toEqual({ givenBack: 0, givenUp: 1 });
			expect(await read(queue, id)).toMatchObject({ status: "dead_letter", reason: "lease_lost", lost_count: 3, retry_count: 0 });
		}));

	it("takes back what an earlier process with this one's number had", () =>
		inQueue(async queue => {
			await leaseTo(queue, `${hostname()}:${process.pid}:earlier:${SPACE}`);
			expect(await forfeit(queue)).toEqual({ givenBack: 1, givenUp: 0 });
		}));

	it.each([
		["its own", workerName()],
		["a living process's", `${hostname()}:${process.ppid}:abc:${SPACE}`],
		["another machine's", "elsewhere.example:1:abc"],
		["a worker's with a name of its own", "my-worker"],
		["a machine's of the same name", `${hostname()}:999999:abc:another`],
		["one that does not say where its number counts", `${hostname()}:999999:abc`],
	])("leaves %s alone", (_, worker) =>
		inQueue(async queue => {
			const id = await leaseTo(queue, worker);
			expect(await forfeit(queue)).toEqual({ givenBack: 0, givenUp: 0 });
			expect((await read(queue, id)).status).toBe("running");
		}),
	);
});
