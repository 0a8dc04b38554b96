/** POST /api/jobs: accepts a job, durably, or says why not. */

import type { Deps } from "../lib/context.ts";
import type { Body } from "../lib/contract.ts";
import { waitForEnd } from "../lib/findJob.ts";
import type { Job } from "../lib/job.ts";
import { toJobId } from "../lib/jobId.ts";
import { backlogFull, maxRetriesOf, taskFor, toStored, type Work } from "../lib/newJob.ts";
import { operation, Reply } from "../lib/operation.ts";
import { Problem } from "../lib/problem.ts";
import { remoteAttemptMsMax } from "../lib/runJob.ts";
import type { NewJob, TenantStore } from "../lib/storage/storage.ts";
import { checkWebhookUrl } from "../lib/webhookUrl.ts";
import { jobText } from "../lib/wire.ts";

export const submitJob = operation("submitJob", async ({ body, query, headers, store, deps, request, traceId, traceParent }) => {
	const nowMs = deps.clock.now();
	const work = workOf(body, deps);
	const { name, payload, taskInPayload } = work;
	const task = await taskFor(work, deps.tasks, store);
	const idempotencyKey = oneKey(headers.get("idempotency-key"), body.idempotency_key ?? undefined);
	const runAt = dueTime(body, nowMs);
	checkTimeout(body, task === undefined ? remoteAttemptMsMax(deps) : deps.config.timeoutMsMax);
	if (body.webhook_url) checkWebhookUrl(body.webhook_url, "/webhook_url", deps.outsideAllow);

	const job: NewJob = {
		task: name,
		payload: JSON.stringify(payload),
		taskInPayload,
		maxRetries: body.max_retries ?? maxRetriesOf(task),
		tail: deps.random.tail(),
		traceId,
		...(runAt === undefined ? {} : { runAt }),
		...(body.priority ? { priority: body.priority } : {}),
		...(body.start_by ? { startBy: Date.parse(body.start_by) } : {}),
		...(body.timeout_ms ? { timeoutMs: body.timeout_ms } : {}),
		...(body.key ? { key: body.key } : {}),
		...(body.tags ? { tags: [...new Set(body.tags)] } : {}),
		...(body.webhook_url ? { webhookUrl: body.webhook_url } : {}),
		...(traceParent === undefined ? {} : { traceParent }),
		...(idempotencyKey === undefined
			? {}
			: { idempotency: { key: idempotencyKey, fingerprint: await fingerprintOf(body), expiresAt: nowMs + deps.config.idempotencyMs } }),
	};
	const answer = await store.insertJob(job, nowMs);
	switch (answer.status) {
		case "created":
			deps.wake.ring();
			return reply(toStored(job, answer, store.tenant), {}, query.wait_ms, store, deps, request);
		case "replayed":
			return reply(await replayed(answer.id, store), { "idempotency-replayed": "true" }, query.wait_ms, store, deps, request);
		case "key_conflict":
			throw new Problem(
				"idempotency_key_reused",
				`The key ${idempotencyKey} came with another request before. Send the same request again, or use a new key.`,
			);
		case "backlog_full":
			throw backlogFull(store.tenant);
	}
});

/** The task is named beside the payload, or in it, where it is no part of what the task sees. */
function workOf(body: Body<"submitJob">, { tasks }: Pick<Deps, "tasks">): Required<Work> {
	const payload = body.payload ?? {};
	if (typeof body.task === "string") return { name: body.task, pointer: "/task", payload, taskInPayload: false };
	const inPayload = (payload as { task?: unknown }).task;
	if (typeof inPayload === "string") return { name: inPayload, pointer: "/payload/task", payload, taskInPayload: true };
	const known = Object.keys(tasks);
	throw new Problem("task_required", `Name the task: {"task": "${known[0] ?? "echo"}", "payload": …}. Known: ${known.join(", ")}.`, {
		errors: [{ pointer: "/task", code: "required", detail: "name the task here or in payload.task" }],
		members: { known_tasks: known },
	});
}

function checkTimeout({ timeout_ms }: Body<"submitJob">, mostMs: number): void {
	if (typeof timeout_ms === "number" && timeout_ms > mostMs)
		throw new Problem("body_invalid", `An attempt can take ${mostMs} ms here. Ask for less, or split the work into follow-up jobs.`, {
			errors: [{ pointer: "/timeout_ms", code: "too_big", detail: `is above ${mostMs}, the most that is allowed here` }],
		});
}

function dueTime({ run_at, delay_ms }: Body<"submitJob">, nowMs: number): number | undefined {
	if (typeof run_at === "string" && typeof delay_ms === "number")
		throw new Problem("run_at_and_delay_ms", "run_at and delay_ms both say when to run: send one of them.", {
			errors: [{ pointer: "/delay_ms", code: "conflict", detail: "stands beside run_at" }],
		});
	if (typeof run_at === "string") return Date.parse(run_at);
	return typeof delay_ms === "number" && delay_ms > 0 ? nowMs + delay_ms : undefined;
}

/** The header of draft-ietf-httpapi-idempotency-key-header-07 (a quoted string; bare is taken too), or the body's field. */
function oneKey(header: string | null, field: string | undefined): string | undefined {
	if (header === null) return field;
	const key = /^"(?:[^"\\]|\\["\\])*"$/.test(header) ? header.slice(1, -1).replaceAll(/\\(.)/g, "$1") : header;
	if (key.length === 0 || key.length > 255) throw new Problem("header_invalid", "Idempotency-Key takes 1 to 255 characters.");
	if (field !== undefined && field !== key)
		throw new Problem("idempotency_keys_differ", "The header Idempotency-Key and idempotency_key in the body differ: send one of them.");
	return key;
}

/** Two requests are the same when their bodies say the same, whatever the order of their fields. */
async function fingerprintOf({ idempotency_key: _, ...body }: Body<"submitJob">): Promise<string> {
	const given = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null && value !== undefined));
	const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(inOrder(given))));
	return [...new Uint8Array(digest).subarray(0, 16)].map(byte => byte.toString(16).padStart(2, "0")).join("");
}
function inOrder(value: unknown): unknown {
	if (Array.isArray(value)) return value.map(inOrder);
	if (value === null || typeof value !== "object") return value;
	return Object.fromEntries(
		Object.entries(value)
			.sort(([a], [b]) => (a < b ? -1 : 1))
			.map(([name, item]) => [name, inOrder(item)]),
	);
}

async function replayed(id: number, store: TenantStore): Promise<Job> {
	const job = await store.getJobById(id);
	if (job === null)
		throw new Problem("job_not_found", "The idempotency key made a job that has been deleted since. To run it again, use a new key.");
	return job;
}

async function reply(
	job: Job,
	headers: Record<string, string>,
	waitMs: number | undefined,
	store: TenantStore,
	deps: Pick<Deps, "clock" | "ended" | "platform">,
	request: Request,
) {
	const now = waitMs === undefined ? job : await waitForEnd(job, waitMs, store, deps, request);
	const id = toJobId(job);
	return new Reply(jobText(now, { id }), { location: `/api/jobs/${id}`, ...headers });
}
