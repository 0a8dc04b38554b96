import { describe, expect, it } from "vitest";
import { createMendable, deadLetters, drain, look, started, statuses, stop } from "./bulkActions.ts";
import { inQueue, tick } from "./inQueue.ts";

describe("stopBulkAction", () => {
	it("leaves what it has done, and does no more", () => {
		const mend = createMendable();
		return inQueue(
			async queue => {
				await deadLetters(queue, 5);
				const id = await started(queue, { action: "delete", filter: { status: "dead_letter" }, rate_per_s: 2 });
				await tick(queue);
				const { status, body } = await stop(queue, id);
				expect(status).toBe(200);
				expect(body).toMatchObject({ id, status: "stopped", changed: 2 });
				expect(body.reason).not.toBeNull();
				expect(body.ended_at).not.toBeNull();
				expect(await look(queue, id)).toEqual(body);
				await queue.clock.advance(60_000);
				await drain(queue);
				expect(await statuses(queue)).toEqual({ dead_letter: 3 });
				expect(await look(queue, id)).toEqual(body);
			},
			{ tasks: { mend: mend.task } },
		);
	});

	it("stops one that waits for its canary", () => {
		const mend = createMendable();
		return inQueue(
			async queue => {
				await deadLetters(queue, 3);
				mend.broken = false;
				const id = await started(queue, { action: "retry", filter: { status: "dead_letter" }, canary: 1 });
				await tick(queue);
				expect((await stop(queue, id)).body).toMatchObject({ status: "stopped", changed: 1 });
				await drain(queue);
				expect(await statuses(queue)).toEqual({ done: 1, dead_letter: 2 });
			},
			{ tasks: { mend: mend.task } },
		);
	});

	it("stops one that has not begun", () => {
		const mend = createMendable();
		return inQueue(
			async queue => {
				await deadLetters(queue, 2);
				const id = await started(queue, { action: "delete", filter: { status: "dead_letter" } });
				await stop(queue, id);
				await drain(queue);
				expect(await statuses(queue)).toEqual({ dead_letter: 2 });
				expect(await look(queue, id)).toMatchObject({ status: "stopped", seen: 0 });
			},
			{ tasks: { mend: mend.task } },
		);
	});

	it("answers the same when asked again, and leaves one that is done as it is", () =>
		inQueue(async queue => {
			const id = await started(queue, { action: "retry", filter: { task: "echo" } });
			const done = await started(queue, { action: "retry", filter: { task: "sleep" } });
			const first = await stop(queue, id);
			await queue.clock.advance(5000);
			expect((await stop(queue, id)).body).toEqual(first.body);
			await drain(queue);
			const before = await look(queue, done);
			expect(before.status).toBe("done");
			expect(await stop(queue, done)).toMatchObject({ status: 200, body: before });
		}));

	it("knows none of another tenant, nor one of all, and leaves them alone", () =>
		inQueue(async queue => {
			const id = await started(queue, { action: "retry", filter: { task: "echo" } });
			const all = await started(queue, { action: "retry", filter: { task: "echo" } }, "*");
			expect((await stop(queue, id, "other")).body).toMatchObject({ status: 404, code: "bulk_action_not_found" });
			expect((await stop(queue, all)).body).toMatchObject({ status: 404, code: "bulk_action_not_found" });
			expect((await stop(queue, "bulk_x")).body.code).toBe("bulk_action_not_found");
			for (const each of [id, all]) expect((await look(queue, each, "*")).status).toBe("running");
			expect((await stop(queue, id, "*")).body.status).toBe("stopped");
		}));
});
