/**
 * The verbs on PostgreSQL: each is one call of a function of the schema (../migrations/postgres), which does what it can get the locks
 * for. What it left alone, because another transaction was at those tenants, is sent again.
 */
import { CIRCUIT_PROBE_MS, LOSSES_MAX } from "../../job.ts";
import type { BulkProgress, Engine, EngineLimits, GroupQuery, JobList, RehearsedRows, Submission, SubmitRow } from "../engine.ts";
import { JOB_COLUMNS, type Row, refusedData, S, tenantOfLane, toMoved } from "../rows.ts";
import {
	type ClaimRequest,
	type Ending,
	KEY_KINDS,
	type LeaseBounds,
	type LeaseExtension,
	type NewBulkAction,
	type NewSchedule,
	type NewWorker,
	PartlyRecorded,
	type ScheduleMove,
	type StorageDefaults,
	StorageUnavailable,
} from "../storage.ts";
import { codeOf, list, type Param, type PostgresDriver } from "./driver.ts";
import { type Columns, columnsOf, listStatement, scanEndStatement } from "./list.ts";
import * as read from "./read.ts";
import * as records from "./records.ts";
import { checks } from "./verify.ts";

/** The schema this code speaks; the migrations write it into `meta`. A newer one still has the functions of this one. */
export const SCHEMA = 2;

/** Endings, leases or ids in one call at most: each tenant among them is a lock. */
const CALL_ROWS_MAX = 200;

/** Refused endings that one history holds at most. */
const REFUSED_MAX = 10;

const LOCK_NOT_AVAILABLE = "55P03";

/** The row of a turn that says that what ended may have freed something for others. */
const FREES = -2;

/** Parts at most, and what is left of their number after a claim that met nobody. */
const CROWD_MAX = 8;
const CROWD_FADES = 0.95;

const ids = (rows: readonly { readonly id: number }[]): number[] => rows.map(row => row.id);
const unique = (numbers: readonly number[]): number[] => [...new Set(numbers)];
function* chunks<T>(items: readonly T[]): Generator<readonly T[]> {
	for (let i = 0; i < items.length; i += CALL_ROWS_MAX) yield items.slice(i, i + CALL_ROWS_MAX);
}

const toRow = ({ laneId, job, parent, unbounded }: SubmitRow, i: number) => ({
	i,
	lane_id: laneId,
	priority: job.priority,
	run_at: job.runAt,
	start_by: job.startBy,
	max_retries: job.maxRetries,
	timeout_ms: job.timeoutMs,
	tail: job.tail,
	task_in_payload: job.taskInPayload ? 1 : undefined,
	queue_key: job.key,
	trace_id: job.traceId,
	trace_parent: job.traceParent,
	tags: job.tags === undefined || job.tags.length === 0 ? undefined : JSON.stringify(job.tags),
	payload: job.payload,
	parent_id: parent?.id,
	parent_token: parent?.token,
	unbounded,
	copy_of: job.copyOf,
	webhook_url: job.webhookUrl ?? undefined,
	no_webhook: job.webhookUrl === null ? true : undefined,
	key: job.idempotency?.key,
	key_kind: job.idempotency?.kind === undefined ? undefined : KEY_KINDS[job.idempotency.kind],
	fingerprint: job.idempotency?.fingerprint,
	key_expires_at: job.idempotency?.expiresAt,
});
const toEnding = (ending: Ending, i: number) => ({
	i,
	id: ending.id,
	token: ending.token,
	outcome: ending.outcome,
	delay_ms: "delayMs" in ending ? Math.max(0, Math.round(ending.delayMs)) : undefined,
	result: "result" in ending ? ending.result : undefined,
	error: "error" in ending ? ending.error : undefined,
	fingerprint: "fingerprint" in ending ? ending.fingerprint : undefined,
	hold: "hold" in ending ? ending.hold : undefined,
	circuit_failures: "circuitFailures" in ending ? ending.circuitFailures : undefined,
	circuit_counts: "circuitCounts" in ending ? ending.circuitCounts : undefined,
});

const scheduleText = ({ paused, maxRetries, nextAt, ...given }: NewSchedule): string =>
	JSON.stringify({ ...given, paused: Number(paused), max_retries: maxRetries, next_at: nextAt });

interface TurnEndings {
	readonly endings: readonly Ending[];
	readonly followUps: readonly SubmitRow[];
	readonly defaults: StorageDefaults;
	readonly nowMs: number;
	/** A tenant to wait for before anything else. */
	readonly waitFor: number | null;
}
interface TurnClaim {
	readonly request: ClaimRequest;
	readonly taskIds: readonly number[];
	readonly nowMs: number;
	/** Whether to wait for a tenant when all that could be served are busy. */
	readonly wait: boolean;
}
interface Asked<Question, Answer> {
	readonly question: Question;
	readonly resolve: (answer: Answer) => void;
	readonly reject: (error: unknown) => void;
}

/** Somebody keeps the lock of the only tenants that could be served, for longer than is waited: that is nothing to claim, and no trouble. */
function noneIfLocked(error: unknown): Row[] {
	if (codeOf((error as Error).cause ?? error) === LOCK_NOT_AVAILABLE) return [];
	throw error;
}

export class PostgresEngine implements Engine {
	readonly submitRowsMax = CALL_ROWS_MAX;
	readonly #driver: PostgresDriver;
	readonly #at: string;
	constructor(driver: PostgresDriver) {
		this.#driver = driver;
		this.#at = driver.at;
	}

	async submit(gather: () => Submission): Promise<void> {
		await new Promise<void>(resolve => this.#driver.defer(resolve));
		const { rows, nowMs, answered } = gather();
		const keyed = rows.some(({ job }) => job.idempotency !== undefined);
		const left = new Set(rows.keys());
		try {
			while (left.size > 0) {
				const sent = [...left];
				const got = await this.#driver.query(
					`SELECT i, status, id, webhook_url FROM ${this.#at}submit_2($1::text::jsonb, $2::boolean, $3::text::bigint[], $4::bigint)`,
					[
						JSON.stringify(sent.map((i, place) => toRow(rows[i]!, place))),
						keyed,
						list(unique(sent.map(i => tenantOfLane(rows[i]!.laneId)))),
						nowMs,
					],
				);
				for (const { i: place, status, id, webhook_url: webhookUrl } of got) {
					const i = sent[place]!;
					left.delete(i);
					answered(
						i,
						status === "created" ? { status, id, createdAt: nowMs, webhookUrl } : status === "backlog_full" ? { status } : { status, id },
					);
				}
			}
		} finally {
			if (left.size < rows.length) this.#driver.announce();
		}
	}

	async tenantNamed(name: string): Promise<Row | undefined> {
		return (await this.#driver.query(`SELECT tenant_id, name FROM ${this.#at}tenants WHERE name = $1::text`, [name]))[0];
	}
	tenantsNumbered(ids: readonly number[]): Promise<Row[]> {
		return this.#driver.query(`SELECT tenant_id, name FROM ${this.#at}tenants WHERE tenant_id = ANY($1::text::bigint[])`, [list(ids)]);
	}
	tasks(): Promise<Row[]> {
		return this.#driver.query(`SELECT task_id, name FROM ${this.#at}tasks`);
	}
	async writeTasks(names: readonly string[], most?: number): Promise<void> {
		await this.#driver.query(`SELECT ${this.#at}write_tasks_2(ARRAY(SELECT jsonb_array_elements_text($1::text::jsonb)), $2::int)`, [
			JSON.stringify(names),
			most ?? null,
		]);
	}
	async makeLanes(gather: () => readonly (readonly [string, string])[], { concurrency, backlog }: StorageDefaults): Promise<Row[]> {
		await new Promise<void>(resolve => this.#driver.defer(resolve));
		const names = JSON.stringify(gather());
		return this.#driver.query(
			`SELECT tenant_id, name, task_id, task FROM ${this.#at}make_lanes_1(
  ARRAY(SELECT e->>0 FROM jsonb_array_elements($1::text::jsonb) e), ARRAY(SELECT e->>1 FROM jsonb_array_elements($1::text::jsonb) e), $2::int, $3::bigint)`,
			[names, concurrency, backlog],
		);
	}

	jobs(ids: readonly number[], columns: Columns = "all"): Promise<Row[]> {
		return this.#driver.query(`SELECT ${columnsOf(columns)} FROM ${this.#at}jobs WHERE id = ANY($1::text::bigint[])`, [list(ids)]);
	}
	list(jobs: JobList, columns: Columns = "all"): Promise<Row[]> {
		const { sql, params } = listStatement(this.#at, jobs, columns);
		return this.#driver.query(sql, params);
	}
	async scanEnd(jobs: JobList, above: number): Promise<number | null> {
		const statement = scanEndStatement(this.#at, jobs, above);
		return statement === null ? null : ((await this.#driver.query(statement.sql, statement.params))[0]?.id ?? null);
	}
	events(jobId: number): Promise<Row[]> {
		return this.#driver.query(`SELECT seq, at, kind, data FROM ${this.#at}job_events WHERE job_id = $1::bigint ORDER BY seq`, [jobId]);
	}
	groups(query: GroupQuery): Promise<Row[]> {
		const { sql, params } = read.groupsStatement(this.#at, query);
		return this.#driver.query(sql, params);
	}
	async counts(): Promise<Row> {
		return (await this.#driver.query(read.queueCounts(this.#at)))[0]!;
	}
	async tenantCounts(tenantId: number): Promise<Row | undefined> {
		return (await this.#driver.query(read.tenantCounts(this.#at), [tenantId]))[0];
	}
	runnableLanes(taskIds: readonly number[] | null, tenantId: number | null, limit: number, nowMs: number): Promise<Row[]> {
		return this.#driver.query(read.runnableLanes(this.#at), [taskIds === null ? null : list(taskIds), tenantId, limit, nowMs]);
	}

	/** Sends ids until each was looked at. Answers those that changed. */
	async #change(jobIds: readonly number[], call: (ids: string) => Promise<Row[]>): Promise<number[]> {
		const changed: number[] = [];
		for (const chunk of chunks(unique(jobIds)))
			for (let left = new Set(chunk); left.size > 0; )
				for (const row of await call(list([...left]))) {
					left.delete(row.id);
					if (row.changed) changed.push(row.id);
				}
		return changed;
	}
	async cancel(jobIds: readonly number[], { keepDoneMs }: StorageDefaults, nowMs: number): Promise<number[]> {
		const changed = await this.#change(jobIds, some =>
			this.#driver.query(`SELECT id, changed FROM ${this.#at}cancel_1($1::text::bigint[], $2::bigint, $3::bigint)`, [
				some,
				keepDoneMs,
				nowMs,
			]),
		);
		// Its key may have been passed on.
		if (changed.length > 0) this.#driver.announce();
		return changed;
	}
	async retry(jobIds: readonly number[], nowMs: number): Promise<number[]> {
		const changed = await this.#change(jobIds, some =>
			this.#driver.query(`SELECT id, changed FROM ${this.#at}retry_1($1::text::bigint[], $2::bigint)`, [some, nowMs]),
		);
		if (changed.length > 0) this.#driver.announce();
		return changed;
	}
	deleteJobs(jobIds: readonly number[]): Promise<number[]> {
		return this.#change(jobIds, some => this.#driver.query(`SELECT id, changed FROM ${this.#at}delete_2($1::text::bigint[])`, [some]));
	}

	/** Endings and claims that are asked for in one turn of the event loop go in one call. */
	readonly #endings: Asked<TurnEndings, Row[]>[] = [];
	readonly #claims: Asked<TurnClaim, Row[]>[] = [];
	#turnAhead = false;
	/** Into how many parts this process divides the tenants it could serve, since others claim at the same time. */
	#crowd = 1;
	#ask<Question, Answer>(queue: Asked<Question, Answer>[], question: Question): Promise<Answer> {
		return new Promise((resolve, reject) => {
			queue.push({ question, resolve, reject });
			if (this.#turnAhead) return;
			this.#turnAhead = true;
			this.#driver.defer(() => {
				this.#turnAhead = false;
				const endings = this.#endings.splice(0);
				const claims = this.#claims.splice(0);
				for (let i = 0; i < Math.max(endings.length, claims.length); i++) void this.#takeTurn(endings[i], claims[i]);
			});
		});
	}
	async #takeTurn(ended?: Asked<TurnEndings, Row[]>, claimed?: Asked<TurnClaim, Row[]>): Promise<void> {
		try {
			const all = await this.#turn((sql, params) => this.#driver.query(sql, params), ended?.question ?? null, claimed?.question ?? null);
			const rows = all.filter(row => row.i !== FREES);
			if (rows.length < all.length) this.#driver.announce();
			ended?.resolve(rows.filter(row => row.i !== null));
			claimed?.resolve(rows.filter(row => row.i === null));
		} catch (error) {
			// What the database refuses of the one, or where the one waits in vain, must not cost the other.
			const ofOne = !(error instanceof StorageUnavailable) || codeOf(error.cause) === LOCK_NOT_AVAILABLE;
			if (ended !== undefined && claimed !== undefined && ofOne) {
				void this.#takeTurn(ended);
				void this.#takeTurn(undefined, claimed);
				return;
			}
			ended?.reject(error);
			claimed?.reject(error);
		}
	}
	#turn(query: PostgresDriver["query"], ended: TurnEndings | null, claimed: TurnClaim | null): Promise<Row[]> {
		const { request } = claimed ?? {};
		return query(this.#turnText, [
			ended === null ? null : JSON.stringify(ended.endings.map(toEnding)),
			ended === null ? null : list(ids(ended.endings)),
			ended === null || ended.followUps.length === 0 ? null : JSON.stringify(ended.followUps.map(toRow)),
			ended?.defaults.keepDoneMs ?? null,
			ended?.defaults.keepDeadMs ?? null,
			ended?.nowMs ?? null,
			ended?.waitFor ?? null,
			CIRCUIT_PROBE_MS,
			claimed === null ? null : list(claimed.taskIds),
			request?.limit ?? 0,
			Math.ceil((request?.limit ?? 0) / this.#crowd),
			claimed?.nowMs ?? null,
			claimed === null ? null : claimed.nowMs + claimed.request.leaseMs,
			request?.token ?? null,
			request?.worker ?? null,
			claimed?.wait ?? false,
		]);
	}
	get #turnText(): string {
		return `SELECT i, circuit, ${JOB_COLUMNS} FROM ${this.#at}turn_2($1::text::jsonb, $2::text::bigint[], $3::text::jsonb, $4::bigint, $5::bigint,
  $6::bigint, $7::bigint, $8::bigint, $9::text::int[], $10::int, $11::int, $12::bigint, $13::bigint, $14::bigint, $15::text, $16::boolean)`;
	}

	async claim(request: ClaimRequest, taskIds: readonly number[], nowMs: number): Promise<Row[]> {
		const rows = await this.#ask(this.#claims, { request, taskIds, nowMs, wait: false });
		const claimed = rows.length > 0 ? rows : await this.#ask(this.#claims, { request, taskIds, nowMs, wait: true }).catch(noneIfLocked);
		// Found nothing, and then something: others were at all of them.
		const crowded = rows.length === 0 && claimed.length > 0;
		this.#crowd = crowded ? Math.min(2 * this.#crowd, CROWD_MAX) : Math.max(1, this.#crowd * CROWD_FADES);
		return claimed.sort((a, b) => a.id - b.id);
	}
	rehearse(
		request: ClaimRequest,
		taskIds: readonly number[],
		sweepLimit: number,
		defaults: StorageDefaults,
		nowMs: number,
	): Promise<RehearsedRows> {
		return this.#driver.rehearse(async query => {
			// A rehearsal keeps the locks of all that it does, so there is one at a time.
			await query(`SELECT pg_advisory_xact_lock(${this.#at}lock_key_1('${this.#at.replaceAll("'", "''")}meta', 1))`);
			const lost = await query(this.#expireText, [sweepLimit, LOSSES_MAX, defaults.keepDoneMs, defaults.keepDeadMs, nowMs]);
			const late = await query(this.#lateText, [sweepLimit, defaults.keepDoneMs, nowMs]);
			const [pruned] = await query(this.#pruneText, [sweepLimit, nowMs]);
			const claimed = await this.#turn(query, null, { request, taskIds, nowMs, wait: false });
			const held = await query(read.held(this.#at), [nowMs]);
			return { lost, late, pruned: pruned!.jobs, claimed: claimed.sort((a, b) => a.id - b.id), held };
		});
	}

	async extend(leases: readonly LeaseExtension[], leaseUntil: number, nowMs: number, bounds?: LeaseBounds): Promise<Row[]> {
		const held: Row[] = [];
		for (const chunk of chunks(leases)) {
			for (let left = [...chunk]; left.length > 0; ) {
				const got = await this.#driver.query(
					`SELECT i, id, held, cancel_requested_at, lease_until
  FROM ${this.#at}extend_2($1::text::jsonb, $2::text::bigint[], $3::bigint, $4::bigint, $5::bigint, $6::bigint)`,
					[
						JSON.stringify(left.map(({ id, token, progress }, i) => ({ i, id, token, progress }))),
						list(unique(ids(left))),
						leaseUntil,
						nowMs,
						bounds?.heldMsMax ?? null,
						bounds?.graceMs ?? null,
					],
				);
				const seen = new Set(got.map(row => row.i));
				held.push(...got.filter(row => row.held));
				left = left.filter((_, i) => !seen.has(i));
			}
		}
		return held;
	}

	async finish(endings: readonly Ending[], followUps: readonly SubmitRow[], defaults: StorageDefaults, nowMs: number): Promise<Row[]> {
		const moved: Row[] = [];
		const left = new Set(endings);
		try {
			for (let waitFor: number | null = null; left.size > 0; ) {
				const sent = [...left].slice(0, CALL_ROWS_MAX);
				const follow = followUps.filter(({ parent }) => sent.some(({ id, token }) => id === parent!.id && token === parent!.token));
				const got: Row[] = await this.#ask(this.#endings, { endings: sent, followUps: follow, defaults, nowMs, waitFor });
				waitFor = null;
				for (const row of got) {
					if (row.i < 0) waitFor = row.id;
					else {
						left.delete(sent[row.i]!);
						if (row.state !== null) moved.push(row);
					}
				}
			}
		} catch (error) {
			if (left.size < endings.length && error instanceof StorageUnavailable) throw new PartlyRecorded(moved.map(toMoved), [...left], error);
			throw error;
		}
		if (followUps.length > 0) this.#driver.announce();
		return moved;
	}

	async refuse(endings: readonly Ending[], nowMs: number): Promise<void> {
		for (const chunk of chunks(endings))
			for (let left = chunk; left.length > 0; ) {
				const seen = await this.#driver.query(
					`SELECT refuse_2 AS id FROM ${this.#at}refuse_2($1::text::jsonb, $2::text::bigint[], $3::int, $4::bigint)`,
					[
						JSON.stringify(
							left.map((ending, i) => ({
								i,
								id: ending.id,
								token: ending.token,
								tail: ending.tail,
								data: refusedData(ending),
							})),
						),
						list(unique(ids(left))),
						REFUSED_MAX,
						nowMs,
					],
				);
				const looked = new Set(seen.map(row => row.id));
				left = left.filter(({ id }) => !looked.has(id));
			}
	}

	get #expireText(): string {
		return `SELECT id, tail, state, reason FROM ${this.#at}expire_1($1::int, $2::int, $3::bigint, $4::bigint, $5::bigint)`;
	}
	get #lateText(): string {
		return `SELECT id, tail, state, reason FROM ${this.#at}cancel_late_1($1::int, $2::bigint, $3::bigint)`;
	}
	get #pruneText(): string {
		return `SELECT ${this.#at}prune_1($1::int, $2::bigint) AS jobs`;
	}
	expire(limit: number, { keepDoneMs, keepDeadMs }: StorageDefaults, nowMs: number): Promise<Row[]> {
		return this.#driver.query(this.#expireText, [limit, LOSSES_MAX, keepDoneMs, keepDeadMs, nowMs]);
	}
	cancelLate(limit: number, { keepDoneMs }: StorageDefaults, nowMs: number): Promise<Row[]> {
		return this.#driver.query(this.#lateText, [limit, keepDoneMs, nowMs]);
	}
	async prune(limit: number, nowMs: number): Promise<number> {
		return (await this.#driver.query(this.#pruneText, [limit, nowMs]))[0]!.jobs;
	}

	async nextDue(taskIds: readonly number[], nowMs: number): Promise<Row> {
		return (await this.#driver.query(read.nextDue(this.#at), [list(taskIds), nowMs]))[0]!;
	}
	async leaseHolders(): Promise<string[]> {
		return (await this.#driver.query(`SELECT DISTINCT worker FROM ${this.#at}jobs WHERE state = ${S.running}`)).map(row => row.worker);
	}
	/** Calls a function that does a bounded part of something until nothing is left. Answers the sum. */
	async #until0(sql: string, params: Param[]): Promise<number> {
		for (let sum = 0; ; ) {
			const changed: number = (await this.#driver.query(`SELECT ${this.#at}${sql} AS changed`, params))[0]!.changed;
			if (changed === 0) return sum;
			sum += changed;
		}
	}
	forfeit(worker: string, nowMs: number): Promise<number> {
		return this.#until0("forfeit_1($1::text, $2::bigint)", [worker, nowMs]);
	}

	async insertBulkAction(action: NewBulkAction, tenantId: number | null, most: number, nowMs: number): Promise<Row | undefined> {
		const { filter, ids, ratePerS, ...given } = action;
		const [row] = await this.#driver.query(records.insertBulkAction(this.#at), [
			tenantId,
			JSON.stringify({
				...given,
				filter: filter === undefined ? undefined : JSON.stringify(filter),
				ids: ids === undefined ? undefined : JSON.stringify(ids),
				rate_per_s: ratePerS,
			}),
			most,
			nowMs,
		]);
		this.#driver.announce();
		return row!.action ?? undefined;
	}
	async bulkAction(id: number): Promise<Row | undefined> {
		return (await this.#driver.query(records.bulkAction(this.#at), [id]))[0];
	}
	bulkActions(tenantId: number | null, limit: number): Promise<Row[]> {
		return this.#driver.query(records.bulkActions(this.#at, tenantId !== null), tenantId === null ? [limit] : [limit, tenantId]);
	}
	async stopBulkAction(id: number, nowMs: number): Promise<void> {
		await this.#driver.query(records.stopBulkAction(this.#at), [id, nowMs]);
	}
	async takeBulkAction(nowMs: number, busyUntil: number): Promise<Row | undefined> {
		return (await this.#driver.query(records.takeBulkAction(this.#at), [nowMs, busyUntil]))[0];
	}
	async recordBulkAction(progress: BulkProgress, nowMs: number): Promise<void> {
		const { id, from, cursor, status, reason, seen, changed, skipped, canaryIds, nextAt } = progress;
		await this.#driver.query(records.recordBulkAction(this.#at), [
			id,
			from,
			cursor,
			status,
			reason,
			seen,
			changed,
			skipped,
			JSON.stringify(canaryIds),
			nextAt,
			nowMs,
		]);
	}

	schedules(tenantId: number | null, limit: number, after?: { readonly tenant: string; readonly name: string }): Promise<Row[]> {
		return this.#driver.query(records.schedules(this.#at, tenantId !== null), [limit, after?.name ?? "", tenantId ?? after?.tenant ?? ""]);
	}
	async schedule(tenantId: number, name: string): Promise<Row | undefined> {
		return (await this.#driver.query(records.schedule(this.#at), [tenantId, name]))[0];
	}
	async putSchedule(tenantId: number, schedule: NewSchedule, nowMs: number, most: number): Promise<Row | undefined> {
		const [row] = await this.#driver.query(records.putSchedule(this.#at), [tenantId, scheduleText(schedule), most, nowMs]);
		this.#driver.announce();
		return row!.schedule ?? undefined;
	}
	async changeSchedule(tenantId: number, schedule: NewSchedule, nowMs: number): Promise<Row | undefined> {
		const [row] = await this.#driver.query(records.changeSchedule(this.#at), [tenantId, scheduleText(schedule), nowMs]);
		this.#driver.announce();
		return row;
	}
	async deleteSchedule(tenantId: number, name: string): Promise<boolean> {
		return (await this.#driver.query(records.deleteSchedule(this.#at), [tenantId, name])).length > 0;
	}
	dueSchedules(limit: number, nowMs: number): Promise<Row[]> {
		return this.#driver.query(records.dueSchedules(this.#at), [limit, nowMs]);
	}
	async moveSchedule(id: number, from: number, { lastAt, nextAt, lastJobId }: ScheduleMove): Promise<void> {
		await this.#driver.query(records.moveSchedule(this.#at), [id, from, lastAt, nextAt, lastJobId]);
	}

	async webhookOf(tenantId: number): Promise<string | null> {
		return (await this.#driver.query(records.webhookOf(this.#at), [tenantId]))[0]?.webhook_url ?? null;
	}
	async setWebhook(tenantId: number, url: string | null): Promise<void> {
		await this.#driver.query(records.setWebhook(this.#at), [tenantId, url]);
	}
	untoldWebhooks(limit: number): Promise<Row[]> {
		return this.#driver.query(records.untoldWebhooks(this.#at), [limit]);
	}
	async tellWebhooks(jobs: readonly (readonly [id: number, seq: number])[]): Promise<void> {
		const seqOf = new Map(jobs);
		await this.#change([...seqOf.keys()], some =>
			this.#driver.query(`SELECT id, changed FROM ${this.#at}tell_webhooks_2($1::text::jsonb, $2::text::bigint[])`, [
				JSON.stringify([...seqOf]),
				some,
			]),
		);
	}

	async seeWorker({ name, kind, tasks, version }: NewWorker, nowMs: number): Promise<void> {
		await this.#driver.query(records.seeWorker(this.#at), [name, kind, JSON.stringify(tasks), version, nowMs]);
	}
	workers(limit: number): Promise<Row[]> {
		return this.#driver.query(records.workers(this.#at), [limit]);
	}
	taskStates(): Promise<Row[]> {
		return this.#driver.query(records.taskStates(this.#at));
	}
	async resetCircuit(taskId: number, tenantId: number | null): Promise<number> {
		const changed = await this.#until0("reset_circuit_2($1::int, $2::bigint)", [taskId, tenantId]);
		this.#driver.announce();
		return changed;
	}

	async setLimits(
		tenant: string,
		{ concurrency, backlog, step, paused }: EngineLimits,
		lanes: readonly (readonly [number, number | null])[],
		defaults: StorageDefaults,
	): Promise<void> {
		await this.#driver.query(`SELECT ${this.#at}write_tenants_1(ARRAY[$1::text], $2::int, $3::bigint)`, [
			tenant,
			defaults.concurrency,
			defaults.backlog,
		]);
		await this.#driver.query(`SELECT ${this.#at}set_limits_1($1::text, $2::int, $3::bigint, $4::bigint, $5::int, $6::text::jsonb)`, [
			tenant,
			concurrency ?? null,
			backlog ?? null,
			step ?? null,
			paused === undefined ? null : Number(paused),
			JSON.stringify(lanes.map(([lane_id, most]) => ({ lane_id, concurrency: most }))),
		]);
		this.#driver.announce();
	}
	async setTask(task: string, { concurrency, paused }: { concurrency?: number | null; paused?: boolean }): Promise<void> {
		await this.writeTasks([task]);
		await this.#driver.query(`SELECT ${this.#at}set_task_1($1::text, $2::boolean, $3::int, $4::int)`, [
			task,
			concurrency !== undefined,
			concurrency ?? null,
			paused === undefined ? null : Number(paused),
		]);
		this.#driver.announce();
	}
	async setDefaults({ concurrency, backlog }: StorageDefaults): Promise<void> {
		const [begun] = await this.#driver.query(`SELECT ${this.#at}set_defaults_1($1::int, $2::bigint, true) AS changed`, [
			concurrency,
			backlog,
		]);
		if (begun!.changed > 0) await this.#until0("set_defaults_1($1::int, $2::bigint, false)", [concurrency, backlog]);
	}

	async verify(): Promise<string[]> {
		// One after the other: when one fails, none is still on its way.
		const found: string[] = [];
		for (const sql of checks(this.#at)) for (const row of await this.#driver.query(sql)) found.push(row.what);
		return found;
	}
	async ping(): Promise<void> {
		const rows = await this.#driver.query(`SELECT name, value FROM ${this.#at}meta WHERE name IN ('schema', 'oldest')`).catch(error => {
			if (/^(?:42P01|3F000)$/.test(codeOf(error)))
				throw new StorageUnavailable("the database has no tables yet: run the migrations", { cause: error });
			throw error;
		});
		const { schema = "none", oldest = "0" } = Object.fromEntries(rows.map(row => [row.name, row.value])) as Record<string, string>;
		if (!(Number(schema) >= SCHEMA && Number(oldest) <= SCHEMA))
			throw new StorageUnavailable(
				`the store has schema ${schema}, this code needs ${SCHEMA}: ${Number(oldest) > SCHEMA ? "start the newer version" : "run the migrations"}`,
			);
	}
	statements(): number {
		return this.#driver.count();
	}
	close(): Promise<void> {
		return this.#driver.close();
	}
}
