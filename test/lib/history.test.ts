import { describe, expect, it } from "vitest";
import { attemptOf, historyOf } from "../../lib/history.ts";
import type { Job, JobEvent } from "../../lib/job.ts";

const job = (more: Partial<Job>): Job => ({
	id: 1,
	tail: 1,
	tenant: "acme",
	task: "echo",
	state: "ready",
	reason: null,
	priority: 0,
	seq: 1,
	createdAt: 100,
	runAt: 100,
	startBy: null,
	startedAt: null,
	completedAt: null,
	expiresAt: null,
	failures: 0,
	losses: 0,
	claims: 0,
	maxRetries: 3,
	timeoutMs: null,
	leaseUntil: null,
	cancelRequestedAt: null,
	taskInPayload: false,
	worker: null,
	key: null,
	traceId: "0".repeat(32),
	traceParent: null,
	parentId: null,
	copyOf: null,
	webhookUrl: null,
	fingerprint: null,
	tags: [],
	progress: null,
	error: null,
	result: null,
	payload: "{}",
	...more,
});
const event = (seq: number, kind: JobEvent["kind"], at: number): JobEvent => ({ seq, at, kind, data: {} });
const told = (job: Job, written: readonly JobEvent[] = []) => historyOf(job, written).map(({ seq, kind, at }) => [seq, kind, at]);

describe("historyOf", () => {
	it("tells of a job that waits", () => {
		expect(told(job({}))).toEqual([[1, "submitted", 100]]);
	});

	it("tells of a job that runs", () => {
		expect(told(job({ state: "running", seq: 2, startedAt: 150, worker: "w" }))).toEqual([
			[1, "submitted", 100],
			[2, "claimed", 150],
		]);
	});

	it("tells of a job that is done, without one written event", () => {
		const events = historyOf(job({ state: "done", seq: 3, startedAt: 150, completedAt: 200, worker: "w" }), []);
		expect(events).toEqual([
			{ seq: 1, at: 100, kind: "submitted", data: {} },
			{ seq: 2, at: 150, kind: "claimed", data: { worker: "w", attempt: 1 } },
			{ seq: 3, at: 200, kind: "done", data: { reason: null } },
		]);
	});

	it("tells of a job that was cancelled before it ran", () => {
		expect(told(job({ state: "cancelled", reason: "requested", seq: 2, completedAt: 120 }))).toEqual([
			[1, "submitted", 100],
			[2, "cancelled", 120],
		]);
	});

	it("puts the row's own events between those that were written", () => {
		const dead = job({
			state: "dead",
			reason: "retries_exhausted",
			seq: 5,
			failures: 2,
			startedAt: 300,
			completedAt: 310,
			error: '{"message":"no"}',
		});
		expect(told(dead, [event(2, "claimed", 150), event(3, "retry", 160)])).toEqual([
			[1, "submitted", 100],
			[2, "claimed", 150],
			[3, "retry", 160],
			[4, "claimed", 300],
			[5, "dead_letter", 310],
		]);
	});

	it("tells of a cancel that was asked for while it ran", () => {
		const cancelled = job({ state: "cancelled", reason: "requested", seq: 4, startedAt: 150, completedAt: 220, cancelRequestedAt: 200 });
		expect(told(cancelled, [event(3, "cancel_requested", 200)])).toEqual([
			[1, "submitted", 100],
			[2, "claimed", 150],
			[3, "cancel_requested", 200],
			[4, "cancelled", 220],
		]);
	});

	it("tells of a refusal while it waits again, and of the claim and the end behind it", () => {
		const written = [event(2, "claimed", 150), event(3, "lost", 160), event(4, "refused", 170)];
		const kinds = ["submitted", "claimed", "lost", "refused"];
		expect(told(job({ seq: 4, startedAt: 150, losses: 1 }), written).map(([, kind]) => kind)).toEqual(kinds);
		const running = job({ state: "running", seq: 5, startedAt: 300 });
		expect(told(running, written)).toEqual([[1, "submitted", 100], ...told(running, written).slice(1, 4), [5, "claimed", 300]]);
		expect(told(job({ ...running, state: "done", seq: 6, completedAt: 310 }), written).slice(3)).toEqual([
			[4, "refused", 170],
			[5, "claimed", 300],
			[6, "done", 310],
		]);
	});

	it("takes the claim and the end from what is written where a refusal stands behind them", () => {
		const done = job({ state: "done", seq: 4, startedAt: 150, completedAt: 200 });
		expect(told(done, [event(2, "claimed", 150), event(3, "done", 200), event(4, "refused", 210)])).toEqual([
			[1, "submitted", 100],
			[2, "claimed", 150],
			[3, "done", 200],
			[4, "refused", 210],
		]);
	});

	it("tells the claim where only the end is written, and the end where only the claim is", () => {
		const dead = job({ state: "dead", reason: "retries_exhausted", seq: 3, failures: 1, startedAt: 150, completedAt: 200 });
		const whole = [
			[1, "submitted", 100],
			[2, "claimed", 150],
			[3, "dead_letter", 200],
		];
		expect(told(dead, [event(3, "dead_letter", 200)])).toEqual(whole);
		expect(told(dead, [event(2, "claimed", 150)])).toEqual(whole);
	});

	it("tells of refusals before and after a request to cancel", () => {
		const running = job({ state: "running", seq: 5, startedAt: 150, cancelRequestedAt: 170 });
		const written = [event(2, "claimed", 150), event(3, "refused", 160), event(4, "cancel_requested", 170), event(5, "refused", 180)];
		expect(told(running, written).map(([, kind]) => kind)).toEqual(["submitted", "claimed", "refused", "cancel_requested", "refused"]);
		const cancelled = job({ ...running, state: "cancelled", reason: "requested", seq: 6, completedAt: 200 });
		expect(told(cancelled, written).at(-1)).toEqual([6, "cancelled", 200]);
	});

	it("tells the error and the reason of the end", () => {
		const failed = job({
			state: "failed",
			reason: "not_retryable",
			seq: 3,
			failures: 1,
			startedAt: 1,
			completedAt: 2,
			error: '{"message":"no","attempt":1}',
		});
		expect(historyOf(failed, []).at(-1)).toMatchObject({
			kind: "failed",
			data: { reason: "not_retryable", error: { message: "no", attempt: 1 } },
		});
	});
});

describe("attemptOf", () => {
	it.each<[string, Partial<Job>, number]>([
		["waits for its first", {}, 1],
		["runs its first", { state: "running" }, 1],
		["waits for its second", { state: "delayed", failures: 1 }, 2],
		["is done with its third", { state: "done", failures: 2 }, 3],
		["failed in its first", { state: "failed", reason: "not_retryable", failures: 1 }, 1],
		["spent all four", { state: "dead", reason: "retries_exhausted", failures: 4 }, 4],
		["lost its lease in its second", { state: "dead", reason: "lease_lost", failures: 1 }, 2],
		["was cancelled in its second", { state: "cancelled", reason: "requested", failures: 1 }, 2],
	])("of a job that %s", (_, more, attempt) => {
		expect(attemptOf(job(more))).toBe(attempt);
	});
});
