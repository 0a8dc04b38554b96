import { describe, expect, it } from "vitest";
import { functions } from "../../functions/all.ts";
import { readAllow } from "../../lib/outside.ts";
import { answered, type Harness, toRequest } from "../support/harness.ts";
import { inQueue, read, submit } from "./inQueue.ts";

const set = (queue: Harness, url: unknown, tenant = "acme") =>
	queue.call("setWebhook", "/api/webhook", { method: "PUT", body: { url }, tenant });

describe("setWebhook", () => {
	it("is kept, changed and taken away", () =>
		inQueue(async queue => {
			for (const url of ["https://example.com/a?b=c", "http://example.com:8080/", null, "https://example.com/d", null, null]) {
				expect(await set(queue, url)).toMatchObject({ status: 200, body: { url } });
				expect((await queue.call("getWebhook", "/api/webhook")).body).toEqual({ url });
			}
		}));

	it("is what jobs have that name none, from then on; those that name one keep it", () =>
		inQueue(async queue => {
			const before = await submit(queue, { task: "echo" });
			await set(queue, "https://example.com/all");
			const after = await submit(queue, { task: "echo" });
			const own = await submit(queue, { task: "echo", webhook_url: "https://example.com/own" });
			const other = await submit(queue, { task: "echo" }, "other");
			expect(before.webhook_url).toBeNull();
			expect(after.webhook_url).toBe("https://example.com/all");
			expect(own.webhook_url).toBe("https://example.com/own");
			expect(other.webhook_url).toBeNull();
			for (const job of [before, after, own, other]) expect(await read(queue, job.id)).toEqual(job);
			await set(queue, null);
			expect((await submit(queue, { task: "echo" })).webhook_url).toBeNull();
			expect((await read(queue, after.id)).webhook_url).toBe("https://example.com/all");
		}));

	const INSIDE = [
		"http://localhost/",
		"http://api.localhost:8000/",
		"http://127.0.0.1/",
		"http://2130706433/",
		"http://0x7f.1/",
		"http://0177.0.0.1/",
		"http://127.1/",
		"http://[::1]/",
		"http://[::ffff:10.0.0.1]/",
		"http://10.1.2.3/",
		"http://192.168.1.1/",
		"http://169.254.169.254/latest/meta-data",
		"http://metadata.google.internal/",
		"http://intranet/",
		"http://example.com:22/",
	];
	it.each(INSIDE)("refuses %s, which leads inside, here and in a submit, and keeps what was there", url =>
		inQueue(async queue => {
			await set(queue, "https://example.com/");
			const { status, body } = await set(queue, url);
			expect(status).toBe(422);
			expect(body).toMatchObject({ code: "body_invalid", errors: [{ pointer: "/url", code: "outside_forbidden" }] });
			expect((await queue.call("getWebhook", "/api/webhook")).body.url).toBe("https://example.com/");
			const submitted = await queue.call("submitJob", "/api/jobs", { body: { task: "echo", webhook_url: url } });
			expect(submitted.body).toMatchObject({ status: 422, code: "body_invalid", errors: [{ pointer: "/webhook_url" }] });
			expect((await queue.deps.storage.operator.counts()).submitted).toBe(0);
		}),
	);

	it.each([
		"ftp://example.com/",
		"javascript:alert(1)",
		"file:///etc/passwd",
		"example.com",
		"/hook",
		"",
		"http://",
		"https://user:secret@example.com/",
		"https://user@example.com/",
		"https://example.com/a\nb",
		"https://example.com/\u0000",
		"https://example.com/\ud800",
		`https://example.com/${"x".repeat(2000)}`,
		5,
		{},
		undefined,
	])("refuses %j, which is no address to call, and repeats no secret", url =>
		inQueue(async queue => {
			const { status, body } = await set(queue, url);
			expect(status).toBe(422);
			expect(body.code).toBe("body_invalid");
			for (const { pointer } of body.errors) expect(pointer).toBe("/url");
			expect(JSON.stringify(body)).not.toContain("secret");
			expect((await queue.call("getWebhook", "/api/webhook")).body.url).toBeNull();
			if (url === undefined) return;
			const submitted = await queue.call("submitJob", "/api/jobs", { body: { task: "echo", webhook_url: url } });
			expect(submitted.body).toMatchObject({ status: 422, code: "body_invalid" });
			for (const { pointer } of submitted.body.errors) expect(pointer).toBe("/webhook_url");
		}),
	);

	it("takes what the operator allows although it is inside", () =>
		inQueue(async queue => {
			const deps = { ...queue.deps, outsideAllow: readAllow("10.1.2.0/24, hooks.internal") };
			const put = async (url: string) =>
				(await answered(functions.setWebhook(toRequest("/api/webhook", { method: "PUT", body: { url } }), deps))).status;
			expect(await put("http://10.1.2.3/")).toBe(200);
			expect(await put("http://hooks.internal/")).toBe(200);
			expect(await put("http://10.1.3.3/")).toBe(422);
		}));
});
