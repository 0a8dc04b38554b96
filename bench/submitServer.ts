/** A server in a process of its own: `tickq <file>`, the API as the emulator serves it, without workers; or `bare`. */
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createAdaptorServer } from "@hono/node-server";
import { Hono } from "hono";
import { loadTasks } from "../emulator/loadTasks.ts";
import { serve } from "../emulator/serve.ts";
import { functions } from "../functions/all.ts";
import { openQueue } from "./queue.ts";

async function serveTickq(file: string): Promise<number> {
	const { deps } = await openQueue(file, await loadTasks(), { tenantBacklog: 1_000_000_000 });
	return (await serve(functions, () => deps, 0)).port;
}

async function serveBare(): Promise<number> {
	const app = new Hono();
	app.post("/api/jobs", async context => context.json(await context.req.json()));
	const server = createAdaptorServer({ fetch: app.fetch }) as Server;
	await new Promise<void>(resolve => server.listen(0, "127.0.0.1", resolve));
	return (server.address() as AddressInfo).port;
}

const [kind, file] = process.argv.slice(2) as [string, string];
process.on("disconnect", () => process.exit());
process.send!({ port: await (kind === "tickq" ? serveTickq(file) : serveBare()) });
