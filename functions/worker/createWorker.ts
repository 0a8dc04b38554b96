/**
 * What a Worker does, over whichever store: it answers requests, runs a tick when one of them has put work into the queue, and at the
 * latest when its cron trigger fires. A Worker may share no connection and no promise between two requests: each invocation has a store
 * of its own, and an isolate remembers only what is plain data.
 */
import type { Context } from "hono";
import { systemClock, systemRandom } from "../../lib/clock.ts";
import { compose, type Functions } from "../../lib/compose.ts";
import { type Config, slotsOf, storageDefaults } from "../../lib/config.ts";
import { Announcements, Bell, type Deps, Slots, type TickStatus } from "../../lib/context.ts";
import { createLog, messageOf } from "../../lib/log.ts";
import { Problem, problemResponse } from "../../lib/problem.ts";
import type { Engine } from "../../lib/storage/engine.ts";
import { Names } from "../../lib/storage/names.ts";
import { storeOver } from "../../lib/storage/store.ts";
import type { TaskRegistry } from "../../lib/task.ts";
import { STATEMENTS_LEAST, startTick, type TickTrigger } from "../../lib/tick.ts";
import { createFetchOutside } from "./fetchOutside.ts";
import { addFiles } from "./files.ts";
import { pushMetrics } from "./liveMetrics.ts";
import type { DurableObjects, Fetcher, Invocation, Scheduled } from "./platform.ts";
import { type Own, readVars, type WorkerSettings, wakeBudgetMs } from "./settings.ts";
import { wakeAt, wakerOf } from "./waker.ts";

export interface WorkerEnv {
	/** The dashboard's files. */
	readonly ASSETS?: Fetcher;
	/** The alarm clock, where there is one. */
	readonly WAKER?: DurableObjects;
}

export interface WorkerOptions<Env extends WorkerEnv> {
	readonly functions: Functions;
	readonly tasks: TaskRegistry;
	/** The store's engine for one invocation. */
	readonly open: (env: Env) => Engine;
	readonly own: Own;
	/** The command that brings the database to this code's schema. */
	readonly migrate: string;
}

/** How often a request that waits for a job asks the store: 4 times in 20 s, since nearly always its own tick runs the job and says so. */
const LOOKS_MAX = 4;

const clock = systemClock();
const random = systemRandom();
const LOCAL = /^(?:localhost|127\.0\.0\.1|\[::1\]|.*\.localhost)$/;

export function createWorker<Env extends WorkerEnv>({ functions, tasks, open, own, migrate }: WorkerOptions<Env>) {
	/** What this isolate remembers. */
	const names = new Names();
	const ticks: TickStatus = { lastTickAt: null, nextWakeAt: null };
	let worker = "";
	let alarmAt = 0;
	let settings: WorkerSettings | null = null;
	let checked = false;

	const log = createLog(
		({ level, at, message, ...fields }) => console.log(JSON.stringify({ ...fields, level, time: new Date(at).toISOString(), message })),
		clock.now,
		"info",
	);

	interface Invoked {
		readonly deps: Deps;
		readonly engine: Engine;
		readonly env: Env;
	}
	function invoke(env: Env): Invoked {
		settings ??= readVars(env as Readonly<Record<string, unknown>>, own);
		worker ||= `worker:${random.traceId().slice(0, 12)}`;
		const { config, outsideAllow, webhookSecrets } = settings;
		const engine = open(env);
		const wake = new Bell();
		const deps: Deps = {
			storage: storeOver(engine, storageDefaults(config), names),
			clock,
			random,
			log,
			config,
			tasks,
			fetchOutside: createFetchOutside(outsideAllow),
			outsideAllow,
			webhookSecrets,
			worker,
			wake,
			ended: new Announcements(),
			slots: new Slots(slotsOf(config), wake),
			running: new Map(),
			ticks,
			platform: { looksMax: LOOKS_MAX },
			onOutcome: outcome => log[outcome.outcome === "done" ? "info" : "warn"]("attempt ended", { ...outcome }),
		};
		return { deps, engine, env };
	}

	/** Once an isolate: the schema is this code's, and what is set for all tenants holds for those that are there. */
	async function check({ engine, deps }: Invoked): Promise<void> {
		if (checked) return;
		await engine.ping().catch(error => {
			const says = messageOf(error);
			if (!/has no tables yet|has schema/.test(says)) throw error;
			throw new Problem("not_ready", `The store cannot be used: ${says}. They are applied by: ${migrate}`);
		});
		await engine.setDefaults(storageDefaults(deps.config));
		checked = true;
	}

	/** The same settings with the statements that this invocation has left. */
	const leftOf = ({ storage, config }: Deps, reserved = 0): Config => ({
		...config,
		tickStatementsMax: config.tickStatementsMax - storage.worker.statements() - reserved,
	});

	/** Runs a tick with what the invocation has left. Answers when the next one is needed. */
	async function tick({ deps }: Invoked, trigger: TickTrigger, budgetMs: number, reserved = 0): Promise<number | null> {
		const config = leftOf(deps, reserved);
		if (config.tickStatementsMax < STATEMENTS_LEAST) return clock.now();
		const { next_wake_at } = await startTick({ ...deps, config, store: deps.storage.worker }, { trigger, budgetMs }).report;
		return next_wake_at === null ? null : Date.parse(next_wake_at);
	}

	/** Sets the alarm clock, where there is one. Nothing is said while it is known to ring before that. */
	async function setAlarm({ WAKER }: Env, at: number | null): Promise<void> {
		if (at === null || WAKER === undefined || (alarmAt > clock.now() && alarmAt <= at)) return;
		await wakeAt(WAKER, at);
		alarmAt = at;
	}

	const app = compose(
		functions,
		context => invokedOf(context).deps,
		app => {
			app.get("/ws/metrics", (context, next) => {
				if (context.req.header("upgrade") !== "websocket") return next();
				const origin = context.req.header("origin");
				return origin === undefined || URL.parse(origin)?.host === URL.parse(context.req.url)?.host
					? pushMetrics(invokedOf(context).deps)
					: refuse(new Problem("host_forbidden", "Pages of other sites may not listen."), context.req.path);
			});
			addFiles(app, context => invokedOf(context).env.ASSETS);
		},
	);
	const invokedOf = (context: Context): Invoked => context.env as Invoked;
	const refuse = (problem: Problem, path: string): Response => problemResponse(problem, path, random.traceId());

	/** What keeps a request from being answered, if anything does. */
	async function obstacle({ hostname, pathname }: URL, invoked: Invoked): Promise<Problem | null> {
		const { open, mistakes } = settings!;
		if (pathname === "/health") return null;
		if (!open && !LOCAL.test(hostname))
			return new Problem(
				"access_closed",
				"This version has no keys yet, so it answers nobody but its own machine. Put Cloudflare Access before it, then set the variable TICKQ_OPEN to true.",
			);
		if (mistakes.length > 0) return new Problem("not_ready", `The Worker's variables cannot be used. ${mistakes.join(" ")}`);
		if (!/^\/(?:api|ws)\//.test(pathname)) return null;
		return check(invoked).then(
			() => null,
			error => {
				if (error instanceof Problem) return error;
				log.error("the store cannot be used", { error: messageOf(error) });
				return new Problem("storage_unavailable", "The store cannot be used right now.");
			},
		);
	}

	return {
		handlers: {
			async fetch(request: Request, env: Env, invocation: Invocation): Promise<Response> {
				const url = new URL(request.url);
				const invoked = invoke(env);
				const { deps } = invoked;
				const problem = await obstacle(url, invoked);
				if (problem !== null) return refuse(problem, url.pathname);
				const failed = (error: unknown): void => log.error("a tick failed", { error: messageOf(error) });
				// The first ring starts this invocation's tick; what rings later is heard by it.
				deps.wake.listen(() => {
					deps.wake.heard();
					const reserved = url.searchParams.has("wait_ms") ? LOOKS_MAX + 1 : 0;
					const ticked = tick(invoked, "submit", wakeBudgetMs(deps.config), reserved);
					invocation.waitUntil(ticked.then(next => setAlarm(env, next)).catch(failed));
				});
				const response = await app.fetch(request, { ...invoked, deps: { ...deps, config: leftOf(deps) } }, invocation as never);
				if (url.pathname === "/api/tick") invocation.waitUntil(setAlarm(env, ticks.nextWakeAt).catch(failed));
				return response;
			},
			async scheduled(_: Scheduled, env: Env): Promise<void> {
				const invoked = invoke(env);
				try {
					await check(invoked);
					await setAlarm(env, await tick(invoked, "cron", invoked.deps.config.tickBudgetMs));
				} finally {
					await invoked.engine.close();
				}
			},
		},
		Waker: wakerOf<Env>(async env => {
			const invoked = invoke(env);
			try {
				return await tick(invoked, "due", invoked.deps.config.tickBudgetMs);
			} catch (error) {
				log.error("a tick failed", { error: messageOf(error) });
				throw error;
			} finally {
				await invoked.engine.close();
			}
		}, clock.now),
	};
}
