/** The root on Cloudflare Workers, with D1 as the store: deploy it with `npm run deploy`. */
import { type D1Like, d1Driver } from "../lib/storage/sqlite/d1.ts";
import { SqliteEngine } from "../lib/storage/sqlite/sqliteEngine.ts";
import { functions } from "./all.ts";
import { tasks } from "./tasks/index.ts";
import { createWorker, type WorkerEnv } from "./worker/createWorker.ts";
import { WORKER } from "./worker/settings.ts";

interface Env extends WorkerEnv {
	readonly DB: D1Like;
}

/** The free plan allows 50 statements an invocation, and D1 2 MB in a row or a parameter. */
const { handlers, Waker } = createWorker<Env>({
	functions,
	tasks,
	open: env => new SqliteEngine(d1Driver(env.DB)),
	own: {
		defaults: { ...WORKER.defaults, tickStatementsMax: 48, resultBytesMax: 512 * 1024 },
		bounds: { ...WORKER.bounds, resultBytesMax: [1024, 512 * 1024], payloadBytesMax: [1024, 512 * 1024] },
	},
	migrate: "npx wrangler d1 migrations apply DB --remote (--local for wrangler dev)",
});
export default handlers;
export { Waker };
