import { describe, expect, it } from "vitest";
import { operations } from "../../lib/contract.ts";
import { type Harness, settle } from "../support/harness.ts";
import { inQueue, submit } from "./inQueue.ts";
import { askForJobs, heartbeat, leaseOf, leaseOne } from "./remote.ts";

const workers = (queue: Harness, query = "") => queue.call("listWorkers", `/api/workers${query}`, { tenant: null });

describe("listWorkers", () => {
	it("shows who asked for jobs: name, tasks, version, what it holds, and when it was seen", () =>
		inQueue(async queue => {
			await askForJobs(queue, { version: "py 1.2", tasks: ["remote", "render"] });
			await submit(queue, { task: "remote" });
			await queue.clock.advance(60_000);
			await leaseOne(queue, { version: "py 1.2", tasks: ["remote", "render"] });
			const { status, body } = await workers(queue);
			expect(status).toBe(200);
			expect(operations.listWorkers.answer.parse(body)).toEqual(body);
			expect(body).toEqual({
				workers: [
					{
						name: "py-1",
						kind: "remote",
						status: "live",
						tasks: ["remote", "render"],
						running: 1,
						first_seen_at: "2026-01-01T00:00:00.000Z",
						last_seen_at: "2026-01-01T00:01:00.000Z",
						version: "py 1.2",
					},
				],
				count: 1,
				next_cursor: null,
			});
		}));

	it("says of a worker that only sends heartbeats that it is there", () =>
		inQueue(async queue => {
			await askForJobs(queue);
			await submit(queue, { task: "remote" });
			const leased = await leaseOne(queue);
			await queue.clock.advance(20_000);
			await heartbeat(queue, [leaseOf(leased)]);
			expect((await workers(queue)).body.workers[0]).toMatchObject({ last_seen_at: "2026-01-01T00:00:20.000Z", tasks: ["remote"] });
		}));

	it("knows nothing of a worker that was never there, whatever it sends", () =>
		inQueue(async queue => {
			await heartbeat(queue, [], { worker: "stranger" });
			expect((await workers(queue)).body.workers).toEqual([]);
		}));

	it("writes a worker down again after 10 s at the soonest, or when it has become another", () =>
		inQueue(async queue => {
			const seenAt = async () => (await workers(queue)).body.workers[0].last_seen_at.slice(17, 19);
			await askForJobs(queue);
			await queue.clock.advance(9000);
			await askForJobs(queue);
			expect(await seenAt()).toBe("00");
			await askForJobs(queue, { tasks: ["remote", "more"] });
			expect(await seenAt()).toBe("09");
			await queue.clock.advance(10_000);
			await askForJobs(queue, { tasks: ["remote", "more"] });
			expect(await seenAt()).toBe("19");
		}));

	it("shows the latest first, so many as are asked for", () =>
		inQueue(async queue => {
			for (const worker of ["a", "b", "c"]) {
				await askForJobs(queue, { worker });
				await queue.clock.advance(1000);
				await settle();
			}
			const names = async (query: string) => (await workers(queue, query)).body.workers.map(({ name }: { name: string }) => name);
			expect(await names("")).toEqual(["c", "b", "a"]);
			expect(await names("?limit=2")).toEqual(["c", "b"]);
			expect((await workers(queue, "?limit=0")).body.code).toBe("query_invalid");
		}));

	it("tells who is there from who has gone: the former were seen in the last 75 s, and come first", () =>
		inQueue(async queue => {
			await askForJobs(queue, { worker: "a" });
			await queue.clock.advance(1000);
			await askForJobs(queue, { worker: "b" });
			await queue.clock.advance(74_000);
			const states = async () => (await workers(queue)).body.workers.map(({ name, status }: Record<string, string>) => [name, status]);
			expect(await states()).toEqual([
				["b", "live"],
				["a", "live"],
			]);
			await queue.clock.advance(1);
			expect(await states()).toEqual([
				["b", "live"],
				["a", "gone"],
			]);
		}));
});
