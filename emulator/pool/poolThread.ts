/** One thread of the pool, seen from outside: what it was sent and has not answered, and what the shared memory tells of it. */
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from "node:worker_threads";
import type { Clock } from "../../lib/clock.ts";
import type { LogRecord } from "../../lib/log.ts";
import { LOAD_MS, tooLate } from "../loadTasks.ts";
import {
	CELLS,
	ENTERED,
	type FromThread,
	type PoolData,
	QUEUED,
	STARTED,
	type Start,
	TAKEN_BACK,
	type ThreadData,
	type ToThread,
	UNREAD_LOGS,
} from "./messages.ts";
import type { PooledJob } from "./pooledJob.ts";

/** Why a thread ended that was not told to: the error that ended it, or its exit code. */
export type Gone = { readonly error: unknown } | { readonly code: number };

/** Who is told what happens in a thread. */
export interface ThreadOwner {
	readonly clock: Clock;
	onReady(thread: PoolThread): void;
	onUnloadable(thread: PoolThread, why: string): void;
	/** A job has begun that does not end at once. */
	onBegun(job: PooledJob): void;
	/** It has ended something. */
	onEnded(thread: PoolThread): void;
	/** It says that it should be replaced. */
	onSpoiled(thread: PoolThread, why: string): void;
	/** A job has waited in it for a while without being begun. */
	onWaiting(job: PooledJob): void;
	onLog(record: LogRecord): void;
	onGone(thread: PoolThread, gone: Gone): void;
}

/** Jobs that the thread has not said anything of are looked at this often. */
const LOOK_MS = 100;

/** A job as it was sent to this thread. It may have been taken back, and be elsewhere by now. */
interface Sent {
	readonly job: PooledJob;
	readonly place: number;
	/** Whether it has been looked at. */
	isOld: boolean;
}

export class PoolThread {
	/** For one job only. */
	readonly isAlone: boolean;
	isReady = false;
	/** Takes no new job, and is ended when it is empty. */
	isRetiring = false;
	/** It runs code of attempts that have ended: what it does may be nobody's fault who still runs. */
	isSpoiled = false;
	/** It has left a job waiting since the last sign of life. */
	isSilent = false;
	isOver = false;
	readonly #owner: ThreadOwner;
	readonly #worker: Worker;
	readonly #port: MessagePort;
	readonly #cells: Int32Array;
	readonly #freePlaces: number[];
	/** What it has not answered, by number. */
	readonly #sent = new Map<number, Sent>();
	#seq = 0;
	#starts: Start[] = [];
	#stops: ToThread["stops"][number][] = [];
	#willPost = false;
	#looks = false;
	/** In real time: no other clock makes modules load sooner. */
	readonly #loading: NodeJS.Timeout;

	constructor(data: PoolData, isAlone: boolean, owner: ThreadOwner) {
		const places = isAlone ? 1 : data.config.tasksPerWorker;
		const cells = new SharedArrayBuffer((CELLS + places) * 4);
		this.#cells = new Int32Array(cells);
		this.#freePlaces = Array.from({ length: places }, (_, place) => place);
		this.isAlone = isAlone;
		this.#owner = owner;
		const { port1, port2 } = new MessageChannel();
		this.#port = port1;
		this.#worker = new Worker(new URL("thread.js", import.meta.url), {
			workerData: { ...data, cells, port: port2 } satisfies ThreadData,
			transferList: [port2],
			resourceLimits: { maxOldGenerationSizeMb: data.config.workerMemoryMb },
		});
		port1.on("message", (message: FromThread) => this.#hear(message));
		this.#loading = setTimeout(() => owner.onUnloadable(this, tooLate(data.tasks)), LOAD_MS);
		let error: { readonly error: unknown } | null = null;
		this.#worker.on("error", thrown => {
			error = { error: thrown };
		});
		this.#worker.on("exit", code => {
			// What it said last may not have been read.
			for (let said = receiveMessageOnPort(port1); said !== undefined; said = receiveMessageOnPort(port1)) this.#hear(said.message);
			if (this.isOver) return;
			this.isOver = true;
			clearTimeout(this.#loading);
			owner.onGone(this, error ?? { code });
		});
	}

	get hasRoom(): boolean {
		return !this.isRetiring && !this.isOver && this.#freePlaces.length > 0;
	}
	/** What it has not answered. */
	get load(): number {
		return this.#sent.size;
	}
	/** Whether code runs in it right now that has not yielded since its attempt began or was stopped, or it has given no sign of life. */
	get isBlocked(): boolean {
		return this.isSilent || Atomics.load(this.#cells, ENTERED) !== 0;
	}
	/** The job whose code that is, if it can be known. */
	get entered(): PooledJob | undefined {
		const job = this.#sent.get(Atomics.load(this.#cells, ENTERED))?.job;
		return job?.thread === this ? job : undefined;
	}
	/** Jobs in it that have not ended. */
	get live(): PooledJob[] {
		return [...this.#sent].filter(([seq, { job }]) => this.#has(job, seq)).map(([, { job }]) => job);
	}
	isEmpty(): boolean {
		for (const [seq, { job }] of this.#sent) if (this.#has(job, seq)) return false;
		return true;
	}
	#has(job: PooledJob, seq: number): boolean {
		return !job.isSettled && job.thread === this && job.seq === seq;
	}
	/** Whether it has not said yet how the job ended. */
	owes(job: PooledJob): boolean {
		return this.#sent.get(job.seq)?.job === job;
	}
	/** Whether nothing else can run in it: what the thread does, this job does. */
	runsOnly(job: PooledJob): boolean {
		if (this.isSpoiled) return false;
		for (const { job: other, place } of this.#sent.values())
			if (other !== job && Atomics.load(this.#cells, CELLS + place) === STARTED) return false;
		return true;
	}
	/** Whether nothing else has ever run in it. */
	servedOnly(job: PooledJob): boolean {
		return job.seq === 1 && this.runsOnly(job);
	}

	/** Sends a job, together with whatever else is sent in this turn. There must be room. */
	send(job: PooledJob): void {
		job.thread = this;
		job.seq = ++this.#seq;
		const place = this.#freePlaces.pop()!;
		Atomics.store(this.#cells, CELLS + place, QUEUED);
		this.#sent.set(job.seq, { job, place, isOld: false });
		this.#starts.push({ seq: job.seq, place, job: job.job });
		this.#postSoon();
		this.#look();
	}
	/** Tells the thread to stop a job that it has begun. */
	stop(job: PooledJob): void {
		this.#stops.push([job.seq, job.stopped!]);
		this.#postSoon();
	}
	/** Takes a job back, unless the thread has begun it. */
	takeBack(job: PooledJob): boolean {
		const { place } = this.#sent.get(job.seq)!;
		if (Atomics.compareExchange(this.#cells, CELLS + place, QUEUED, TAKEN_BACK) !== QUEUED) return false;
		job.thread = null;
		return true;
	}

	/** Ends it at once, whatever runs in it. */
	async end(): Promise<void> {
		this.isOver = true;
		clearTimeout(this.#loading);
		await this.#worker.terminate();
	}

	#postSoon(): void {
		if (this.#willPost) return;
		this.#willPost = true;
		queueMicrotask(() => {
			this.#willPost = false;
			if (!this.isOver) this.#port.postMessage({ starts: this.#starts, stops: this.#stops } satisfies ToThread);
			this.#starts = [];
			this.#stops = [];
		});
	}

	/** Most jobs have ended, or the thread has said that they go on, before this looks once. */
	#look(): void {
		if (this.#looks) return;
		this.#looks = true;
		this.#owner.clock.after(LOOK_MS, () => {
			this.#looks = false;
			if (this.isOver) return;
			let unknown = false;
			for (const [seq, sent] of this.#sent) {
				const { job, place, isOld } = sent;
				if (job.hasBegun || !this.#has(job, seq)) continue;
				unknown = true;
				sent.isOld = true;
				if (Atomics.load(this.#cells, CELLS + place) !== QUEUED) this.#begun(job);
				else if (isOld && this.isReady) {
					this.isSilent = true;
					this.#owner.onWaiting(job);
				}
			}
			if (unknown) this.#look();
		});
	}
	#begun(job: PooledJob): void {
		if (job.hasBegun || job.isSettled || job.thread !== this) return;
		job.hasBegun = true;
		this.#owner.onBegun(job);
	}

	#hear({ ready, unloadable, started, ended, progress, log, spoiled }: FromThread): void {
		if (log !== undefined) {
			Atomics.sub(this.#cells, UNREAD_LOGS, 1);
			this.#owner.onLog(log);
			return;
		}
		if (this.isOver) return;
		this.isSilent = false;
		if (ready) {
			this.isReady = true;
			clearTimeout(this.#loading);
			this.#owner.onReady(this);
		}
		if (unloadable !== undefined) {
			this.#owner.onUnloadable(this, unloadable);
			return;
		}
		for (const [seq, text] of progress ?? []) {
			const job = this.#sent.get(seq)?.job;
			if (job !== undefined) job.progress = text;
		}
		for (const [seq, ending] of ended ?? []) {
			const sent = this.#sent.get(seq);
			if (sent === undefined) continue;
			const { job, place } = sent;
			this.#sent.delete(seq);
			this.#freePlaces.push(place);
			if (ending !== undefined) job.settle(ending);
		}
		for (const seq of started ?? []) {
			const job = this.#sent.get(seq)?.job;
			if (job !== undefined) this.#begun(job);
		}
		if (ended !== undefined) this.#owner.onEnded(this);
		if (spoiled !== undefined && !this.isSpoiled && !this.isOver) this.#owner.onSpoiled(this, spoiled);
	}
}
