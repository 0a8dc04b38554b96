/** The inside of a thread of the worker pool: it loads the tasks, runs the attempts that it is sent, and says how they ended. */
import { setPriority } from "node:os";
import { workerData } from "node:worker_threads";
import { systemClock, systemRandom } from "../../lib/clock.ts";
import { toJobId } from "../../lib/jobId.ts";
import { createLog, type LogRecord, messageOf } from "../../lib/log.ts";
import { type Attempt, type AttemptNeeds, startAttempt } from "../../lib/runJob.ts";
import { createFetchOutside } from "../fetchOutside.ts";
import { loadTasks } from "../loadTasks.ts";
import { recordText } from "../recordText.ts";
import { CELLS, ENTERED, type FromThread, QUEUED, STARTED, type Start, type ThreadData, type ToThread, UNREAD_LOGS } from "./messages.ts";
import { catchStrays, type Origin, startTraced, traced, within } from "./origins.ts";

/** Log records on their way at once; beyond, a task that logs without end would fill the main thread's memory. */
const UNREAD_LOGS_MAX = 1000;
/** After so long in synchronous code the thread lets its messages in and out before it starts the next attempt. */
const SLICE_MS = 10;
/** A task that yields sooner than this is quick. */
const QUICK_MS = 1;
const PROGRESS_EVERY_MS = 500;
/** How long a task may go on after its attempt has ended before the thread counts as spoiled. */
const LEFT_MS = 1000;
/** A third of the weight of a thread that is not nice, where both want the processor. */
const NICENESS = 5;

const data = { ...(workerData as ThreadData) };
// Tasks are to find nothing here that they could speak on.
for (const name of Object.keys(workerData)) delete workerData[name];
const { port } = data;
const cells = new Int32Array(data.cells);
const clock = systemClock(setImmediate);

interface Running {
	readonly attempt: Attempt;
	readonly origin: Origin;
	told: boolean;
}
const running = new Map<number, Running>();
const queue: Start[] = [];
/** Tasks that were quick to yield the last time: several begin in one turn. */
const quick = new Set<string>();
let ended: NonNullable<FromThread["ended"]>[number][] = [];
let willFlush = false;
let pollsProgress = false;
let dropped = 0;

const post = (message: FromThread): void => port.postMessage(message);

/** Fields as data that another thread can be sent: what JSON makes of them, as in the log itself. */
const plain = (record: LogRecord): LogRecord =>
	Object.values(record).some(value => typeof value === "object" || typeof value === "function" || typeof value === "symbol")
		? JSON.parse(recordText(record))
		: record;
/** Sent at once, since the task may not let go of the thread again. */
const log = createLog(
	record => {
		if (Atomics.load(cells, UNREAD_LOGS) >= UNREAD_LOGS_MAX) {
			dropped++;
			return;
		}
		Atomics.add(cells, UNREAD_LOGS, 1);
		post({ log: plain(dropped === 0 ? record : { ...record, dropped_before: dropped }) });
		dropped = 0;
	},
	clock.now,
	data.logLevel,
);

const needs: Omit<AttemptNeeds, "tasks"> = {
	clock,
	random: systemRandom(),
	log,
	config: data.config,
	fetchOutside: createFetchOutside({ clock, allow: data.outsideAllow }),
	webhookSecrets: data.webhookSecrets,
};
let tasks: AttemptNeeds["tasks"] = {};

const takeProgress = (): [seq: number, progress: string][] =>
	[...running].flatMap(([seq, { attempt }]) => {
		const said = attempt.takeProgress();
		return said === undefined ? [] : [[seq, said]];
	});

/** Says what has ended, and which attempts have begun and will take a while. */
function flush(): void {
	willFlush = false;
	const started: number[] = [];
	for (const [seq, one] of running)
		if (!one.told) {
			one.told = true;
			started.push(seq);
		}
	if (started.length > 0) {
		post({ ended, started, progress: takeProgress() });
		pollProgress();
	} else if (ended.length > 0) post({ ended });
	ended = [];
}
function flushSoon(): void {
	if (willFlush) return;
	willFlush = true;
	setImmediate(flush);
}

function pollProgress(): void {
	if (pollsProgress || running.size === 0) return;
	pollsProgress = true;
	clock.after(PROGRESS_EVERY_MS, () => {
		pollsProgress = false;
		const progress = takeProgress();
		if (progress.length > 0) post({ progress });
		pollProgress();
	});
}

/** While code of this attempt runs that does not yield, the main thread can see whose it is. */
function enter<T>(seq: number, code: () => T): T {
	Atomics.store(cells, ENTERED, seq);
	const result = code();
	Atomics.store(cells, ENTERED, 0);
	return result;
}

function begin({ seq, place, job }: Start): void {
	if (Atomics.compareExchange(cells, CELLS + place, QUEUED, STARTED) !== QUEUED) {
		ended.push([seq]);
		return;
	}
	const from = performance.now();
	const one = enter(seq, () => startTraced(job, () => startAttempt(job, { ...needs, tasks })));
	if (performance.now() - from < QUICK_MS) quick.add(job.task);
	else quick.delete(job.task);
	running.set(seq, { ...one, told: false });
	void one.attempt.ending.then(ending => {
		running.delete(seq);
		ended.push([seq, ending]);
		flushSoon();
		if (one.origin.isOpen) watchLeft(one.origin);
	});
}

function watchLeft(origin: Origin): void {
	clock.after(LEFT_MS, () => {
		if (origin.isOpen) post({ spoiled: `the task ${origin.job.task} goes on although its attempt has ended (job ${toJobId(origin.job)})` });
	});
}

/** @param isFresh whether nothing has begun in this turn */
function work(isFresh: boolean): void {
	const from = performance.now();
	for (let next = queue[0]; next !== undefined; next = queue[0]) {
		// What has ended is told first, lest it waits for one that does not yield.
		if (!isFresh && (!quick.has(next.job.task) || performance.now() - from > SLICE_MS)) {
			setImmediate(() => {
				flush();
				work(true);
			});
			return;
		}
		queue.shift();
		begin(next);
		isFresh = false;
	}
	flushSoon();
}

// A task may end its own thread: what its neighbours have finished is not lost.
process.on("exit", flush);
catchStrays(log, { onThrown: () => post({ spoiled: "an error was thrown outside of a task's run()" }) });

try {
	tasks = traced(await loadTasks(data.tasks));
	// Tasks that take all the time there is leave the main thread, and so the HTTP side, the larger share. Only Linux does this by thread.
	if (process.platform === "linux") setPriority(NICENESS);
	post({ ready: true });
	// Messages that have come before wait in the port.
	port.on("message", ({ starts, stops }: ToThread) => {
		// What is stopped or begins may not yield again.
		if (ended.length > 0) flush();
		const idle = queue.length === 0;
		queue.push(...starts);
		for (const [seq, why] of stops) {
			const one = running.get(seq);
			if (one !== undefined) enter(seq, () => within(one.origin, () => one.attempt.stop(why)));
		}
		if (idle && queue.length > 0) work(true);
	});
} catch (error) {
	post({ unloadable: messageOf(error) });
	port.close();
}
