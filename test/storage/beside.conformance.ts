/**
 * The part of the conformance suite (conformance.ts) about looking for jobs and acting on many of them, and about what stands beside jobs:
 * schedules, webhooks, workers.
 */
import { expect } from "vitest";
import { type Job, LOSSES_MAX, type Reason, type Status, statusOf } from "../../lib/job.ts";
import {
	type JobFilter,
	type JobReader,
	type Moved,
	type NewBulkAction,
	type NewSchedule,
	REMOTE_TASKS_MAX,
	REMOTE_WORKERS_MAX,
	type Schedule,
	TooManyTasks,
	type WorkerSeen,
} from "../../lib/storage/storage.ts";
import { CANCELLED, DAY, type Desk, DONE, FAILED, LEASE_MS, MINUTE, RELEASE, retryIn, T0, TASKS } from "./desk.ts";
import type { Suite } from "./execution.conformance.ts";

const ids = (jobs: readonly { readonly id: number }[]): number[] => jobs.map(job => job.id);
const sorted = (numbers: Iterable<number>): number[] => [...numbers].sort((a, b) => a - b);

/** Jobs of two tenants, three tasks, in every state, with tags, fingerprints and instants of creation that differ. */
async function mixed(q: Desk): Promise<Job[]> {
	for (const [i, how] of [
		...[0, 1, 2, 3].map(n => ({ ...FAILED, fingerprint: `f_${n % 2}` })),
		...[0, 1, 2].map(n => retryIn(0, { fingerprint: `f_${n % 2}` })),
		...[0, 1].map(() => retryIn(DAY, { fingerprint: "f_0" })),
		DONE,
		DONE,
		CANCELLED,
		null,
		null,
	].entries()) {
		const tenant = i % 3 === 2 ? "other" : "acme";
		await q.submit({ tenant, task: TASKS[i % 2]!, tags: i % 2 === 0 ? ["x"] : ["x", "y"], maxRetries: i > 6 ? 5 : 0 });
		q.now += 1000;
		if (how !== null) await q.finish(await q.claimOne(), how);
	}
	await q.submit({ startBy: q.now + 1 });
	q.now += 1000;
	await q.worker.cancelLate(10, q.now);
	// The two that wait would be taken up first.
	for (const job of await q.claim({ limit: 2 })) await q.cancel(job.id);
	const lost = await q.submit({ task: "b" });
	for (let i = 0; i < LOSSES_MAX; i++) {
		await q.claim({ limit: 1 });
		q.now += LEASE_MS;
		await q.expire();
	}
	expect((await q.get(lost)).reason).toBe("lease_lost");
	await q.submit({ key: "k" });
	expect(await q.claim({ limit: 10 })).toHaveLength(1);
	await q.submit({ key: "k", tags: ["y"] });
	await q.submit({ tenant: "other" });
	return q.all();
}
const matches = (job: Job, filter: JobFilter): boolean =>
	(filter.statuses?.includes(statusOf(job.state)) ?? true) &&
	(filter.task ?? job.task) === job.task &&
	(filter.tag === undefined || job.tags.includes(filter.tag)) &&
	(filter.fingerprint === undefined || (job.fingerprint === filter.fingerprint && ["failed", "dead"].includes(job.state))) &&
	(filter.reason ?? job.reason) === job.reason &&
	job.createdAt >= (filter.createdAfter ?? 0) &&
	job.createdAt < (filter.createdBefore ?? Infinity);

async function listed(store: JobReader, filter: JobFilter, limit: number): Promise<number[]> {
	const found: number[] = [];
	for (let before: number | null | undefined; before !== null; ) {
		const page = await store.listJobs({ ...filter, limit, ...(before === undefined ? {} : { before }) });
		expect(page.jobs.length).toBeLessThanOrEqual(limit);
		found.push(...ids(page.jobs));
		before = page.next;
	}
	return found;
}

/** Carries bulk actions on until none is due; answers what changed. Time stands still but for `waitMs` between two steps. */
async function carryOut(q: Desk, { steps = 100, waitMs = 0, jobsMax = 200 } = {}): Promise<Moved[]> {
	const moved: Moved[] = [];
	for (let i = 0; i < steps; i++) {
		if (!(await q.worker.nextDue([], q.now)).bulkActions) return moved;
		moved.push(...(await q.worker.advanceBulkActions(jobsMax, q.now)));
		q.now += waitMs;
	}
	return moved;
}
const start = (q: Desk, action: Partial<NewBulkAction>, store: JobReader = q.tenant()) =>
	store.startBulkAction({ action: "retry", filter: { statuses: ["failed"] }, ...action }, q.now);
/** Jobs that have failed. */
async function failed(q: Desk, count: number, more: object = {}): Promise<number[]> {
	const all = await q.fill(count, more);
	for (;;) {
		const jobs = await q.claim({ limit: 200 });
		if (jobs.length === 0) return sorted(all);
		await q.finish(jobs, FAILED);
	}
}

const schedule = (more: Partial<NewSchedule> = {}): NewSchedule => ({
	name: "nightly",
	task: "a",
	payload: '{"n":1}',
	cron: "0 3 * * *",
	timezone: "Europe/Berlin",
	missed: "one",
	overlap: "skip",
	paused: false,
	maxRetries: 2,
	nextAt: T0 + MINUTE,
	...more,
});
const put = (q: Desk, more: Partial<NewSchedule> = {}, tenant = "acme") =>
	q.tenant(tenant).putSchedule(schedule(more), q.now, 100) as Promise<Schedule>;
const change = (q: Desk, more: Partial<NewSchedule>, tenant = "acme") => q.tenant(tenant).changeSchedule(schedule(more), q.now);

export function besideConformance({ describe, it, race }: Suite): void {
	describe("a filter", () => {
		const FILTERS: JobFilter[] = [
			{ fingerprint: "f_0" },
			{ fingerprint: "f_1", statuses: ["failed"] },
			{ fingerprint: "f_0", statuses: ["dead_letter", "cancelled"] },
			{ fingerprint: "f_0", task: "a", reason: "not_retryable" },
			{ fingerprint: "f_0", tag: "x" },
			{ fingerprint: "f_0", statuses: ["done"] },
			{ fingerprint: "f_none" },
			...(["not_retryable", "retries_exhausted", "lease_lost", "requested", "expired"] as Reason[]).flatMap(reason => [
				{ reason },
				{ reason, statuses: ["failed", "dead_letter", "cancelled"] as Status[] },
				{ reason, task: "b", tag: "x" },
			]),
			...(["pending", "running", "done", "failed", "dead_letter", "cancelled"] as Status[]).flatMap(status => [
				{ statuses: [status], createdAfter: T0 + 5000 },
				{ statuses: [status], createdBefore: T0 + 5000, tag: "x" },
				{ statuses: [status], createdAfter: T0 + 2000, createdBefore: T0 + 9000, task: "a" },
			]),
			{ createdAfter: T0 + 4000, createdBefore: T0 + 4001 },
			{ createdAfter: T0 + 2000, createdBefore: T0 + 2000 },
			{ createdAfter: T0 + 1000 * DAY },
		];
		it("finds what is like it, of all and of one tenant, on pages of any size", async q => {
			const all = await mixed(q);
			expect(new Set(all.map(job => job.state))).toEqual(
				new Set(["blocked", "ready", "delayed", "running", "done", "failed", "dead", "cancelled"]),
			);
			let found = 0;
			for (const filter of FILTERS) {
				const expected = all.filter(job => matches(job, filter));
				found += expected.length;
				for (const limit of [100, 2]) {
					expect(await listed(q.operator, filter, limit), JSON.stringify(filter)).toEqual(ids(expected));
					for (const tenant of ["acme", "other"])
						expect(await listed(q.tenant(tenant), filter, limit), `${tenant} ${JSON.stringify(filter)}`).toEqual(
							ids(expected.filter(job => job.tenant === tenant)),
						);
				}
			}
			expect(found).toBeGreaterThan(FILTERS.length);
		});

		it("reads jobs by number, of one's own", async q => {
			const mine = await q.submit();
			const other = await q.submit({ tenant: "other" });
			expect(sorted(ids(await q.operator.getJobsById([mine, other, 999])))).toEqual([mine, other]);
			expect(ids(await q.tenant().getJobsById([mine, other]))).toEqual([mine]);
			expect(sorted(ids(await q.worker.getJobsById([mine, other])))).toEqual([mine, other]);
			expect(await q.operator.getJobsById([])).toEqual([]);
			expect(await q.tenant("nobody").getJobsById([mine])).toEqual([]);
		});
	});

	describe("a filter over very many jobs", () => {
		it("stops where none can follow, and sees all that is there", async q => {
			const old = await q.stock(6000);
			q.now += 10 * DAY;
			const young = sorted(await q.fill(3));
			for (const store of [q.operator, q.tenant()]) {
				const page = await store.listJobs({ createdAfter: T0 + 5 * DAY, limit: 10 });
				expect([sorted(ids(page.jobs)), page.next]).toEqual([young, null]);
				expect(await listed(store, { createdBefore: T0 + 5 * DAY, statuses: ["pending"] }, 5000)).toEqual(old.toReversed());
			}
		});
	});

	describe("dead letter groups", () => {
		it("say how many there are of each task, fingerprint and reason, the largest first", async q => {
			await mixed(q);
			for (const [store, tenant] of [
				[q.operator, null],
				[q.tenant("acme"), "acme"],
				[q.tenant("other"), "other"],
			] as const) {
				const jobs = (await q.all()).filter(job => ["failed", "dead"].includes(job.state) && (tenant === null || job.tenant === tenant));
				const groups = await store.deadLetterGroups({}, 100);
				expect(groups.reduce((sum, group) => sum + group.count, 0)).toBe(jobs.length);
				expect(groups.map(group => group.count)).toEqual(groups.map(group => group.count).sort((a, b) => b - a));
				for (const group of groups) {
					const own = jobs.filter(
						job => [job.task, job.fingerprint, job.reason].join() === [group.task, group.fingerprint, group.reason].join(),
					);
					expect(group).toEqual({
						task: group.task,
						fingerprint: group.fingerprint,
						reason: group.reason,
						count: own.length,
						tenants: new Set(own.map(job => job.tenant)).size,
						firstSeenAt: Math.min(...own.map(job => job.completedAt!)),
						lastSeenAt: Math.max(...own.map(job => job.completedAt!)),
						example: own.reduce((a, b) => (a.id > b.id ? a : b)),
					});
				}
				const [largest] = groups;
				expect(await store.deadLetterGroups({}, 1)).toEqual([largest]);
				const { task, fingerprint, reason } = largest!;
				expect(await store.deadLetterGroups({ task, fingerprint, reason }, 10)).toEqual([largest]);
				expect(await store.deadLetterGroups({ reason: "lease_lost" }, 10)).toEqual(groups.filter(group => group.reason === "lease_lost"));
				expect(await store.deadLetterGroups({ task: "a" }, 10)).toEqual(groups.filter(group => group.task === "a"));
				expect(await store.deadLetterGroups({ fingerprint: "f_none" }, 10)).toEqual([]);
				expect(await store.deadLetterGroups({ task: "unknown" }, 10)).toEqual([]);
			}
			expect(await q.tenant("nobody").deadLetterGroups({}, 10)).toEqual([]);
		});

		it("lose what is retried, and what is deleted", async q => {
			const [first, second] = await failed(q, 3);
			expect((await q.operator.deadLetterGroups({}, 10))[0]).toMatchObject({ count: 3, fingerprint: FAILED.fingerprint });
			await q.retry(first!);
			await q.tenant().deleteJob(await q.get(second!), q.now);
			expect((await q.operator.deadLetterGroups({}, 10))[0]).toMatchObject({ count: 1 });
		});
	});

	describe("deleteJob", () => {
		it("deletes a job that has ended, with all that is its own, and no other", async q => {
			const id = await q.submit({ tags: ["x"], idempotency: { key: "i", fingerprint: "f", expiresAt: q.now + DAY } });
			const other = await q.submit({ tags: ["x"] });
			await q.finish(await q.claimOne(), retryIn(0));
			await q.finish(await q.claim({ limit: 2 }), FAILED);
			const job = await q.get(id);
			expect(await q.tenant("other").deleteJob(job, q.now)).toBeNull();
			expect(await q.tenant().deleteJob({ ...job, tail: job.tail + 1 }, q.now)).toBeNull();
			expect(await q.tenant().deleteJob(job, q.now)).toEqual({ job, changed: true });
			expect(await q.tenant().deleteJob(job, q.now)).toBeNull();
			expect(ids(await q.all())).toEqual([other]);
			expect(ids((await q.tenant().listJobs({ tag: "x", limit: 10 })).jobs)).toEqual([other]);
		});

		for (const state of ["ready", "delayed", "running", "blocked"] as const)
			it(`leaves a job that is ${state}`, async q => {
				if (state === "blocked") await q.submit({ key: "k" });
				const id = await q.submit({ key: "k", ...(state === "delayed" ? { runAt: q.now + DAY } : {}) });
				if (state === "running") await q.claimOne();
				const job = await q.get(id);
				expect(job.state).toBe(state);
				expect(await q.tenant().deleteJob(job, q.now)).toEqual({ job, changed: false });
				expect(await q.get(id)).toEqual(job);
			});
	});

	describe("countMatching", () => {
		it("counts what a filter matches, by task and tenant", async q => {
			const all = await mixed(q);
			for (const filter of [
				{},
				{ statuses: ["failed"] },
				{ task: "a", statuses: ["failed", "dead_letter", "cancelled"] },
				{ tag: "y" },
			] as JobFilter[])
				for (const [store, tenant] of [
					[q.operator, null],
					[q.tenant("other"), "other"],
				] as const) {
					const expected = all.filter(job => matches(job, filter) && (tenant === null || job.tenant === tenant));
					const { value, relation, byTask, byTenant, sample } = await store.countMatching(filter, 1000);
					expect([value, relation]).toEqual([expected.length, "eq"]);
					for (const { task, jobs } of byTask) expect(expected.filter(job => job.task === task)).toHaveLength(jobs);
					for (const { tenant, jobs } of byTenant) expect(expected.filter(job => job.tenant === tenant)).toHaveLength(jobs);
					expect(byTask.reduce((sum, { jobs }) => sum + jobs, 0)).toBe(value);
					expect(byTenant.reduce((sum, { jobs }) => sum + jobs, 0)).toBe(value);
					for (const { id, tail, createdAt } of sample) expect(expected.find(job => job.id === id)).toMatchObject({ tail, createdAt });
				}
		});

		it("says that there are more than it looks at", async q => {
			const all = sorted(await q.fill(5));
			expect(await q.tenant().countMatching({}, 3)).toMatchObject({ value: 3, relation: "gte", byTask: [{ task: "a", jobs: 3 }] });
			expect(await q.tenant().countMatching({}, 5)).toMatchObject({ value: 5, relation: "eq" });
			expect(await q.tenant().countMatching([...all, 999], 10)).toMatchObject({ value: 5, relation: "eq" });
			expect(await q.tenant().countMatching(all, 4)).toMatchObject({ value: 4, relation: "gte" });
			expect(await q.tenant("nobody").countMatching(all, 10)).toEqual({ value: 0, relation: "eq", byTask: [], byTenant: [], sample: [] });
			expect(await q.tenant().countMatching([], 10)).toMatchObject({ value: 0, relation: "eq" });
		});
	});

	describe("a bulk action", () => {
		it("retries what its filter matches, of its tenant, and says what it has come to", async q => {
			const mine = await failed(q, 5);
			const other = await failed(q, 2, { tenant: "other" });
			const done = await q.submit();
			await q.finish(await q.claimOne());
			const started = await start(q, { name: "after the outage" });
			expect(started).toEqual({
				id: started.id,
				tenant: "acme",
				action: "retry",
				name: "after the outage",
				filter: { statuses: ["failed"] },
				status: "running",
				reason: null,
				createdAt: q.now,
				updatedAt: q.now,
				endedAt: null,
				seen: 0,
				changed: 0,
				skipped: 0,
				canaryIds: [],
			});
			expect(await q.worker.nextDue([], q.now)).toMatchObject({ at: q.now, reason: "bulk_action", bulkActions: true });
			const moved = await carryOut(q);
			expect(sorted(ids(moved))).toEqual(mine);
			for (const { state, tail, id } of moved) expect([state, tail]).toEqual(["ready", (await q.get(id)).tail]);
			expect(await q.states([...mine, ...other, done])).toEqual([...mine.map(() => "ready"), "failed", "failed", "done"]);
			expect(await q.tenant().getBulkAction(started.id)).toEqual({ ...started, status: "done", seen: 5, changed: 5, endedAt: q.now });
			expect((await q.worker.nextDue([], q.now)).bulkActions).toBe(false);
		});

		it("of an operator acts on all tenants", async q => {
			const all = [...(await failed(q, 2)), ...(await failed(q, 2, { tenant: "other" }))];
			const { id, tenant } = await start(q, {}, q.operator);
			expect(tenant).toBeNull();
			expect(sorted(ids(await carryOut(q)))).toEqual(sorted(all));
			expect(await q.operator.getBulkAction(id)).toMatchObject({ status: "done", changed: 4 });
			// A tenant does not see it.
			expect(await q.tenant().getBulkAction(id)).toBeNull();
			expect(await q.tenant().listBulkActions(10)).toEqual([]);
		});

		it("acts on what is named by number, if it is its tenant's and can be acted on", async q => {
			const mine = await failed(q, 3);
			const [other] = await failed(q, 1, { tenant: "other" });
			const waiting = await q.submit();
			const { id } = await start(q, { ids: [...mine, mine[0]!, other!, waiting, 99_999], filter: undefined } as Partial<NewBulkAction>);
			await carryOut(q, { jobsMax: 2 });
			expect(await q.states([...mine, other!, waiting])).toEqual(["ready", "ready", "ready", "failed", "ready"]);
			const done = (await q.tenant().getBulkAction(id))!;
			expect(done).toMatchObject({ status: "done", changed: 3, skipped: done.seen - 3 });
			const nothing = await start(q, { ids: [], filter: undefined } as Partial<NewBulkAction>);
			expect(await carryOut(q)).toEqual([]);
			expect(await q.tenant().getBulkAction(nothing.id)).toMatchObject({ status: "done", seen: 0 });
		});

		it("cancels what waits and asks what runs, or deletes what has ended", async q => {
			const waiting = sorted(await q.fill(3));
			const [running] = await q.claim({ limit: 1 });
			await start(q, { action: "cancel", filter: { task: "a" } });
			const moved = await carryOut(q);
			expect(sorted(ids(moved))).toEqual(waiting);
			expect(new Map(moved.map(({ id, state, reason }) => [id, [state, reason]])).get(running!.id)).toEqual(["running", null]);
			expect((await q.get(running!.id)).cancelRequestedAt).toBe(q.now);
			expect((await q.operator.counts()).cancelled).toBe(2);

			const { id } = await start(q, { action: "delete", filter: { task: "a" } });
			expect(await carryOut(q)).toHaveLength(2);
			expect(ids(await q.all())).toEqual([running!.id]);
			expect(await q.tenant().getBulkAction(id)).toMatchObject({ changed: 2, skipped: 0 });
		});

		it("leaves alone what it cannot act on, whatever its filter says", async q => {
			await failed(q, 1);
			await q.submit();
			await start(q, { action: "cancel", filter: { statuses: ["failed", "done"] } });
			await start(q, { action: "retry", filter: { statuses: ["pending", "running"] } });
			await start(q, { action: "delete", filter: { statuses: ["pending"] } });
			expect(await carryOut(q)).toEqual([]);
			expect((await q.tenant().listBulkActions(10)).map(({ status, seen }) => `${status} ${seen}`)).toEqual(["done 0", "done 0", "done 0"]);
			expect((await q.all()).map(job => job.state).sort()).toEqual(["failed", "ready"]);
		});

		it("does not act on jobs that came after it", async q => {
			await failed(q, 2);
			await start(q, {});
			const [late] = await failed(q, 1);
			expect(await carryOut(q)).toHaveLength(2);
			expect(await q.state(late!)).toBe("failed");
		});

		it("goes in portions, the newest first, and decides what matches when its turn comes", async q => {
			const all = await failed(q, 5);
			const { id } = await start(q, {});
			expect(sorted(ids(await q.worker.advanceBulkActions(2, q.now)))).toEqual(all.slice(3));
			expect(await q.tenant().getBulkAction(id)).toMatchObject({ status: "running", seen: 2, changed: 2 });
			await q.retry(all[1]!);
			expect(sorted(ids(await carryOut(q, { jobsMax: 2 })))).toEqual([all[0]!, all[2]!]);
			expect(await q.tenant().getBulkAction(id)).toMatchObject({ status: "done", changed: 4 });
		});

		it("keeps to so many jobs a second", async q => {
			await failed(q, 7);
			await start(q, { ratePerS: 3 });
			expect(await q.worker.advanceBulkActions(200, q.now)).toHaveLength(3);
			expect(await q.worker.nextDue([], q.now)).toMatchObject({ at: q.now + 1000, bulkActions: false });
			expect(await q.worker.advanceBulkActions(200, q.now)).toEqual([]);
			q.now += 1000;
			expect(await q.worker.advanceBulkActions(2, q.now)).toHaveLength(2);
			expect(await q.worker.nextDue([], q.now)).toMatchObject({ at: q.now + 667 });
			q.now += 667;
			expect(await q.worker.advanceBulkActions(200, q.now)).toHaveLength(2);
			expect((await q.worker.nextDue([], q.now)).bulkActions).toBe(false);
		});

		it("waits for its canary, and goes on when it is done", async q => {
			const all = await failed(q, 6);
			const { id } = await start(q, { canary: 2 });
			expect(sorted(ids(await carryOut(q)))).toEqual(all.slice(4));
			expect(await q.tenant().getBulkAction(id)).toMatchObject({ status: "canary", canaryIds: expect.arrayContaining(all.slice(4)) });
			const jobs = await q.claim({ limit: 10 });
			await q.finish(jobs[0]!);
			await q.finish(jobs[1]!, RELEASE);
			q.now += 1000;
			expect(await carryOut(q)).toEqual([]);
			expect(await q.tenant().getBulkAction(id)).toMatchObject({ status: "canary" });
			await q.finish(await q.claim({ limit: 10 }));
			q.now += 1000;
			expect(sorted(ids(await carryOut(q)))).toEqual(all.slice(0, 4));
			expect(await q.tenant().getBulkAction(id)).toMatchObject({ status: "done", changed: 6, seen: 6 });
		});

		it("stops when its canary fails again", async q => {
			const all = await failed(q, 6);
			const { id } = await start(q, { canary: 2, ratePerS: 1 });
			await carryOut(q, { waitMs: 1000, steps: 2 });
			const jobs = await q.claim({ limit: 10 });
			expect(jobs).toHaveLength(2);
			await q.finish(jobs[0]!, FAILED);
			await carryOut(q, { waitMs: 1000 });
			const stopped = (await q.tenant().getBulkAction(id))!;
			expect(stopped).toMatchObject({ status: "stopped", changed: 2, endedAt: expect.any(Number) });
			expect(stopped.reason).toMatch(/^canary_failed: 1 of /);
			expect(await q.states(all.slice(0, 4))).toEqual(["failed", "failed", "failed", "failed"]);
		});

		it("stops when a job of its canary is not there any more", async q => {
			const all = await failed(q, 6);
			const { id } = await start(q, { canary: 2 });
			await carryOut(q);
			const [first, second] = await q.claim({ limit: 2 });
			await q.finish(first!, FAILED);
			await q.tenant().deleteJob(first!, q.now);
			await q.finish(second!);
			q.now += 1000;
			await carryOut(q);
			expect(await q.tenant().getBulkAction(id)).toMatchObject({
				status: "stopped",
				reason: expect.stringMatching(/^canary_failed: 1 of its first 2 jobs /),
			});
			expect(await q.states(all.slice(0, 4))).toEqual(["failed", "failed", "failed", "failed"]);
		});

		for (const action of ["retry", "delete"] as const)
			it(`waits for webhooks that are to be told before it can ${action} their jobs`, async q => {
				const all = await failed(q, 4);
				const hooked = await failed(q, 1, { webhookUrl: "https://example.com/hook" });
				const young = await failed(q, 2);
				const { id } = await start(q, { action });
				expect(sorted(ids(await carryOut(q)))).toEqual(young);
				q.now += 1000;
				expect(await carryOut(q)).toEqual([]);
				expect(await q.tenant().getBulkAction(id)).toMatchObject({ status: "running", seen: 2, changed: 2 });
				await q.worker.tellWebhooks(await q.worker.untoldWebhooks(10));
				q.now += 1000;
				expect(sorted(ids(await carryOut(q)))).toEqual([...all, ...hooked]);
				expect(await q.tenant().getBulkAction(id)).toMatchObject({ status: "done", seen: 7, changed: 7, skipped: 0 });
			});

		it("is done where its canary is all there is", async q => {
			await failed(q, 2);
			const { id } = await start(q, { canary: 2 });
			await carryOut(q);
			expect(await q.tenant().getBulkAction(id)).toMatchObject({ status: "done", changed: 2 });
		});

		it("stops in the middle, and stays stopped", async q => {
			const all = await failed(q, 5);
			const { id } = await start(q, {});
			await q.worker.advanceBulkActions(2, q.now);
			q.now += 10;
			expect(await q.tenant("other").stopBulkAction(id, q.now)).toBeNull();
			expect(await q.tenant().getBulkAction(id)).toMatchObject({ status: "running" });
			expect(await q.tenant().stopBulkAction(id + 100, q.now)).toBeNull();
			const stopped = (await q.tenant().stopBulkAction(id, q.now))!;
			expect(stopped).toMatchObject({ status: "stopped", reason: "requested", changed: 2, endedAt: q.now });
			q.now += DAY;
			expect(await q.tenant().stopBulkAction(id, q.now)).toEqual(stopped);
			expect(await carryOut(q)).toEqual([]);
			expect(await q.states(all.slice(0, 3))).toEqual(["failed", "failed", "failed"]);
		});

		it("is listed, the latest first", async q => {
			const started = [
				await start(q, { name: "1" }),
				await start(q, { name: "2" }, q.operator),
				await start(q, { name: "3" }, q.tenant("new")),
			];
			expect((await q.operator.listBulkActions(10)).map(action => action.name)).toEqual(["3", "2", "1"]);
			expect((await q.operator.listBulkActions(2)).map(action => action.name)).toEqual(["3", "2"]);
			expect((await q.tenant().listBulkActions(10)).map(action => action.name)).toEqual(["1"]);
			expect(await q.tenant("nobody").listBulkActions(10)).toEqual([]);
			expect(await q.operator.getBulkAction(started[2]!.id)).toMatchObject({ tenant: "new" });
			expect(await q.operator.getBulkAction(99)).toBeNull();
			await carryOut(q);
		});

		it("is one of so many that are under way at most, where that is asked", async q => {
			const action = { action: "retry", filter: { statuses: ["failed"] } } as const;
			const begin = (store: JobReader, most: number) => store.startBulkAction(action, q.now, most);
			const first = await begin(q.tenant(), 1);
			expect(first).toMatchObject({ status: "running" });
			expect(await begin(q.tenant(), 1)).toBeNull();
			expect(await begin(q.tenant("other"), 1)).not.toBeNull();
			expect(await begin(q.operator, 1)).not.toBeNull();
			expect(await begin(q.operator, 1)).toBeNull();
			await q.tenant().stopBulkAction(first!.id, q.now);
			expect(await begin(q.tenant(), 1)).not.toBeNull();
			const answers = await Promise.all(Array.from({ length: 5 }, () => begin(q.tenant(), 3)));
			expect(answers.filter(answer => answer !== null)).toHaveLength(2);
			await carryOut(q);
			expect(await begin(q.tenant(), 1)).not.toBeNull();
		});

		it("is forgotten a month after its end", async q => {
			const first = await start(q, {});
			await carryOut(q);
			q.now += 31 * DAY;
			const second = await start(q, {});
			expect((await q.operator.listBulkActions(10)).map(({ id }) => id)).toEqual([second.id]);
			expect(first.id).not.toBe(second.id);
			await carryOut(q);
		});

		it("takes no slot, and no limit holds it", async q => {
			const all = await failed(q, 3);
			await q.operator.setLimits("acme", { paused: true, concurrency: 0, backlog: 0 });
			await start(q, {});
			expect(await carryOut(q)).toHaveLength(all.length);
		});

		it("goes past very many jobs that do not match", async q => {
			const [target] = await failed(q, 1, { tags: ["rare"] });
			await q.stock(5200, { tags: ["often"] });
			expect(await listed(q.tenant(), { createdAfter: T0, reason: "not_retryable" }, 10)).toEqual([target]);
			await start(q, { action: "cancel", filter: { task: "a", createdBefore: T0 } });
			await start(q, { action: "delete", filter: { reason: "not_retryable" } }, q.operator);
			await carryOut(q);
			expect((await q.tenant().listBulkActions(10)).map(({ status, seen }) => [status, seen])).toEqual([["done", 0]]);
			expect(await q.tenant().getJobById(target!)).toBeNull();
		});

		race("that two carry on at once changes each job once, and knows it", async (q, racers, chance) => {
			const all = await failed(q, 60);
			const started = await Promise.all([start(q, { canary: 3 }), start(q, { action: "retry", filter: { task: "a" } }, q.operator)]);
			const moved: Moved[] = [];
			for (let i = 0; i < 40; i++) {
				const answers = await Promise.all(racers.map(desk => desk.worker.advanceBulkActions(1 + chance.upTo(20), q.now)));
				moved.push(...answers.flat());
				if (i < 10 && chance.is(0.3)) await q.finish(await q.claim({ limit: 5 }));
				else await q.finish(await q.claim({ limit: 50 }));
				q.now += 1000;
			}
			expect(sorted(ids(moved))).toEqual(all);
			const ended = await Promise.all(started.map(({ id }) => q.operator.getBulkAction(id)));
			expect(ended.map(action => action!.status)).toEqual(["done", "done"]);
			expect(ended.reduce((sum, action) => sum + action!.changed, 0)).toBe(60);
		});

		race("that is stopped while it is carried on ends, and knows what it has changed", async (q, racers) => {
			await failed(q, 40);
			const { id } = await start(q, {});
			const moved: Moved[] = [];
			for (let i = 0; i < 5; i++) {
				const answers = await Promise.all([
					...racers.slice(1).map(desk => desk.worker.advanceBulkActions(4, q.now)),
					...(i === 2
						? [
								q
									.tenant()
									.stopBulkAction(id, q.now)
									.then(() => []),
							]
						: []),
				]);
				moved.push(...(answers.flat() as Moved[]));
			}
			expect(await q.tenant().getBulkAction(id)).toMatchObject({ status: "stopped", changed: moved.length, reason: "requested" });
			q.now += DAY;
			expect((await q.worker.nextDue([], q.now)).bulkActions).toBe(false);
		});
	});

	describe("a schedule", () => {
		it("is made, changed, read, listed and deleted by its tenant and name", async q => {
			const made = await put(q);
			expect(made).toEqual({ ...schedule(), id: made.id, tenant: "acme", createdAt: q.now, updatedAt: q.now, lastAt: null, lastJob: null });
			expect(await q.tenant().getSchedule("nightly")).toEqual(made);
			expect(await q.tenant("other").getSchedule("nightly")).toBeNull();
			expect(await q.tenant("nobody").getSchedule("nightly")).toBeNull();
			q.now += 5;
			const changed = await change(q, {
				cron: "0 4 * * *",
				paused: true,
				payload: "null",
				missed: "skip",
				overlap: "queue",
				nextAt: null,
				maxRetries: 0,
				task: "b",
			});
			expect(changed).toEqual({
				...made,
				cron: "0 4 * * *",
				paused: true,
				payload: "null",
				missed: "skip",
				overlap: "queue",
				nextAt: null,
				maxRetries: 0,
				task: "b",
				updatedAt: q.now,
			});
			expect(await q.tenant().getSchedule("nightly")).toEqual(changed);
			await put(q, {}, "other");
			expect(await q.tenant().deleteSchedule("nothing")).toBe(false);
			expect(await q.tenant("nobody").deleteSchedule("nightly")).toBe(false);
			expect(await q.tenant().deleteSchedule("nightly")).toBe(true);
			expect(await q.tenant().deleteSchedule("nightly")).toBe(false);
			// What is gone is not there again since somebody changes it at that moment.
			expect(await change(q, {})).toBeNull();
			expect(await change(q, {}, "nobody")).toBeNull();
			expect((await q.operator.listSchedules(10)).map(({ tenant }) => tenant)).toEqual(["other"]);
		});

		it("is one of so many at most", async q => {
			const make = (name: string, most: number) => q.tenant().putSchedule(schedule({ name }), q.now, most);
			expect(await make("one", 2)).toMatchObject({ name: "one" });
			expect(await make("one", 2)).toBeNull();
			expect(await make("two", 2)).toMatchObject({ name: "two" });
			expect(await make("three", 2)).toBeNull();
			expect(await q.tenant("other").putSchedule(schedule(), q.now, 1)).not.toBeNull();
			const answers = await Promise.all(["a", "b", "c", "d", "e"].map(name => make(name, 4)));
			expect(answers.filter(answer => answer !== null)).toHaveLength(2);
			expect(await change(q, { name: "two" })).toMatchObject({ name: "two" });
		});

		it("stands in a list by tenant and name", async q => {
			for (const [tenant, name] of [
				["b", "two"],
				["a", "one"],
				["b", "one"],
				["c", "x"],
			] as const)
				await put(q, { name }, tenant);
			const names = (list: readonly Schedule[]) => list.map(({ tenant, name }) => `${tenant} ${name}`);
			expect(names(await q.operator.listSchedules(10))).toEqual(["a one", "b one", "b two", "c x"]);
			expect(names(await q.operator.listSchedules(2, { tenant: "a", name: "one" }))).toEqual(["b one", "b two"]);
			expect(names(await q.tenant("b").listSchedules(10))).toEqual(["b one", "b two"]);
			expect(names(await q.tenant("b").listSchedules(10, { tenant: "b", name: "one" }))).toEqual(["b two"]);
			expect(await q.tenant("nobody").listSchedules(10)).toEqual([]);
		});

		it("is due when its slot has come, the longest due first, unless it is paused or has none", async q => {
			await put(q, { name: "late", nextAt: T0 + 3000 });
			await put(q, { name: "early", nextAt: T0 + 1000 }, "other");
			await put(q, { name: "paused", nextAt: T0 + 500, paused: true });
			await put(q, { name: "never", nextAt: null });
			expect(await q.worker.nextDue([], q.now)).toMatchObject({ at: T0 + 1000, reason: "schedule", schedules: false });
			expect(await q.worker.dueSchedules(10, T0 + 999)).toEqual([]);
			q.now = T0 + 3000;
			expect((await q.worker.nextDue([], q.now)).schedules).toBe(true);
			const due = await q.worker.dueSchedules(10, q.now);
			expect(due.map(({ name, tenant, lastJobOpen }) => [name, tenant, lastJobOpen])).toEqual([
				["early", "other", false],
				["late", "acme", false],
			]);
			expect(await q.worker.dueSchedules(1, q.now)).toHaveLength(1);
		});

		it("moves on from its slot once, and knows the job that it made", async q => {
			const made = await put(q, { nextAt: T0 });
			const id = await q.submit();
			const { tail, createdAt } = await q.get(id);
			q.now += 10;
			await q.worker.moveSchedule(made, { lastAt: T0, nextAt: T0 + DAY, lastJobId: id });
			const moved = await q.tenant().getSchedule("nightly");
			expect(moved).toEqual({ ...made, lastAt: T0, nextAt: T0 + DAY, lastJob: { id, tail, createdAt } });
			expect((await q.operator.listSchedules(1))[0]).toEqual(moved);
			await q.worker.moveSchedule(made, { lastAt: T0, nextAt: T0 + 2 * DAY, lastJobId: null });
			expect(await q.tenant().getSchedule("nightly")).toEqual(moved);
			// What is changed keeps what it has done.
			expect(await change(q, { nextAt: T0 + DAY })).toEqual({ ...moved!, updatedAt: q.now });

			const open = async () => (await q.worker.dueSchedules(10, T0 + DAY))[0]!.lastJobOpen;
			expect(await open()).toBe(true);
			const job = await q.claimOne();
			expect(await open()).toBe(true);
			await q.finish(job);
			expect(await open()).toBe(false);
			await q.tenant().deleteJob(job, q.now);
			expect(await open()).toBe(false);
			expect((await q.tenant().getSchedule("nightly"))!.lastJob).toBeNull();
			await q.worker.moveSchedule((await q.tenant().getSchedule("nightly"))!, { lastAt: T0 + DAY, nextAt: null, lastJobId: null });
			expect(await q.tenant().getSchedule("nightly")).toMatchObject({ nextAt: null, lastAt: T0 + DAY });
			expect(await q.worker.dueSchedules(10, T0 + 10 * DAY)).toEqual([]);
		});
	});

	describe("a webhook", () => {
		const URL = "https://example.com/hook";
		it("is the job's own, or its tenant's, or none", async q => {
			expect(await q.tenant().getWebhook()).toBeNull();
			await q.tenant().setWebhook(URL);
			expect([await q.tenant().getWebhook(), await q.tenant("other").getWebhook()]).toEqual([URL, null]);
			const urlOf = async (more: object) => {
				const answer = await q.offer(more);
				if (answer.status !== "created") throw new Error(answer.status);
				const job = await q.operator.getJobsById([answer.id]);
				expect(job[0]!.webhookUrl).toBe(answer.webhookUrl);
				return answer.webhookUrl;
			};
			expect(await urlOf({})).toBe(URL);
			expect(await urlOf({ webhookUrl: "https://example.com/own" })).toBe("https://example.com/own");
			expect(await urlOf({ webhookUrl: null })).toBeNull();
			expect(await urlOf({ tenant: "other" })).toBeNull();
			expect(await urlOf({ tenant: "other", webhookUrl: URL, idempotency: { key: "i", fingerprint: "f", expiresAt: q.now + 1 } })).toBe(
				URL,
			);
			const idempotency = { key: "j", fingerprint: "f", expiresAt: q.now + 1 };
			expect(await urlOf({ idempotency })).toBe(URL);
			expect(await urlOf({ copyOf: "job_1" })).toBe(URL);
			await q.tenant().setWebhook(null);
			expect(await urlOf({})).toBeNull();
		});

		it("keeps its job until it is told", async q => {
			const id = await q.submit({ webhookUrl: URL });
			await q.finish(await q.claimOne());
			q.now += 2 * DAY;
			expect(await q.worker.prune(10, q.now)).toBe(0);
			expect(await q.tenant().deleteJob(await q.get(id), q.now)).toMatchObject({ changed: false });
			await start(q, { action: "delete", ids: [id], filter: undefined } as Partial<NewBulkAction>);
			expect(await carryOut(q)).toEqual([]);
			await q.worker.tellWebhooks(await q.worker.untoldWebhooks(10));
			expect(await q.worker.prune(10, q.now)).toBe(1);
			expect(await q.all()).toEqual([]);
		});

		it("that is not told does not keep old jobs behind it", async q => {
			await q.fill(5, { webhookUrl: URL });
			await q.fill(5, { task: "b" });
			await q.finish(await q.claim({ limit: 10 }));
			q.now += 2 * DAY;
			expect(await q.worker.prune(5, q.now)).toBe(5);
			expect(await q.all()).toHaveLength(5);
		});

		it("is told of each job that has ended and has one, the earliest first, once", async q => {
			const all = await q.line(4, i => ({ webhookUrl: i === 1 ? null : `${URL}/${i}`, maxRetries: 0 }));
			expect((await q.worker.nextDue([], q.now)).webhooks).toBe(false);
			const jobs = await q.claim({ limit: 3 });
			await q.finish(jobs[2]!, FAILED);
			q.now += 1;
			await q.finish(jobs[0]!);
			await q.finish(jobs[1]!);
			expect(await q.worker.nextDue([], q.now)).toMatchObject({ at: q.now, reason: "webhook", webhooks: true });
			const untold = await q.worker.untoldWebhooks(10);
			expect(untold).toEqual([await q.get(all[2]!), await q.get(all[0]!)]);
			expect(await q.worker.untoldWebhooks(1)).toHaveLength(1);
			await q.worker.tellWebhooks(untold);
			expect(await q.worker.untoldWebhooks(10)).toEqual([]);
			expect((await q.worker.nextDue([], q.now)).webhooks).toBe(false);
			await q.cancel(all[3]!);
			expect(ids(await q.worker.untoldWebhooks(10))).toEqual([all[3]]);
			await q.worker.tellWebhooks([]);
		});

		it("is told again of a job that ends again", async q => {
			const id = await q.submit({ webhookUrl: URL });
			await q.finish(await q.claimOne(), FAILED);
			const untold = await q.worker.untoldWebhooks(10);
			// An end that is not told yet would be lost with a retry.
			expect(await q.retry(id)).toMatchObject({ changed: false, job: { state: "failed" } });
			await q.worker.tellWebhooks(untold);
			expect(await q.retry(id)).toMatchObject({ changed: true });
			await q.finish(await q.claimOne(), FAILED);
			await q.worker.tellWebhooks(untold);
			expect(ids(await q.worker.untoldWebhooks(10))).toEqual([id]);
			await q.worker.tellWebhooks(await q.worker.untoldWebhooks(10));
			await q.retry(id);
			expect(await q.worker.untoldWebhooks(10)).toEqual([]);
			await q.finish(await q.claimOne());
			expect(ids(await q.worker.untoldWebhooks(10))).toEqual([id]);
		});

		it("is told of jobs that end in other ways: cancelled late, lost, as follow-ups", async q => {
			await q.tenant().setWebhook(URL);
			await q.submit();
			const lost = await q.claimOne();
			const late = await q.submit({ startBy: q.now + 1 });
			q.now += 10;
			await q.worker.cancelLate(10, q.now);
			for (let i = 0; i < LOSSES_MAX; i++) {
				q.now += LEASE_MS;
				await q.expire();
				await q.claim();
			}
			const parent = await q.submit({ webhookUrl: null });
			await q.finish(await q.claimOne(), { ...DONE, followUps: [q.followUp({ task: "b" })] });
			await q.finish(await q.claimOne());
			const child = (await q.all()).find(job => job.parentId === parent)!;
			expect(ids(await q.worker.untoldWebhooks(10)).sort()).toEqual([late, lost.id, child.id].sort());
		});
	});

	describe("insertJobFor", () => {
		it("stores above the backlog limit, by the key of its kind, once", async q => {
			await q.operator.setLimits("acme", { backlog: 1 });
			await q.submit();
			expect((await q.offer()).status).toBe("backlog_full");
			const insert = (key: string, kind: "slot" | "request") =>
				q.worker.insertJobFor("acme", q.job({ idempotency: { kind, key, fingerprint: "f", expiresAt: q.now + DAY } }), q.now);
			const first = await insert("x", "slot");
			expect(first.status).toBe("created");
			expect(await insert("x", "slot")).toMatchObject({ status: "replayed", id: (first as { id: number }).id });
			expect((await insert("x", "request")).status).toBe("created");
			expect((await insert("y", "request")).status).toBe("created");
			expect((await insert("y", "slot")).status).toBe("created");
			expect((await q.worker.insertJobFor("new", q.job({ task: "new" }), q.now)).status).toBe("created");
			expect((await q.offer()).status).toBe("backlog_full");
			const together = await Promise.all([q.offer(), q.worker.insertJobFor("acme", q.job(), q.now), q.offer()]);
			expect(together.map(({ status }) => status).sort()).toEqual(["backlog_full", "backlog_full", "created"]);
		});
	});

	describe("workers", () => {
		const seen = (q: Desk, name: string, more: object = {}) =>
			q.worker.seeWorker({ name, kind: "remote", tasks: ["a"], version: "1", ...more }, q.now);

		it("are listed by when they were there last, with what they run", async q => {
			await seen(q, "one");
			q.now += 1000;
			await seen(q, "two", { kind: "process", tasks: ["a", "b"], version: "2" });
			await q.fill(3);
			await q.claim({ limit: 2, worker: "one" });
			const one: WorkerSeen = { name: "one", kind: "remote", tasks: ["a"], version: "1", firstSeenAt: T0, lastSeenAt: T0, running: 2 };
			const two: WorkerSeen = {
				name: "two",
				kind: "process",
				tasks: ["a", "b"],
				version: "2",
				firstSeenAt: q.now,
				lastSeenAt: q.now,
				running: 0,
			};
			expect(await q.operator.listWorkers(10)).toEqual([two, one]);
			expect(await q.operator.listWorkers(1)).toEqual([two]);
			q.now += 1000;
			await seen(q, "one", { version: "3" });
			expect(await q.operator.listWorkers(10)).toEqual([{ ...one, version: "3", lastSeenAt: q.now }, two]);
		});

		it("are forgotten after a week", async q => {
			for (let i = 0; i < 5; i++) await seen(q, `old${i}`);
			q.now += 7 * DAY + 1;
			await seen(q, "new");
			expect((await q.operator.listWorkers(10)).map(({ name }) => name)).toEqual(["new"]);
		});

		it("make their tasks known", async q => {
			expect([await q.tenant().knowsTask("remote"), await q.worker.knowsTask("remote"), await q.worker.knowsTask("a")]).toEqual([
				false,
				false,
				true,
			]);
			await seen(q, "one", { tasks: ["remote"] });
			expect([await q.tenant().knowsTask("remote"), await q.worker.knowsTask("remote")]).toEqual([true, true]);
			expect((await q.operator.listTasks()).map(({ task }) => task)).toContain("remote");
		});

		it("make so many tasks known at most, also when many come at once", async q => {
			const names = (from: number, n: number) => Array.from({ length: n }, (_, i) => `t${from + i}`);
			const known = async () => (await q.operator.listTasks()).length;
			const room = REMOTE_TASKS_MAX - (await known());
			await seen(q, "first", { tasks: names(0, room - 10) });
			const answers = await Promise.allSettled(
				Array.from({ length: 6 }, (_, i) => seen(q, `w${i}`, { tasks: [...names(0, 3), ...names(20_000 + 4 * i, 4)] })),
			);
			expect(answers.filter(({ status }) => status === "fulfilled")).toHaveLength(2);
			for (const answer of answers) if (answer.status === "rejected") expect(answer.reason).toBeInstanceOf(TooManyTasks);
			expect(await known()).toBe(REMOTE_TASKS_MAX - 2);
			await seen(q, "known", { tasks: ["a", "t0"] });
			// A program of one's own is not bound.
			await seen(q, "own", { kind: "process", tasks: names(30_000, 5) });
			expect(await known()).toBe(REMOTE_TASKS_MAX + 3);
		});

		it("are forgotten beyond a number, those first that were not there for longest, and no process", async q => {
			await seen(q, "process", { kind: "process" });
			q.now += 1;
			for (let i = 0; i < REMOTE_WORKERS_MAX; i += 50) await Promise.all(Array.from({ length: 50 }, (_, j) => seen(q, `old${i + j}`)));
			q.now += 1;
			await Promise.all(Array.from({ length: REMOTE_WORKERS_MAX - 50 }, (_, i) => seen(q, `old${i + 50}`)));
			await seen(q, "new");
			await seen(q, "newer");
			const names = (await q.operator.listWorkers(2 * REMOTE_WORKERS_MAX)).map(({ name }) => name);
			expect(names).toHaveLength(REMOTE_WORKERS_MAX + 1);
			expect(names).toEqual(expect.arrayContaining(["process", "new", "newer", "old50"]));
			expect(names.filter(name => /^old[1-4]?[0-9]$/.test(name))).toHaveLength(48);
		});

		it("are told apart from tasks, which are listed with their limits", async q => {
			await q.operator.setTask("b", { concurrency: 4, paused: true });
			const rest = { heldUntil: null, circuitsOpen: 0, circuits: [] };
			const [a, b, c] = [
				{ task: "a", concurrency: null, paused: false, ...rest },
				{ task: "b", concurrency: 4, paused: true, ...rest },
				{ task: "c", concurrency: null, paused: false, ...rest },
			];
			const never = { seenAt: { process: null, remote: null } };
			expect(await q.operator.listTasks()).toEqual([a, b, c].map(task => ({ ...task, ...never })));
			await seen(q, "one", { tasks: ["a", "c"] });
			q.now += 5;
			await seen(q, "two", { tasks: ["a"] });
			await seen(q, "own", { tasks: ["a", "b"], kind: "process" });
			expect(await q.operator.listTasks()).toEqual([
				{ ...a, seenAt: { process: q.now, remote: q.now } },
				{ ...b, seenAt: { process: q.now, remote: null } },
				{ ...c, seenAt: { process: null, remote: q.now - 5 } },
			]);
		});
	});

	describe("extendLeases with bounds", () => {
		const BOUNDS = { heldMsMax: 10 * MINUTE, graceMs: 5000 };
		const extend = (q: Desk, leases: readonly { id: number; token: number }[]) => q.worker.extendLeases(leases, LEASE_MS, q.now, BOUNDS);

		it("does not extend beyond a job's timeout and a grace, and then not at all", async q => {
			const id = await q.submit({ timeoutMs: MINUTE });
			const job = await q.claimOne();
			q.now += 20_000;
			expect(await extend(q, [job])).toEqual([{ id, cancelRequested: false, leaseUntil: q.now + LEASE_MS }]);
			q.now += 25_000;
			expect(await extend(q, [job])).toEqual([{ id, cancelRequested: false, leaseUntil: T0 + MINUTE + 5000 }]);
			q.now += 20_000;
			expect(await extend(q, [job])).toEqual([]);
			expect(await q.state(id)).toBe("running");
			expect(ids(await q.expire())).toEqual([id]);
		});

		it("goes by the longest time that a lease is held where a job has no timeout", async q => {
			await q.submit();
			const job = await q.claimOne();
			q.now = T0 + 10 * MINUTE;
			expect(await extend(q, [job])).toMatchObject([{ leaseUntil: q.now + 5000 }]);
			q.now += 5000;
			expect(await extend(q, [job])).toEqual([]);
			// A worker of this process is not bound.
			expect(await q.worker.extendLeases([{ id: job.id, token: job.token }], LEASE_MS, q.now)).toMatchObject([
				{ leaseUntil: q.now + LEASE_MS },
			]);
		});

		it("gives a job whose cancel was asked for a grace from then, and shortens no lease", async q => {
			const id = await q.submit();
			const job = await q.claimOne();
			await q.cancel(id);
			q.now += 1000;
			expect(await extend(q, [job])).toEqual([{ id, cancelRequested: true, leaseUntil: T0 + LEASE_MS }]);
			q.now += 4000;
			expect(await extend(q, [job])).toEqual([]);
			q.now = T0 + LEASE_MS;
			expect(await q.expire()).toMatchObject([{ id, state: "cancelled" }]);
		});
	});

	describe("copies", () => {
		it("name their original, beside follow-ups and keys", async q => {
			const id = await q.submit({ copyOf: "job_abc", key: "k" });
			expect((await q.get(id)).copyOf).toBe("job_abc");
			await q.finish(await q.claimOne(), { ...DONE, followUps: [q.followUp({ copyOf: "job_def" })] });
			expect((await q.all())[0]!.copyOf).toBe("job_def");
		});
	});
}
