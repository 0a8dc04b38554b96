import { openPostgres } from "../../emulator/openPostgres.ts";
import { freshSchema } from "../support/postgres.ts";
import { conformance } from "./conformance.ts";
import { DEFAULTS, TASKS } from "./desk.ts";

conformance("PostgreSQL", async () => {
	const { url, drop } = freshSchema();
	const { storage } = await openPostgres(url, DEFAULTS, TASKS);
	return {
		storage,
		again: async () => (await openPostgres(url, DEFAULTS, TASKS)).storage,
		close: async () => {
			await storage.close();
			await drop();
		},
	};
});
