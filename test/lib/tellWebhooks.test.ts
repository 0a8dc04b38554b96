import { Webhook } from "standardwebhooks";
import { defineTask, Failed, type OutsideInit } from "tickq";
import { describe, expect, it } from "vitest";
import { http_request, webhook } from "../../functions/tasks/http_request.ts";
import { StorageUnavailable } from "../../lib/storage/storage.ts";
import { tenantSecrets } from "../../lib/webhook.ts";
import { createGate, inQueue, read, startTicking, submit, tick } from "../functions/inQueue.ts";
import { type Harness, type HarnessOptions, settle } from "../support/harness.ts";

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
	webhook,
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
const inCallingQueue = (
	run: (queue: Harness, calls: Call[]) => Promise<void>,
	answer: (url: string) => Response | Promise<Response> = () => new Response("ok"),
	options: HarnessOptions = {},
) => {
	const calls: Call[] = [];
	return inQueue(
		queue => {
			Object.assign(queue.deps, {
				webhookSecrets: SECRETS,
				async fetchOutside(url: string | URL, init: OutsideInit = {}) {
					calls.push({ url: String(url), init, body: JSON.parse(init.body ?? "null") });
					return answer(String(url));
				},
			});
			return run(queue, calls);
		},
		{ tasks, ...options },
	);
};

/** Signing is done in other threads, which no clock of a test moves: waits until an address has been called. */
async function called(calls: readonly Call[], wanted: string): Promise<void> {
	while (!calls.some(({ url }) => url === wanted)) await settle();
}

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
			expect((await queue.call("metrics", "/api/metrics", { tenant: "*" })).body).toMatchObject({ done: 2, pending: 0 });
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

	// Bug: a payload that had a token in its headers was sent to whatever the webhook was.
	it("says nothing of the payload, but how the job ended", () =>
		inCallingQueue(async (queue, calls) => {
			const payload = { url: "https://api.example/", headers: { Authorization: "Bearer s3cret-token" } };
			await submit(queue, { task: "http_request", payload, webhook_url: HOOK });
			await submit(queue, { task: "greet", payload: "s3cret", webhook_url: HOOK });
			for (let i = 0; i < 3; i++) await tick(queue);
			const told = calls.filter(({ url }) => url === HOOK);
			expect(told.map(({ body }) => body.data.result)).toEqual(
				expect.arrayContaining([expect.objectContaining({ status: 200, body: "ok" }), { hello: "s3cret" }]),
			);
			expect(told).toHaveLength(2);
			for (const { body, init } of told) {
				expect(body.data).not.toHaveProperty("payload");
				expect(init.body).not.toContain("s3cret-token");
			}
		}));

	// Bug: the key of a call was the job and the millisecond.
	it("is called for each of two ends that come in one millisecond", () =>
		inCallingQueue(async (queue, calls) => {
			const { id } = await submit(queue, { task: "refuse", webhook_url: HOOK });
			await tick(queue);
			await queue.call("retryJob", `/api/jobs/${id}/retry`, { method: "POST" });
			await tick(queue);
			await queue.call("retryJob", `/api/jobs/${id}/retry`, { method: "POST" });
			await queue.call("cancelJob", `/api/jobs/${id}/cancel`, { method: "POST" });
			await tick(queue);
			expect(calls.map(({ body }) => body.type)).toEqual(["job.failed", "job.failed", "job.cancelled"]);
		}));

	/** The store takes no batch with a call to bad.example in it, as where one batch is one transaction. Answers how to mend it. */
	function refuseBad(queue: Harness): { mended: boolean; sent: string[] } {
		const { worker } = queue.deps.storage;
		const insert = worker.insertJobFor.bind(worker);
		const state = { mended: false, sent: [] as string[] };
		let batch: string[] = [];
		worker.insertJobFor = async (tenant, job, nowMs) => {
			state.sent.push(JSON.parse(job.payload).url);
			batch.push(job.payload);
			const mine = batch;
			await Promise.resolve();
			batch = [];
			if (!state.mended && mine.some(payload => payload.includes("bad.example"))) throw new Error("cannot be stored");
			return insert(tenant, job, nowMs);
		};
		return state;
	}

	it("is called although another's call cannot be stored; that one is given up after a day, and the log says so", () =>
		inCallingQueue(async (queue, calls) => {
			refuseBad(queue);
			const { id } = await submit(queue, { task: "greet", webhook_url: "https://bad.example/" });
			await submit(queue, { task: "greet", webhook_url: HOOK }, "beta");
			await tick(queue);
			await queue.clock.advance(1000);
			await tick(queue);
			expect(calls.map(({ url }) => url)).toEqual([HOOK]);
			const givenUp = () => queue.logs.filter(({ message }) => message.startsWith("a webhook is not called"));
			expect(givenUp()).toEqual([]);
			expect(queue.logs.filter(({ level }) => level === "error")[0]).toMatchObject({ part: "webhooks", error: "cannot be stored" });
			await queue.clock.advance(24 * 3_600_000);
			await tick(queue);
			expect(givenUp()).toEqual([expect.objectContaining({ level: "error", job_id: id, tenant_id: "acme", error: "cannot be stored" })]);
			expect((await tick(queue)).body.stopped_by).toBe("nothing_due");
			expect(givenUp()).toHaveLength(1);
			expect(calls).toHaveLength(1);
		}));

	// Bug: whatever error was not known to pass made the queue forget all calls of that batch.
	it("is called when an error that nobody knows has passed", () =>
		inCallingQueue(async (queue, calls) => {
			const store = refuseBad(queue);
			for (let i = 0; i < 3; i++) await submit(queue, { task: "greet", webhook_url: "https://bad.example/" });
			await tick(queue);
			expect(calls).toEqual([]);
			// Each with the others, then alone: no more in one tick.
			expect(store.sent).toHaveLength(6);
			store.mended = true;
			await queue.clock.advance(1000);
			await tick(queue);
			expect(calls).toHaveLength(3);
		}));

	it("is called a tick later where the store was away for a moment, and the others at once", () =>
		inCallingQueue(async (queue, calls) => {
			const { worker } = queue.deps.storage;
			const insert = worker.insertJobFor.bind(worker);
			let away = true;
			worker.insertJobFor = (tenant, job, nowMs) => {
				if (!away || !job.payload.includes("away.example")) return insert(tenant, job, nowMs);
				away = false;
				return Promise.reject(new StorageUnavailable("away"));
			};
			await submit(queue, { task: "greet", webhook_url: "https://away.example/" });
			await submit(queue, { task: "greet", webhook_url: HOOK }, "beta");
			for (let i = 0; i < 3; i++) {
				await tick(queue);
				await queue.clock.advance(60_000);
			}
			expect(calls.map(({ url }) => url).sort()).toEqual(["https://away.example/", HOOK]);
		}));
});

describe("calls to webhooks", () => {
	const DEAD = () => new Response("", { status: 503 });

	// Bug: they waited in the tenant's own backlog.
	it("take no room in the backlog of their tenant", () =>
		inCallingQueue(
			async queue => {
				for (let i = 0; i < 4; i++) {
					await submit(queue, { task: "greet", webhook_url: HOOK });
					await tick(queue);
				}
				expect((await queue.call("metrics", "/api/metrics")).body).toMatchObject({ pending: 0, done: 4 });
				expect((await queue.call("metrics", "/api/metrics", { tenant: "~acme" })).body).toMatchObject({ pending: 4 });
			},
			DEAD,
			{ config: { tenantBacklog: 2 } },
		));

	// Bug: they waited for a slot of the tenant.
	it("are made while all slots of their tenant are taken", () => {
		const gate = createGate();
		return inCallingQueue(
			async (queue, calls) => {
				await submit(queue, { task: "gate" });
				const { report } = await startTicking(queue);
				const { id } = await submit(queue, { task: "greet", webhook_url: HOOK });
				await queue.call("cancelJob", `/api/jobs/${id}/cancel`, { method: "POST" });
				queue.deps.wake.ring();
				await queue.clock.advance(1000);
				await called(calls, HOOK);
				expect(calls.map(({ body }) => body.type)).toEqual(["job.cancelled"]);
				await gate.attempts[0]!.finish();
				await report;
			},
			undefined,
			{ config: { tenantConcurrency: 1 }, tasks: { ...tasks, gate: gate.task } },
		);
	});

	// Bug: the circuit that a dead receiver opened was that of the tenant's push jobs.
	it("that fail keep no push job of their tenant from running, and open no circuit", () =>
		inCallingQueue(
			async queue => {
				for (let i = 0; i < 5; i++) await submit(queue, { task: "greet", webhook_url: HOOK });
				for (let i = 0; i < 5; i++) {
					await tick(queue);
					await queue.clock.advance(60_000);
				}
				const { id } = await submit(queue, { task: "http_request", payload: { url: "https://api.example/" } });
				await tick(queue);
				expect(await read(queue, id)).toMatchObject({ status: "done" });
				const { tasks: known } = (await queue.call("listTasks", "/api/tasks", { tenant: null })).body;
				for (const { circuits_open } of known) expect(circuits_open).toBe(0);
			},
			url => (url === HOOK ? DEAD() : new Response("ok")),
			{ config: { circuitFailures: 2 } },
		));

	it("of a tenant whose receiver never answers keep no other tenant's from being made", () => {
		const hanging: ((answer: Response) => void)[] = [];
		let hangs = true;
		return inCallingQueue(
			async (queue, calls) => {
				for (let i = 0; i < 30; i++) await submit(queue, { task: "greet", webhook_url: HOOK });
				const { report } = await startTicking(queue);
				await submit(queue, { task: "greet", webhook_url: "https://beta.example/" }, "beta");
				await queue.clock.advance(1000);
				await called(calls, HOOK);
				await called(calls, "https://beta.example/");
				expect(hanging.length).toBeGreaterThan(0);
				hangs = false;
				for (const answer of hanging) answer(new Response("ok"));
				await report;
			},
			url => (hangs && url === HOOK ? new Promise<Response>(resolve => hanging.push(resolve)) : new Response("ok")),
		);
	});

	it("are found by their job's id under ~ and the tenant's name, tell whose job it was, and can be cancelled and retried there", () =>
		inCallingQueue(async (queue, calls) => {
			const { id, trace_id } = await submit(queue, { task: "greet", webhook_url: HOOK });
			await submit(queue, { task: "greet", webhook_url: HOOK }, "beta");
			await tick(queue);
			const find = async (tenant: string) => (await queue.call("listJobs", `/api/jobs?tag=webhook:${id}`, { tenant })).body.jobs;
			const [call, ...more] = await find("~acme");
			expect(more).toEqual([]);
			expect(call).toMatchObject({
				task: "webhook",
				tenant_id: "~acme",
				status: "done",
				trace_id,
				webhook_url: null,
				result: { status: 200 },
			});
			expect(await find("acme")).toEqual([]);
			expect(await find("~beta")).toEqual([]);
			expect(await find("*")).toHaveLength(1);
			expect(calls.find(({ body }) => body.data.id === id)!.init.headers).toMatchObject({ "tickq-tenant": "acme" });
			for (const act of ["cancelJob", "retryJob"] as const) {
				const path = `/api/jobs/${call.id}/${act === "cancelJob" ? "cancel" : "retry"}`;
				expect((await queue.call(act, path, { method: "POST", tenant: "~acme" })).body.code).toMatch(/^job_(not_)?finished$/);
				expect((await queue.call(act, path, { method: "POST", tenant: "acme" })).body.code).toBe("job_not_found");
			}
		}));

	it("are made by the queue alone: nothing is submitted, scheduled or copied under ~", () =>
		inCallingQueue(async queue => {
			const { body: submitted } = await queue.call("submitJob", "/api/jobs", { tenant: "~acme", body: { task: "greet" } });
			expect(submitted).toMatchObject({ status: 400, code: "tenant_invalid" });
			const schedule = { name: "a", task: "greet", cron: "@daily" };
			expect((await queue.call("createSchedule", "/api/schedules", { tenant: "~acme", body: schedule })).body.code).toBe("tenant_invalid");
			const put = await queue.call("setWebhook", "/api/webhook", { method: "PUT", tenant: "~acme", body: { url: HOOK } });
			expect(put.body.code).toBe("tenant_invalid");
			for (const tenant of ["~", "~~acme", "a~b", "~*"])
				expect((await queue.call("listJobs", "/api/jobs", { tenant })).body.code).toBe("tenant_invalid");
		}));

	it("are repeated for hours, and are a dead letter then", () =>
		inCallingQueue(async (queue, calls) => {
			const { id } = await submit(queue, { task: "greet", webhook_url: HOOK });
			const begun = queue.clock.now();
			await tick(queue);
			const delivery = async () => (await queue.call("listJobs", `/api/jobs?tag=webhook:${id}`, { tenant: "~acme" })).body.jobs[0];
			for (let job = await delivery(); job.status === "pending"; job = await delivery()) {
				await queue.clock.advance(Date.parse(job.run_at) - queue.clock.now());
				await tick(queue);
			}
			expect(await delivery()).toMatchObject({ status: "dead_letter", retry_count: 16 });
			expect(calls).toHaveLength(16);
			const hours = (queue.clock.now() - begun) / 3_600_000;
			expect(hours).toBeGreaterThan(12);
			expect(hours).toBeLessThan(24);
		}, DEAD));
});
