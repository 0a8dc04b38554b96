/** More lives: `TICKQ_SEEDS=200 npx vitest run test/storage/random.test.ts`. */
import { openStorage } from "../../emulator/openStorage.ts";
import { TASKS } from "./desk.ts";
import { randomLives } from "./randomLives.ts";

randomLives(
	"SQLite",
	async defaults => {
		const { storage } = await openStorage(":memory:", defaults, TASKS);
		return { storage, close: () => storage.close() };
	},
	{ seeds: Number(process.env.TICKQ_SEEDS ?? 4), steps: 1000 },
);
