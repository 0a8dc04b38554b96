import { Failed } from "tickq";
import { describe, expect, it } from "vitest";
import type { Harness } from "../support/harness.ts";
import { createScript, inQueue, read, submit, throwing, tick } from "./inQueue.ts";

const groups = async (queue: Harness, query = "", tenant = "acme") =>
	(await queue.call("listDeadLetterGroups", `/api/dead-letters/groups${query}`, { tenant })).body;
const tasks = {
	mail: createScript(payload => {
		throw new Error(`mailbox ${(payload as { box: number }).box} is full`);
	}),
	no: throwing(new Failed("no such thing")),
	ok: createScript(() => 1),
};
const mail = (queue: Harness, box: number, tenant = "acme") => submit(queue, { task: "mail", payload: { box }, max_retries: 0 }, tenant);

describe("listDeadLetterGroups", () => {
	it("is empty where nothing has failed, also for a tenant that nobody knows", () =>
		inQueue(
			async queue => {
				expect(await groups(queue)).toEqual({ groups: [], count: 0, next_cursor: null });
				await submit(queue, { task: "ok" });
				await tick(queue);
				for (const tenant of ["acme", "*"]) expect((await groups(queue, "", tenant)).groups).toEqual([]);
			},
			{ tasks },
		));

	it("puts alike errors together, with how often, since when, how lately, and the latest of them", () =>
		inQueue(
			async queue => {
				await mail(queue, 1);
				await tick(queue);
				await queue.clock.advance(5000);
				const last = await mail(queue, 2);
				await tick(queue);
				const job = await read(queue, last.id);
				expect(await groups(queue)).toEqual({
					groups: [
						{
							fingerprint: job.fingerprint,
							task: "mail",
							reason: "retries_exhausted",
							message: "mailbox 2 is full",
							count: 2,
							tenants: 1,
							first_seen_at: "2026-01-01T00:00:00.000Z",
							last_seen_at: "2026-01-01T00:00:05.000Z",
							example_job_id: last.id,
							example_tenant_id: "acme",
						},
					],
					count: 1,
					next_cursor: null,
				});
				expect(job.error).toMatchObject({ fingerprint: job.fingerprint });
			},
			{ tasks },
		));

	it("keeps failed jobs and dead letters apart, the largest group first", () =>
		inQueue(
			async queue => {
				await submit(queue, { task: "no" });
				await mail(queue, 1);
				await mail(queue, 2);
				await tick(queue);
				const { groups: found } = await groups(queue);
				expect(found.map(({ task, reason, count }: Record<string, unknown>) => [task, reason, count])).toEqual([
					["mail", "retries_exhausted", 2],
					["no", "not_retryable", 1],
				]);
				expect((await groups(queue, "?limit=1")).groups).toHaveLength(1);
			},
			{ tasks },
		));

	it("has no job that failed and may still succeed, or was put back in line", () =>
		inQueue(
			async queue => {
				await submit(queue, { task: "mail", payload: { box: 1 }, max_retries: 3 });
				const { id } = await mail(queue, 2);
				await tick(queue);
				expect((await groups(queue)).groups).toMatchObject([{ count: 1 }]);
				await queue.call("retryJob", `/api/jobs/${id}/retry`, { method: "POST" });
				expect((await groups(queue)).groups).toEqual([]);
				expect((await read(queue, id)).fingerprint).toBeNull();
			},
			{ tasks },
		));

	it("is of one tenant, or of all with how many it befell", () =>
		inQueue(
			async queue => {
				await mail(queue, 1, "acme");
				await mail(queue, 2, "other");
				await tick(queue);
				expect((await groups(queue)).groups).toMatchObject([
					{ count: 1, tenants: 1, message: "mailbox 1 is full", example_tenant_id: "acme" },
				]);
				expect((await groups(queue, "", "other")).groups).toMatchObject([{ count: 1, tenants: 1, message: "mailbox 2 is full" }]);
				expect((await groups(queue, "", "third")).groups).toEqual([]);
				expect((await groups(queue, "", "*")).groups).toMatchObject([{ count: 2, tenants: 2 }]);
			},
			{ tasks },
		));

	it("filters by task, reason and fingerprint", () =>
		inQueue(
			async queue => {
				await submit(queue, { task: "no" });
				await mail(queue, 1);
				await tick(queue);
				const { groups: all } = await groups(queue);
				const names = async (query: string, tenant: string) =>
					(await groups(queue, query, tenant)).groups.map(({ task }: { task: string }) => task);
				for (const tenant of ["acme", "*"]) {
					expect(await names("?task=no", tenant)).toEqual(["no"]);
					expect(await names("?task=nothing", tenant)).toEqual([]);
					expect(await names("?reason=retries_exhausted", tenant)).toEqual(["mail"]);
					expect(await names("?reason=lease_lost", tenant)).toEqual([]);
					expect(await names("?reason=not_retryable&task=mail", tenant)).toEqual([]);
					for (const { fingerprint, task } of all) expect(await names(`?fingerprint=${fingerprint}`, tenant)).toEqual([task]);
					expect(await names("?fingerprint=f_0", tenant)).toEqual([]);
				}
			},
			{ tasks },
		));

	it("has the jobs whose worker went away, with a message that says so", () =>
		inQueue(
			async queue => {
				const { id } = await submit(queue, { task: "ok" });
				for (let i = 1; i <= 3; i++) {
					const request = { tasks: ["ok"], limit: 1, leaseMs: 1000, token: i, worker: "gone" };
					await queue.deps.storage.worker.claimDueJobs(request, queue.clock.now());
					await queue.clock.advance(1000);
					await queue.deps.storage.worker.expireLeases(10, queue.clock.now());
				}
				const { groups: found } = await groups(queue);
				expect(found).toMatchObject([{ reason: "lease_lost", fingerprint: "lease_lost", count: 1, example_job_id: id }]);
				expect(found[0].message).toContain("worker");
			},
			{ tasks },
		));

	it.each(["status=failed", "tag=a", "reason=requested", "reason=", "limit=0", "limit=201", "fingerprint=", "task=a%20b", "cursor=1"])(
		"refuses ?%s",
		query =>
			inQueue(async queue => {
				const { status, body } = await queue.call("listDeadLetterGroups", `/api/dead-letters/groups?${query}`);
				expect(status).toBe(400);
				expect(body.code).toBe("query_invalid");
			}),
	);
});
