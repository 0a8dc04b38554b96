import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openStorage } from "../../emulator/openStorage.ts";
import { conformance } from "./conformance.ts";
import { DEFAULTS, TASKS } from "./desk.ts";

const open = async (file: string, afterwards: () => void = () => {}) => {
	const { storage } = await openStorage(file, DEFAULTS, TASKS);
	return { storage, close: () => storage.close().then(afterwards) };
};

conformance("SQLite in memory", () => open(":memory:"));

conformance("SQLite in a file", async () => {
	const folder = mkdtempSync(join(tmpdir(), "tickq-"));
	return open(join(folder, "queue.db"), () => rmSync(folder, { recursive: true }));
});
