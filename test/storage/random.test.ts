/** More lives: `TICKQ_SEEDS=200 npx vitest run test/storage/random.test.ts`. */
import { openPostgres } from "../../emulator/openPostgres.ts";
import { openStorage } from "../../emulator/openStorage.ts";
import { d1Driver } from "../../lib/storage/sqlite/d1.ts";
import { SqliteEngine } from "../../lib/storage/sqlite/sqliteEngine.ts";
import { openStore } from "../../lib/storage/store.ts";
import { d1, emptyD1 } from "../support/d1.ts";
import { freshSchema } from "../support/postgres.ts";
import { TASKS } from "./desk.ts";
import { randomLives } from "./randomLives.ts";

const seeds = (initial: number): number => Number(process.env.TICKQ_SEEDS ?? initial);

randomLives(
	"SQLite",
	async defaults => {
		const { storage } = await openStorage(":memory:", defaults, TASKS);
		return { storage, close: () => storage.close() };
	},
	{ seeds: seeds(4), steps: 1000 },
);

randomLives(
	"PostgreSQL",
	async defaults => {
		const { url, drop } = freshSchema();
		const { storage } = await openPostgres(url, defaults, TASKS);
		return { storage, close: () => storage.close().then(drop) };
	},
	{ seeds: seeds(2), steps: 300 },
);

randomLives(
	"Cloudflare D1",
	async defaults => {
		await emptyD1();
		const storage = await openStore(new SqliteEngine(d1Driver(d1)), defaults, TASKS);
		return { storage, close: () => storage.close() };
	},
	{ seeds: seeds(1), steps: 300 },
);
