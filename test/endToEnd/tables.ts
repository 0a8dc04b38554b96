/** Real tables, which nobody here wrote, cut into slices that go through the queue, and what must have become of them. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";

type Value = string | number | boolean | null;
type Row = Record<string, Value>;

const read = (name: string): string => readFileSync(new URL(`../../node_modules/vega-datasets/data/${name}`, import.meta.url), "utf8");

/** The CSV files used here have no quoted commas but those that this splits rightly: it is no CSV reader of the product. */
function parseCsv(text: string): { header: string; lines: string[]; rows: Row[] } {
	const [header, ...lines] = text.trimEnd().split(/\r?\n/) as [string, ...string[]];
	const names = header.split(",");
	const plain = lines.filter(line => !line.includes('"'));
	const rows = plain.map(line =>
		Object.fromEntries(
			line.split(",").map((value, i) => [names[i]!, value === "" ? null : /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value]),
		),
	);
	return { header, lines: plain, rows };
}

export interface Slice {
	readonly tenant: string;
	readonly payload: Record<string, unknown>;
	readonly key: string;
}
export interface Table {
	readonly tenant: string;
	readonly rows: readonly Row[];
	/** Columns whose every value is a number or null, and so summed. */
	readonly numeric: readonly string[];
	readonly slices: readonly Slice[];
}

function table(
	tenant: string,
	rows: readonly Row[],
	numeric: readonly string[],
	size: number,
	payload: (from: number, to: number) => Record<string, unknown>,
): Table {
	const slices: Slice[] = [];
	for (let from = 0; from < rows.length; from += size)
		slices.push({ tenant, payload: payload(from, Math.min(from + size, rows.length)), key: `${tenant}-${from}` });
	return { tenant, rows, numeric, slices };
}

export function tables(): Table[] {
	const csv = (tenant: string, name: string, numeric: string[], size: number) => {
		const { header, lines, rows } = parseCsv(read(name));
		return table(tenant, rows, numeric, size, (from, to) => ({ format: "csv", text: [header, ...lines.slice(from, to)].join("\r\n") }));
	};
	const json = (tenant: string, name: string, numeric: string[], size: number, ndjson: boolean) => {
		const rows = JSON.parse(read(name)) as Row[];
		return table(tenant, rows, numeric, size, (from, to) =>
			ndjson
				? {
						format: "ndjson",
						text: rows
							.slice(from, to)
							.map(row => JSON.stringify(row))
							.join("\n"),
					}
				: { records: rows.slice(from, to) },
		);
	};
	return [
		csv("airports", "airports.csv", ["latitude", "longitude"], 6),
		csv("weather", "seattle-weather.csv", ["precipitation", "temp_max", "temp_min", "wind"], 3),
		json("movies", "movies.json", ["US Gross", "Production Budget", "IMDB Votes", "IMDB Rating"], 6, false),
		json("flights", "flights-2k.json", ["delay", "distance"], 4, true),
	];
}

const SENDERS = 16;
const READERS = 16;

/** Sends every slice, again and again with its key until it is accepted, whatever happens to the server meanwhile. */
export async function submitAll(
	slices: readonly Slice[],
	url: () => string,
	onAccepted: (jobId: string, slice: Slice) => Promise<void> | void,
): Promise<void> {
	const queue = [...slices];
	const sender = async (): Promise<void> => {
		for (let slice = queue.shift(); slice !== undefined; slice = queue.shift()) {
			for (;;) {
				try {
					const response = await fetch(`${url()}/api/jobs`, {
						method: "POST",
						headers: { "content-type": "application/json", "x-tenant-id": slice.tenant, "idempotency-key": slice.key },
						body: JSON.stringify({ payload: { task: "process_data", ...slice.payload } }),
					});
					const job = (await response.json()) as { job_id: string };
					if (response.status !== 201) throw new Error(JSON.stringify(job));
					await onAccepted(job.job_id, slice);
					break;
				} catch (error) {
					if (!(error instanceof TypeError)) throw error;
					// The connection broke: the answer may have been lost after the job was stored. Its key makes sending again harmless.
					await sleep(20);
				}
			}
		}
	};
	await Promise.all(Array.from({ length: SENDERS }, sender));
}

async function listAll(url: string, tenant: string): Promise<{ id: string; status: string }[]> {
	const jobs: { id: string; status: string }[] = [];
	for (let cursor: string | null = ""; cursor !== null; ) {
		const response: Response = await fetch(`${url}/api/jobs?limit=200${cursor === "" ? "" : `&cursor=${cursor}`}`, {
			headers: { "x-tenant-id": tenant },
		});
		const page = (await response.json()) as { jobs: typeof jobs; next_cursor: string | null };
		jobs.push(...page.jobs);
		cursor = page.next_cursor;
	}
	return jobs;
}

interface Summary {
	rows: number;
	columns: Record<string, { count: number; nulls: number; min: number | null; max: number | null; sum?: number | null }>;
}

/** Waits until nothing waits or runs any more. */
export async function untilIdle(url: () => string): Promise<void> {
	for (;;) {
		const metrics = (await (await fetch(`${url()}/api/metrics`)).json()) as { pending: number; running: number };
		if (metrics.pending + metrics.running === 0) return;
		await sleep(50);
	}
}

/** What must hold of a table that went through: every slice that was accepted is done, once, and the results add up to the table. */
export async function checkTable(
	url: string,
	{ tenant, rows, numeric, slices }: Table,
	accepted: ReadonlyMap<string, string>,
): Promise<void> {
	const jobs = await listAll(url, tenant);
	expect(new Set(jobs.map(({ id }) => id))).toEqual(new Set(slices.map(({ key }) => accepted.get(key))));
	expect(jobs.filter(({ status }) => status !== "done")).toEqual([]);
	const merged = new Map<string, { count: number; nulls: number; min: number; max: number; sum: number }>();
	let rowCount = 0;
	const read = async ({ id }: { readonly id: string }) => {
		const response = await fetch(`${url}/api/jobs/${id}?include=history`, { headers: { "x-tenant-id": tenant } });
		return (await response.json()) as { result: Summary; history: { seq: number; kind: string }[] };
	};
	const details: Awaited<ReturnType<typeof read>>[] = [];
	for (let i = 0; i < jobs.length; i += READERS) details.push(...(await Promise.all(jobs.slice(i, i + READERS).map(read))));
	for (const job of details) {
		expect(job.history.filter(({ kind }) => kind === "done")).toHaveLength(1);
		expect(job.history.map(({ seq }) => seq)).toEqual(job.history.map((_, i) => i + 1));
		rowCount += job.result.rows;
		for (const name of numeric) {
			const column = job.result.columns[name] ?? { count: 0, nulls: job.result.rows, min: null, max: null, sum: 0 };
			const so = merged.get(name) ?? { count: 0, nulls: 0, min: Infinity, max: -Infinity, sum: 0 };
			merged.set(name, {
				count: so.count + column.count,
				nulls: so.nulls + column.nulls,
				min: Math.min(so.min, column.min ?? Infinity),
				max: Math.max(so.max, column.max ?? -Infinity),
				sum: so.sum + (column.sum ?? 0),
			});
		}
	}
	expect(rowCount).toBe(rows.length);
	for (const name of numeric) {
		const values = rows.map(row => row[name] ?? null).filter(value => value !== null) as number[];
		const { count, nulls, min, max, sum } = merged.get(name)!;
		expect({ name, count, nulls, min, max }).toEqual({
			name,
			count: values.length,
			nulls: rows.length - values.length,
			min: values.reduce((a, b) => Math.min(a, b)),
			max: values.reduce((a, b) => Math.max(a, b)),
		});
		// Sums of slices are added in another order than the whole: equal up to the rounding of doubles.
		const whole = values.reduce((a, b) => a + b, 0);
		expect(Math.abs(sum - whole)).toBeLessThanOrEqual(Math.abs(values.reduce((a, b) => a + Math.abs(b), 0)) * 1e-12);
	}
}
