/** What a process of schema 1 asks of the store, in its own words: it must go on working with every schema that says so in `meta.oldest`. */
import type postgres from "postgres";

const JOB_COLUMNS = `id, tail, tenant_id, lane_id, state, reason, priority, seq, created_at, run_at, start_by, started_at, completed_at, expires_at,
  failures, losses, claims, max_retries, timeout_ms, lease_until, cancel_requested_at, task_in_payload, worker, queue_key, trace_id,
  trace_parent, parent_id, tags, progress, error, result, payload`;

const KEEP_MS = 24 * 60 * 60_000;
const LEASE_MS = 30_000;

interface Row {
	readonly id: number;
	readonly token: number;
}

export class Release1 {
	readonly #sql: postgres.Sql;
	readonly #at: string;
	#drawn = 0;
	constructor(sql: postgres.Sql, schema: string) {
		this.#sql = sql;
		this.#at = `${schema}.`;
	}
	// biome-ignore lint/suspicious/noExplicitAny: rows as they come.
	#ask(text: string, params: (string | number | boolean | null)[]): Promise<any[]> {
		return this.#sql.unsafe(text, params) as unknown as Promise<unknown[]>;
	}

	/** A job of a task, in the order of the numbers that it was given. */
	async submit(tenant: string, task: string, nowMs: number, more: Record<string, unknown> = {}): Promise<number> {
		const [lane] = await this.#ask(
			`SELECT tenant_id, name, task_id, task FROM ${this.#at}make_lanes_1(ARRAY[$1::text], ARRAY[$2::text], 1000, 20000)`,
			[tenant, task],
		);
		const row = {
			i: 0,
			lane_id: lane.tenant_id * 65536 + lane.task_id,
			max_retries: 3,
			tail: ++this.#drawn,
			trace_id: "t",
			payload: "{}",
			...more,
		};
		const [stored] = await this.#ask(
			`SELECT i, status, id FROM ${this.#at}submit_1($1::text::jsonb, $2::boolean, $3::text::bigint[], $4::bigint)`,
			[JSON.stringify([row]), "key" in more, `{${lane.tenant_id}}`, nowMs],
		);
		return stored.id;
	}
	async claim(tasks: readonly string[], limit: number, nowMs: number, worker = "old"): Promise<Row[]> {
		const token = 5_000_000 + ++this.#drawn;
		const rows = await this.#turn([
			null,
			null,
			null,
			null,
			null,
			null,
			null,
			await this.#taskIds(tasks),
			limit,
			limit,
			nowMs,
			nowMs + LEASE_MS,
			token,
			worker,
			false,
		]);
		return rows.filter(({ i }) => i === null).map(({ id }) => ({ id, token }));
	}
	/** The states of those that were accepted. */
	async finish(leases: readonly Row[], how: Record<string, unknown>, nowMs: number): Promise<number[]> {
		const endings = leases.map(({ id, token }, i) => ({ i, id, token, ...how }));
		const ids = `{${leases.map(({ id }) => id).join(",")}}`;
		const rows = await this.#turn([
			JSON.stringify(endings),
			ids,
			null,
			KEEP_MS,
			KEEP_MS,
			nowMs,
			null,
			null,
			0,
			0,
			null,
			null,
			null,
			null,
			false,
		]);
		return rows.filter(({ i, state }) => i >= 0 && state !== null).map(({ state }) => state);
	}
	// biome-ignore lint/suspicious/noExplicitAny: rows as they come.
	#turn(params: (string | number | boolean | null)[]): Promise<any[]> {
		return this.#ask(
			`SELECT i, ${JOB_COLUMNS} FROM ${this.#at}turn_1($1::text::jsonb, $2::text::bigint[], $3::text::jsonb, $4::bigint, $5::bigint,
  $6::bigint, $7::bigint, $8::text::int[], $9::int, $10::int, $11::bigint, $12::bigint, $13::bigint, $14::text, $15::boolean)`,
			params,
		);
	}
	async #taskIds(tasks: readonly string[]): Promise<string> {
		const known = await this.#ask(`SELECT task_id, name FROM ${this.#at}tasks`, []);
		return `{${known.flatMap(({ name, task_id }) => (tasks.includes(name) ? [task_id] : [])).join(",")}}`;
	}
	async extend(leases: readonly Row[], until: number): Promise<boolean[]> {
		const rows = await this.#ask(
			`SELECT i, id, held, cancel_requested_at FROM ${this.#at}extend_1($1::text::jsonb, $2::text::bigint[], $3::bigint)`,
			[JSON.stringify(leases.map(({ id, token }, i) => ({ i, id, token }))), `{${leases.map(({ id }) => id).join(",")}}`, until],
		);
		return rows.map(({ held }) => held);
	}
	async expire(nowMs: number): Promise<number> {
		return (
			await this.#ask(`SELECT id, tail, state, reason FROM ${this.#at}expire_1(1000, 3, $1::bigint, $1::bigint, $2::bigint)`, [
				KEEP_MS,
				nowMs,
			])
		).length;
	}
	async cancel(id: number, nowMs: number): Promise<boolean> {
		return (
			await this.#ask(`SELECT id, changed FROM ${this.#at}cancel_1($1::text::bigint[], $2::bigint, $3::bigint)`, [
				`{${id}}`,
				KEEP_MS,
				nowMs,
			])
		)[0].changed;
	}
	async retry(id: number, nowMs: number): Promise<boolean> {
		return (await this.#ask(`SELECT id, changed FROM ${this.#at}retry_1($1::text::bigint[], $2::bigint)`, [`{${id}}`, nowMs]))[0].changed;
	}
	async prune(nowMs: number): Promise<number> {
		return (await this.#ask(`SELECT ${this.#at}prune_1(1000, $1::bigint) AS jobs`, [nowMs]))[0].jobs;
	}
	/** When the first of what a lane waits for is due, as it reads it. */
	async nextDelayed(): Promise<number | null> {
		return (
			(await this.#ask(`SELECT next_due FROM ${this.#at}lane_state WHERE next_due IS NOT NULL ORDER BY next_due LIMIT 1`, []))[0]
				?.next_due ?? null
		);
	}
}
