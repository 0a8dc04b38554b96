import { d1Driver } from "../../lib/storage/sqlite/d1.ts";
import { SqliteEngine } from "../../lib/storage/sqlite/sqliteEngine.ts";
import { openStore } from "../../lib/storage/store.ts";
import { d1, emptyD1 } from "../support/d1.ts";
import { conformance } from "./conformance.ts";
import { DEFAULTS, TASKS } from "./desk.ts";

const open = () => openStore(new SqliteEngine(d1Driver(d1)), DEFAULTS, TASKS);

conformance("Cloudflare D1", async () => {
	await emptyD1();
	const storage = await open();
	return { storage, again: open, close: () => storage.close() };
});
