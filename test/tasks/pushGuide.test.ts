import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";

import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createFetchOutside } from "../../emulator/fetchOutside.ts";
import { http_request } from "../../functions/tasks/http_request.ts";
import { readAllow } from "../../lib/outside.ts";
import type { TaskContext } from "../../lib/task.ts";
import { signWebhook, tenantSecrets } from "../../lib/webhook.ts";
import { type LocalServer, startServer } from "../support/localServer.ts";

const [OLD, NEW] = [1, 2].map(byte => `whsec_${Buffer.alloc(32, byte).toString("base64")}`) as [string, string];
const guide = readFileSync(new URL("../../docs/push.md", import.meta.url), "utf8");

/** The receiving function, as it is printed. */
async function printed(): Promise<{ fetch(request: Request, env: { TICKQ_SECRETS: string }): Promise<Response> }> {
	const code = /```js\n([\s\S]*?)```/.exec(guide)![1]!;
	const bare = code.replace('"standardwebhooks"', JSON.stringify(import.meta.resolve("standardwebhooks")));
	expect(bare).not.toBe(code);
	return (await import(/* @vite-ignore */ `data:text/javascript,${encodeURIComponent(bare)}`)).default;
}

describe("the guide's endpoint", () => {
	let server: LocalServer;
	let env = { TICKQ_SECRETS: "" };
	beforeAll(async () => {
		const endpoint = await printed();
		server = await startServer(async ({ url, method, headers, body }, response) => {
			const request = new Request(new URL(url, "http://localhost"), { method, headers: headers as Record<string, string>, body });
			const answer = await endpoint.fetch(request, env);
			response.writeHead(answer.status, Object.fromEntries(answer.headers)).end(await answer.text());
		});
	});
	afterAll(() => server.close());

	const push = (secrets: readonly string[], body: unknown, tenant = "acme") => {
		const context = {
			signal: new AbortController().signal,
			attempt: 1,
			jobId: "job_1",
			idempotencyKey: "job_1",
			tenant,
			traceId: "0af7651916cd43dd8448eb211c80319c",
			fetchOutside: createFetchOutside({ clock: { after: () => () => {} }, allow: readAllow("127.0.0.1") }),
			sign: (id: string, text: string) => signWebhook(secrets, tenant, id, Date.now(), text),
		} as unknown as TaskContext;
		return http_request.run(http_request.input!.parse({ url: server.url, body }), context);
	};

	it("takes a job that is signed, with either secret of a rotation", async () => {
		for (const known of [[OLD], [NEW], [OLD, NEW]]) {
			env = { TICKQ_SECRETS: (await tenantSecrets(known, "acme")).join(" ") };
			const { status, body } = await push([NEW, OLD], { image: "cat.png", width: 200 });
			expect([status, body]).toEqual([200, { stored: "job_1/200/cat.png" }]);
		}
	});

	it("refuses what is not signed, or signed for somebody else", async () => {
		env = { TICKQ_SECRETS: (await tenantSecrets([NEW], "acme")).join(" ") };
		await expect(push([], { image: "cat.png" })).rejects.toThrow('answered 401: "not signed by tickq"');
		await expect(push([NEW], { image: "cat.png" }, "globex")).rejects.toThrow("answered 401");
		await expect(push([OLD], { image: "cat.png" })).rejects.toThrow("answered 401");
	});

	it("ends a job for good that it cannot do", async () => {
		env = { TICKQ_SECRETS: (await tenantSecrets([NEW], "acme")).join(" ") };
		await expect(push([NEW], {})).rejects.toMatchObject({
			name: "Failed",
			message: expect.stringContaining('answered 422: "image is missing"'),
		});
	});
});

describe("the guide's command", () => {
	it("derives the secret that a tenant is to have", async () => {
		const code = /node -p '([\s\S]*?)'/.exec(guide)![1]!;
		const { stdout } = await promisify(execFile)(process.execPath, ["-p", code, "acme"], {
			env: { ...process.env, TICKQ_WEBHOOK_SECRETS: `${NEW} ${OLD}` },
		});
		expect([stdout.trim()]).toEqual(await tenantSecrets([NEW], "acme"));
	});
});
