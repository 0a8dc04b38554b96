/** Bulk actions as their tests ask for them, and a task that fails until it is mended. */
import { defineTask, type Task } from "tickq";
import { expect } from "vitest";
import type { Answered, Harness } from "../support/harness.ts";
import { submit, tick } from "./inQueue.ts";

export const start = (queue: Harness, body: unknown, tenant = "acme", query = ""): Promise<Answered> =>
	queue.call("startBulkAction", `/api/bulk-actions${query}`, { body, tenant });
export const dryRun = (queue: Harness, body: unknown, tenant = "acme"): Promise<Answered> => start(queue, body, tenant, "?dry_run=true");

/** Starts one, which must be taken; answers its id. */
export async function started(queue: Harness, body: unknown, tenant = "acme"): Promise<string> {
	const answer = await start(queue, body, tenant);
	expect([answer.status, answer.body.detail]).toEqual([202, undefined]);
	return answer.body.id;
}
export const look = async (queue: Harness, id: string, tenant = "acme"): Promise<Answered["body"]> =>
	(await queue.call("getBulkAction", `/api/bulk-actions/${id}`, { tenant })).body;
export const stop = (queue: Harness, id: string, tenant = "acme"): Promise<Answered> =>
	queue.call("stopBulkAction", `/api/bulk-actions/${id}/stop`, { method: "POST", tenant });

/** Ticks, each when it is due, until nothing is due in the next minute. */
export async function drain(queue: Harness): Promise<void> {
	for (let i = 0; i < 200; i++) {
		const { next_wake_at } = (await tick(queue)).body;
		const inMs = next_wake_at === null ? Number.POSITIVE_INFINITY : Date.parse(next_wake_at) - queue.clock.now();
		if (inMs > 60_000) return;
		await queue.clock.advance(Math.max(0, inMs));
	}
	throw new Error("there is always something due");
}

export interface Mendable {
	broken: boolean;
	readonly task: Task;
	/** Payloads of the attempts, in order. */
	readonly ran: unknown[];
}
export function createMendable(): Mendable {
	const mendable: Mendable = {
		broken: true,
		ran: [],
		task: defineTask({
			retry: { maxRetries: 0 },
			circuitBreaker: false,
			run(payload) {
				mendable.ran.push(payload);
				if (mendable.broken) throw new Error("out of order");
				return "done";
			},
		}),
	};
	return mendable;
}

/** So many dead letters of the task "mend", the oldest first. */
export async function deadLetters(queue: Harness, count: number, more: Record<string, unknown> = {}, tenant = "acme"): Promise<string[]> {
	const ids: string[] = [];
	for (let i = 0; i < count; i++) ids.push((await submit(queue, { task: "mend", payload: i, ...more }, tenant)).id);
	await drain(queue);
	return ids;
}

/** How many jobs of the tenant have each status. */
export async function statuses(queue: Harness, tenant = "*"): Promise<Record<string, number>> {
	const { jobs } = (await queue.call("listJobs", "/api/jobs?limit=200", { tenant })).body;
	const counts: Record<string, number> = {};
	for (const { status } of jobs) counts[status] = (counts[status] ?? 0) + 1;
	return counts;
}
