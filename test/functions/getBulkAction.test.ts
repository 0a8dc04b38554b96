import { describe, expect, it } from "vitest";
import { createMendable, deadLetters, drain, look, started } from "./bulkActions.ts";
import { inQueue, tick } from "./inQueue.ts";

describe("getBulkAction", () => {
	it("says how far it is", () => {
		const mend = createMendable();
		return inQueue(
			async queue => {
				await deadLetters(queue, 3);
				const id = await started(queue, { action: "delete", filter: { status: "dead_letter" }, rate_per_s: 2 });
				await tick(queue);
				const startedAt = (await look(queue, id)).created_at;
				expect(await look(queue, id)).toMatchObject({ status: "running", seen: 2, changed: 2, skipped: 0, ended_at: null });
				await drain(queue);
				const ended = await look(queue, id);
				expect(ended).toMatchObject({ status: "done", seen: 3, changed: 3, created_at: startedAt });
				expect(Date.parse(ended.ended_at) - Date.parse(startedAt)).toBeGreaterThanOrEqual(1000);
			},
			{ tasks: { mend: mend.task } },
		);
	});

	it("counts jobs that were no longer ones to change", () => {
		const mend = createMendable();
		return inQueue(
			async queue => {
				const ids = await deadLetters(queue, 3);
				const id = await started(queue, { action: "retry", ids });
				await queue.call("deleteJob", `/api/jobs/${ids[0]}`, { method: "DELETE" });
				mend.broken = false;
				await queue.call("retryJob", `/api/jobs/${ids[1]}/retry`, { method: "POST" });
				await drain(queue);
				expect(await look(queue, id)).toMatchObject({ status: "done", seen: 3, changed: 1, skipped: 2 });
			},
			{ tasks: { mend: mend.task } },
		);
	});

	it("leaves out jobs of the canary that are gone", () => {
		const mend = createMendable();
		return inQueue(
			async queue => {
				await deadLetters(queue, 1);
				mend.broken = false;
				const id = await started(queue, { action: "retry", filter: { task: "mend" }, canary: 1 });
				await drain(queue);
				const [job] = (await look(queue, id)).canary_jobs;
				await queue.call("deleteJob", `/api/jobs/${job}`, { method: "DELETE" });
				expect((await look(queue, id)).canary_jobs).toEqual([]);
			},
			{ tasks: { mend: mend.task } },
		);
	});

	it("is its tenant's own; whoever may see all sees it too", () =>
		inQueue(async queue => {
			const id = await started(queue, { action: "retry", filter: { task: "echo" } });
			const all = await started(queue, { action: "retry", filter: { task: "echo" } }, "*");
			expect((await look(queue, id, "other")).code).toBe("bulk_action_not_found");
			expect((await look(queue, all)).code).toBe("bulk_action_not_found");
			for (const each of [id, all]) expect((await look(queue, each, "*")).id).toBe(each);
		}));

	it.each(["bulk_0", "bulk_", "bulk_-1", "bulk_1e3", "bulk_01", "1", "BULK_1", "bulk_99999999999999999999", "bulk_2", "__proto__", "%00"])(
		"knows no action %s",
		id =>
			inQueue(async queue => {
				await started(queue, { action: "retry", filter: { task: "echo" } });
				expect(await look(queue, id)).toMatchObject({ status: 404, code: "bulk_action_not_found" });
			}),
	);
});
