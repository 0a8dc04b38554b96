/**
 * The one program, in two roles. `npm run emulate`: one process with everything on this machine, for whoever looks at it. `npm start`:
 * the same as a server among others, for whoever runs it: JSON logs, tasks as they were at the start, a database that may come later.
 */
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { functions } from "../functions/all.ts";
import { storageDefaults } from "../lib/config.ts";
import type { Deps } from "../lib/context.ts";
import { createLog, LOG_LEVELS, type LogLevel, messageOf } from "../lib/log.ts";
import { startAttempt } from "../lib/runJob.ts";
import type { TaskRegistry } from "../lib/task.ts";
import { tasksToRun } from "../lib/tick.ts";
import { greeting } from "./greeting.ts";
import { loadTasks, TASKS_INDEX, unregistered, watchTasks } from "./loadTasks.ts";
import { type Loop, startLoop } from "./loop.ts";
import { nodeClock, nodeDeps, storageMistake } from "./nodeDeps.ts";
import { openDatabase } from "./openDatabase.ts";
import { outputTo } from "./output.ts";
import { catchStrays, endByError, startTraced, traced } from "./pool/origins.ts";
import { createScaledPool } from "./pool/scaler.ts";
import { forfeitDeadLeases } from "./recover.ts";
import { type Serving, serve } from "./serve.ts";
import {
	asksForHelp,
	type Command,
	databaseName,
	helpText,
	type Mistake,
	mistakesText,
	ROLE_SWITCHES,
	readSettings,
	type Settings,
	unknownTasks,
} from "./settings.ts";

/** In what the roles differ. */
export interface Program extends Command {
	/** How it is started with a setting: `npm start --`. */
	readonly typed: string;
	/** Whether tasks are loaded anew when their files change. */
	readonly watches: boolean;
	/** How long it waits for a database that does not answer yet. */
	readonly waitMs: number;
}

export const EMULATE: Program = {
	typed: "npm run emulate --",
	usage:
		"Usage: npm run emulate -- [options]\n\nRuns the queue on this machine: API, workers, dashboard, on one SQLite file or a PostgreSQL database.",
	switches: ROLE_SWITCHES,
	watches: true,
	waitMs: 0,
};
export const START: Program = {
	typed: "npm start --",
	usage: "Usage: npm start -- [options]\n\nRuns the queue as a server: one of any number on one database, all alike or each with its part.",
	switches: ROLE_SWITCHES,
	defaults: { "log-format": "json" },
	watches: false,
	waitMs: 60_000,
};

/** The loop sleeps until something is due; this only covers what it cannot hear of. */
const BACKSTOP = "*/5 * * * * *";
const STOP_LOOK_MS = 20;

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
async function otherPort(taken: number, { typed }: Program): Promise<string> {
	for (let port = taken + 1; port < Math.min(taken + 100, 65_536); port++)
		if (!(await isTaken(port))) return `${typed} --port ${port}   (${port} is free)`;
	return `${typed} --port 0   (any that is free)`;
}

/** Settings and tasks; where something is wrong with them, all of it is told and the process ends. */
async function prepare(program: Program, args: readonly string[]): Promise<{ settings: Settings; tasks: TaskRegistry }> {
	const { settings, mistakes } = readSettings(args, process.env, program);
	if (settings.http && !mistakes.some(({ what }) => /port/i.test(what)) && (await isTaken(settings.port)))
		mistakes.push({ what: `--port ${settings.port} is taken by another process`, instead: await otherPort(settings.port, program) });
	let tasks: TaskRegistry = {};
	try {
		tasks = await loadTasks();
		mistakes.push(...unknownTasks(settings, Object.keys(tasks)));
	} catch (error) {
		mistakes.push({ what: `the tasks cannot be loaded: ${messageOf(error)}`, instead: "mend the file; nothing was started" });
	}
	if (mistakes.length > 0) fail(mistakes);
	return { settings, tasks };
}

function leaveAtOnce(): never {
	process.kill(process.pid, "SIGKILL");
	throw new Error("killed");
}

/** The first signal ends the process once what runs has ended; the second gives that back; the third is meant. */
function onSignals({ log, slots, running, config }: Deps, end: () => Promise<void>): void {
	let signals = 0;
	const stop = async (signal: string): Promise<void> => {
		signals++;
		const jobs = `${slots.busy} running ${slots.busy === 1 ? "job" : "jobs"}`;
		// Nothing is lost: the next start takes the jobs back.
		if (signals > 2) leaveAtOnce();
		if (signals === 2) {
			log.info(`${signal} again: ${jobs} given back, no attempt burned`);
			for (const job of running.values()) job.release();
			return;
		}
		log.info(
			slots.busy === 0
				? `${signal}: stopping`
				: `${signal}: takes no more requests and stops when ${jobs} ${slots.busy === 1 ? "has" : "have"} ended, in ${config.graceMs / 1000} s at most; again to give them back and stop at once`,
		);
		await end();
		process.exit(signals > 1 ? 130 : 0);
	};
	for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void stop(signal));
}

/** Runs the program until it is told to stop. */
export async function main(program: Program, args: readonly string[]): Promise<void> {
	const startedAt = performance.now();
	if (asksForHelp(args)) {
		process.stdout.write(helpText(program));
		return;
	}
	const { settings, tasks } = await prepare(program, args);
	const name = databaseName(settings.database);
	const output = outputTo(process.stdout, settings);
	const says = (level: LogLevel): boolean => LOG_LEVELS.indexOf(level) >= LOG_LEVELS.indexOf(settings.logLevel);
	const log = createLog(record => output.log(record), nodeClock.now, settings.logLevel);

	const opened = await openDatabase(settings.database, storageDefaults(settings.config), Object.keys(tasks), {
		migrate: settings.migrate,
		waitMs: program.waitMs,
		say: line => log.warn(line.replaceAll(settings.database, name)),
	}).catch((error: unknown) => fail([storageMistake(error, settings.database)]));
	const { storage } = opened;
	const stopping = new AbortController();
	const base = nodeDeps(settings, storage, settings.inline ? traced(tasks) : tasks, log);
	const { wake, clock, random, slots, config, webhookSecrets } = base;
	const workers = settings.inline
		? null
		: createScaledPool({
				clock,
				random,
				log,
				onLog: record => output.log(record),
				logLevel: settings.logLevel,
				config,
				slots,
				tasks: () => deps.tasks,
				tasksIndex: TASKS_INDEX,
				webhookSecrets,
				outsideAllow: settings.outsideAllow,
				pending: most => storage.operator.runnable(tasksToRun(deps), most, clock.now()),
			});
	let deps: Deps = {
		...base,
		stopping: stopping.signal,
		...(workers === null ? {} : { pool: workers.pool }),
		execute: workers?.pool.execute ?? (job => startTraced(job, () => startAttempt(job, deps)).attempt),
		onOutcome: outcome => {
			if (says("info")) output.outcome(outcome);
		},
	};
	if (settings.inline) catchStrays(log, { onUnknown: endByError });
	const recovered = settings.work ? await forfeitDeadLeases(storage.worker, deps.worker, deps.clock.now()) : { givenBack: 0, givenUp: 0 };

	let serving: Serving | undefined;
	try {
		if (settings.http) serving = await serve(functions, () => deps, settings.port);
	} catch (error) {
		await storage.close();
		fail([{ what: `port ${settings.port} cannot be had: ${messageOf(error)}`, instead: `${program.typed} --port 8001` }]);
	}

	let loop: Loop | undefined;
	let stopWatching = () => {};
	let stopHearing = () => {};
	onSignals(deps, async () => {
		stopWatching();
		stopHearing();
		const closed = serving?.close();
		stopping.abort();
		await loop?.stop();
		// What a tick by request runs has the same grace.
		while (deps.slots.busy > 0) await sleep(STOP_LOOK_MS);
		await Promise.race([closed, sleep(1000, undefined, { ref: false })]);
		const threads = workers?.close().then(() => "ended");
		await storage.close();
		// A thread in native code cannot be ended, and Node would wait for it. All is recorded by now.
		if ((await Promise.race([threads, sleep(1000, "stuck", { ref: false })])) === "stuck") leaveAtOnce();
	});

	const facts = { migrated: opened.migrated, ...recovered, port: serving?.port ?? null, readyMs: performance.now() - startedAt };
	output.banner(...greeting(program, settings, tasks, facts));

	const sayForgotten = (tasks: TaskRegistry): void => {
		for (const name of unregistered(tasks)) log.warn(`functions/tasks/${name}.ts is not in functions/tasks/index.ts: add "${name}" there`);
	};
	sayForgotten(tasks);
	const onTasks = (result: TaskRegistry | Error) => {
		if (result instanceof Error) return log.error("the tasks cannot be loaded; the ones before stay", { error: messageOf(result) });
		deps = { ...deps, tasks: settings.inline ? traced(result) : result };
		workers?.pool.renew();
		log.info("tasks loaded anew", { tasks: Object.keys(result).join(" ") });
		sayForgotten(result);
		wake.ring();
	};
	if (program.watches) stopWatching = watchTasks(onTasks);
	// Also where no jobs are run here: leases of remote workers are taken back, schedules submitted, bulk actions carried on.
	loop = startLoop(() => ({ ...deps, ...(settings.work ? {} : { works: [] }), store: deps.storage.worker }), {
		backstop: BACKSTOP,
		onAsleep: ({ at, reason }) => {
			if (says("info")) output.asleep(at, reason);
		},
	});
	stopHearing = opened.hear(() => wake.ring());
}
