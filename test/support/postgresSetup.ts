/** Has one PostgreSQL for the whole run, started when the first test file asks for it: a run without such files costs nothing. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import type { TestProject } from "vitest/node";
import { type PostgresServer, startPostgres } from "./postgresServer.ts";

declare module "vitest" {
	interface ProvidedContext {
		/** Where a test file asks for the PostgreSQL of this run; `postgres.ts` does. */
		postgresDoor: string;
	}
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
	let server: Promise<Pick<PostgresServer, "url" | "stop">> | null = null;
	const given = process.env.TEST_DATABASE_URL;
	const path = `/${randomUUID()}`;
	const door = createServer(async (request, response) => {
		if (request.url !== path) return void response.writeHead(404).end();
		try {
			server ??= given ? Promise.resolve({ url: given, stop: async () => {} }) : startPostgres();
			response.end((await server).url);
		} catch (error) {
			response.writeHead(500).end(`${(error as Error).message}\n(TEST_DATABASE_URL can name another PostgreSQL to test on.)`);
		}
	});
	door.listen(0, "127.0.0.1");
	await once(door, "listening");
	project.provide("postgresDoor", `http://127.0.0.1:${(door.address() as AddressInfo).port}${path}`);

	return async () => {
		door.close();
		door.closeAllConnections();
		await server?.then(
			started => started.stop(),
			() => {},
		);
	};
}
