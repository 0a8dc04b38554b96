/** `npm run emulate`: one process with everything: the API, the worker loop, the dashboard, on one SQLite file. */
import { statSync } from "node:fs";
import { connect } from "node:net";
import { functions } from "../functions/all.ts";
import type { Deps } from "../lib/context.ts";
import { createLog, LOG_LEVELS, type LogLevel, messageOf } from "../lib/log.ts";
import type { TaskRegistry } from "../lib/task.ts";
import { VERSION } from "../lib/version.ts";
import { loadTasks, unregistered, watchTasks } from "./loadTasks.ts";
import { startLoop } from "./loop.ts";
import { nodeClock, nodeDeps, storageDefaults, storageMistake } from "./nodeDeps.ts";
import { openStorage } from "./openStorage.ts";
import { bytesText, durationText, jsonOutput, textOutput } from "./output.ts";
import { forfeitDeadLeases } from "./recover.ts";
import { type Serving, serve } from "./serve.ts";
import { helpText, type Mistake, mistakesText, readSettings } from "./settings.ts";

/** The loop sleeps until something is due; this only covers what it cannot hear of, such as another process's submit. */
const BACKSTOP = "*/5 * * * * *";

const USAGE = "Usage: npm run emulate -- [options]\n\nRuns the queue on this machine: API, workers, dashboard, on one SQLite file.";

function fail(mistakes: readonly Mistake[]): never {
	process.stderr.write(mistakesText(mistakes));
	process.exit(1);
}

/** Whether somebody answers at the port: found out before anything is opened, so that all mistakes can be told at once. */
function isTaken(port: number): Promise<boolean> {
	if (port === 0) return Promise.resolve(false);
	return new Promise(resolve => {
		const socket = connect({ port, host: "127.0.0.1" });
		socket.once("connect", () => {
			socket.destroy();
			resolve(true);
		});
		socket.once("error", () => resolve(false));
	});
}

/** What to type when the port is taken: the next free one above it, or any. */
async function otherPort(taken: number): Promise<string> {
	for (let port = taken + 1; port < Math.min(taken + 100, 65_536); port++)
		if (!(await isTaken(port))) return `npm run emulate -- --port ${port}   (${port} is free)`;
	return "npm run emulate -- --port 0   (any that is free)";
}

export async function emulate(args: readonly string[]): Promise<void> {
	const startedAt = performance.now();
	if (args.includes("--help") || args.includes("-h")) {
		process.stdout.write(helpText(USAGE));
		return;
	}
	const { settings, mistakes } = readSettings(args, process.env);
	if (!mistakes.some(({ what }) => /port/i.test(what)) && (await isTaken(settings.port))) {
		mistakes.push({ what: `--port ${settings.port} is taken by another process`, instead: await otherPort(settings.port) });
	}
	let tasks: TaskRegistry = {};
	try {
		tasks = await loadTasks();
	} catch (error) {
		mistakes.push({ what: `the tasks cannot be loaded: ${messageOf(error)}`, instead: "mend the file; nothing was started" });
	}
	if (mistakes.length > 0) fail(mistakes);

	const { config } = settings;
	const { storage, migrated } = await openStorage(settings.database, storageDefaults(settings), Object.keys(tasks)).catch(
		(error: unknown) => fail([storageMistake(error, settings.database)]),
	);

	const asText = settings.logFormat === "text" || (settings.logFormat === "auto" && process.stdout.isTTY);
	const output = (asText ? textOutput : jsonOutput)(text => process.stdout.write(text));
	const says = (level: LogLevel): boolean => LOG_LEVELS.indexOf(level) >= LOG_LEVELS.indexOf(settings.logLevel);
	const log = createLog(record => output.log(record), nodeClock.now, settings.logLevel);
	let deps: Deps = {
		...nodeDeps(settings, storage, tasks, log),
		onOutcome: outcome => {
			if (says("info")) output.outcome(outcome);
		},
	};
	const { wake } = deps;
	const { givenBack, givenUp } = await forfeitDeadLeases(storage.worker, deps.worker, deps.clock.now());

	let serving: Serving;
	try {
		serving = await serve(functions, () => deps, settings.port);
	} catch (error) {
		await storage.close();
		fail([{ what: `port ${settings.port} cannot be had: ${messageOf(error)}`, instead: "npm run emulate -- --port 8001" }]);
	}

	const url = `http://localhost:${serving.port}`;
	const bytes = settings.database === ":memory:" ? 0 : statSync(settings.database).size;
	const names = Object.keys(tasks);
	output.banner(
		[
			"",
			`tickq ${VERSION} · Node ${process.versions.node} · SQLite ${settings.database}, ${bytesText(bytes)}, WAL, synchronous=FULL`,
			`tasks      ${names.join("  ")}   (functions/tasks, watched for changes)`,
			`workers    ${config.workers} · lease ${config.leaseMs / 1000} s · ${config.tenantConcurrency} running per tenant`,
			"access     open, to this machine only",
			"",
			`Dashboard  ${url}`,
			`API        ${url}/openapi.json`,
			`Try it     curl -X POST ${url}/api/jobs -H 'X-Tenant-ID: acme' \\`,
			`             -H 'Content-Type: application/json' -d '{"task":"echo","payload":{"hello":"world"}}'`,
			"",
			...(givenBack > 0
				? [`recovered  ${givenBack} running ${givenBack === 1 ? "job" : "jobs"} of the last run: given back, no attempt burned`]
				: []),
			...(givenUp > 0
				? [
						`given up   ${givenUp} ${givenUp === 1 ? "job" : "jobs"} whose process died three times in a row: ${url}/#/jobs?status=dead_letter`,
					]
				: []),
			`ready in ${durationText(performance.now() - startedAt)} · stop with Ctrl-C`,
			"",
		],
		{
			version: VERSION,
			url,
			database: settings.database,
			tasks: names,
			workers: config.workers,
			recovered: givenBack,
			given_up: givenUp,
			migrated: migrated.map(({ name }) => name),
		},
	);
	for (const name of unregistered(tasks)) log.warn(`functions/tasks/${name}.ts is not in functions/tasks/index.ts: add "${name}" there`);

	const loop = startLoop(() => ({ ...deps, store: deps.storage.worker }), {
		backstop: BACKSTOP,
		onAsleep: ({ at, reason }) => {
			if (says("info")) output.asleep(at, reason);
		},
	});
	const stopWatching = watchTasks(result => {
		if (result instanceof Error) return log.error("the tasks cannot be loaded; the ones before stay", { error: messageOf(result) });
		deps = { ...deps, tasks: result };
		log.info("tasks loaded anew", { tasks: Object.keys(result).join(" ") });
		for (const name of unregistered(result)) log.warn(`functions/tasks/${name}.ts is not in functions/tasks/index.ts: add "${name}" there`);
		wake.ring();
	});

	let signals = 0;
	const stop = async (signal: string): Promise<void> => {
		signals++;
		const busy = deps.slots.busy;
		const jobs = `${busy} running ${busy === 1 ? "job" : "jobs"}`;
		// The third time is meant: nothing is lost, the next start takes the jobs back.
		if (signals > 2) process.exit(130);
		if (signals === 2) {
			log.info(`${signal} again: ${jobs} given back, no attempt burned`);
			for (const job of deps.running.values()) job.release();
			return;
		}
		log.info(
			busy === 0
				? `${signal}: stopping`
				: `${signal}: takes no more requests and stops when ${jobs} ${busy === 1 ? "has" : "have"} ended, in ${config.graceMs / 1000} s at most; again to give them back and stop at once`,
		);
		stopWatching();
		const closed = serving.close();
		await loop.stop();
		await Promise.race([closed, new Promise(resolve => setTimeout(resolve, 1000).unref())]);
		await storage.close();
		process.exit(signals > 1 ? 130 : 0);
	};
	for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void stop(signal));
}
