/** What the program says of itself at its start. */
import { statSync } from "node:fs";
import { slotsOf } from "../lib/config.ts";
import type { TaskRegistry } from "../lib/task.ts";
import { VERSION } from "../lib/version.ts";
import type { Opened } from "./openPostgres.ts";
import { bytesText, durationText, type Output } from "./output.ts";
import type { Recovered } from "./recover.ts";
import { databaseName, isPostgres, type Settings } from "./settings.ts";

/** What is known once it runs. */
interface Facts extends Pick<Opened, "migrated">, Recovered {
	/** Null: it listens nowhere. */
	readonly port: number | null;
	readonly readyMs: number;
}

/** Lines for people, facts for whoever reads JSON. */
export function greeting(
	{ watches }: { readonly watches: boolean },
	settings: Settings,
	tasks: TaskRegistry,
	{ migrated, givenBack, givenUp, port, readyMs }: Facts,
): Parameters<Output["banner"]> {
	const { config, database } = settings;
	const names = Object.keys(tasks);
	const works = settings.work ? (settings.tasks ?? names) : [];
	const url = port === null ? null : `http://localhost:${port}`;
	const bytes = database === ":memory:" || isPostgres(database) ? 0 : statSync(database).size;
	const store = isPostgres(database)
		? `PostgreSQL ${databaseName(database)}`
		: `SQLite ${database}, ${bytesText(bytes)}, WAL, synchronous=FULL`;
	const { workersMin, workersMax, tasksPerWorker } = config;
	const threads = settings.inline
		? `none: ${slotsOf(config)} jobs at once in the main thread (--inline)`
		: `${workersMin} of ${workersMin}–${workersMax} threads, ${tasksPerWorker} ${tasksPerWorker === 1 ? "job" : "jobs"} each`;
	const workers = `${threads} · lease ${config.leaseMs / 1000} s · ${config.tenantConcurrency} running per tenant`;
	const only = settings.tasks === undefined ? "" : ` · only ${works.join("  ")}`;
	const api = [
		"access     open, to this machine only",
		"",
		`Dashboard  ${url}`,
		`API        ${url}/openapi.json`,
		`Try it     curl -X POST ${url}/api/jobs -H 'X-Tenant-ID: acme' \\`,
		`             -H 'Content-Type: application/json' -d '{"task":"echo","payload":{"hello":"world"}}'`,
	];
	const deadLetters = url === null ? "they are dead letters" : `${url}/#/jobs?status=dead_letter`;
	const lines = [
		"",
		`tickq ${VERSION} · Node ${process.versions.node} · ${store}`,
		`tasks      ${names.join("  ")}   (functions/tasks${watches ? ", watched for changes" : ""})`,
		`workers    ${settings.work ? workers + only : "none here: jobs are run by other processes, or by POST /api/tick"}`,
		...(url === null ? ["access     none here: no API, no dashboard"] : api),
		"",
		...(givenBack > 0
			? [`recovered  ${givenBack} running ${givenBack === 1 ? "job" : "jobs"} of the last run: given back, no attempt burned`]
			: []),
		...(givenUp > 0
			? [`given up   ${givenUp} ${givenUp === 1 ? "job" : "jobs"} whose process died three times in a row: ${deadLetters}`]
			: []),
		`ready in ${durationText(readyMs)} · stop with Ctrl-C`,
		"",
	];
	const facts = {
		version: VERSION,
		url,
		database: databaseName(database),
		tasks: names,
		works,
		workers: settings.work && !settings.inline ? { min: workersMin, max: workersMax, tasks_per_worker: tasksPerWorker } : null,
		inline: settings.inline,
		recovered: givenBack,
		given_up: givenUp,
		migrated: migrated.map(({ name }) => name),
	};
	return [lines, facts];
}
