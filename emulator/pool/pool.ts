/**
 * The worker pool: runs attempts in threads, so that a task that never yields, leaks, or ends its thread harms no more than its own
 * attempt. The tick does not know the difference.
 *
 * Who is to blame when a thread is stuck or gone: the job whose code has not yielded since it began, which the thread writes into shared
 * memory; else the only job that runs in it. Where neither tells, nobody is: all that had begun are given back, no attempt is burned, and
 * each runs in a thread of its own next time, which will tell. So does, from then on, a job that was to blame.
 */
import type { Clock, Random } from "../../lib/clock.ts";
import type { Config } from "../../lib/config.ts";
import type { PoolStatus, Scaled, Slots } from "../../lib/context.ts";
import type { Log, LogLevel, LogRecord } from "../../lib/log.ts";
import { messageOf } from "../../lib/log.ts";
import type { Allow } from "../../lib/outside.ts";
import { type Attempt, endingWithout, type StopReason, timeoutOf } from "../../lib/runJob.ts";
import type { Claimed } from "../../lib/storage/storage.ts";
import type { TaskRegistry } from "../../lib/task.ts";
import type { PoolData } from "./messages.ts";
import { PooledJob } from "./pooledJob.ts";
import { type Gone, PoolThread, type ThreadOwner } from "./poolThread.ts";

export interface PoolOptions {
	readonly clock: Clock;
	readonly random: Random;
	readonly log: Log;
	/** Where the records of tasks go, as they are. */
	readonly onLog: (record: LogRecord) => void;
	readonly logLevel: LogLevel;
	readonly config: Config;
	/** Grow and shrink with the threads. */
	readonly slots: Slots;
	/** The registry as this thread knows it. */
	readonly tasks: () => TaskRegistry;
	/** Address of the module from which each thread loads its own. */
	readonly tasksIndex: string;
	readonly webhookSecrets: readonly string[];
	readonly outsideAllow: Allow;
	/** Called with each job. */
	readonly onJob?: () => void;
}

export interface Pool extends PoolStatus {
	readonly execute: (job: Claimed) => Attempt;
	/** Whether no thread can be started: the tasks cannot be loaded there. */
	readonly isFailing: boolean;
	/** Starts threads, or lets some end when they are empty, until there are so many. */
	scaleTo(threads: number, reason: string): void;
	/** Lets all threads end when they are empty, and starts new ones, which load the tasks anew. */
	renew(): void;
	/** Ends all threads; what runs is given back. */
	close(): Promise<void>;
}

/** What a thread has to answer a stop with, beyond what the task may take. One that does not is stuck. */
export const STUCK_MS = 1000;
/** Jobs that are remembered to run alone. A job that is forgotten is found out anew. */
const SUSPECTS_MAX = 1000;
const SCALED_MAX = 100;
const RETRY_START_MS = 1000;
const RETRY_START_MS_MAX = 60_000;

/** What is said of the end of a thread, to whoever was to blame and to the others that ran in it. */
interface Verdict {
	readonly culprit?: PooledJob | undefined;
	readonly blame?: string;
	readonly others?: string;
}
const ALONE = "it runs alone next time, which will tell";

export const createPool = (options: PoolOptions): Pool => new ThreadPool(options);

class ThreadPool implements Pool, ThreadOwner {
	readonly clock: Clock;
	readonly #options: PoolOptions;
	readonly #threadData: PoolData;
	readonly #threads = new Set<PoolThread>();
	readonly #ending = new Set<Promise<void>>();
	/** Jobs that no thread has room for. */
	#waiting: PooledJob[] = [];
	/** Ids of jobs that run alone: they were to blame for the end of a thread, or may be. */
	readonly #suspects = new Set<number>();
	readonly #scaled: Scaled[] = [];
	/** So many threads there are to be, and so many count for the slots: a thread that is to come on top counts when it is ready. */
	#target: number;
	#counted: number;
	#isFailing = false;
	#retryMs = RETRY_START_MS;
	#cancelRetry = () => {};
	#isClosed = false;

	constructor(options: PoolOptions) {
		const { clock, config, logLevel, tasksIndex: tasks, webhookSecrets, outsideAllow } = options;
		this.#options = options;
		this.clock = clock;
		this.#threadData = { tasks, config, logLevel, webhookSecrets, outsideAllow };
		this.#target = config.workersMin;
		this.#counted = config.workersMin;
		this.#resize();
	}

	get isFailing(): boolean {
		return this.#isFailing;
	}
	get running(): number {
		return this.#counted;
	}
	get min(): number {
		return this.#options.config.workersMin;
	}
	get max(): number {
		return this.#options.config.workersMax;
	}
	get scaled(): readonly Scaled[] {
		return this.#scaled;
	}

	readonly execute = (job: Claimed): Attempt => {
		const pooled = new PooledJob(job, stopped => this.#onStop(stopped));
		if (this.#isClosed) this.#giveBack(pooled);
		else this.#place(pooled);
		this.#options.onJob?.();
		return pooled;
	};

	scaleTo(threads: number, reason: string): void {
		const from = this.#target;
		if (threads === from || this.#isClosed) return;
		this.#target = threads;
		this.#scaled.push({ at: this.clock.now(), from, to: threads, reason });
		if (this.#scaled.length > SCALED_MAX) this.#scaled.shift();
		this.#options.log.info("workers scaled", { from, to: threads, reason });
		this.#counted = Math.min(this.#counted, threads);
		const shared = this.#shared();
		const surplus = shared.toSorted((a, b) => a.live.length - b.live.length).slice(0, Math.max(0, shared.length - threads));
		for (const thread of surplus) this.#retire(thread);
		if (!this.#isFailing) for (let count = shared.length; count < threads; count++) this.#start();
		this.#resize();
	}

	renew(): void {
		for (const thread of [...this.#threads]) this.#retire(thread);
		this.#cancelRetry();
		this.#retryMs = RETRY_START_MS;
		this.#isFailing = false;
		this.#resize();
		this.#placeWaiting();
	}

	async close(): Promise<void> {
		this.#isClosed = true;
		this.#cancelRetry();
		for (const job of this.#waiting.splice(0)) this.#giveBack(job);
		for (const thread of [...this.#threads]) this.#end(thread);
		await Promise.all(this.#ending);
	}

	/** Threads that take jobs. */
	#shared(): PoolThread[] {
		return [...this.#threads].filter(thread => !thread.isAlone && !thread.isRetiring);
	}
	#resize(): void {
		const threads = this.#isFailing ? this.#shared().filter(({ isReady }) => isReady).length : this.#counted;
		this.#options.slots.resize(threads * this.#options.config.tasksPerWorker);
	}

	#start(isAlone = false): PoolThread | undefined {
		try {
			const thread = new PoolThread(this.#threadData, isAlone, this);
			this.#threads.add(thread);
			return thread;
		} catch (error) {
			// The system has none to give.
			this.#failToStart(messageOf(error));
			return undefined;
		}
	}

	#place(job: PooledJob): void {
		const thread = this.#suspects.has(job.job.id) ? this.#aloneThread() : this.#freest();
		if (thread === undefined) {
			this.#waiting.push(job);
			return;
		}
		this.#suspects.delete(job.job.id);
		thread.send(job);
	}
	#placeWaiting(): void {
		for (const job of this.#waiting.splice(0)) if (!job.isSettled) this.#place(job);
	}
	/** They come on top of the others, so that nobody waits for one of these to be empty. */
	#aloneThread(): PoolThread | undefined {
		const alone = [...this.#threads].filter(({ isAlone }) => isAlone);
		return alone.length < this.max && !this.#isFailing ? this.#start(true) : undefined;
	}
	/** The thread that is best for one more job. Threads start with the jobs: one more when every other has something to do. */
	#freest(): PoolThread | undefined {
		let best: PoolThread | undefined;
		let bestCost = Number.POSITIVE_INFINITY;
		let count = 0;
		for (const thread of this.#threads) {
			if (thread.isAlone || thread.isRetiring) continue;
			count++;
			const cost = costOf(thread);
			if (cost < bestCost) {
				best = thread;
				bestCost = cost;
			}
		}
		if (bestCost === 0 || count >= this.#target || this.#isFailing) return best;
		const started = this.#start();
		return bestCost < COST.loading ? best : (started ?? best);
	}

	/** A job was told to stop. */
	#onStop(job: PooledJob): void {
		const { thread } = job;
		const why = job.stopped!;
		if (thread === null || thread.takeBack(job)) {
			job.settle(this.#endingOf(job, why));
			return;
		}
		thread.stop(job);
		job.cancelTimer();
		const mayTakeMs = why === "cancelled" ? this.#options.config.graceMs : 0;
		job.cancelTimer = this.clock.after(mayTakeMs + STUCK_MS, () => this.#judge(job));
	}

	/** A job was told to stop, and its thread has not answered in time. */
	#judge(job: PooledJob): void {
		const thread = job.thread!;
		if (thread.isOver || !thread.owes(job)) return;
		const { entered } = thread;
		const culprit = entered ?? (thread.runsOnly(job) ? job : undefined);
		if (culprit !== undefined && culprit !== job && !culprit.isSettled) {
			// Somebody else is in its way, whose own time is not over: that one may go on. Afterwards the thread has to answer.
			this.#giveBack(job, "another job in its thread does not yield");
			this.#retire(thread);
			this.clock.after(STUCK_MS, () => this.#judge(job));
			return;
		}
		this.#options.log.warn("a worker thread is stuck and was ended", { task: job.job.task, known: culprit !== undefined });
		const what = job.stopped === "timeout" ? `timed out after ${this.#timeoutMs(job)} ms` : "told to stop";
		this.#end(thread, {
			culprit,
			blame: `${what}; it did not yield, so its thread was ended`,
			others:
				culprit === undefined
					? `its thread did not answer any more and was ended; ${ALONE}`
					: "another job in its thread did not yield, so the thread was ended",
		});
	}
	#timeoutMs({ job }: PooledJob): number {
		return timeoutOf(job, this.#options.tasks()[job.task] ?? { run: () => {} }, this.#options.config);
	}

	/** Ends a thread, or clears up after one that has ended. Only the culprit is blamed, what had not begun is placed anew. */
	#end(thread: PoolThread, { culprit, blame, others }: Verdict = {}): void {
		const live = thread.live;
		this.#threads.delete(thread);
		if (!thread.isOver) {
			const ending = thread.end().finally(() => this.#ending.delete(ending));
			this.#ending.add(ending);
		}
		for (const job of live)
			if (job === culprit) {
				this.#suspect(job);
				job.settle(this.#endingOf(job, job.stopped ?? "timeout", blame));
			} else if (thread.takeBack(job) && !this.#isClosed) {
				if (thread.isAlone) this.#suspect(job);
				this.#waiting.push(job);
			} else {
				if (culprit === undefined && !this.#isClosed) this.#suspect(job);
				this.#giveBack(job, others);
			}
		this.#placeWaiting();
	}
	#suspect({ job }: PooledJob): void {
		this.#suspects.add(job.id);
		if (this.#suspects.size > SUSPECTS_MAX) this.#suspects.delete(this.#suspects.values().next().value!);
	}
	/** @param reason stands in its history */
	#giveBack(job: PooledJob, reason?: string): void {
		job.settle(this.#endingOf(job, job.stopped === null || job.stopped === "timeout" ? "stopping" : job.stopped, reason));
	}
	#endingOf({ job }: PooledJob, why: StopReason, message = "") {
		const { clock, random, config, tasks } = this.#options;
		return endingWithout(job, why, message, { clock, random, config, tasks: tasks() });
	}

	/** Lets a thread end when it is empty. */
	#retire(thread: PoolThread): void {
		thread.isRetiring = true;
		if (thread.isEmpty()) this.#end(thread);
	}

	onReady(thread: PoolThread): void {
		if (this.#isFailing) this.#options.log.info("worker threads can be started again");
		this.#cancelRetry();
		this.#isFailing = false;
		this.#retryMs = RETRY_START_MS;
		if (!thread.isAlone)
			this.#counted = Math.min(this.#target, Math.max(this.#counted, this.#shared().filter(({ isReady }) => isReady).length));
		this.#resize();
		this.#placeWaiting();
	}
	onUnloadable(thread: PoolThread, why: string): void {
		// Before its jobs are placed anew: they are not to start the next one.
		this.#isFailing = true;
		this.#end(thread);
		this.#failToStart(why);
	}
	onBegun(job: PooledJob): void {
		if (job.stopped !== null) return;
		job.cancelTimer = this.clock.after(this.#timeoutMs(job), () => job.stop("timeout"));
	}
	onSpoiled(thread: PoolThread, why: string): void {
		this.#options.log.warn(`a worker thread is replaced when it is empty: ${why}`);
		thread.isSpoiled = true;
		this.#retire(thread);
	}
	onEnded(thread: PoolThread): void {
		if ((thread.isAlone || thread.isRetiring) && thread.isEmpty()) this.#end(thread);
		if (this.#waiting.length > 0) this.#placeWaiting();
	}
	onWaiting(job: PooledJob): void {
		const other = [...this.#threads].find(thread => thread.hasRoom && thread.isReady && !thread.isAlone && !thread.isBlocked);
		if (other !== undefined && job.thread!.takeBack(job)) other.send(job);
	}
	onLog(record: LogRecord): void {
		this.#options.onLog(record);
	}
	onGone(thread: PoolThread, gone: Gone): void {
		if (!this.#threads.has(thread)) return;
		const [why, isMemory] = this.#whyGone(gone);
		if (!thread.isReady) {
			this.onUnloadable(thread, why);
			return;
		}
		const only = thread.live.find(job => (isMemory ? thread.servedOnly(job) : thread.runsOnly(job)));
		// Memory is filled by all who share it: who asked for the last of it tells nothing.
		const culprit = isMemory ? only : (thread.entered ?? only);
		this.#options.log.warn(`a worker thread is gone: ${why}`, { ...(culprit === undefined ? {} : { task: culprit.job.task }) });
		this.#end(thread, {
			culprit,
			blame: why,
			others: culprit === undefined ? `${why}; ${ALONE}` : `${why}; another job in it was to blame`,
		});
	}
	#whyGone(gone: Gone): [why: string, isMemory: boolean] {
		if ("code" in gone) return [`its thread was ended by process.exit(${gone.code})`, false];
		const isMemory = (gone.error as { code?: unknown } | null)?.code === "ERR_WORKER_OUT_OF_MEMORY";
		return isMemory
			? [`its thread ran out of memory (${this.#options.config.workerMemoryMb} MB)`, true]
			: [`its thread ended: ${messageOf(gone.error)}`, false];
	}

	/** No thread is started for a while. Where none is left that runs, jobs are given back, and there are no slots for others. */
	#failToStart(why: string): void {
		this.#options.log.error("a worker thread cannot be started", { error: why, again_in_ms: this.#retryMs });
		this.#isFailing = true;
		if (!this.#shared().some(({ isReady }) => isReady))
			for (const job of this.#waiting.splice(0)) this.#giveBack(job, `no worker thread can be started: ${why}`);
		this.#resize();
		this.#cancelRetry();
		if (this.#isClosed) return;
		this.#cancelRetry = this.clock.after(this.#retryMs, () => this.#startAgain());
		this.#retryMs = Math.min(2 * this.#retryMs, RETRY_START_MS_MAX);
	}
	/** Starts a thread that is missing; where none is, it was one for a job alone, which starts it. */
	#startAgain(): void {
		if (this.#shared().length < this.#target) {
			this.#start();
			return;
		}
		this.#isFailing = false;
		this.#resize();
		this.#placeWaiting();
	}
}

/** What speaks against a thread, the most important first: it has no room, its code does not yield, it still loads; then how much it has. */
const COST = { full: Number.POSITIVE_INFINITY, blocked: 1e9, loading: 1e6 };
function costOf(thread: PoolThread): number {
	if (!thread.hasRoom) return COST.full;
	return (thread.isBlocked ? COST.blocked : 0) + (thread.isReady ? 0 : COST.loading) + thread.load;
}
