/**
 * The suite on a database that somebody has named: `npm run conformance`, which says in TICKQ_CONFORMANCE_DATABASE where tests may make
 * files or schemas, and removes whatever is left. Every test has one of its own.
 */
import { rmSync } from "node:fs";
import postgres from "postgres";
import { afterAll } from "vitest";
import { openPostgres } from "../../emulator/openPostgres.ts";
import { openStorage } from "../../emulator/openStorage.ts";
import { readAddress } from "../../emulator/postgresPool.ts";
import { conformance, type Opened } from "./conformance.ts";
import { DEFAULTS, TASKS } from "./desk.ts";

const database = process.env.TICKQ_CONFORMANCE_DATABASE;
if (database === undefined) throw new Error("TICKQ_CONFORMANCE_DATABASE says nothing: run npm run conformance -- --database URL");
let stores = 0;

async function openFile(path: string): Promise<Opened> {
	const file = `${path}.${++stores}`;
	const again = async () => (await openStorage(file, DEFAULTS, TASKS)).storage;
	const storage = await again();
	const close = async () => {
		await storage.close();
		for (const end of ["", "-wal", "-shm"]) rmSync(file + end, { force: true });
	};
	return { storage, again, close };
}

function schemasOf(address: string): () => Promise<Opened> {
	const { url, schema, ssl, prepare } = readAddress(address);
	const admin = postgres(url.href, { max: 1, prepare, ...(ssl === undefined ? {} : { ssl }), onnotice: () => {} });
	afterAll(() => admin.end({ timeout: 5 }));
	return async () => {
		const name = `${schema}_${++stores}`;
		const own = new URL(address);
		own.searchParams.set("schema", name);
		const again = async () => (await openPostgres(own.href, DEFAULTS, TASKS)).storage;
		const storage = await again();
		const close = async () => {
			await storage.close();
			await admin`DROP SCHEMA IF EXISTS ${admin(name)} CASCADE`;
		};
		return { storage, again, close };
	};
}

conformance("the database", /^postgres(?:ql)?:/.test(database) ? schemasOf(database) : () => openFile(database));
