/** The root on Cloudflare Workers, with PostgreSQL behind Hyperdrive as the store: deploy it with `npm run deploy:postgres`. */
import postgres from "postgres";
import { systemClock } from "../lib/clock.ts";
import { PostgresDriver, type PostgresHandle } from "../lib/storage/postgres/driver.ts";
import { PostgresEngine } from "../lib/storage/postgres/postgresEngine.ts";
import { functions } from "./all.ts";
import { tasks } from "./tasks/index.ts";
import { createWorker, type WorkerEnv } from "./worker/createWorker.ts";
import { WORKER } from "./worker/settings.ts";

interface Env extends WorkerEnv {
	readonly HYPERDRIVE: { readonly connectionString: string };
	/** Where everything is kept; `tickq` if absent. */
	readonly TICKQ_SCHEMA?: string;
}

/** Connections of one invocation; Hyperdrive keeps the real ones. */
const CONNECTIONS_MAX = 5;
const { after } = systemClock();

const { handlers, Waker } = createWorker<Env>({
	functions,
	tasks,
	open({ HYPERDRIVE, TICKQ_SCHEMA = "tickq" }) {
		const client = postgres(HYPERDRIVE.connectionString, {
			max: CONNECTIONS_MAX,
			fetch_types: false,
			onnotice: () => {},
			types: { bigint: { to: 20, from: [20], serialize: String, parse: Number } },
		});
		const defer = (callback: () => void): void => void after(0, callback);
		return new PostgresEngine(new PostgresDriver(client as unknown as PostgresHandle, { schema: TICKQ_SCHEMA, defer }));
	},
	own: WORKER,
	migrate: "npm run migrate -- --database postgres://…",
});
export default handlers;
export { Waker };
