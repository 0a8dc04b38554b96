/** A process of its own on the measured server: it drains, lives, submits or waits, as it is told, and says what it did. */
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { startLoop } from "../emulator/loop.ts";
import { defineTask } from "../lib/task.ts";
import { startTick } from "../lib/tick.ts";
import { newJob, openPostgresQueue, submitJobs } from "./postgresQueue.ts";
import { noopTasks } from "./queue.ts";

export interface Order {
	readonly role: "drain" | "life" | "submit" | "wait";
	readonly url: string;
	readonly schema: string;
	readonly jobs: number;
	readonly tenants: number;
	readonly slots: number;
}
/** Instants are of one clock for all processes: milliseconds since the epoch, in fractions. */
export interface Said {
	readonly ready?: true;
	/** Jobs that have ended here so far, and when the last did. */
	readonly done?: number;
	readonly at?: number;
	/** One submit: which, and when its commit was known. */
	readonly committed?: { readonly n: number; readonly at: number };
	/** One start of a task. */
	readonly ran?: { readonly n: number; readonly at: number };
	readonly asleep?: true;
	readonly trouble?: string;
}

const BACKSTOP = "*/5 * * * * *";
const order = JSON.parse(process.argv[2]!) as Order;
const instant = (): number => performance.timeOrigin + performance.now();
const say = (said: Said): void => void process.send!(said);
process.on("disconnect", () => process.exit());

/** What the parent has said: the work starts with the first message, and ends with the second. */
const told: (() => void)[] = [];
const go = new Promise<void>(resolve => told.push(resolve));
const stop = new Promise<void>(resolve => told.push(resolve));
let stopped = false;
process.on("message", () => told.shift()?.());
void stop.then(() => {
	stopped = true;
});

let done = 0;
let doneAt = 0;
let toldDone = 0;
const tellDone = (): void => {
	if (done > toldDone) say({ done, at: doneAt });
	toldDone = done;
};

const heardTask = defineTask({
	input: z.object({ n: z.number() }),
	run({ n }) {
		say({ ran: { n, at: instant() } });
		return null;
	},
});
const { storage, deps, tickDeps, hear } = await openPostgresQueue(
	order.url,
	order.schema,
	{ ...noopTasks(["noop"]), heard: heardTask },
	{
		config: {
			workersMin: 1,
			tasksPerWorker: order.slots,
			tenantConcurrency: order.tenants === 1 ? 1_000_000 : 5,
			tenantBacklog: 1_000_000_000,
		},
		onTrouble: record => say({ trouble: JSON.stringify(record) }),
	},
);
const ownDeps = {
	...tickDeps,
	onOutcome({ outcome }: { outcome: string }): void {
		if (outcome !== "done") return;
		done++;
		doneAt = instant();
	},
};

const roles = {
	async drain(): Promise<void> {
		const loop = startLoop(() => ownDeps, { backstop: BACKSTOP });
		await stop;
		await loop.stop();
	},
	/** Whole lives: it submits as many as a tick takes, and ticks; a tick takes what is there, whoever submitted it. */
	async life(): Promise<void> {
		for (let at = 0; at < order.jobs && !stopped; at += order.slots) {
			await submitJobs(storage, order.slots, order.tenants, deps.clock.now());
			await startTick(ownDeps, { trigger: "submit" }).report;
		}
		while (!stopped) {
			await startTick(ownDeps, { trigger: "cron" }).report;
			await sleep(5);
		}
	},
	/** One job every 50 to 200 ms. */
	async submit(): Promise<void> {
		for (let n = 0; n < order.jobs; n++) {
			await sleep(50 + Math.random() * 150);
			await storage.tenant("tenant-0").insertJob({ ...newJob("heard"), payload: JSON.stringify({ n }) }, deps.clock.now());
			say({ committed: { n, at: instant() } });
		}
		await stop;
	},
	/** Sleeps until it hears of work. */
	async wait(): Promise<void> {
		const deafen = hear(() => deps.wake.ring());
		const loop = startLoop(() => ownDeps, { backstop: "0 0 0 1 1 *", onAsleep: () => say({ asleep: true }) });
		await stop;
		deafen();
		await loop.stop();
	},
};

say({ ready: true });
await go;
const telling = setInterval(tellDone, 5);
try {
	await roles[order.role]();
} catch (error) {
	say({ trouble: String((error as Error).stack ?? error) });
}
clearInterval(telling);
tellDone();
await storage.close();
process.disconnect!();
