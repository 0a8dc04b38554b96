import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openStorage } from "../../emulator/openStorage.ts";
import { conformance } from "./conformance.ts";
import { DEFAULTS, TASKS } from "./desk.ts";

const open = async (file: string) => (await openStorage(file, DEFAULTS, TASKS)).storage;

conformance("SQLite in memory", async () => {
	const storage = await open(":memory:");
	return { storage, close: () => storage.close() };
});
conformance("SQLite in a file", async () => {
	const folder = mkdtempSync(join(tmpdir(), "tickq-"));
	const again = () => open(join(folder, "queue.db"));
	const storage = await again();
	return { storage, again, close: () => storage.close().then(() => rmSync(folder, { recursive: true })) };
});
