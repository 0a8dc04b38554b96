import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { operations } from "../../lib/contract.ts";
import { EVENT_KINDS, type Job, type JobEvent, STATES } from "../../lib/job.ts";
import { instant, instantOrNull, jobText } from "../../lib/wire.ts";

const text = fc.string({ unit: "binary", maxLength: 20 });
const ms = fc.nat({ max: Date.UTC(9999, 0) });
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: null });
const jobs: fc.Arbitrary<Job> = fc.record({
	id: fc.integer({ min: 1, max: 2 ** 40 - 1 }),
	tail: fc.nat({ max: 2 ** 40 - 1 }),
	tenant: text,
	task: text,
	state: fc.constantFrom(...STATES),
	reason: maybe(fc.constantFrom("not_retryable", "retries_exhausted", "lease_lost", "requested", "expired")),
	priority: fc.integer(),
	seq: fc.integer({ min: 1, max: 100 }),
	createdAt: ms,
	runAt: ms,
	startBy: maybe(ms),
	startedAt: maybe(ms),
	completedAt: maybe(ms),
	expiresAt: maybe(ms),
	failures: fc.nat({ max: 100 }),
	losses: fc.nat({ max: 3 }),
	claims: fc.nat(),
	maxRetries: fc.nat({ max: 100 }),
	timeoutMs: maybe(fc.nat()),
	leaseUntil: maybe(ms),
	cancelRequestedAt: maybe(ms),
	taskInPayload: fc.boolean(),
	worker: maybe(text),
	key: maybe(text),
	traceId: fc.stringMatching(/^[0-9a-f]{32}$/),
	traceParent: maybe(text),
	parentId: fc.constant(null),
	copyOf: maybe(text),
	webhookUrl: maybe(text),
	fingerprint: maybe(text),
	tags: fc.array(text, { maxLength: 3 }),
	progress: maybe(fc.constant('{"percent":5,"message":"\\u0000"}')),
	error: maybe(fc.constant('{"message":"no \\"x\\"","attempt":1}')),
	result: maybe(fc.json()),
	payload: fc.json(),
}) as fc.Arbitrary<Job>;

describe("jobText", () => {
	it("is JSON of the contract's form for any job", () => {
		fc.assert(
			fc.property(jobs, job => {
				const parsed = JSON.parse(jobText(job));
				expect(operations.getJob.answer.safeParse(parsed).error).toBeUndefined();
				expect(JSON.stringify(parsed.payload)).toBe(JSON.stringify(JSON.parse(job.payload)));
				expect(JSON.stringify(parsed.result)).toBe(JSON.stringify(JSON.parse(job.result ?? "null")));
				expect(
					z
						.object({})
						.loose()
						.parse(JSON.parse(jobText(job, { inList: true }))).id,
				).toBe(parsed.id);
				for (const ms of Object.values(parsed.timing)) if (ms !== null) expect(ms).toBeGreaterThanOrEqual(0);
			}),
		);
	});

	it("has a sentence for every kind of event", () => {
		fc.assert(
			fc.property(
				jobs,
				fc.constantFrom(...EVENT_KINDS),
				fc.constantFrom<JobEvent["data"]>(
					{ attempt: 1 },
					{ attempt: 1, error: null },
					{ error: { message: "no" }, attempt: 1, run_at: 5, reason: "expired" },
				),
				(job, kind, data) => {
					const { history } = JSON.parse(jobText(job, { history: [{ seq: 1, at: 0, kind, data }] }));
					expect(history[0].text).toMatch(/^[A-Z].*\.$/s);
					expect(history[0].text).not.toContain("undefined");
					expect(operations.getJob.answer.shape.history.safeParse(history).error).toBeUndefined();
				},
			),
		);
	});

	it("has no parts that a payload could pass for", () => {
		const [job] = fc.sample(jobs, 1);
		const parsed = JSON.parse(jobText({ ...job!, payload: '"\\",\\"status\\":\\"done"', state: "ready", task: '","status":"done' }));
		expect(parsed).toMatchObject({ payload: '","status":"done', status: "pending", task: '","status":"done' });
	});
});

describe("instants", () => {
	it("are RFC 3339 in UTC, with milliseconds", () => {
		expect(instant(0)).toBe("1970-01-01T00:00:00.000Z");
		expect([instantOrNull(null), instantOrNull(1)]).toEqual([null, "1970-01-01T00:00:00.001Z"]);
	});
});
