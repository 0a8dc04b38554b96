/** Everything a function may touch. Roots make one; tests make one with a clock and random numbers of their own. */
import type { Clock, Random } from "./clock.ts";
import type { Config } from "./config.ts";
import type { Log } from "./log.ts";
import type { Allow } from "./outside.ts";
import type { Attempt } from "./runJob.ts";
import type { Claimed, Storage } from "./storage/storage.ts";
import type { FetchOutside, TaskRegistry } from "./task.ts";

export interface Deps {
	readonly storage: Storage;
	readonly clock: Clock;
	readonly random: Random;
	readonly log: Log;
	readonly config: Config;
	/** The tasks this process knows; a root may exchange them when their files change. */
	readonly tasks: TaskRegistry;
	/** Names of the tasks it runs; all that it knows if absent. */
	readonly works?: readonly string[];
	/** Whether it only answers, and runs no jobs by itself. */
	readonly answersOnly?: boolean;
	/** Name of this process in leases and histories. */
	readonly worker: string;
	/** Rung when something may have become due, or a slot free. */
	readonly wake: Bell;
	/** Says which jobs have just ended here. */
	readonly ended: Announcements;
	readonly slots: Slots;
	/** The jobs this process runs at the moment, by their number. */
	readonly running: Map<number, RunningJob>;
	readonly ticks: TickStatus;
	/** Aborted when the process wants to end: ticks start nothing more, also those that a request began. */
	readonly stopping?: AbortSignal;
	readonly platform?: PlatformLimits;
	/** How this platform calls addresses that users gave, and only such as lead outside. */
	readonly fetchOutside: FetchOutside;
	/** What addresses that users gave may lead to although it is inside; nothing if absent. */
	readonly outsideAllow?: Allow;
	/** What calls to users are signed with: `whsec_…`, the current one first, then those that are still valid. */
	readonly webhookSecrets: readonly string[];
	/** Runs an attempt elsewhere than in this thread; in it if absent. */
	readonly execute?: (job: Claimed) => Attempt;
	/** The worker pool, where there is one. */
	readonly pool?: PoolStatus;
	/** Told how each attempt ended, for whoever watches. */
	readonly onOutcome?: (outcome: AttemptOutcome) => void;
}

/** A change in the number of workers, and why. */
export interface Scaled {
	readonly at: number;
	readonly from: number;
	readonly to: number;
	readonly reason: string;
}
/** What a worker pool says of itself. */
export interface PoolStatus {
	/** Workers that take jobs. */
	readonly running: number;
	readonly min: number;
	readonly max: number;
	/** The latest changes, the newest last. */
	readonly scaled: readonly Scaled[];
}

/** What a platform bounds for whatever runs on it. */
export interface PlatformLimits {
	/** How often a request that waits for a job may ask the store. */
	readonly looksMax: number;
}

/** An attempt as the one who runs it sees it from outside. */
export interface RunningJob {
	/** Asks the task to stop; the slot stays taken until it has, or the grace period is over. */
	cancel(): void;
	/** Gives the job back now, without using an attempt. */
	release(): void;
}

export interface AttemptOutcome {
	readonly id: string;
	readonly tenant_id: string;
	readonly task: string;
	readonly attempt: number;
	readonly max_attempts: number;
	readonly outcome: Outcome;
	readonly waited_ms: number;
	readonly ran_ms: number;
	readonly trace_id: string;
	readonly error?: string;
	readonly again_in_ms?: number;
}
export const OUTCOMES = ["done", "retry", "failed", "dead_letter", "cancelled", "snoozed", "released", "lost"] as const;
export type Outcome = (typeof OUTCOMES)[number];

export interface TickStatus {
	lastTickAt: number | null;
	nextWakeAt: number | null;
	/** What the next tick does first, where it may not send enough statements for all that it has to do. */
	turn?: number;
}

/** A bell that stays rung until somebody has heard it. */
export class Bell {
	#rung = false;
	#listeners: (() => void)[] = [];
	ring(): void {
		this.#rung = true;
		const listeners = this.#listeners;
		this.#listeners = [];
		for (const listener of listeners) listener();
	}
	/** Whether it rang since the last time it was heard; hearing stills it. */
	heard(): boolean {
		const rung = this.#rung;
		this.#rung = false;
		return rung;
	}
	/** Calls back with the next ring. Answers how to stop listening. */
	listen(callback: () => void): () => void {
		this.#listeners.push(callback);
		return () => {
			this.#listeners = this.#listeners.filter(listener => listener !== callback);
		};
	}
}

/** Lets a request wait for one job's end without asking the store again and again. */
export class Announcements {
	readonly #waiting = new Map<number, Set<() => void>>();
	announce(id: number): void {
		for (const callback of this.#waiting.get(id) ?? []) callback();
	}
	/** Answers how to stop listening. */
	listen(id: number, callback: () => void): () => void {
		const callbacks = this.#waiting.get(id) ?? new Set();
		this.#waiting.set(id, callbacks.add(callback));
		return () => {
			callbacks.delete(callback);
			if (callbacks.size === 0) this.#waiting.delete(id);
		};
	}
}

/** How many jobs this process may run at once, and does. */
export class Slots {
	#size: number;
	busy = 0;
	readonly #bell: Bell;
	/** @param bell rung when there is a free slot again after there was none */
	constructor(size: number, bell: Bell) {
		this.#size = size;
		this.#bell = bell;
	}
	get size(): number {
		return this.#size;
	}
	/** Makes them more or fewer. Jobs that run keep theirs: there are more busy than there are, until enough have ended. */
	resize(size: number): void {
		const wasFull = this.busy >= this.#size;
		this.#size = size;
		if (wasFull && this.busy < size) this.#bell.ring();
	}
	/** Takes at most `most` of the free slots; answers how many. */
	take(most: number): number {
		const taken = Math.max(0, Math.min(most, this.#size - this.busy));
		this.busy += taken;
		return taken;
	}
	/** Gives back slots that were taken for nothing. */
	untake(count: number): void {
		this.busy -= count;
	}
	/** Frees the slots of jobs that have ended. */
	free(count: number): void {
		const wasFull = this.busy >= this.#size;
		this.busy -= count;
		if (wasFull && this.busy < this.#size) this.#bell.ring();
	}
}
