/** A job in the hands of the pool, as the tick sees it: an attempt like any other. What becomes of it the pool decides. */
import type { Attempt, StopReason } from "../../lib/runJob.ts";
import type { Claimed, Ending } from "../../lib/storage/storage.ts";
import type { PoolThread } from "./poolThread.ts";

export class PooledJob implements Attempt {
	readonly job: Claimed;
	readonly ending: Promise<Ending | null>;
	/** Where it is; null while it waits for a thread. */
	thread: PoolThread | null = null;
	/** Its number in that thread. */
	seq = 0;
	/** Whether the thread is known to have begun it: from then on its time counts. */
	hasBegun = false;
	stopped: StopReason | null = null;
	isSettled = false;
	progress: string | undefined;
	/** Called off when it ends: its deadline, or what is left to it after a stop. */
	cancelTimer = () => {};
	readonly #onStop: (job: PooledJob) => void;
	#resolve: (ending: Ending | null) => void = () => {};

	/** @param onStop called once, with the first reason to stop in `stopped` */
	constructor(job: Claimed, onStop: (job: PooledJob) => void) {
		this.job = job;
		this.#onStop = onStop;
		this.ending = new Promise(resolve => {
			this.#resolve = resolve;
		});
	}

	stop(why: StopReason): void {
		if (this.stopped !== null || this.isSettled) return;
		this.stopped = why;
		this.#onStop(this);
	}

	takeProgress(): string | undefined {
		const taken = this.progress;
		this.progress = undefined;
		return taken;
	}

	/** The first ending counts. */
	settle(ending: Ending | null): void {
		if (this.isSettled) return;
		this.isSettled = true;
		this.cancelTimer();
		this.#resolve(ending);
	}
}
