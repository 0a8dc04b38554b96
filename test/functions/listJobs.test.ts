import { Failed } from "tickq";
import { describe, expect, it } from "vitest";
import type { Harness } from "../support/harness.ts";
import { createScript, inQueue, submit, throwing, tick } from "./inQueue.ts";

const list = async (queue: Harness, query = "", tenant = "acme") => (await queue.call("listJobs", `/api/jobs${query}`, { tenant })).body;
const ids = ({ jobs }: { jobs: { id: string }[] }) => jobs.map(({ id }) => id);

describe("listJobs", () => {
	it("answers an empty page to a tenant that nobody knows", () =>
		inQueue(async queue => {
			expect(await list(queue)).toEqual({ jobs: [], count: 0, next_cursor: null });
			expect(await list(queue, "?task=nobody&tag=none&status=done")).toEqual({ jobs: [], count: 0, next_cursor: null });
		}));

	it("answers the tenant's own jobs, newest first, whole", () =>
		inQueue(async queue => {
			const first = await submit(queue, { task: "echo", payload: 1 });
			await submit(queue, { task: "echo" }, "other");
			const second = await submit(queue, { task: "flaky", payload: { fail_times: 0 } });
			expect(await list(queue)).toEqual({ jobs: [second, first], count: 2, next_cursor: null });
		}));

	it("answers those of all tenants to *", () =>
		inQueue(async queue => {
			const jobs = [];
			for (const tenant of ["a", "b", "c"]) jobs.unshift((await submit(queue, { task: "echo" }, tenant)).id);
			expect(ids(await list(queue, "", "*"))).toEqual(jobs);
		}));

	it("walks every page once, in order, whatever the limit", () =>
		inQueue(async queue => {
			const all: string[] = [];
			for (let i = 0; i < 23; i++)
				all.unshift((await submit(queue, { task: i % 3 === 0 ? "sleep" : "echo", payload: i % 3 === 0 ? { ms: 0 } : {} })).id);
			for (const [limit, tenant] of [
				[1, "acme"],
				[7, "acme"],
				[23, "acme"],
				[200, "acme"],
				[5, "*"],
			] as const) {
				const seen: string[] = [];
				let cursor: string | null = "";
				for (let pages = 0; cursor !== null; pages++) {
					expect(pages).toBeLessThan(30);
					const page: { jobs: { id: string }[]; count: number; next_cursor: string | null } = await list(
						queue,
						`?limit=${limit}${cursor === "" ? "" : `&cursor=${cursor}`}`,
						tenant,
					);
					expect(page.count).toBe(page.jobs.length);
					expect(page.count).toBeLessThanOrEqual(limit);
					seen.push(...ids(page));
					cursor = page.next_cursor;
				}
				expect(seen).toEqual(all);
			}
		}));

	it("answers 50 jobs a page unless told", () =>
		inQueue(async queue => {
			await Promise.all(Array.from({ length: 51 }, () => submit(queue, { task: "echo" })));
			const page = await list(queue);
			expect(page.count).toBe(50);
			expect((await list(queue, `?cursor=${page.next_cursor}`)).count).toBe(1);
		}));

	it("is not disturbed by jobs that come between two pages", () =>
		inQueue(async queue => {
			const old = [];
			for (let i = 0; i < 4; i++) old.unshift((await submit(queue, { task: "echo" })).id);
			const page = await list(queue, "?limit=2");
			await submit(queue, { task: "echo" });
			expect([...ids(page), ...ids(await list(queue, `?limit=2&cursor=${page.next_cursor}`))]).toEqual(old);
		}));

	it("filters by status, one or several, over all its states", () =>
		inQueue(
			async queue => {
				const jobs: Record<string, string> = {};
				jobs.done = (await submit(queue, { task: "ok" })).id;
				jobs.failed = (await submit(queue, { task: "no" })).id;
				jobs.dead = (await submit(queue, { task: "bad", max_retries: 0 })).id;
				jobs.cancelled = (await submit(queue, { task: "ok", delay_ms: 5 })).id;
				await queue.call("cancelJob", `/api/jobs/${jobs.cancelled}/cancel`, { method: "POST" });
				await tick(queue);
				jobs.delayed = (await submit(queue, { task: "ok", delay_ms: 60_000 })).id;
				jobs.ready = (await submit(queue, { task: "ok", key: "k" })).id;
				jobs.blocked = (await submit(queue, { task: "ok", key: "k" })).id;
				const by = async (status: string) => ids(await list(queue, `?status=${status}`));
				for (const tenant of ["acme", "*"])
					expect(ids(await list(queue, "?status=pending", tenant))).toEqual([jobs.blocked, jobs.ready, jobs.delayed]);
				expect(await by("done")).toEqual([jobs.done]);
				expect(await by("failed")).toEqual([jobs.failed]);
				expect(await by("dead_letter")).toEqual([jobs.dead]);
				expect(await by("cancelled")).toEqual([jobs.cancelled]);
				expect(await by("running")).toEqual([]);
				expect(await by("failed,dead_letter,failed")).toEqual([jobs.dead, jobs.failed]);
				expect(await by("done,failed,dead_letter,cancelled,pending,running")).toHaveLength(7);
			},
			{ tasks: { ok: createScript(() => 1), no: throwing(new Failed("no")), bad: throwing(new Error("bad")) } },
		));

	it("filters by task and by tag, together and per tenant", () =>
		inQueue(async queue => {
			const a = await submit(queue, { task: "echo", tags: ["red", "größe, 5"] });
			const b = await submit(queue, { task: "sleep", payload: { ms: 0 }, tags: ["red"] });
			await submit(queue, { task: "echo" });
			await submit(queue, { task: "echo", tags: ["red"] }, "other");
			expect(ids(await list(queue, "?tag=red"))).toEqual([b.id, a.id]);
			expect(ids(await list(queue, "?tag=red&task=echo&status=pending"))).toEqual([a.id]);
			expect(ids(await list(queue, `?tag=${encodeURIComponent("größe, 5")}`))).toEqual([a.id]);
			expect(ids(await list(queue, "?task=sleep"))).toEqual([b.id]);
			expect((await list(queue, "?tag=red", "*")).count).toBe(3);
			expect((await list(queue, "?task=unknown")).count).toBe(0);
		}));

	it("filters by fingerprint and by reason", () =>
		inQueue(
			async queue => {
				const bad = await submit(queue, { task: "bad", max_retries: 0 });
				const no = await submit(queue, { task: "no" });
				const late = await submit(queue, { task: "ok", start_by: "2025-01-01T00:00:00Z" });
				const cancelled = await submit(queue, { task: "ok", delay_ms: 1000 });
				await queue.call("cancelJob", `/api/jobs/${cancelled.id}/cancel`, { method: "POST" });
				await submit(queue, { task: "ok" });
				await submit(queue, { task: "bad", max_retries: 1 });
				await tick(queue);
				const { jobs } = await list(queue);
				const fingerprint = (id: string) => jobs.find((job: { id: string }) => job.id === id).fingerprint;
				expect(fingerprint(bad.id)).toMatch(/^f_[0-9a-f]+$/);
				expect(fingerprint(no.id)).not.toBe(fingerprint(bad.id));
				for (const tenant of ["acme", "*"]) {
					expect(ids(await list(queue, `?fingerprint=${fingerprint(bad.id)}`, tenant))).toEqual([bad.id]);
					expect(ids(await list(queue, `?fingerprint=${fingerprint(no.id)}&status=failed,dead_letter`, tenant))).toEqual([no.id]);
					expect(ids(await list(queue, `?fingerprint=${fingerprint(no.id)}&status=dead_letter`, tenant))).toEqual([]);
					expect(ids(await list(queue, "?fingerprint=f_0", tenant))).toEqual([]);
					expect(ids(await list(queue, "?reason=retries_exhausted", tenant))).toEqual([bad.id]);
					expect(ids(await list(queue, "?reason=not_retryable", tenant))).toEqual([no.id]);
					expect(ids(await list(queue, "?reason=requested", tenant))).toEqual([cancelled.id]);
					expect(ids(await list(queue, "?reason=expired", tenant))).toEqual([late.id]);
					expect(ids(await list(queue, "?reason=expired&status=done", tenant))).toEqual([]);
				}
				expect(ids(await list(queue, `?fingerprint=${fingerprint(bad.id)}`, "other"))).toEqual([]);
			},
			{ tasks: { ok: createScript(() => 1), no: throwing(new Failed("no")), bad: throwing(new Error("bad")) } },
		));

	it("filters by when a job was created: from an instant on, and before one", () =>
		inQueue(async queue => {
			const jobs: string[] = [];
			for (let i = 0; i < 4; i++) {
				jobs.push((await submit(queue, { task: "echo", tags: ["t"] })).id);
				await queue.clock.advance(1000);
			}
			const [zero, one, two, three] = jobs;
			for (const tenant of ["acme", "*"])
				for (const more of ["", "&tag=t", "&task=echo", "&status=pending"]) {
					const by = async (query: string) => ids(await list(queue, `?${query}${more}`, tenant));
					expect(await by("created_after=2026-01-01T00:00:01Z")).toEqual([three, two, one]);
					expect(await by("created_before=2026-01-01T00:00:01Z")).toEqual([zero]);
					expect(await by("created_after=2026-01-01T00:00:01Z&created_before=2026-01-01T00:00:03Z")).toEqual([two, one]);
					expect(await by("created_after=2026-01-01T01:00:02%2B01:00")).toEqual([three, two]);
					expect(await by("created_after=2026-01-01T00:00:01.001Z")).toEqual([three, two]);
					expect(await by("created_after=2026-01-01T00:00:03Z&created_before=2026-01-01T00:00:01Z")).toEqual([]);
					expect(await by("created_before=1999-01-01T00:00:00Z")).toEqual([]);
				}
		}));

	it("walks every page of what a filter matches", () =>
		inQueue(async queue => {
			const wanted: string[] = [];
			for (let i = 0; i < 12; i++) {
				const { id } = await submit(queue, { task: "echo", delay_ms: 3_600_000 });
				if (i >= 3 && i < 10) wanted.unshift(id);
				await queue.clock.advance(1000);
			}
			const seen: string[] = [];
			let cursor: string | null = "";
			for (let pages = 0; cursor !== null; pages++) {
				expect(pages).toBeLessThan(20);
				const page: { jobs: { id: string }[]; next_cursor: string | null } = await list(
					queue,
					`?limit=2&created_after=2026-01-01T00:00:03Z&created_before=2026-01-01T00:00:10Z${cursor === "" ? "" : `&cursor=${cursor}`}`,
				);
				seen.push(...ids(page));
				cursor = page.next_cursor;
			}
			expect(seen).toEqual(wanted);
		}));

	it("leaves large payloads and results out, saying so, in valid JSON", () =>
		inQueue(async queue => {
			const large = `"\\${"x".repeat(5000)}`;
			const { id } = await submit(queue, { task: "echo", payload: large });
			await tick(queue);
			const [job] = (await list(queue)).jobs;
			expect(job.payload).toMatch(/^\(\d+ characters, see the job itself\)$/);
			expect(job.result).toBe(job.payload);
			expect((await queue.call("getJob", `/api/jobs/${id}`)).body).toMatchObject({ payload: large, result: large });
		}));

	it.each(["", "1", "x", "2abc", "1-1", "1zzzzzzzzzzz", "1ABC", "%00", "1 1"])("refuses the cursor %j", cursor =>
		inQueue(async queue => {
			const { status, body } = await queue.call("listJobs", `/api/jobs?cursor=${encodeURIComponent(cursor)}`);
			expect(status).toBe(400);
			expect(body.code).toBe("cursor_invalid");
		}),
	);

	it.each([
		"limit=0",
		"limit=201",
		"limit=-1",
		"limit=1.5",
		"limit=",
		"limit=1e1",
		"limit=NaN",
		"status=open",
		"status=",
		"status=done,,failed",
		"task=a%20b",
		"tag=",
		"tag=%00",
		"wait_ms=5",
		"limit=5&limit=5",
		"fingerprint=",
		`fingerprint=${"x".repeat(101)}`,
		"fingerprint=%00",
		"reason=none",
		"reason=",
		"created_after=2026-01-01",
		"created_after=yesterday",
		"created_before=2026-02-30T00:00:00Z",
		"created_before=2026-01-01T00:00:00",
		"created_before=2026-01-01T00:00:00+01:00",
		"created_before=9999-01-01T00:00:00Z",
	])("refuses ?%s", query =>
		inQueue(async queue => {
			const { status, body } = await queue.call("listJobs", `/api/jobs?${query}`);
			expect(status).toBe(400);
			expect(body.code).toBe("query_invalid");
			expect(body.detail).toContain(query.split("=")[0]);
		}),
	);
});
