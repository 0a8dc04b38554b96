/**
 * A worker that takes jobs over HTTP and runs them in this process. It leases as many as it has free slots, extends the leases of what
 * runs, and sends the endings in batches. A server that is away is asked again, at growing intervals; what has ended waits for it.
 */
import type { Clock, Random } from "../lib/clock.ts";
import { type Answer, LEASE_LIMIT_MAX, operations, WAIT_MS_MAX } from "../lib/contract.ts";
import { type Log, messageOf } from "../lib/log.ts";
import type { Attempt } from "../lib/runJob.ts";
import type { Claimed } from "../lib/storage/storage.ts";
import { type Leased, toClaimed, toRefused, toResult } from "./workWire.ts";

export interface RemoteWorkerOptions {
	/** Where the queue is, without a slash at the end. */
	readonly url: string;
	/** Sent as a bearer token. */
	readonly key?: string;
	readonly name: string;
	readonly version: string;
	readonly tasks: readonly string[];
	/** Jobs that run at once. */
	readonly concurrency: number;
	readonly leaseMs: number;
	/** What running jobs get at a stop. */
	readonly graceMs: number;
}

export interface RemoteWorkerNeeds {
	readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
	readonly clock: Clock;
	readonly random: Random;
	readonly log: Log;
	readonly execute: (job: Claimed) => Attempt;
}

/** Pause after a request that failed: the first, doubled up to the last. */
const PAUSE_MS = 500;
const PAUSE_MS_MAX = 30_000;
/** An empty answer that came sooner than this is no long-poll: the next request waits. */
const EMPTY_SOON_MS = 1000;
/** What a request may take beyond the time that it asks the server to wait. */
const REQUEST_MS_MAX = 15_000;
/** After the last jobs were given back, so long the endings are still sent to a server that does not answer. */
const LAST_WORDS_MS = 5000;
const BATCH_ITEMS_MAX = 100;
const BATCH_CHARS_MAX = 512 * 1024;

interface Run {
	readonly job: Leased;
	readonly attempt: Attempt;
}
interface Ended extends Run {
	/** A member of `results` as JSON. */
	readonly text: string;
	/** Whether it says that the server refused what was to be said. */
	readonly refused: boolean;
}

/** The answer was 4xx: the same request would be answered the same. */
class Refused extends Error {
	readonly status: number;
	/** Undefined: it was no problem document, so perhaps not the queue that answered. */
	readonly code: string | undefined;
	constructor(status: number, code: string | undefined, detail: string) {
		super(detail);
		this.status = status;
		this.code = code;
	}
}
/** 4xx that may be another one later: a key that is being changed, a limit. */
const REPEATED = new Set([401, 403, 408, 425, 429]);

export class RemoteWorker {
	readonly #options: RemoteWorkerOptions;
	readonly #needs: RemoteWorkerNeeds;
	readonly #running = new Set<Run>();
	#ended: Ended[] = [];
	readonly #stopping = new AbortController();
	#released = false;
	#giveUpAt = Number.POSITIVE_INFINITY;
	#listeners: (() => void)[] = [];
	#sending = false;
	/** Why it asks for no more jobs: what it asks for is refused, and would be again. */
	readonly refused: Promise<string>;
	#refuse: (why: string) => void = () => {};
	readonly #leasing: Promise<void>;
	#stopBeats = () => {};

	constructor(options: RemoteWorkerOptions, needs: RemoteWorkerNeeds) {
		this.#options = options;
		this.#needs = needs;
		this.refused = new Promise(resolve => {
			this.#refuse = resolve;
		});
		this.#beatLater();
		this.#leasing = this.#lease();
	}

	/** Jobs that it holds. */
	get busy(): number {
		return this.#running.size + this.#ended.length;
	}

	/** Takes no more jobs; resolves when those that run have ended, or were given back after the grace period, and the server knows. */
	async stop(): Promise<void> {
		this.#stopping.abort();
		this.#stir();
		const cancelTimer = this.#needs.clock.after(this.#options.graceMs, () => this.release());
		await this.#leasing;
		while (this.busy > 0) await this.#changed();
		cancelTimer();
		this.#stopBeats();
	}

	/** Gives back what runs, without using an attempt. */
	release(): void {
		if (this.#released) return;
		this.#released = true;
		this.#giveUpAt = this.#needs.clock.now() + LAST_WORDS_MS;
		for (const { attempt } of this.#running) attempt.stop("stopping");
		this.#stir();
	}

	/** Tells whoever waits for a change that there is one. */
	#stir(): void {
		const listeners = this.#listeners;
		this.#listeners = [];
		for (const listener of listeners) listener();
	}
	/** Resolves with the next change, or after `ms`. */
	#changed(ms?: number): Promise<void> {
		return new Promise(resolve => {
			let cancelTimer = () => {};
			const done = () => {
				cancelTimer();
				this.#listeners = this.#listeners.filter(listener => listener !== done);
				resolve();
			};
			if (ms !== undefined) cancelTimer = this.#needs.clock.after(ms, done);
			this.#listeners.push(done);
		});
	}
	/** Waits between half and all of the time that so many failures in a row ask for. A stop ends it. */
	async #backOff(failures: number): Promise<void> {
		const { clock, random } = this.#needs;
		const until = clock.now() + Math.min(PAUSE_MS_MAX, PAUSE_MS * 2 ** Math.min(failures - 1, 20)) * (0.5 + random.fraction() / 2);
		const { aborted } = this.#stopping.signal;
		const released = this.#released;
		while (clock.now() < until && this.#stopping.signal.aborted === aborted && this.#released === released)
			await this.#changed(until - clock.now());
	}

	async #lease(): Promise<void> {
		const { url, name, version, tasks, concurrency, leaseMs } = this.#options;
		const { clock, log } = this.#needs;
		const stop = this.#stopping.signal;
		let isServing = false;
		let failures = 0;
		while (!stop.aborted) {
			const limit = Math.min(LEASE_LIMIT_MAX, concurrency - this.busy);
			if (limit <= 0) {
				await this.#changed();
				continue;
			}
			try {
				const askedAt = clock.now();
				// The first answer comes at once, so that whoever starts it sees whether it is the right address.
				const waitMs = isServing ? WAIT_MS_MAX : 0;
				const body = JSON.stringify({ worker: name, version, tasks, limit, lease_ms: leaseMs, wait_ms: waitMs });
				const { jobs } = operations.leaseJobs.answer.parse(await this.#post("/api/leases", body, waitMs + REQUEST_MS_MAX, stop));
				if (failures > 0) log.info("the queue answers again");
				failures = 0;
				for (const job of jobs) this.#start(job);
				if (!isServing) log.info(`serving ${tasks.join(", ")} at ${url} as ${name}`);
				else if (jobs.length === 0 && clock.now() - askedAt < EMPTY_SOON_MS && !stop.aborted) await this.#backOff(2);
				isServing = true;
			} catch (error) {
				if (stop.aborted) return;
				// What stands before a queue may say 4xx for it while it is away.
				if (error instanceof Refused && (error.code !== undefined || !isServing)) {
					const { status, code, message } = error;
					if (code === undefined) this.#refuse(`no tickq answers at ${url}: POST /api/leases is answered with ${status}`);
					else this.#refuse(`${url} refuses to lease jobs: ${message} (${status} ${code})`);
					return;
				}
				failures++;
				log.warn("no jobs can be had from the queue; it is asked again", { error: reasonOf(error), failures });
				await this.#backOff(failures);
			}
		}
	}

	#start(job: Leased): void {
		const run = { job, attempt: this.#needs.execute(toClaimed(job, this.#options.name)) };
		this.#running.add(run);
		if (this.#released) run.attempt.stop("stopping");
		void run.attempt.ending.then(ending => {
			this.#running.delete(run);
			if (ending !== null) this.#ended.push({ ...run, text: toResult(job, ending, this.#needs.clock.now()), refused: false });
			this.#stir();
			void this.#settle();
		});
	}

	/** Sends what has ended until nothing is left; what ends meanwhile goes with the next batch. */
	async #settle(): Promise<void> {
		const { clock, log } = this.#needs;
		if (this.#sending) return;
		this.#sending = true;
		for (let failures = 0; this.#ended.length > 0; ) {
			// What ends in one turn goes in one batch.
			await clock.turn();
			try {
				await this.#send(nextBatch(this.#ended));
				failures = 0;
			} catch (error) {
				failures++;
				log.warn("endings could not be sent; they are sent again", { jobs: this.#ended.length, error: reasonOf(error) });
				if (clock.now() < this.#giveUpAt) await this.#backOff(failures);
				else {
					log.error("the queue does not answer: it runs these jobs again when their leases have run out", { jobs: this.#ended.length });
					this.#ended = [];
				}
			}
		}
		this.#sending = false;
		this.#stir();
	}

	async #send(batch: readonly Ended[]): Promise<void> {
		const { log } = this.#needs;
		let said: Answer<"settleLeases">["results"];
		try {
			const body = `{"results":[${batch.map(({ text }) => text).join()}]}`;
			said = operations.settleLeases.answer.parse(await this.#post("/api/leases/settle", body, REQUEST_MS_MAX)).results;
		} catch (error) {
			if (!(error instanceof Refused && error.code !== undefined && FINAL.has(error.status))) throw error;
			if (batch.length > 1) {
				for (const ended of batch) await this.#send([ended]);
				return;
			}
			const { job, refused } = batch[0]!;
			const lost = error.code === "lease_lost";
			if (!lost && !refused) {
				const text = toRefused(job, error.message);
				return this.#send([this.#replace(batch[0]!, { ...batch[0]!, text, refused: true })]);
			}
			if (!lost) log.error("an ending was refused, and so was that it was", { ...about(job), error: error.message });
			said = [{ id: job.id, problem: { code: error.code, title: "", detail: error.message } }];
		}
		batch.forEach(({ job }, i) => {
			const { status, problem } = said[i] ?? {};
			if (status === "done") log.info("attempt ended", { ...about(job), status });
			else if (status !== undefined) log.warn("attempt ended", { ...about(job), status });
			else log.warn("a result came too late: the lease was lost", { ...about(job), error: problem?.detail });
		});
		this.#ended = this.#ended.filter(ended => !batch.includes(ended));
		this.#stir();
	}
	#replace(ended: Ended, by: Ended): Ended {
		this.#ended = this.#ended.map(other => (other === ended ? by : other));
		return by;
	}

	/** Three times as often as leases end: extends those of all that it holds, and learns which jobs are to stop. */
	#beatLater(): void {
		this.#stopBeats = this.#needs.clock.after(this.#options.leaseMs / 3, () => {
			this.#beatLater();
			void this.#beat();
		});
	}
	async #beat(): Promise<void> {
		const { name, leaseMs } = this.#options;
		const held: Run[] = [...this.#running, ...this.#ended];
		for (let at = 0; at < held.length; at += BATCH_ITEMS_MAX) {
			const runs = held.slice(at, at + BATCH_ITEMS_MAX);
			const leases = runs.map(({ job: { id, lease_token }, attempt }) => {
				const progress = attempt.takeProgress();
				return { id, lease_token, ...(progress === undefined ? {} : { progress: JSON.parse(progress) }) };
			});
			try {
				const body = JSON.stringify({ worker: name, leases, lease_ms: leaseMs });
				const said = operations.heartbeatLeases.answer.parse(await this.#post("/api/leases/heartbeat", body, leaseMs / 3));
				runs.forEach(({ attempt }, i) => {
					const status = said.leases[i]?.status;
					if (status === "lost") attempt.stop("lease_lost");
					else if (status === "cancel_requested") attempt.stop("cancelled");
				});
			} catch (error) {
				this.#needs.log.warn("leases could not be extended", { jobs: runs.length, error: reasonOf(error) });
			}
		}
	}

	async #post(path: string, body: string, withinMs: number, stop?: AbortSignal): Promise<unknown> {
		const { url, key } = this.#options;
		const tooLong = new AbortController();
		const cancelTimer = this.#needs.clock.after(withinMs, () => tooLong.abort(new Error(`no answer within ${Math.round(withinMs)} ms`)));
		try {
			const response = await this.#needs.fetch(url + path, {
				method: "POST",
				headers: { "content-type": "application/json", ...(key === undefined ? {} : { authorization: `Bearer ${key}` }) },
				body,
				signal: stop === undefined ? tooLong.signal : AbortSignal.any([tooLong.signal, stop]),
			});
			const text = await response.text();
			if (response.ok) return JSON.parse(text);
			const { code, detail } = readProblem(text);
			const { status } = response;
			const answer = `${url} answers ${status}: ${detail}`;
			if (status >= 400 && status < 500 && !REPEATED.has(status)) throw new Refused(status, code, code === undefined ? answer : detail);
			throw new Error(answer);
		} finally {
			cancelTimer();
		}
	}
}

/** Statuses that speak of an ending, not of the address that it was sent to. */
const FINAL = new Set([400, 409, 413, 415, 422]);
function readProblem(text: string): { code?: string; detail: string } {
	try {
		const { code, detail } = JSON.parse(text);
		return { code, detail: String(detail) };
	} catch {
		return { detail: text.slice(0, 200) };
	}
}
/** Why a request failed; what fetch says is in its cause. */
const reasonOf = (error: unknown): string => {
	const { cause } = (error ?? {}) as { cause?: { code?: string } };
	return cause === undefined ? messageOf(error) : `${messageOf(error)}: ${cause.code ?? messageOf(cause)}`;
};
const about = ({ id, tenant, task, attempt, trace_id }: Leased) => ({ job_id: id, tenant_id: tenant, task, attempt, trace_id });

/** The first of what has ended: so much as one request takes. */
function nextBatch(ended: readonly Ended[]): Ended[] {
	const batch: Ended[] = [];
	let chars = 0;
	for (const one of ended) {
		chars += one.text.length;
		if (batch.length === BATCH_ITEMS_MAX || (batch.length > 0 && chars > BATCH_CHARS_MAX)) break;
		batch.push(one);
	}
	return batch;
}
