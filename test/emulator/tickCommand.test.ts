import { describe, expect, it } from "vitest";
import { reportText } from "../../emulator/tickCommand.ts";
import type { TickReport } from "../../lib/tick.ts";
import { dryTick, inQueue, submit, tick } from "../functions/inQueue.ts";

const report = (more: Partial<TickReport> = {}): TickReport => ({
	tick_id: "tick_1",
	dry_run: false,
	trigger: "cli",
	started_at: "2026-01-01T00:00:00.000Z",
	duration_ms: 38,
	budget_ms: 25_000,
	stopped_by: "nothing_due",
	claimed: 0,
	outcomes: {},
	expired_leases: 0,
	expired_starts: 0,
	pruned: 0,
	jobs: [],
	jobs_omitted: 0,
	held: [],
	statements: 1,
	next_wake_at: null,
	next_wake_reason: "nothing",
	...more,
});

describe("reportText", () => {
	it("is two sentences for an idle tick", () => {
		expect(reportText(report())).toBe(
			"The tick started 0 jobs. It took 38 ms and stopped because nothing more was due.\n\n1 statement; nothing is waiting.\n",
		);
	});

	it("says all that was done, with the words for one and for many", () => {
		const text = reportText(
			report({
				claimed: 1,
				expired_leases: 1,
				expired_starts: 1,
				pruned: 1,
				outcomes: { done: 1, retry: 0 },
				statements: 2500,
				next_wake_at: "2026-01-01T10:20:30.000Z",
				next_wake_reason: "delayed",
			}),
		);
		expect(text).toContain("The tick started 1 job, took back 1 lost lease, cancelled 1 job past its start deadline, removed 1 old job.");
		expect(text).toContain("  1 done\n");
		expect(text).not.toContain("0 retry");
		expect(text).toContain("2,500 statements; next wake 10:20:30 UTC (delayed).");
		expect(reportText(report({ claimed: 2, expired_leases: 2, expired_starts: 2, pruned: 2 }))).toContain(
			"started 2 jobs, took back 2 lost leases, cancelled 2 jobs past their start deadline, removed 2 old jobs.",
		);
	});

	it.each(["nothing_due", "budget", "jobs", "statements", "slots", "stopped"] as const)("has a reason for %s", stopped_by => {
		expect(reportText(report({ stopped_by }))).toMatch(/stopped because [a-z ]+\.\n/);
	});

	it("shows jobs and what is held as tables whose columns are aligned", () =>
		inQueue(
			async queue => {
				for (let i = 0; i < 3; i++) await submit(queue, { task: "echo" });
				await submit(queue, { task: "echo" }, "a-much-longer-tenant");
				for (const tenant of ["b", "c"]) await submit(queue, { task: "echo", delay_ms: 60_000 }, tenant);
				const dry = reportText((await dryTick(queue)).body);
				expect(dry).toContain("A tick now would start 2 jobs. Nothing was changed.");
				expect(dry).toMatch(/ {2}TENANT +TASK +JOB +ATTEMPT +WAITED\n/);
				expect(dry).toMatch(/ {2}HELD JOBS +TENANTS +WHY\n {2}2 +1 +at their tenant's concurrency limit\n {2}2 +2 +not due yet\n/);
				const rows = dry.split("\n").filter(line => line.includes("job_"));
				expect(rows).toHaveLength(2);
				expect(new Set(rows.map(row => row.indexOf("job_"))).size).toBe(1);
				const wet = reportText((await tick(queue)).body);
				expect(wet).toMatch(/ATTEMPT +WAITED +RAN +OUTCOME\n/);
				expect(wet).toContain("  4 done\n");
			},
			{ config: { tenantConcurrency: 1 } },
		));

	it("says how many jobs it leaves out", () => {
		const [job] = [{ id: "job_1", tenant_id: "a", task: "echo", attempt: 1, outcome: "done", waited_ms: 1, ran_ms: 1 }];
		expect(reportText(report({ jobs: [job!], jobs_omitted: 1500 }))).toContain("… 1,500 more jobs");
	});

	it("says in words what holds jobs whose task keeps failing, or was told to wait", () => {
		const held = (["circuit_open", "retry_after"] as const).map(code => ({ code, jobs: 3, tenants: 1 }));
		const text = reportText(report({ dry_run: true, held }));
		expect(text).toMatch(/ {2}3 +1 +they kept failing alike: their circuit is open, one a minute probes\n/);
		expect(text).toMatch(/ {2}3 +1 +what they depend on asked to be left alone for a while\n/);
	});

	it("shows a code of a hold that it does not know as it is", () => {
		expect(reportText(report({ held: [{ code: "something_new", jobs: 1, tenants: 1 }] }))).toContain("something_new");
	});
});
