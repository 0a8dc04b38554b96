/**
 * Keeps the queue moving: runs a tick when the bell rings, when the last one said that something is due, and at the latest with the
 * cron backstop. Between them it sleeps and sends no statement.
 */
import { schedule } from "node-cron";
import { messageOf } from "../lib/log.ts";
import { startTick, type TickDeps, type TickReport, type TickTrigger, tasksToRun } from "../lib/tick.ts";
import { VERSION } from "../lib/version.ts";

/** How often a process says that it is there, when it is awake anyway. */
const PRESENCE_MS = 30_000;

export interface Loop {
	/** Starts nothing more, and resolves when what runs has ended or been given back. */
	stop(): Promise<void>;
}

export interface LoopOptions {
	/** Six-field cron expression of the backstop. */
	readonly backstop: string;
	readonly onAsleep?: (next: { at: number | null; reason: string }) => void;
}

export function startLoop(deps: () => TickDeps, { backstop, onAsleep }: LoopOptions): Loop {
	const { clock, wake, slots, ticks, log } = deps();
	const stopping = new AbortController();
	const open = new Set<Promise<unknown>>();
	let cronRang = false;
	const cron = schedule(
		backstop,
		() => {
			cronRang = true;
			wake.ring();
		},
		{ name: "tick" },
	);

	/** Sleeps until the bell rings or it is time. Answers what for. */
	async function sleep(until: number | null): Promise<TickTrigger> {
		let trigger: TickTrigger = "submit";
		if (!wake.heard())
			await new Promise<void>(resolve => {
				const cancelTimer =
					until === null
						? () => {}
						: clock.after(until - clock.now(), () => {
								trigger = "due";
								stopListening();
								resolve();
							});
				const stopListening = wake.listen(() => {
					cancelTimer();
					resolve();
				});
			});
		wake.heard();
		if (cronRang) {
			cronRang = false;
			if (trigger === "submit") trigger = "cron";
		}
		return trigger;
	}

	/** Says now and then that this process is there and what it runs. */
	let seenAt = Number.NEGATIVE_INFINITY;
	async function sayPresence(): Promise<void> {
		const { store, worker } = deps();
		const tasks = tasksToRun(deps());
		if (tasks.length === 0 || clock.now() - seenAt < PRESENCE_MS) return;
		seenAt = clock.now();
		await store
			.seeWorker({ name: worker, kind: "process", tasks, version: VERSION }, seenAt)
			.catch(error => log.warn("this worker could not be written down", { error: messageOf(error) }));
	}

	async function run(): Promise<void> {
		let trigger: TickTrigger = "start";
		let saidAsleepAt = -1;
		while (!stopping.signal.aborted) {
			void sayPresence();
			const tick = startTick(deps(), { trigger, stop: stopping.signal });
			const report: Promise<TickReport | null> = tick.report.catch(error => {
				log.error("a tick failed", { error: messageOf(error) });
				return null;
			});
			open.add(report);
			void report.then(() => open.delete(report));
			const why = await tick.closed;
			if (stopping.signal.aborted) return;
			if (why === "nothing_due") {
				const ended = await report;
				if (ended !== null && ended.claimed + ended.expired_leases + ended.pruned > 0) saidAsleepAt = -1;
				if (saidAsleepAt !== ticks.nextWakeAt && (trigger === "start" || saidAsleepAt === -1)) {
					saidAsleepAt = ticks.nextWakeAt ?? 0;
					onAsleep?.({ at: ticks.nextWakeAt, reason: ended?.next_wake_reason ?? "" });
				}
				trigger = await sleep(ticks.nextWakeAt);
			} else if (slots.busy >= slots.size) trigger = await sleep(null);
			else if (why === "stopped") trigger = await sleep(clock.now() + 1000);
			else trigger = "more";
		}
	}
	const running = run();

	return {
		async stop() {
			stopping.abort();
			await cron.destroy();
			wake.ring();
			await running;
			while (open.size > 0) await Promise.all(open);
		},
	};
}
