/** `tickq work`: the tasks of a TypeScript module, run here for a queue that is elsewhere. */
import { statSync } from "node:fs";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { systemRandom } from "../lib/clock.ts";
import { type Config, slotsOf } from "../lib/config.ts";
import { Bell, Slots } from "../lib/context.ts";
import { createLog, type Log, messageOf } from "../lib/log.ts";
import { startAttempt } from "../lib/runJob.ts";
import type { TaskRegistry } from "../lib/task.ts";
import { VERSION } from "../lib/version.ts";
import { createFetchOutside } from "./fetchOutside.ts";
import { loadTasks, TASKS_INDEX } from "./loadTasks.ts";
import { nodeClock } from "./nodeDeps.ts";
import { outputTo } from "./output.ts";
import { catchStrays, endByError, startTraced, traced } from "./pool/origins.ts";
import { createPool, type Pool } from "./pool/pool.ts";
import { RemoteWorker } from "./remoteWorker.ts";
import { asksForHelp, type Command, helpText, type Mistake, mistakesText, readSettings, type Settings, unknownTasks } from "./settings.ts";
import { readWorkOptions, type WorkOptions } from "./workOptions.ts";

const WORK: Command = {
	usage: `Usage: tickq work [options]

Runs tasks here for a queue that is elsewhere: leases their jobs over HTTP, and says how they ended.

  --url http://localhost:8000  TICKQ_URL          where the queue is
  --tasks all                  TICKQ_TASKS        a module that exports \`tasks\`, such as ./tasks/index.ts, or names of functions/tasks
  --concurrency 5              TICKQ_CONCURRENCY  jobs that run at once
  --name HOST:PID              TICKQ_WORKER       who it is, in histories and in GET /api/workers
  --key                        TICKQ_KEY          sent as a bearer token; better in the environment, where no list of processes shows it`,
	switches: [{ flag: "inline", env: "TICKQ_INLINE=1", about: "run tasks in the main thread, for breakpoints" }],
	only: [
		"lease-ms",
		"timeout-ms",
		"timeout-ms-max",
		"grace-ms",
		"tasks-per-worker",
		"worker-memory-mb",
		"log-level",
		"log-format",
		"outside-allow",
		"webhook-secrets",
	],
};

/** Runs the command until it is told to stop; answers its exit code: 0 stopped, 1 the queue refuses it, 130 stopped at once, 2 wrong use. */
export async function workCommand(args: readonly string[]): Promise<number> {
	if (asksForHelp(args)) {
		process.stdout.write(helpText(WORK));
		return 0;
	}
	const { options, rest, mistakes: ownMistakes } = readWorkOptions(args, process.env, `${hostname()}:${process.pid}`);
	const { settings, mistakes: others } = readSettings(rest, process.env, WORK);
	const mistakes: Mistake[] = [...ownMistakes, ...others];
	const index = options.module === null ? TASKS_INDEX : pathToFileURL(resolve(options.module)).href;
	const all = await loadTasks(index).catch((error: unknown) => {
		const isThere = statSync(fileURLToPath(index), { throwIfNoEntry: false })?.isFile() === true;
		mistakes.push({
			what: `the tasks cannot be loaded: ${messageOf(error)}`,
			instead: isThere ? "mend the file; nothing was started" : "--tasks ./tasks/index.ts, the path of a module that exports `tasks`",
		});
		return {} as TaskRegistry;
	});
	if (mistakes.length === 0) mistakes.push(...unknownTasks({ tasks: options.names ?? [] }, Object.keys(all)));
	if (mistakes.length > 0) {
		process.stderr.write(mistakesText(mistakes, "work"));
		return 2;
	}
	const names = options.names ?? Object.keys(all);
	return work(options, settings, { tasks: all, names, index });
}

interface Tasks {
	readonly tasks: TaskRegistry;
	/** Those that it asks for. */
	readonly names: readonly string[];
	readonly index: string;
}

async function work(options: WorkOptions, settings: Settings, { tasks, names, index }: Tasks): Promise<number> {
	const output = outputTo(process.stdout, settings);
	const log = createLog(output.log, nodeClock.now, settings.logLevel);
	const threads = Math.ceil(options.concurrency / settings.config.tasksPerWorker);
	const config: Config = { ...settings.config, workersMin: threads, workersMax: threads };
	const { name, concurrency, url } = options;
	output.banner(
		[
			"",
			`tickq ${VERSION} works for ${url} as ${name}`,
			`tasks      ${names.join("  ")}`,
			`running    ${concurrency} at once, at most`,
			"",
		],
		{ version: VERSION, url, name, tasks: names, concurrency },
	);
	const runner = settings.inline ? runInline(tasks, settings, config, log) : runInThreads(tasks, index, settings, config, log);
	const worker = new RemoteWorker(
		{ ...options, tasks: names, version: VERSION, leaseMs: config.leaseMs, graceMs: config.graceMs },
		{ fetch, clock: nodeClock, random: systemRandom(), log, execute: job => runner.execute(job) },
	);
	const code = await untilStopped(worker, config, log);
	await runner.close();
	return code;
}

interface Running {
	readonly execute: Pool["execute"];
	close(): Promise<void>;
}

function runInline(tasks: TaskRegistry, { outsideAllow, webhookSecrets }: Settings, config: Config, log: Log): Running {
	const fetchOutside = createFetchOutside({ clock: nodeClock, allow: outsideAllow });
	const needs = { clock: nodeClock, random: systemRandom(), log, config, tasks: traced(tasks), fetchOutside, webhookSecrets };
	catchStrays(log, { onUnknown: endByError });
	return { execute: job => startTraced(job, () => startAttempt(job, needs)).attempt, close: () => Promise.resolve() };
}

function runInThreads(
	tasks: TaskRegistry,
	tasksIndex: string,
	{ logLevel, outsideAllow, webhookSecrets }: Settings,
	config: Config,
	log: Log,
): Running {
	return createPool({
		clock: nodeClock,
		random: systemRandom(),
		log,
		onLog: record => {
			const { level, at: _, message, ...fields } = record;
			log[level](message, fields);
		},
		logLevel,
		config,
		slots: new Slots(slotsOf(config), new Bell()),
		tasks: () => tasks,
		tasksIndex,
		webhookSecrets,
		outsideAllow,
	});
}

/**
 * Resolves with the exit code when it has stopped: what runs ends at the first signal, is given back at the second; the third is meant.
 */
function untilStopped(worker: RemoteWorker, { graceMs }: Config, log: Log): Promise<number> {
	let signals = 0;
	return new Promise(resolve => {
		const stop = async (signal: string): Promise<void> => {
			signals++;
			if (signals > 2) process.exit(130);
			const jobs = `${worker.busy} ${worker.busy === 1 ? "job" : "jobs"}`;
			if (signals === 2) {
				log.info(`${signal} again: ${jobs} given back, no attempt burned`);
				return worker.release();
			}
			log.info(worker.busy === 0 ? `${signal}: stopping` : `${signal}: stops when ${jobs} ended, in ${graceMs / 1000} s at most`);
			await worker.stop();
			resolve(signals > 1 ? 130 : 0);
		};
		void worker.refused.then(async why => {
			log.error(`${why}; it is not asked again`);
			await worker.stop();
			resolve(1);
		});
		for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void stop(signal));
	});
}
