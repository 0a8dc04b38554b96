import { Webhook } from "standardwebhooks";
import { defineTask, Failed, type OutsideInit } from "tickq";
import { describe, expect, it } from "vitest";
import { http_request } from "../../functions/tasks/http_request.ts";
import { tenantSecrets } from "../../lib/webhook.ts";
import { inQueue, read, submit, tick } from "../functions/inQueue.ts";
import type { Harness } from "../support/harness.ts";

const HOOK = "https://hooks.example/tickq";
const SECRETS = ["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="];

interface Call {
	readonly url: string;
	readonly init: OutsideInit;
	// biome-ignore lint/suspicious/noExplicitAny: tests look at whatever came.
	readonly body: any;
}

const tasks = {
	http_request,
	greet: defineTask({ run: (payload: unknown) => ({ hello: payload }) }),
	refuse: defineTask({
		run() {
			throw new Failed("no");
		},
	}),
	fail: defineTask({
		run() {
			throw new Error("away");
		},
	}),
};

/** A queue whose calls outside are written down and answered by `answer`. */
const inCallingQueue = (run: (queue: Harness, calls: Call[]) => Promise<void>, answer: () => Response = () => new Response("ok")) => {
	const calls: Call[] = [];
	return inQueue(
		queue => {
			Object.assign(queue.deps, {
				webhookSecrets: SECRETS,
				fetchOutside(url: string | URL, init: OutsideInit = {}) {
					calls.push({ url: String(url), init, body: JSON.parse(init.body ?? "null") });
					return Promise.resolve(answer());
				},
			});
			return run(queue, calls);
		},
		{ tasks },
	);
};

describe("a job's webhook", () => {
	it.each([
		["done", "greet", {}],
		["failed", "refuse", {}],
		["dead_letter", "fail", { max_retries: 0 }],
	])("is called once when the job is %s", (status, task, more) =>
		inCallingQueue(async (queue, calls) => {
			const { id } = await submit(queue, { task, payload: 5, webhook_url: HOOK, ...more });
			await tick(queue);
			await tick(queue);
			expect(calls).toHaveLength(1);
			const job = await read(queue, id);
			expect(calls[0]).toMatchObject({ url: HOOK, body: { type: `job.${status}`, timestamp: job.completed_at, data: { id, status } } });
			expect(calls[0]!.init.method).toBe("POST");
		}),
	);

	it("is called when the job is cancelled while it waits, or misses its deadline", () =>
		inCallingQueue(async (queue, calls) => {
			const { id } = await submit(queue, { task: "greet", delay_ms: 60_000, webhook_url: HOOK });
			await submit(queue, { task: "greet", delay_ms: 60_000, start_by: "2026-01-01T00:00:01Z", webhook_url: HOOK });
			await queue.call("cancelJob", `/api/jobs/${id}/cancel`, { method: "POST" });
			await queue.clock.advance(1000);
			await tick(queue);
			expect(calls.map(({ body }) => [body.type, body.data.reason]).sort()).toEqual([
				["job.cancelled", "expired"],
				["job.cancelled", "requested"],
			]);
		}));

	it("is called again for the next ending, when the job is retried", () =>
		inCallingQueue(async (queue, calls) => {
			const { id } = await submit(queue, { task: "refuse", webhook_url: HOOK });
			await tick(queue);
			await queue.clock.advance(1000);
			await queue.call("retryJob", `/api/jobs/${id}/retry`, { method: "POST" });
			await tick(queue);
			expect(calls).toHaveLength(2);
		}));

	it("is signed so that either secret of a rotation verifies it", () =>
		inCallingQueue(async (queue, calls) => {
			await submit(queue, { task: "greet", webhook_url: HOOK });
			await tick(queue);
			const { headers = {}, body = "" } = calls[0]!.init;
			const timestamp = Number(headers["webhook-timestamp"]);
			expect(timestamp).toBe(Math.floor(queue.clock.now() / 1000));
			for (const secret of await tenantSecrets(SECRETS, "acme"))
				expect(verifyAt(secret, body, headers)).toMatchObject({ type: "job.done" });
			const [stranger] = await tenantSecrets(SECRETS, "beta");
			expect(() => verifyAt(stranger!, body, headers)).toThrow();
		}));
	/** The reference looks at the wall clock; the signature is checked all the same. */
	const verifyAt = (secret: string, body: string, headers: Readonly<Record<string, string>>): unknown => {
		const now = Date.now;
		Date.now = () => Number(headers["webhook-timestamp"]) * 1000;
		try {
			return new Webhook(secret).verify(body, { ...headers });
		} finally {
			Date.now = now;
		}
	};

	it("is tried again by the rules of any job where the receiver is away", () => {
		let away = true;
		return inCallingQueue(
			async (queue, calls) => {
				await submit(queue, { task: "greet", webhook_url: HOOK });
				await tick(queue);
				away = false;
				await queue.clock.advance(300_000);
				await tick(queue);
				expect(calls).toHaveLength(2);
				expect(calls[0]!.init.headers!["webhook-id"]).toBe(calls[1]!.init.headers!["webhook-id"]);
			},
			() => new Response("", { status: away ? 503 : 200 }),
		);
	});

	it("may be the tenant's, for all its jobs that name none", () =>
		inCallingQueue(async (queue, calls) => {
			const put = (url: string | null) => queue.call("setWebhook", "/api/webhook", { method: "PUT", body: { url } });
			expect((await put(HOOK)).status).toBe(200);
			await submit(queue, { task: "greet" });
			await submit(queue, { task: "greet", webhook_url: "https://own.example/" });
			await submit(queue, { task: "greet" }, "beta");
			await tick(queue);
			expect(calls.map(({ url }) => url).sort()).toEqual([HOOK, "https://own.example/"]);
			await put(null);
			await submit(queue, { task: "greet" });
			await tick(queue);
			expect(calls).toHaveLength(2);
		}));

	it("does not make calls of calls", () =>
		inCallingQueue(async (queue, calls) => {
			await queue.call("setWebhook", "/api/webhook", { method: "PUT", body: { url: HOOK } });
			await submit(queue, { task: "greet" });
			for (let i = 0; i < 5; i++) await tick(queue);
			expect(calls).toHaveLength(1);
			expect((await queue.call("metrics", "/api/metrics")).body).toMatchObject({ done: 2, pending: 0 });
		}));

	it("is told by one job where a crash comes between storing it and saying so", () =>
		inCallingQueue(async (queue, calls) => {
			await submit(queue, { task: "greet", webhook_url: HOOK });
			const { worker } = queue.deps.storage;
			const tell = worker.tellWebhooks.bind(worker);
			worker.tellWebhooks = () => Promise.reject(new Error("cut"));
			await tick(queue);
			worker.tellWebhooks = tell;
			await tick(queue);
			await tick(queue);
			expect(calls).toHaveLength(1);
		}));
});
