/** What the store does on PostgreSQL beyond what every engine must. */
import { afterEach, expect, it } from "vitest";
import { openPostgres } from "../../emulator/openPostgres.ts";
import { CIRCUIT_PROBE_MS } from "../../lib/job.ts";
import { freshSchema } from "../support/postgres.ts";
import { DEFAULTS, Desk, MINUTE, retryIn, TASKS } from "./desk.ts";

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
	for (const close of closing.splice(0).reverse()) await close();
});
async function open(): Promise<Desk> {
	const { url, drop } = freshSchema();
	const { storage } = await openPostgres(url, DEFAULTS, TASKS);
	closing.push(drop, () => storage.close());
	return new Desk(storage);
}

it("ends a list of young jobs where what is looked at is an hour too old, and not before", async () => {
	const q = await open();
	await q.stock(5200, { tags: ["x"] });
	const then = q.now;
	q.now += 61 * MINUTE;
	const young = (await q.line(3, { tags: ["x"] })).reverse();
	const lists = [{}, { task: "a" }, { tag: "x" }, { statuses: ["pending"] }] as const;
	for (const list of lists)
		for (const store of [q.tenant(), q.operator]) {
			const page = await store.listJobs({ ...list, createdAfter: q.now, limit: 10 });
			expect([page.jobs.map(({ id }) => id), page.next]).toEqual([young, null]);
			// A clock may have been behind by that much: then what is further down may be young.
			const more = await store.listJobs({ ...list, createdAfter: then + 59 * MINUTE, limit: 10 });
			expect(more.jobs.map(({ id }) => id)).toEqual(young);
			expect(more.next).not.toBeNull();
		}
	await q.audit();
});

it("says in the history of a job that is done that it closed the circuit of its lane", async () => {
	const q = await open();
	await q.fill(2, { maxRetries: 5 });
	await q.finish(await q.claim({ limit: 1 }), retryIn(10 * MINUTE, { circuitFailures: 1 }));
	q.now += CIRCUIT_PROBE_MS;
	const probe = await q.claimOne();
	await q.finish(probe);
	expect(await q.history(probe.id)).toMatchObject([
		{ kind: "submitted" },
		{ kind: "claimed", data: { worker: "worker", attempt: 1 } },
		{ kind: "done", data: { reason: null, circuit: "closed" } },
	]);
	await q.submit();
	const next = await q.claimOne();
	await q.finish(next);
	expect((await q.history(next.id)).at(-1)!.data).toEqual({ reason: null });
	await q.audit();
});
