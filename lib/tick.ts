/**
 * The tick: one bounded pass over the queue. It takes back lost leases, claims as many due jobs as there are free slots, runs them,
 * records their endings in batches, and fills each slot again as it becomes free, until nothing is due or a bound is reached. Then it
 * says when it next needs to be woken. An idle tick is one statement.
 */

import { type Deps, OUTCOMES, type Outcome } from "./context.ts";
import type { Answer } from "./contract.ts";
import { attemptOf } from "./history.ts";
import { toJobId } from "./jobId.ts";
import { messageOf } from "./log.ts";
import { type Attempt, startAttempt } from "./runJob.ts";
import { fireSchedules } from "./schedules.ts";
import {
	type Claimed,
	type Ending,
	fitting,
	groupsOf,
	type Moved,
	type NextDue,
	PARAM_BYTES_MAX,
	PartlyRecorded,
	StorageUnavailable,
	textsOfEnding,
	textsOfJob,
	type WorkerStore,
} from "./storage/storage.ts";
import { tellWebhooks } from "./tellWebhooks.ts";
import { warnOfCircuit } from "./warnOfCircuit.ts";
import { instant, instantOrNull } from "./wire.ts";

export type TickReport = Answer<"processTick">;
export type TickTrigger = "start" | "submit" | "due" | "cron" | "http" | "cli" | "more";

/** What a tick needs: everything but the other sides of the store. */
export type TickDeps = Omit<Deps, "storage"> & { readonly store: WorkerStore };

export interface TickOptions {
	readonly trigger: TickTrigger;
	readonly budgetMs?: number;
	readonly jobsMax?: number;
	/** Aborted when it is to end: nothing more is started; what runs has `graceMs`, then it is given back. Else as the process says. */
	readonly stop?: AbortSignal;
}

export interface Tick {
	/** Resolves when the tick starts no more jobs; those that run are still its own until the report. */
	readonly closed: Promise<TickReport["stopped_by"]>;
	readonly report: Promise<TickReport>;
}

/**
 * What a step sends at most, on the store that sends the most. A tick keeps enough of `tickStatementsMax` to record all that it has
 * started and to say when it next needs to be woken.
 */
export const STATEMENTS = {
	look: 1,
	expire: 4,
	cancelLate: 3,
	prune: 6,
	/** With the names of tenants that are not known here. */
	claim: 5,
	promote: 5,
	beat: 1,
	bulkActions: 24,
	/** To ask for what is due, and for each. */
	schedules: 1,
	schedule: 12,
	/** Storing calls for tenants that are known here, and for others. */
	webhooks: 24,
	/** To store one call alone. */
	webhook: 8,
	/** What is done alone, and all else. */
	recordDone: 3,
	record: 5,
	/** Each part more, where texts are too large to be sent together. */
	recordMore: 1,
	/** To learn which were recorded before, where fewer were accepted than sent; and to note those that were refused. */
	recordedBefore: 1,
	refuse: 6,
	/** Storing them beside that, with lanes that are new. */
	followUps: 8,
	followUpsMore: 4,
} as const;
const RESERVE = STATEMENTS.record + STATEMENTS.recordedBefore + STATEMENTS.followUps + STATEMENTS.look;
/** With fewer a tick could start nothing. */
export const STATEMENTS_LEAST = STATEMENTS.look + STATEMENTS.claim + RESERVE;

/** What a tick does beside running jobs, as `NextDue` says that it is due; and what each sends at most, done for one. */
const SWEEPS = {
	leases: STATEMENTS.expire,
	starts: STATEMENTS.cancelLate,
	schedules: STATEMENTS.schedules + STATEMENTS.schedule,
	webhooks: STATEMENTS.webhooks,
	bulkActions: STATEMENTS.bulkActions,
	old: STATEMENTS.prune,
} as const;
type Sweep = keyof typeof SWEEPS;
/** Where statements are few the claim and these take turns in coming first, else the first would leave nothing for the last. */
const TURNS = ["claim", "schedules", "webhooks", "bulkActions", "old"] as const;
/** With so many there is enough for all of them. */
const STATEMENTS_PLENTY = Object.values(SWEEPS).reduce((sum, cost) => sum + cost, STATEMENTS_LEAST + STATEMENTS.promote);

/** Jobs that bulk actions change, slots of schedules that are looked at, and webhooks that are called, each in one sweep. */
const BULK_JOBS_MAX = 200;
const SCHEDULES_MAX = 100;
const WEBHOOKS_MAX = 100;
/** Jobs that a report lists at most. */
const REPORT_JOBS_MAX = 100;
/** Wait before a batch of endings that the store did not take is sent again: the first, doubled up to the last. */
const STORE_RETRY_MS = 200;
const STORE_RETRY_MS_MAX = 3200;
/** After so long without a look, a claim looks for delayed jobs itself: somebody else may have submitted one. */
const PROMOTE_UNSEEN_MS = 1000;
/** Wait before jobs are looked at again that are said to be ready and yet cannot be claimed. */
const STALLED_MS = 1000;

/** The parts of a tick as people call them. */
const SWEEP_NAMES: Record<Sweep, string> = {
	leases: "lost leases",
	starts: "start deadlines",
	schedules: "schedules",
	webhooks: "webhooks",
	bulkActions: "bulk actions",
	old: "old jobs",
};
/** The order of this tick: each begins one further on. Where a process does not live for long, it begins anywhere. */
function nextTurns({ ticks, random }: Pick<TickDeps, "ticks" | "random">): readonly (typeof TURNS)[number][] {
	const first = ticks.turn ?? Math.floor(random.fraction() * TURNS.length);
	ticks.turn = (first + 1) % TURNS.length;
	return [...TURNS.slice(first), ...TURNS.slice(0, first)];
}

interface Run {
	readonly job: Claimed;
	readonly attempt: Attempt;
	readonly startedAt: number;
}
interface Ended {
	readonly run: Run;
	readonly ending: Ending;
	readonly at: number;
}

/** What a tick claims: a task that is asked for and not known (any more) is left to others. */
export const tasksToRun = ({ tasks, works }: Pick<Deps, "tasks" | "works">): string[] =>
	Object.keys(tasks).filter(name => works?.includes(name) ?? true);

export function startTick(deps: TickDeps, options: TickOptions): Tick {
	const pass = new Pass(deps, options);
	return { closed: pass.closed, report: pass.run() };
}

class Pass {
	readonly closed: Promise<TickReport["stopped_by"]>;
	#close: (why: TickReport["stopped_by"]) => void = () => {};
	readonly #deps: TickDeps;
	readonly #options: TickOptions;
	readonly #taskNames: string[];
	readonly #startedAt: number;
	readonly #deadline: number;
	readonly #statementsAtStart: number;
	readonly #running = new Map<number, Run>();
	readonly #ended: Ended[] = [];
	#stoppedBy: TickReport["stopped_by"] | null = null;
	#claimed = 0;
	#stir: () => void = () => {};
	#pruned = false;
	/** Sweeps that failed: they are left to another tick. */
	readonly #failed = new Set<Sweep>();
	/** Whether this tick has done anything. */
	#hasDone = false;
	#hasClaimed = false;
	#turns: readonly (typeof TURNS)[number][] | null = null;
	#lookedAt = 0;
	#delayedAt: number | null = null;
	readonly #counts = { expired_leases: 0, expired_starts: 0, pruned: 0 };
	readonly #outcomes = Object.fromEntries(OUTCOMES.map(outcome => [outcome, 0])) as Record<Outcome, number>;
	readonly #jobs: TickReport["jobs"] = [];

	constructor(deps: TickDeps, options: TickOptions) {
		this.#deps = deps;
		this.#options = deps.stopping === undefined ? options : { stop: deps.stopping, ...options };
		this.#taskNames = tasksToRun(deps);
		this.#startedAt = deps.clock.now();
		this.#deadline = this.#startedAt + this.#budgetMs;
		this.#statementsAtStart = deps.store.statements();
		this.closed = new Promise(resolve => {
			this.#close = resolve;
		});
	}

	get #budgetMs(): number {
		return Math.min(this.#options.budgetMs ?? this.#deps.config.tickBudgetMs, this.#deps.config.tickBudgetMs);
	}
	get #jobsMax(): number {
		return Math.min(this.#options.jobsMax ?? this.#deps.config.tickJobsMax, this.#deps.config.tickJobsMax);
	}
	get #worker() {
		return this.#deps.store;
	}
	get #now(): number {
		return this.#deps.clock.now();
	}

	async run(): Promise<TickReport> {
		const stopHeartbeat = this.#heartbeat();
		const stopStopping = this.#watchStop();
		try {
			return this.#report(await this.#work());
		} catch (error) {
			// The store failed: start nothing more, and see what runs through to its end.
			this.#closeBy("stopped");
			while (this.#running.size > 0 || this.#ended.length > 0) {
				await this.#settleAndClaim(false);
				await this.#pause(null);
			}
			throw error;
		} finally {
			stopHeartbeat();
			stopStopping();
		}
	}

	async #work(): Promise<NextDue> {
		let next = await this.#nextDue();
		/** Whether something may have become due since the store was asked. A claim finds out as well as a question would. */
		let moved = false;
		for (;;) {
			const swept = this.#isOpen() && !moved && (await this.#sweep(next));
			const taken = await this.#settleAndClaim(this.#isOpen() && (moved || next.claim));
			if (this.#mayRecord) {
				moved = true;
				continue;
			}
			const open = this.#isOpen();
			if (!open && this.#running.size > 0) {
				// Nothing more is started: no need to know what is due before all that runs has ended.
				await this.#pause(null);
				moved = true;
				continue;
			}
			const hadClaim = next.claim && !moved;
			if (moved || swept || taken !== null) next = await this.#nextDue();
			else if (this.#running.size === 0) return this.#closed(next, false);
			moved = false;
			// Nobody else took them, and yet they cannot be had.
			const stalled = hadClaim && taken === 0 && next.claim;
			if (open && ((next.claim && this.#hasSlots && !stalled) || this.#mustSweep(next))) continue;
			// What has ended while the store was asked is still to be recorded.
			if (this.#mayRecord) {
				moved = true;
				continue;
			}
			if (this.#running.size === 0) return this.#closed(next, stalled);
			// Until a job ends (it may free its tenant's or its key's next one), the bell rings, or something is due.
			await this.#pause(this.#hasSlots || !next.claim ? this.#dueLater(next, stalled) : null);
			moved = true;
		}
	}
	#closed(next: NextDue, stalled: boolean): NextDue {
		this.#closeBy(next.claim && !this.#hasSlots ? "slots" : "nothing_due");
		// Another tick goes on at once with what this one has left, unless there is no way on: then in a while.
		const goesOn = next.claim ? !stalled : this.#hasDone && this.#failed.size === 0;
		if (next.at === null || next.at > this.#now || goesOn) return next;
		const at = this.#now + STALLED_MS;
		this.#deps.ticks.nextWakeAt = at;
		return { ...next, at };
	}
	/** When this tick may have something to do, as far as it is not to be done now. */
	#dueLater({ at, delayedAt }: NextDue, stalled: boolean): number | null {
		const nowMs = this.#now;
		if (stalled) return nowMs + STALLED_MS;
		if (at === null || at > nowMs) return at;
		return delayedAt !== null && delayedAt > nowMs ? delayedAt : null;
	}

	async #nextDue(): Promise<NextDue> {
		const next = await this.#worker.nextDue(this.#taskNames, this.#now);
		this.#lookedAt = this.#now;
		this.#delayedAt = next.delayedAt;
		this.#deps.ticks.lastTickAt = this.#now;
		this.#deps.ticks.nextWakeAt = next.at;
		return next;
	}
	/** Whether something else than a claim is due, and this tick may still do it. */
	#mustSweep(due: NextDue): boolean {
		return (Object.keys(SWEEPS) as Sweep[]).some(sweep => this.#maySweep(sweep, due));
	}
	/** Old jobs are removed once a tick: they can wait for the next. */
	#maySweep(sweep: Sweep, due: NextDue): boolean {
		if (!due[sweep] || this.#failed.has(sweep) || (sweep === "old" && this.#pruned)) return false;
		return this.#left >= SWEEPS[sweep] + this.#reserve;
	}
	get #hasSlots(): boolean {
		return this.#deps.slots.busy < this.#deps.slots.size;
	}

	/** Whether a delayed job may be due. */
	get #mustPromote(): boolean {
		const nowMs = this.#now;
		return nowMs - this.#lookedAt >= PROMOTE_UNSEEN_MS || (this.#delayedAt !== null && this.#delayedAt <= nowMs);
	}

	/** Statements that this tick may still send. */
	get #left(): number {
		return this.#deps.config.tickStatementsMax - (this.#deps.store.statements() - this.#statementsAtStart);
	}
	/** Whether a step of so many statements leaves enough for what must still be sent. */
	#affords(statements: number): boolean {
		return this.#left >= statements + RESERVE;
	}
	/** The same for a step that starts no job: where none runs, there is nothing to record. */
	get #reserve(): number {
		return this.#running.size === 0 && this.#ended.length === 0 ? STATEMENTS.look : RESERVE;
	}
	/** Whether what has ended is recorded now. Near the bound of statements it waits for what still runs: they are recorded together. */
	get #mayRecord(): boolean {
		return this.#ended.length > 0 && (this.#running.size === 0 || this.#affords(recordCost(endingsOf(this.#ended))));
	}
	/** Whether there are statements to record these, and to say when to be woken. */
	#canRecord(endings: readonly Ending[]): boolean {
		return this.#left >= recordCost(endings) + STATEMENTS.recordedBefore + STATEMENTS.look;
	}
	/** What is recorded now of what has ended: as many as there are statements for; where there are for none, all, which are lost. */
	#takeEnded(): Ended[] {
		if (!this.#mayRecord) return [];
		const endings = endingsOf(this.#ended);
		let count = endings.length;
		while (count > 0 && !this.#canRecord(endings.slice(0, count))) count--;
		if (count === 0)
			this.#deps.log.error("endings cannot be recorded: this tick has no statements left; their jobs run again", { jobs: endings.length });
		return this.#ended.splice(0, count === 0 ? endings.length : count);
	}

	/** Closes the tick when a bound is reached. */
	#isOpen(): boolean {
		const bound = this.#bound();
		if (bound !== null) this.#closeBy(bound);
		return bound === null;
	}
	/** The bound that keeps this tick from starting more, if one is reached. */
	#bound(): TickReport["stopped_by"] | null {
		if (this.#stoppedBy !== null) return this.#stoppedBy;
		if (this.#options.stop?.aborted) return "stopped";
		if (this.#now >= this.#deadline) return "budget";
		if (this.#claimed >= this.#jobsMax) return "jobs";
		const claimCost = STATEMENTS.claim + (this.#mustPromote ? STATEMENTS.promote : 0);
		if (!this.#affords(recordCost(endingsOf(this.#ended)) + claimCost)) return "statements";
		return null;
	}
	#closeBy(why: TickReport["stopped_by"]): void {
		this.#stoppedBy ??= why;
		this.#close(this.#stoppedBy);
	}

	/** Answers whether there was something to do. One that fails keeps neither the others nor the claim from going on. */
	async #sweep(due: NextDue): Promise<boolean> {
		let swept = false;
		for (const sweep of this.#sweepsNow(due)) {
			if (!this.#maySweep(sweep, due)) continue;
			swept = true;
			try {
				await this.#sweepOne(sweep);
				this.#hasDone = true;
			} catch (error) {
				this.#failed.add(sweep);
				this.#deps.log.error("a part of a tick failed; it is tried again with another tick", {
					part: SWEEP_NAMES[sweep],
					error: messageOf(error),
				});
			}
		}
		return swept;
	}
	/** All; or, where statements are few and this tick has still to claim, those whose turn comes before that. */
	#sweepsNow({ claim }: NextDue): Sweep[] {
		const isTight = this.#left < STATEMENTS_PLENTY;
		if (isTight) this.#turns ??= nextTurns(this.#deps);
		const turns = this.#turns ?? TURNS;
		const waits = isTight && claim && this.#hasSlots && !this.#hasClaimed;
		const before = waits ? turns.slice(0, turns.indexOf("claim")) : turns;
		return ["leases", "starts", ...before.filter(turn => turn !== "claim")];
	}
	async #sweepOne(sweep: Sweep): Promise<void> {
		const limit = this.#deps.config.sweepJobsMax;
		const deps = { ...this.#deps, store: this.#worker };
		switch (sweep) {
			case "leases":
				return this.#expireLeases(limit);
			case "starts": {
				const late = await this.#worker.cancelLate(limit, this.#now);
				this.#counts.expired_starts += late.length;
				for (const { id } of late) this.#deps.ended.announce(id);
				return;
			}
			case "schedules": {
				const affordable = Math.floor((this.#left - this.#reserve - STATEMENTS.schedules) / STATEMENTS.schedule);
				return fireSchedules(deps, Math.min(SCHEDULES_MAX, affordable));
			}
			case "webhooks":
				await tellWebhooks(deps, WEBHOOKS_MAX, () => this.#left >= STATEMENTS.webhook + this.#reserve);
				return;
			case "bulkActions":
				for (const { id, action } of await this.#worker.advanceBulkActions(BULK_JOBS_MAX, this.#now)) {
					if (action === "cancel") this.#deps.running.get(id)?.cancel();
					this.#deps.ended.announce(id);
				}
				return;
			case "old":
				this.#pruned = true;
				this.#counts.pruned = await this.#worker.prune(limit, this.#now);
		}
	}
	async #expireLeases(limit: number): Promise<void> {
		const lost = await this.#worker.expireLeases(limit, this.#now);
		this.#counts.expired_leases += lost.length;
		const count = (is: (moved: Moved) => boolean): number => lost.filter(is).length;
		const givenUp = count(({ reason }) => reason === "lease_lost");
		const retried = count(({ state }) => state === "delayed");
		const spent = count(({ reason }) => reason === "retries_exhausted");
		const again = lost.length - givenUp - retried - spent;
		this.#outcomes.lost += again;
		this.#outcomes.retry += retried;
		this.#outcomes.dead_letter += givenUp + spent;
		if (givenUp > 0) this.#deps.log.error("jobs are dead letters now: their worker went away three times in a row", { jobs: givenUp });
		if (retried + spent > 0)
			this.#deps.log.warn("attempts elsewhere went on when their time was over: they have failed", {
				jobs: retried + spent,
				dead_letters: spent,
			});
		if (again > 0)
			this.#deps.log.warn("leases were lost: their worker went away; the jobs run again, no attempt is burned", { jobs: again });
		for (const { id } of lost) this.#deps.ended.announce(id);
	}

	/**
	 * Records what has ended and, in the same turn and so in the same transaction, fills the free slots. Answers how many jobs were
	 * claimed; null when there was nothing to record and nothing to fill.
	 */
	async #settleAndClaim(mayClaim: boolean): Promise<number | null> {
		const ended = this.#takeEnded();
		this.#deps.slots.free(ended.length);
		const wanted = mayClaim ? this.#deps.slots.take(this.#jobsMax - this.#claimed) : 0;
		if (ended.length === 0 && wanted === 0) return null;
		const settling = this.#settle(ended);
		let jobs: Claimed[] = [];
		try {
			if (wanted > 0) jobs = await this.#claim(wanted);
		} finally {
			// Also when the claim failed: what has ended is recorded before this tick is over.
			await settling;
		}
		// What this tick has freed and will not fill itself, the next one may.
		if (ended.length > 0 && this.#stoppedBy !== null) this.#deps.wake.ring();
		// What ends at once has ended now: they are recorded together.
		if (jobs.length > 0) await this.#deps.clock.turn();
		return jobs.length;
	}

	async #claim(limit: number): Promise<Claimed[]> {
		this.#hasClaimed = true;
		const { config, random, worker, slots } = this.#deps;
		let jobs: Claimed[] = [];
		try {
			jobs = await this.#worker.claimDueJobs(
				{ tasks: this.#taskNames, limit, leaseMs: config.leaseMs, token: random.token(), worker, promote: this.#mustPromote },
				this.#now,
			);
		} finally {
			slots.untake(limit - jobs.length);
		}
		this.#claimed += jobs.length;
		if (jobs.length > 0) this.#hasDone = true;
		for (const job of jobs) this.#start(job);
		return jobs;
	}

	#start(job: Claimed): void {
		const { execute = (job: Claimed) => startAttempt(job, this.#deps) } = this.#deps;
		const attempt = execute(job);
		const run: Run = { job, attempt, startedAt: this.#now };
		this.#running.set(job.id, run);
		const running = { cancel: () => attempt.stop("cancelled"), release: () => attempt.stop("stopping") };
		this.#deps.running.set(job.id, running);
		void attempt.ending.then(ending => {
			this.#running.delete(job.id);
			// A job that was lost may be running here again by now.
			if (this.#deps.running.get(job.id) === running) this.#deps.running.delete(job.id);
			if (ending === null) {
				this.#deps.slots.free(1);
				this.#outcomes.lost++;
				this.#note(run, "lost", this.#now, null);
			} else this.#ended.push({ run, ending, at: this.#now });
			this.#stir();
		});
	}

	async #settle(ended: readonly Ended[]): Promise<void> {
		if (ended.length === 0) return;
		const moved = await this.#finish(endingsOf(ended));
		const byId = new Map(moved.map(job => [job.id, job]));
		for (const { run, ending, at } of ended) {
			const accepted = byId.get(run.job.id);
			const outcome = accepted === undefined ? "lost" : outcomeOf(ending, accepted);
			if (accepted?.circuit === "opened") warnOfCircuit(this.#deps.log, run.job, ending, this.#now);
			this.#outcomes[outcome]++;
			this.#note(run, outcome, at, ending);
			this.#deps.ended.announce(run.job.id);
		}
	}

	/**
	 * A store that is away for a moment must not cost finished work: the endings are sent again while their leases can last. One that the
	 * store refuses must not cost its neighbours: after a refusal each goes alone.
	 */
	async #finish(endings: readonly Ending[]): Promise<Moved[]> {
		const moved: Moved[] = [];
		let left = endings;
		const giveUpAt = this.#now + this.#deps.config.leaseMs;
		for (let pauseMs = STORE_RETRY_MS; this.#canRecord(left); pauseMs = Math.min(2 * pauseMs, STORE_RETRY_MS_MAX)) {
			try {
				const notes = this.#affords(recordCost(left) + STATEMENTS.refuse * fitting(left, textsOfEnding, PARAM_BYTES_MAX).length);
				return [...moved, ...(await this.#worker.finishIfLeased(left, this.#now, notes))];
			} catch (error) {
				if (error instanceof PartlyRecorded) {
					moved.push(...error.moved);
					left = error.left;
				}
				this.#deps.log.error("endings could not be recorded", { jobs: left.length, error: messageOf(error) });
				const away = error instanceof StorageUnavailable;
				if (!away && left.length > 1) {
					for (const ending of left) moved.push(...(await this.#finish([ending])));
					break;
				}
				if (!away || this.#now >= giveUpAt) break;
				await new Promise<void>(resolve => this.#deps.clock.after(pauseMs, resolve));
			}
		}
		return moved;
	}

	#note({ job, startedAt }: Run, outcome: Outcome, at: number, ending: Ending | null): void {
		const { onOutcome } = this.#deps;
		const listed = this.#jobs.length < REPORT_JOBS_MAX;
		if (!listed && onOutcome === undefined) return;
		const entry = {
			id: toJobId(job),
			tenant_id: job.tenant,
			task: job.task,
			attempt: attemptOf(job),
			outcome,
			waited_ms: Math.max(0, startedAt - job.runAt),
			ran_ms: Math.max(0, at - startedAt),
		};
		if (listed) this.#jobs.push(entry);
		onOutcome?.({
			...entry,
			max_attempts: job.maxRetries + 1,
			trace_id: job.traceId,
			...(ending !== null && "error" in ending && ending.error !== undefined ? { error: JSON.parse(ending.error).message } : {}),
			...(ending !== null && "delayMs" in ending ? { again_in_ms: ending.delayMs } : {}),
		});
	}

	/** Waits until a job ends or, while this tick may start more, until `dueAt`, its deadline or the bell. */
	async #pause(dueAt: number | null): Promise<void> {
		const { clock, wake } = this.#deps;
		if (!this.#mayRecord && this.#running.size > 0)
			await new Promise<void>(resolve => {
				this.#stir = resolve;
				if (this.#stoppedBy !== null) return;
				const cancelTimer = clock.after(Math.min(dueAt ?? Infinity, this.#deadline) - clock.now(), () => this.#stir());
				const stopListening = wake.listen(() => this.#stir());
				this.#stir = () => {
					cancelTimer();
					stopListening();
					wake.heard();
					resolve();
				};
				if (wake.heard()) this.#stir();
			});
		this.#stir = () => {};
		await clock.turn();
	}

	/** Extends the leases of what runs or waits to be recorded, three times as often as they end; learns of cancels and losses. */
	#heartbeat(): () => void {
		const everyMs = this.#deps.config.leaseMs / 3;
		let cancelTimer = () => {};
		let over = false;
		const beat = async (): Promise<void> => {
			const runs = [...this.#running.values(), ...this.#ended.map(({ run }) => run)];
			if (runs.length > 0 && this.#affords(STATEMENTS.beat)) {
				const leases = runs.map(({ job, attempt }) => {
					const progress = attempt.takeProgress();
					return { id: job.id, token: job.token, ...(progress === undefined ? {} : { progress }) };
				});
				try {
					const held = new Map(
						(await this.#worker.extendLeases(leases, this.#deps.config.leaseMs, this.#now)).map(lease => [lease.id, lease]),
					);
					for (const { job, attempt } of runs) {
						const lease = held.get(job.id);
						if (lease === undefined) attempt.stop("lease_lost");
						else if (lease.cancelRequested) attempt.stop("cancelled");
					}
				} catch (error) {
					this.#deps.log.error("leases could not be extended", { jobs: leases.length, error: messageOf(error) });
				}
			}
			if (!over) cancelTimer = this.#deps.clock.after(everyMs, () => void beat());
		};
		cancelTimer = this.#deps.clock.after(everyMs, () => void beat());
		return () => {
			over = true;
			cancelTimer();
		};
	}

	/** On stop: start nothing more, and give back what still runs when the grace period is over. */
	#watchStop(): () => void {
		const { stop } = this.#options;
		if (stop === undefined) return () => {};
		let cancelTimer = () => {};
		const onStop = () => {
			this.#stir();
			cancelTimer = this.#deps.clock.after(this.#deps.config.graceMs, () => {
				for (const { attempt } of this.#running.values()) attempt.stop("stopping");
			});
		};
		if (stop.aborted) onStop();
		else stop.addEventListener("abort", onStop, { once: true });
		return () => {
			cancelTimer();
			stop.removeEventListener("abort", onStop);
		};
	}

	#report(next: NextDue): TickReport {
		return {
			tick_id: `tick_${this.#deps.random.traceId().slice(0, 16)}`,
			dry_run: false,
			trigger: this.#options.trigger,
			started_at: instant(this.#startedAt),
			duration_ms: this.#now - this.#startedAt,
			budget_ms: this.#budgetMs,
			stopped_by: this.#stoppedBy ?? "stopped",
			claimed: this.#claimed,
			outcomes: this.#outcomes,
			...this.#counts,
			jobs: this.#jobs,
			jobs_omitted: Math.max(0, this.#claimed - this.#jobs.length),
			held: [],
			statements: this.#deps.store.statements() - this.#statementsAtStart,
			next_wake_at: instantOrNull(next.at),
			next_wake_reason: next.reason,
		};
	}
}

const endingsOf = (ended: readonly Ended[]): Ending[] => ended.map(({ ending }) => ending);
/** Statements that record these on the store that takes the least in one. */
function recordCost(endings: readonly Ending[]): number {
	let cost = 0;
	for (const parts of groupsOf(endings, PARAM_BYTES_MAX)) {
		const record = parts.flat().every(({ outcome }) => outcome === "done") ? STATEMENTS.recordDone : STATEMENTS.record;
		cost += record + (parts.length - 1) * STATEMENTS.recordMore;
	}
	const followUps = endings.flatMap(ending => ("followUps" in ending ? (ending.followUps ?? []) : []));
	const parts = fitting(followUps, textsOfJob, PARAM_BYTES_MAX).length;
	return cost + (parts === 0 ? 0 : STATEMENTS.followUps + (parts - 1) * STATEMENTS.followUpsMore);
}

const OUTCOME_OF_ENDING: Record<Ending["outcome"], Outcome> = {
	done: "done",
	retry: "retry",
	failed: "failed",
	snooze: "snoozed",
	release: "released",
	cancelled: "cancelled",
	expired: "cancelled",
};
function outcomeOf(ending: Ending, { state }: Moved): Outcome {
	if (state === "dead") return "dead_letter";
	if (state === "cancelled") return "cancelled";
	return OUTCOME_OF_ENDING[ending.outcome];
}

/** What a tick would do at this moment, in the same form; nothing is written. */
export async function rehearseTick(deps: TickDeps, options: TickOptions): Promise<TickReport> {
	const { store, clock, config, random } = deps;
	const startedAt = clock.now();
	const before = store.statements();
	const tasks = tasksToRun(deps);
	const free = Math.max(0, deps.slots.size - deps.slots.busy);
	const limit = Math.min(options.jobsMax ?? config.tickJobsMax, config.tickJobsMax, free);
	const request = { tasks, limit, leaseMs: config.leaseMs, token: random.token(), worker: deps.worker };
	const { claimed: jobs, lost, late, pruned, held } = await store.rehearse(request, config.sweepJobsMax, startedAt);
	const next = await store.nextDue(tasks, startedAt);
	return {
		tick_id: `tick_${random.traceId().slice(0, 16)}`,
		dry_run: true,
		trigger: options.trigger,
		started_at: instant(startedAt),
		duration_ms: clock.now() - startedAt,
		budget_ms: Math.min(options.budgetMs ?? config.tickBudgetMs, config.tickBudgetMs),
		stopped_by: jobs.length < limit ? "nothing_due" : limit < free ? "jobs" : "slots",
		claimed: jobs.length,
		outcomes: {},
		expired_leases: lost.length,
		expired_starts: late.length,
		pruned,
		jobs: jobs.slice(0, REPORT_JOBS_MAX).map(job => ({
			id: toJobId(job),
			tenant_id: job.tenant,
			task: job.task,
			attempt: attemptOf(job),
			outcome: null,
			waited_ms: Math.max(0, startedAt - job.runAt),
			ran_ms: null,
		})),
		jobs_omitted: Math.max(0, jobs.length - REPORT_JOBS_MAX),
		held: [...held],
		statements: store.statements() - before,
		next_wake_at: instantOrNull(next.at),
		next_wake_reason: next.reason,
	};
}
