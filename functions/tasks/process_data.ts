/** Summarises records, column by column. */
import { defineTask, Failed } from "tickq";
import * as z from "zod";

const MAX_TEXT = 16 * 1024 * 1024; // UTF-16 code units
const MAX_ROWS = 100_000;
const MAX_COLUMNS = 1_000;
const MAX_DISTINCT = 10_000;
const ROWS_PER_TURN = 1_000;

type Row = Record<string, unknown>;
type Kind = "number" | "string" | "boolean" | "object";

/** Objects include arrays. `mixed`: values of several types; `null`: no values. */
export interface ColumnSummary {
	type: Kind | "mixed" | "null";
	/** Values that are not null. */
	count: number;
	/** Rows where the column is null, missing or, in CSV, empty. */
	nulls: number;
	/** Different values: 1 and "1" are two, objects are compared by their JSON text. */
	distinct: number;
	/** There are more different values than the 10,000 that `distinct` says. */
	distinct_capped?: true;
	/** Of numbers by size, of strings by code unit, otherwise null. */
	min: number | string | null;
	max: number | string | null;
	/** Only of numbers: added in row order, and divided by count. Null when too large for a double. */
	sum?: number | null;
	mean?: number | null;
}

export interface Summary {
	message: "Processed successfully";
	rows: number;
	columns: Record<string, ColumnSummary>;
}

const input = z
	.strictObject({
		records: z
			.array(z.unknown().refine(isRecord, "expected an object").meta({ type: "object" }))
			.max(MAX_ROWS)
			.optional(),
		text: z.string().max(MAX_TEXT).optional(),
		format: z.enum(["csv", "json", "ndjson"]).optional(),
		delimiter: z
			.string()
			.regex(/^[^"\r\n]$/, "expected one character, not a quote or line break")
			.optional(),
		columns: z.array(z.string()).min(1).max(MAX_COLUMNS).optional(),
	})
	.superRefine(({ records, text, format, delimiter }, context) => {
		const refuse = (field: string, message: string) => context.addIssue({ code: "custom", path: [field], message });
		if (records && text !== undefined) refuse("text", "send records or text, not both");
		if (format && text === undefined) refuse("format", "says how to read text, but there is no text");
		if (delimiter && (text === undefined || (format && format !== "csv"))) refuse("delimiter", "only CSV text has one");
	});

/**
 * Summarises `{ records: [{…}, …] }` or `{ text, format?, delimiter? }`; `columns: [name, …]` restricts either to some columns.
 * `{}` is a success with no rows. Answers with a {@link Summary}; the rows, counts, nulls, sums, minima and maxima of the parts
 * of a data set can be merged into those of the whole.
 *
 * - `csv`: RFC 4180 with a header, any line ending, `delimiter` or a comma. Quoted or not, a field that is a finite JSON number
 *   counts as a number, `true` and `false` as booleans, an empty one as null.
 * - `json`: an array of objects, or an object that holds exactly one. `ndjson`: an object on each line that is not blank.
 * - No `format`: text that starts with `{` or `[` is JSON or NDJSON; other text, and any with a `delimiter`, is CSV.
 *
 * Limits: 16 Mi characters of text, 100,000 rows, 1,000 columns.
 * @throws Failed (no retry) for text that cannot be read, saying where and what to do; for an unknown column; above a limit.
 */
export const process_data = defineTask({
	summary: "Summarises records (CSV, JSON or NDJSON) column by column",
	example: { text: "city,temp_c,rain\nBergen,7.5,true\nOslo,5.9,false\nRoma,15.7,\n", format: "csv" },
	input,
	async run(payload, { signal }): Promise<Summary> {
		const columns = new Map<string, Column>();
		const column = (name: string): Column => {
			const known = columns.get(name);
			if (known) return known;
			if (columns.size === MAX_COLUMNS) throw new Failed(`more than ${MAX_COLUMNS} columns, from ${show(name)} on: send fewer`);
			const added = new Column();
			columns.set(name, added);
			return added;
		};

		const wanted = payload.columns && new Set(payload.columns);
		let count = 0;
		for (const row of read(payload, column)) {
			if (count % ROWS_PER_TURN === 0) {
				await new Promise<void>(resolve => setTimeout(resolve)); // timers that abort the signal get their turn
				signal.throwIfAborted();
			}
			if (++count > MAX_ROWS) throw new Failed(`more than ${MAX_ROWS} rows: split the data into several jobs`);
			for (const [name, value] of Object.entries(row)) {
				const target = column(name);
				if (!wanted || wanted.has(name)) target.add(value, count);
			}
		}

		const names = [...columns.keys()];
		const unknown = payload.columns?.find(name => !columns.has(name));
		if (unknown !== undefined) throw new Failed(`no column ${show(unknown)}, only ${names.slice(0, 20).map(show).join(", ") || "none"}`);
		// fromEntries makes a column of __proto__, where an assignment would not.
		const summaries = Object.fromEntries([...(wanted ?? names)].map(name => [name, column(name).summary(count)]));
		return { message: "Processed successfully", rows: count, columns: summaries };
	},
});

class Column {
	#count = 0;
	#sum = 0;
	#min: unknown;
	#max: unknown;
	#distinct = 0;
	#capped = false;
	readonly #seen = new Map<Kind, Set<unknown>>();

	add(given: unknown, row: number): void {
		// JSON.parse reads 1e999 as Infinity, and JSON.stringify writes that as null.
		if (given === null || given === undefined || (typeof given === "number" && !Number.isFinite(given))) return;
		const kind = typeof given as Kind;
		const value = kind === "object" ? jsonOf(given, row) : given === 0 ? 0 : given; // -0 is 0 in JSON.stringify too
		const seen = this.#seen.get(kind) ?? new Set();
		this.#seen.set(kind, seen);
		if (!seen.has(value)) {
			if (this.#distinct === MAX_DISTINCT) this.#capped = true;
			else {
				seen.add(value);
				this.#distinct++;
			}
		}
		if (kind === "number") this.#sum += value as number;
		// Across types these mean nothing, and are not shown.
		if (this.#count === 0 || (value as number) < (this.#min as number)) this.#min = value;
		if (this.#count === 0 || (value as number) > (this.#max as number)) this.#max = value;
		this.#count++;
	}

	summary(rows: number): ColumnSummary {
		const [first = "null", second] = this.#seen.keys();
		const type = second ? "mixed" : first;
		const ordered = type === "number" || type === "string";
		const finite = (value: number) => (Number.isFinite(value) ? value : null);
		return {
			type,
			count: this.#count,
			nulls: rows - this.#count,
			distinct: this.#distinct,
			...(this.#capped && { distinct_capped: true }),
			min: ordered ? (this.#min as number | string) : null,
			max: ordered ? (this.#max as number | string) : null,
			...(type === "number" && { sum: finite(this.#sum), mean: finite(this.#sum / this.#count) }),
		};
	}
}

/** `declare` hears of columns that exist even without a row. */
function read({ records, text: raw, format, delimiter }: z.infer<typeof input>, declare: (name: string) => void): Iterable<Row> {
	if (raw === undefined) return records ?? [];
	const text = raw.replace(/^\uFEFF/, "");
	const as = format ?? (delimiter ? "csv" : guess(text.trim()));
	return as === "csv" ? csvRows(text, delimiter ?? ",", declare) : as === "json" ? jsonRows(text) : jsonLines(text);
}

function guess(text: string): "csv" | "json" | "ndjson" {
	if (text[0] !== "{") return text[0] === "[" ? "json" : "csv";
	const [line = ""] = text.split("\n", 1);
	const first = tryJson(line);
	return !first || (line === text && arraysIn(first.value).length > 0) ? "json" : "ndjson";
}

function* csvRows(text: string, delimiter: string, declare: (name: string) => void): Generator<Row> {
	if (text.trim() === "") throw new Failed("line 1: no column names: CSV starts with a line of them");
	const ends = `${delimiter}\r\n`;
	let header: string[] | undefined;
	for (let at = 0, line = 1; at < text.length; line++) {
		const firstLine = line; // a quoted field may go over several
		const fields: string[] = [];
		do {
			if (fields.length > 0) at++; // over the delimiter
			const start = at;
			if (text[at] === '"') {
				do at = text.indexOf('"', at + 1) + 1;
				while (at > 0 && text[at] === '"');
				if (at === 0) throw new Failed(`line ${line}: nothing closes the quote that opens field ${fields.length + 1}: add a quote`);
				const field = text.slice(start + 1, at - 1);
				line += field.match(/\r\n?|\n/g)?.length ?? 0;
				fields.push(field.replaceAll('""', '"'));
			} else {
				while (at < text.length && text[at] !== '"' && !ends.includes(text[at]!)) at++;
				fields.push(text.slice(start, at));
			}
		} while (text[at] === delimiter);
		if (at < text.length && !ends.includes(text[at]!)) {
			throw new Failed(`line ${line}: field ${fields.length} is quoted in part: quote all of it, and double the quotes inside`);
		}
		at += text.startsWith("\r\n", at) ? 2 : 1;

		if (!header) {
			header = fields;
			header.forEach(declare);
			const twice = header.find((name, index) => fields.indexOf(name) < index);
			if (twice !== undefined) throw new Failed(`line 1: two columns are named ${show(twice)}: rename one`);
		} else if (fields.length !== header.length) {
			const advice = "correct it, and quote fields that contain the delimiter";
			throw new Failed(`line ${firstLine}: ${fields.length} fields, but the header has ${header.length}: ${advice}`);
		} else yield Object.fromEntries(header.map((name, index) => [name, typed(fields[index]!)]));
	}
}

function typed(field: string): string | number | boolean | null {
	if (field === "") return null;
	if (field === "true" || field === "false") return field === "true";
	return /^-?(0|[1-9]\d*)(\.\d+)?(e[+-]?\d+)?$/i.test(field) && Number.isFinite(Number(field)) ? Number(field) : field;
}

function* jsonLines(text: string): Generator<Row> {
	for (let at = 0, line = 1; at < text.length; line++) {
		const end = text.indexOf("\n", at);
		const json = text.slice(at, end < 0 ? text.length : end).trimEnd();
		at = end < 0 ? text.length : end + 1;
		if (json === "") continue;
		const value = parseJson(json, line);
		if (!isRecord(value)) throw new Failed(`line ${line}: not an object: NDJSON has one on each line`);
		yield value;
	}
}

function jsonRows(text: string): Row[] {
	const value = parseJson(text, 1);
	const [only, second] = arraysIn(value);
	if (only && !second) return only;
	const wrong = Array.isArray(value) ? value.findIndex(item => !isRecord(item)) : -1;
	if (wrong >= 0) throw new Failed(`item ${wrong + 1} of the JSON array is not an object: send an array of objects`);
	throw new Failed(`the JSON holds ${only ? "several arrays" : "no array"} of objects: send one, or an object that holds just one`);
}

/** The value itself, or what the object holds; empty arrays only if there are no others. */
function arraysIn(value: unknown): Row[][] {
	const arrays = (isRecord(value) ? Object.values(value) : [value]).filter(each => Array.isArray(each) && each.every(isRecord)) as Row[][];
	const filled = arrays.filter(array => array.length > 0);
	return filled.length > 0 ? filled : arrays;
}

function parseJson(text: string, firstLine: number): unknown {
	const parsed = tryJson(text);
	if (parsed) return parsed.value;
	const at = jsonBreak(text);
	const lines = text.slice(0, at).split("\n");
	const where = `line ${firstLine + lines.length - 1}, column ${lines.at(-1)!.length + 1}`;
	throw new Failed(`${where}: not JSON at ${at < text.length ? show(text.slice(at)) : "the end"}: correct it, or give another format`);
}

/** Where text stops being JSON, which the messages of JSON.parse do not always say. */
function jsonBreak(text: string): number {
	const value = '{["0'; // the first characters of a value, with 0 for all numbers and words
	const closers: string[] = [];
	let allowed = value;
	const tokens = /[{}[\],:"]|[^ \t\r\n{}[\],:"]+/g;
	for (let found = tokens.exec(text); found; found = tokens.exec(text)) {
		const { 0: token, index } = found;
		if (token === '"') tokens.lastIndex = stringEnd(text, index);
		const scalar = !"{}[],:".includes(token);
		const kind = !scalar || token === '"' ? token : "0";
		if (!allowed.includes(kind) || (scalar && !tryJson(text.slice(index, tokens.lastIndex)))) return index;
		if (kind === "{" || kind === "[") closers.push(kind === "{" ? "}" : "]");
		if (kind === "}" || kind === "]") closers.pop();
		const closer = closers.at(-1) ?? "";
		if (kind === "{" || kind === "[") allowed = (kind === "{" ? '"' : value) + closer;
		else if (kind === ",") allowed = closer === "}" ? '"' : value;
		else if (kind === ":") allowed = value;
		else if (kind === '"' && !allowed.includes("0")) allowed = ":";
		else allowed = closer && `,${closer}`;
	}
	return text.length;
}

function stringEnd(text: string, quote: number): number {
	let at = quote + 1;
	while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
	return at + 1;
}

function tryJson(text: string): { value: unknown } | undefined {
	try {
		return { value: JSON.parse(text) };
	} catch {
		return undefined;
	}
}

function jsonOf(value: unknown, row: number): string {
	try {
		return JSON.stringify(value);
	} catch {
		throw new Failed(`row ${row}: a value is nested too deeply: flatten it`);
	}
}

function isRecord(value: unknown): value is Row {
	return typeof value === "object" && value !== null && !Array.isArray(value);
}

function show(text: string): string {
	return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}
