/** The emulator is open to this machine, and to nobody else who reaches it through the machine's own browser. */
import { request } from "node:http";
import { describe, expect, it } from "vitest";
import { serve } from "../../emulator/serve.ts";
import { functions } from "../../functions/all.ts";
import { createHarness } from "../support/harness.ts";

/** A raw request, since fetch does not let its Host be chosen. */
function ask(port: number, path: string, headers: Record<string, string>): Promise<{ status: number; body: string }> {
	return new Promise((resolve, reject) => {
		const asked = request({ port, host: "127.0.0.1", path, headers, agent: false }, response => {
			let body = "";
			response.on("data", chunk => {
				body += chunk;
			});
			response.on("end", () => resolve({ status: response.statusCode!, body }));
		});
		asked.on("upgrade", (response, socket) => {
			socket.destroy();
			resolve({ status: response.statusCode!, body: "" });
		});
		asked.on("error", reject);
		asked.end();
	});
}
const WEBSOCKET = {
	connection: "Upgrade",
	upgrade: "websocket",
	"sec-websocket-version": "13",
	"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
};

describe("serve", () => {
	it("answers to this machine's names only", async () => {
		const queue = await createHarness();
		const serving = await serve(functions, () => queue.deps, 0);
		for (const host of ["localhost", "127.0.0.1", "[::1]", `localhost:${serving.port}`])
			expect((await ask(serving.port, "/health", { host })).status).toBe(200);
		for (const host of ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "10.0.0.1"]) {
			const { status, body } = await ask(serving.port, "/api/metrics", { host });
			expect([host, status, JSON.parse(body).code]).toEqual([host, 403, "host_forbidden"]);
		}
		await serving.close();
		await queue.close();
	});

	it("lets no page of another site listen to the live metrics", async () => {
		const queue = await createHarness();
		const serving = await serve(functions, () => queue.deps, 0);
		const listen = (origin?: string) => ask(serving.port, "/ws/metrics", { ...WEBSOCKET, ...(origin === undefined ? {} : { origin }) });
		expect((await listen()).status).toBe(101);
		expect((await listen(`http://localhost:${serving.port}`)).status).toBe(101);
		for (const origin of ["https://evil.example", "null"]) expect((await listen(origin)).status).not.toBe(101);
		await serving.close();
		await queue.close();
	});
});
