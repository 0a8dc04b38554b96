import { readFileSync } from "node:fs";
import fc from "fast-check";
import { Failed, type TaskContext } from "tickq";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { type ColumnSummary, process_data, type Summary } from "../../functions/tasks/process_data.ts";

function fakeContext(signal = new AbortController().signal): TaskContext {
	const silent = () => {};
	return {
		signal,
		attempt: 1,
		maxAttempts: 1,
		jobId: "job-1",
		tenant: "acme",
		traceId: "0af7651916cd43dd8448eb211c80319c",
		idempotencyKey: "job-1",
		log: { debug: silent, info: silent, warn: silent, error: silent },
		fetchOutside: () => Promise.reject(new Error("this task calls nobody")),
		sign: () => Promise.resolve({}),
		progress: silent,
		submit: silent,
	};
}

/** As a job goes: checked when submitted, run, and the result stored as JSON. */
async function summarise(payload: unknown, context = fakeContext()): Promise<Summary> {
	const result = await process_data.run(process_data.input!.parse(payload), context);
	const stored = JSON.parse(JSON.stringify(result)) as Summary;
	expect(stored).toEqual(result);
	return stored;
}

const csv = (text: string, more: object = {}) => summarise({ text, format: "csv", ...more });
const column = async (payload: unknown, name: string) => (await summarise(payload)).columns[name];
const columnOf = (values: unknown[]) => column({ records: values.map(value => ({ value })) }, "value");

async function failure(payload: unknown): Promise<string> {
	const error: unknown = await summarise(payload).then(
		() => undefined,
		(error: unknown) => error,
	);
	expect(error).toBeInstanceOf(Failed);
	return (error as Failed).message;
}

/** The refused fields as JSON pointers. */
function refused(payload: unknown): string[] {
	const { error } = process_data.input!.safeParse(payload);
	return (error?.issues ?? []).map(issue => `/${issue.path.join("/")}`);
}

function dataset(file: string): string {
	return readFileSync(new URL(`../../node_modules/vega-datasets/data/${file}`, import.meta.url), "utf8");
}

describe("process_data", () => {
	describe("payload", () => {
		it("answers an empty payload with a success that has no rows", async () => {
			expect(await summarise({})).toEqual({ message: "Processed successfully", rows: 0, columns: {} });
		});

		it("accepts its own example", async () => {
			expect(await summarise(process_data.example)).toEqual({
				message: "Processed successfully",
				rows: 3,
				columns: {
					city: { type: "string", count: 3, nulls: 0, distinct: 3, min: "Bergen", max: "Roma" },
					temp_c: {
						type: "number",
						count: 3,
						nulls: 0,
						distinct: 3,
						min: 5.9,
						max: 15.7,
						sum: 7.5 + 5.9 + 15.7,
						mean: (7.5 + 5.9 + 15.7) / 3,
					},
					rain: { type: "boolean", count: 2, nulls: 1, distinct: 2, min: null, max: null },
				},
			});
		});

		it("has a summary and a schema that JSON Schema can express", () => {
			expect(process_data.summary).toMatch(/\w/);
			expect(z.toJSONSchema(process_data.input!)).toMatchObject({
				additionalProperties: false,
				properties: { records: { type: "array", items: { type: "object" } } },
			});
		});

		it.each([
			["records together with text", { records: [], text: "a" }, ["/text"]],
			["records together with empty text", { records: [], text: "" }, ["/text"]],
			["an unknown field", { record: [] }, ["/"]],
			["a record that is not an object", { records: [{}, 7] }, ["/records/1"]],
			["a record that is null", { records: [null] }, ["/records/0"]],
			["a record that is an array", { records: [[]] }, ["/records/0"]],
			["text that is not a string", { text: 1 }, ["/text"]],
			["an unknown format", { text: "a", format: "xml" }, ["/format"]],
			["a format without text", { records: [], format: "json" }, ["/format"]],
			["a delimiter without text", { delimiter: ";" }, ["/delimiter"]],
			["a delimiter for JSON", { text: "[]", format: "json", delimiter: ";" }, ["/delimiter"]],
			["a delimiter of two characters", { text: "a", delimiter: "::" }, ["/delimiter"]],
			["an empty delimiter", { text: "a", delimiter: "" }, ["/delimiter"]],
			["a quote as delimiter", { text: "a", delimiter: '"' }, ["/delimiter"]],
			["a line break as delimiter", { text: "a", delimiter: "\n" }, ["/delimiter"]],
			["an empty list of columns", { records: [], columns: [] }, ["/columns"]],
			["a column name that is not a string", { records: [], columns: ["a", 1] }, ["/columns/1"]],
			["more than 100,000 records", { records: Array(100_001).fill({}) }, ["/records"]],
			["more than 16 Mi characters", { text: "x".repeat(16 * 1024 * 1024 + 1) }, ["/text"]],
		])("refuses %s", (_, payload, pointers) => {
			expect(refused(payload)).toEqual(pointers);
		});
	});

	describe("columns", () => {
		it("counts null and missing fields of records as null", async () => {
			const { rows, columns } = await summarise({ records: [{ a: 1 }, { a: null, b: "x" }, {}] });
			expect(rows).toBe(3);
			expect(columns).toEqual({
				a: { type: "number", count: 1, nulls: 2, distinct: 1, min: 1, max: 1, sum: 1, mean: 1 },
				b: { type: "string", count: 1, nulls: 2, distinct: 1, min: "x", max: "x" },
			});
		});

		it("does not count an empty string in records as null", async () => {
			expect(await columnOf(["", "a"])).toEqual({ type: "string", count: 2, nulls: 0, distinct: 2, min: "", max: "a" });
		});

		it("calls a column without values null", async () => {
			expect(await columnOf([null, null])).toEqual({ type: "null", count: 0, nulls: 2, distinct: 0, min: null, max: null });
		});

		it("compares numbers by size", async () => {
			expect(await columnOf([9, 10, -1.5])).toMatchObject({ type: "number", min: -1.5, max: 10, sum: 17.5, mean: 17.5 / 3 });
		});

		it("compares strings by code unit", async () => {
			// By code point the emoji is the larger one, by language é comes before z.
			expect(await columnOf(["z", "é", "\u{1F600}", "\uFF5E"])).toMatchObject({ type: "string", min: "z", max: "\uFF5E" });
		});

		it("has neither minimum, maximum nor mean for booleans, objects and mixed columns", async () => {
			expect(await columnOf([true, false, true])).toEqual({ type: "boolean", count: 3, nulls: 0, distinct: 2, min: null, max: null });
			expect(await columnOf([{ x: 1 }, [1]])).toEqual({ type: "object", count: 2, nulls: 0, distinct: 2, min: null, max: null });
			expect(await columnOf([1, "a", null])).toEqual({ type: "mixed", count: 2, nulls: 1, distinct: 2, min: null, max: null });
		});

		it("tells equal looking values of different types apart", async () => {
			expect(await columnOf([1, "1", true, "true", {}, "{}", 1, {}])).toMatchObject({ type: "mixed", count: 8, distinct: 6 });
		});

		it("compares objects by their JSON text", async () => {
			expect(await columnOf([{ a: 1 }, { a: 1 }, { a: 2 }, [1, 2], [1, 2]])).toMatchObject({ type: "object", distinct: 3 });
		});

		it("adds numbers in row order", async () => {
			const values = [0.1, 0.2, 0.3, 1e16, -1e16];
			const sum = values.reduce((total, value) => total + value, 0);
			expect(sum).not.toBe([...values].reverse().reduce((total, value) => total + value, 0));
			expect(await columnOf(values)).toMatchObject({ sum, mean: sum / 5 });
		});

		it("answers null for a sum that is too large for a double", async () => {
			expect(await columnOf([Number.MAX_VALUE, Number.MAX_VALUE])).toMatchObject({ max: Number.MAX_VALUE, sum: null, mean: null });
		});

		it("has no negative zero, which JSON cannot carry", async () => {
			expect(await columnOf([-0, 0])).toMatchObject({ distinct: 1, min: 0, max: 0, sum: 0, mean: 0 });
		});

		it("counts a JSON number beyond the doubles as null, as JSON.stringify writes it", async () => {
			expect(await column({ text: '[{"a":1e999},{"a":-1e999},{"a":2}]' }, "a")).toMatchObject({
				type: "number",
				count: 1,
				nulls: 2,
				max: 2,
			});
		});

		it("counts 10,000 distinct values exactly and caps above", async () => {
			const exact = Array.from({ length: 20_000 }, (_, index) => index % 10_000);
			expect(await columnOf(exact)).toEqual(expect.objectContaining({ distinct: 10_000 }));
			expect(await columnOf(exact)).not.toHaveProperty("distinct_capped");
			expect(await columnOf([...exact, "one more"])).toMatchObject({ count: 20_001, distinct: 10_000, distinct_capped: true });
			expect(await columnOf([-1, ...exact])).toMatchObject({ distinct: 10_000, distinct_capped: true, min: -1, max: 9_999 });
		});

		it("keeps columns with the names of Object's own properties apart", async () => {
			const text = '[{"__proto__":1,"constructor":"a","toString":true},{"__proto__":3}]';
			const expected = {
				["__proto__"]: { type: "number", count: 2, nulls: 0, distinct: 2, min: 1, max: 3, sum: 4, mean: 2 },
				constructor: { type: "string", count: 1, nulls: 1, distinct: 1, min: "a", max: "a" },
				toString: { type: "boolean", count: 1, nulls: 1, distinct: 1, min: null, max: null },
			};
			const payloads = [{ text }, { records: JSON.parse(text) as unknown }, { text: "__proto__,constructor,toString\n1,a,true\n3,,\n" }];
			for (const payload of payloads) {
				const { columns } = await summarise(payload);
				expect(Object.getPrototypeOf(columns)).toBe(Object.prototype);
				expect(JSON.stringify(columns)).toBe(JSON.stringify(expected));
			}
			expect(Object.keys((await summarise({ text, columns: ["__proto__"] })).columns)).toEqual(["__proto__"]);
			expect(({} as { count?: number }).count).toBeUndefined();
		});

		it("gives partial results that merge into the whole", async () => {
			const value = fc.option(fc.integer({ min: -1000, max: 1000 }), { freq: 4 });
			await fc.assert(
				fc.asyncProperty(fc.array(value), fc.array(value), async (first, second) => {
					const [one, two, all] = await Promise.all(
						[
							[0, ...first],
							[0, ...second],
							[0, ...first, 0, ...second],
						].map(columnOf),
					);
					expect(all).toMatchObject({
						count: one!.count + two!.count,
						nulls: one!.nulls + two!.nulls,
						sum: one!.sum! + two!.sum!,
						min: Math.min(one!.min as number, two!.min as number),
						max: Math.max(one!.max as number, two!.max as number),
					});
				}),
			);
		});
	});

	describe("chosen columns", () => {
		it("shows only those, once and in the order asked for", async () => {
			const { rows, columns } = await csv("a,b,c\n1,2,3\n", { columns: ["c", "a", "c"] });
			expect(rows).toBe(1);
			expect(Object.keys(columns)).toEqual(["c", "a"]);
			expect(columns.a).toMatchObject({ type: "number", count: 1, sum: 1 });
		});

		it("fails for a column that does not exist and names those that do", async () => {
			expect(await failure({ text: "a,b\n1,2\n", columns: ["a", "z"] })).toBe('no column "z", only "a", "b"');
			expect(await failure({ records: [{ a: 1 }], columns: ["toString"] })).toBe('no column "toString", only "a"');
			expect(await failure({ columns: ["z"] })).toBe('no column "z", only none');
		});

		it("knows the columns of CSV without rows", async () => {
			expect((await csv("a,b\n", { columns: ["b"] })).columns).toEqual({
				b: { type: "null", count: 0, nulls: 0, distinct: 0, min: null, max: null },
			});
		});
	});

	describe("CSV", () => {
		it("counts an empty CSV field as null, quoted or not", async () => {
			expect((await csv('a,b\n,1\n"",2\nx,3\n')).columns.a).toMatchObject({ type: "string", count: 1, nulls: 2 });
		});

		it.each(["0", "-0", "7", "-12", "0.5", "-0.25", "1e3", "1E+3", "2.5e-7", "9007199254740993", '"7"'])(
			"takes %s for a number",
			async field => {
				expect((await csv(`a\n${field}\n`)).columns.a).toMatchObject({
					type: "number",
					count: 1,
					min: Number(field.replaceAll('"', "")) + 0,
				});
			},
		);

		it.each(["007", "+7", ".5", "5.", "1,5", "0x10", "1e", "1_000", " 7", "7 ", "NaN", "Infinity", "1e999", "null", "True", "٣", "-"])(
			"takes %s for a string",
			async field => {
				expect((await csv(`a\n"${field}"\n`)).columns.a).toEqual({
					type: "string",
					count: 1,
					nulls: 0,
					distinct: 1,
					min: field,
					max: field,
				});
			},
		);

		it("takes true and false for booleans", async () => {
			expect((await csv("a\ntrue\nfalse\ntrue\n")).columns.a).toMatchObject({ type: "boolean", count: 3, distinct: 2 });
		});

		it("calls a column with several types mixed", async () => {
			expect((await csv("zip\n10001\n00501\n")).columns.zip).toMatchObject({ type: "mixed", count: 2, distinct: 2, min: null, max: null });
		});

		it("reads quotes, doubled quotes, delimiters and line breaks inside a field", async () => {
			expect((await csv('a,b\n"x, ""y""\r\nz",1\n')).columns.a).toMatchObject({ count: 1, min: 'x, "y"\r\nz' });
			expect((await csv('"a ""b""","c\nd"\n1,2\n')).columns).toMatchObject({ 'a "b"': { sum: 1 }, "c\nd": { sum: 2 } });
		});

		it("reads LF, CRLF and CR, with or without a final line break", async () => {
			for (const end of ["\n", "\r\n", "\r"]) {
				for (const last of ["", end])
					expect((await csv(`a,b${end}1,2${end}3,4${last}`)).columns).toMatchObject({ a: { sum: 4 }, b: { sum: 6 } });
			}
		});

		it("skips a byte order mark, also before a quote", async () => {
			expect((await csv("\uFEFFa\n1\n")).columns).toHaveProperty("a");
			expect((await csv('\uFEFF"a"\n1\n')).columns).toHaveProperty("a");
		});

		it("takes another delimiter", async () => {
			for (const delimiter of [";", "\t", "|", ".", "]", "\\", "^"]) {
				expect((await csv(`a${delimiter}b\n1${delimiter}"2${delimiter}"\n`, { delimiter })).columns).toMatchObject({
					a: { sum: 1 },
					b: { max: `2${delimiter}` },
				});
			}
		});

		it("takes an empty line for a row in a file of one column", async () => {
			expect((await csv("a\n1\n\n2\n")).columns.a).toMatchObject({ count: 2, nulls: 1 });
		});

		it.each([
			["a row with too few fields", "a,b\n1,2\n3\n", /^line 3: 1 fields, but the header has 2: /],
			["a row with too many fields", "a,b\n1,2,3\n", /^line 2: 3 fields, but the header has 2: /],
			["a ragged row after line breaks in quotes", 'a,b\n"x\r\ny\nz",2\n3\n', /^line 5: 1 fields/],
			["a ragged row that goes over lines", 'a,b\n1,2\n"x\ny"\n', /^line 3: 1 fields/],
			["a blank line between rows", "a,b\n1,2\n\n3,4\n", /^line 3: 1 fields/],
			["a second final line break", "a,b\r\n1,2\r\n\r\n", /^line 3: 1 fields/],
			["a quote that is never closed", 'a,b\n1,2\n1,"x\ny\n', /^line 3: nothing closes the quote that opens field 2: /],
			["a quote inside an unquoted field", 'a,b\n1,x"y\n', /^line 2: field 2 is quoted in part: /],
			["text after a closing quote", 'a,b\n"1"x,2\n', /^line 2: field 1 is quoted in part: /],
			["two columns of one name", "a,b,a\n1,2,3\n", /^line 1: two columns are named "a": /],
			["no text", "", /^line 1: no column names: /],
			["only blanks", " \n\n", /^line 1: no column names: /],
		])("fails for %s and names the line", async (_, text, message) => {
			expect(await failure({ text, format: "csv" })).toMatch(message);
		});

		it("reads back whatever is written by RFC 4180", async () => {
			const field = fc.oneof(
				fc.string({ unit: "grapheme" }),
				fc.string({ unit: fc.constantFrom('"', ",", "\n", "\r", ";", " ", "x", "1", "\uFEFF") }),
				fc.constantFrom("", "true", "1", "01"),
			);
			const table = fc
				.uniqueArray(field, { minLength: 1, maxLength: 4 })
				.chain(header => fc.tuple(fc.constant(header), fc.array(fc.tuple(...header.map(() => field)), { maxLength: 8 })));
			const style = fc.record({
				end: fc.constantFrom("\n", "\r\n"),
				final: fc.boolean(),
				delimiter: fc.constantFrom(",", ";"),
				bom: fc.boolean(),
			});
			await fc.assert(
				fc.asyncProperty(table, style, async ([header, rows], { end, final, delimiter, bom }) => {
					const quoted = (value: string) => `"${value.replaceAll('"', '""')}"`;
					// What does not need quotes is left bare, except the empty field, which would vanish at the end of the text.
					const written = (value: string) => (/^[^",;\r\n\uFEFF]+$/.test(value) ? value : quoted(value));
					const text =
						(bom ? "\uFEFF" : "") + [header, ...rows].map(row => row.map(written).join(delimiter)).join(end) + (final ? end : "");
					fc.pre(text.trim() !== "");
					const result = await csv(text, { delimiter });
					expect(Object.keys(result.columns).sort()).toEqual([...header].sort());
					const records = rows.map(row => Object.fromEntries(header.map((name, index) => [name, typed(row[index]!)])));
					if (rows.length > 0) expect(result).toEqual(await summarise({ records }));
					else expect(result.rows).toBe(0);
				}),
				{ numRuns: 500 },
			);
		});

		it("summarises what it reads as it summarises the same records inline", async () => {
			const value = fc.oneof(
				fc.double({ noDefaultInfinity: true, noNaN: true }),
				fc.boolean(),
				fc.constant(null),
				fc.string({ minLength: 1 }).map(text => `"${text}`),
			);
			await fc.assert(
				fc.asyncProperty(fc.array(fc.record({ a: value, b: value }), { minLength: 1 }), async records => {
					const field = (given: unknown) => (given === null ? "" : `"${String(given === 0 ? 0 : given).replaceAll('"', '""')}"`);
					const text = ["a,b", ...records.map(({ a, b }) => `${field(a)},${field(b)}`)].join("\r\n");
					expect(await csv(text)).toEqual(await summarise({ records }));
				}),
			);
		});
	});

	describe("JSON", () => {
		it("reads an array of objects", async () => {
			expect(await summarise({ text: '\uFEFF [{"a":1},{"a":[2]}]', format: "json" })).toMatchObject({
				rows: 2,
				columns: { a: { type: "mixed" } },
			});
			expect(await summarise({ text: "[]", format: "json" })).toMatchObject({ rows: 0, columns: {} });
		});

		it("reads an object with exactly one array of objects", async () => {
			expect((await summarise({ text: '{"n":2,"tags":["x"],"none":[],"rows":[{"a":1},{"a":2}]}' })).columns.a).toMatchObject({ sum: 3 });
			expect(await summarise({ text: '{"rows":[]}' })).toMatchObject({ rows: 0 });
		});

		it.each([
			["an array with something else than objects", '[{"a":1},2]', "item 2 of the JSON array is not an object: "],
			["an array in an array", "[[1]]", "item 1 of the JSON array is not an object: "],
			["an object without an array of objects", '{"a":[1]}', "the JSON holds no array of objects: "],
			["an object with two arrays of objects", '{"a":[{}],"b":[{}]}', "the JSON holds several arrays of objects: "],
			["a number", "7", "the JSON holds no array of objects: "],
		])("fails for %s", async (_, text, message) => {
			expect(await failure({ text, format: "json" })).toContain(message);
		});

		it.each([
			["a comma too many", '[\n{"a":1},\n]', 'line 3, column 1: not JSON at "]"'],
			["a missing comma", '[{"a":1}\n{"a":2}]', 'line 2, column 1: not JSON at "{'],
			["a missing colon", '[{"a" 1}]', "line 1, column 7"],
			["a bare word", '[{"a":NaN}]', 'line 1, column 7: not JSON at "NaN}]"'],
			["a bare name", "[{a:1}]", "line 1, column 3"],
			["a wrong closing bracket", '[{"a":1]', "line 1, column 8"],
			["a number with a leading zero", '[{"a":01}]', "line 1, column 7"],
			["a line break in a string", '[{"a":"x\ny"}]', "line 1, column 7"],
			["an unknown escape", '[{"a":"\\x"}]', "line 1, column 7"],
			["a string that is never closed", '[{"a":"\\"', "line 1, column 7"],
			["a no-break space", '[\u00a0{"a":1}]', "line 1, column 2"],
			["an end too soon", '[\n{"a":1}', "line 2, column 8: not JSON at the end"],
			["more after the end", '[{"a":{"b":[1,{}]}}]\n]', "line 2, column 1"],
			["no text", "", "line 1, column 1: not JSON at the end"],
		])("fails for %s and says where", async (_, text, message) => {
			expect(await failure({ text, format: "json" })).toContain(message);
		});

		it("points at the place where any JSON is damaged", async () => {
			await fc.assert(
				fc.asyncProperty(fc.array(fc.dictionary(fc.string(), fc.jsonValue())), fc.nat(), async (records, seed) => {
					// A number sign is no JSON outside of a string; what is before it is intact.
					const text = JSON.stringify(records, null, 1);
					const outside = [...text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{},:]/g)]
						.filter(([token]) => token[0] !== '"')
						.map(({ index }) => index);
					const at = outside[seed % outside.length]!;
					const before = text.slice(0, at).split("\n");
					const message = await failure({ text: `${text.slice(0, at)} #${text.slice(at)}`, format: "json" });
					expect(message).toContain(`line ${before.length}, column ${before.at(-1)!.length + 2}: not JSON at "#`);
				}),
			);
		});

		it("fails, and is not retried, for a value that is nested too deeply to compare", async () => {
			expect(await failure({ text: `[{"a":${'{"0":'.repeat(100_000)}1${"}".repeat(100_000)}}]` })).toMatch(
				/^row 1: a value is nested too deeply/,
			);
		});
	});

	describe("NDJSON", () => {
		it("reads an object a line and skips blank lines", async () => {
			const result = await summarise({ text: '\uFEFF{"a":1}\r\n\r\n  {"a":2}\n{"b":[]}', format: "ndjson" });
			expect(result).toMatchObject({ rows: 3, columns: { a: { sum: 3, nulls: 1 }, b: { type: "object", nulls: 2 } } });
			expect(await summarise({ text: "\n", format: "ndjson" })).toMatchObject({ rows: 0 });
		});

		it("fails for a line that is not JSON or not an object and names it", async () => {
			expect(await failure({ text: '{"a":1}\n\n  {"a":}\n', format: "ndjson" })).toMatch(/^line 3, column 8: not JSON at "}"/);
			expect(await failure({ text: '{"a":1}\n{"a":\r\n', format: "ndjson" })).toMatch(/^line 2, column 6: not JSON at the end/);
			expect(await failure({ text: '{"a":1}\n[2]\n', format: "ndjson" })).toMatch(/^line 2: not an object/);
		});
	});

	describe("without a format", () => {
		it.each([
			["an array is JSON", ' \n[{"a":1}]', 1],
			["an object over several lines is JSON", '{\n"rows":[{"a":1},{"a":2}]\n}', 2],
			["an object with an array of objects on one line is JSON", '{"rows":[{"a":1},{"a":2}]}\n', 2],
			["an object on every line is NDJSON", '{"a":1}\n{"a":2}\n{"a":3}', 3],
			["lines that hold arrays of objects are NDJSON", '{"a":[{}]}\n{"a":[{},{}]}\n', 2],
			["one flat object is NDJSON", '{"a":1}', 1],
			["other text is CSV", "a\n1\n2\n", 2],
			["a byte order mark changes nothing", '\uFEFF[{"a":1}]', 1],
		])("%s", async (_, text, rows) => {
			const result = await summarise({ text });
			expect(result.rows).toBe(rows);
			expect(Object.keys(result.columns)).toEqual(["a"]);
		});

		it("text with a delimiter is CSV", async () => {
			expect((await summarise({ text: "[a];b\n1;2\n", delimiter: ";" })).columns).toHaveProperty("[a]");
		});
	});

	describe("limits", () => {
		it("accepts 100,000 rows and fails above", async () => {
			const text = `a\n${"1\n".repeat(100_000)}`;
			expect((await summarise({ text })).columns.a).toMatchObject({ count: 100_000, sum: 100_000 });
			expect(await failure({ text: `${text}1\n` })).toBe("more than 100000 rows: split the data into several jobs");
		});

		it("accepts 1,000 columns and fails above, in CSV and in records", async () => {
			const names = Array.from({ length: 1001 }, (_, index) => `c${index}`);
			expect(Object.keys((await summarise({ text: names.slice(1).join(",") })).columns)).toHaveLength(1000);
			expect(await failure({ text: names.join(",") })).toBe('more than 1000 columns, from "c1000" on: send fewer');
			expect(await failure({ records: names.map(name => ({ [name]: 1 })) })).toBe('more than 1000 columns, from "c1000" on: send fewer');
		});

		it("does not repeat long names in its messages", async () => {
			expect((await failure({ text: "a\n", columns: ["x".repeat(1e6)] })).length).toBeLessThan(100);
		});

		it("survives strings of megabytes in broken JSON", async () => {
			expect(await failure({ text: `[{"a":"${"\\n".repeat(6e6)}"},]` })).toMatch(/column 12000011: not JSON at "]"/);
		});
	});

	describe("cancellation", () => {
		it("throws the reason of a signal that is already aborted", async () => {
			const reason = new Error("cancelled");
			await expect(summarise({ records: [{}] }, fakeContext(AbortSignal.abort(reason)))).rejects.toBe(reason);
		});

		it("stops within a few thousand rows when a timer aborts the signal", async () => {
			const controller = new AbortController();
			const reason = new Error("timed out");
			let read = 0;
			const records = Array.from({ length: 50_000 }, () => ({
				get a() {
					if (++read === 4_321) setTimeout(() => controller.abort(reason));
					return read;
				},
			}));
			await expect(summarise({ records }, fakeContext(controller.signal))).rejects.toBe(reason);
			expect(read).toBeGreaterThanOrEqual(4_321);
			expect(read).toBeLessThan(10_000);
		});
	});

	describe("real data", () => {
		it("agrees with an independent computation for seattle-weather.csv", async () => {
			const text = dataset("seattle-weather.csv");
			const [header, ...lines] = text.trimEnd().split("\n");
			const table = lines.map(line => line.split(","));
			const expected = Object.fromEntries(
				header!.split(",").map((name, index) => {
					const fields = table.map(row => row[index]!);
					return [name, fields.every(field => /^-?\d+(\.\d+)?$/.test(field)) ? numbers(fields.map(Number)) : strings(fields)];
				}),
			);
			expect(table).toHaveLength(1461);
			expect(expected.temp_max).toMatchObject({ type: "number" });
			expect(await summarise({ text })).toEqual({ message: "Processed successfully", rows: 1461, columns: expected });
		});

		it("agrees with an independent computation for airports.csv, which has quoted fields", async () => {
			const text = dataset("airports.csv");
			const lines = text.trimEnd().split(/\r?\n/).slice(1);
			const names = lines.map(line =>
				line
					.match(/^[^,]*,("(?:[^"]|"")*"|[^,]*)/)![1]!
					.replace(/^"(.*)"$/, "$1")
					.replaceAll('""', '"'),
			);
			const latitudes = lines.map(line => Number(line.split(",").at(-2)));
			expect(names.some(name => name.includes(","))).toBe(true);
			const result = await summarise({ text, columns: ["name", "latitude"] });
			expect(result).toEqual({
				message: "Processed successfully",
				rows: lines.length,
				columns: { name: strings(names), latitude: numbers(latitudes) },
			});
		});

		it("agrees with an independent computation for penguins.json, as text and as records", async () => {
			const text = dataset("penguins.json");
			const records = JSON.parse(text) as Record<string, unknown>[];
			const present = (name: string) => records.map(record => record[name]).filter(value => value !== null);
			const result = await summarise({ text });
			expect(await summarise({ records })).toEqual(result);
			expect(await summarise({ text: records.map(record => JSON.stringify(record)).join("\n") })).toEqual(result);
			expect(result.rows).toBe(records.length);
			for (const name of ["Beak Length (mm)", "Body Mass (g)"]) {
				const values = present(name) as number[];
				expect(values.length).toBeLessThan(records.length);
				expect(result.columns[name]).toEqual({ ...numbers(values), nulls: records.length - values.length });
			}
			expect(result.columns.Species).toEqual(strings(present("Species") as string[]));
		});

		it("finds the one array of objects in earthquakes.json", async () => {
			const text = dataset("earthquakes.json");
			const { features } = JSON.parse(text) as { features: unknown[] };
			const { rows, columns } = await summarise({ text });
			expect(rows).toBe(features.length);
			expect(columns.geometry).toMatchObject({ type: "object", count: rows, min: null });
			expect(columns.id).toMatchObject({ type: "string", count: rows, distinct: rows });
		});

		it("calls the titles of movies.json mixed, because some are numbers", async () => {
			const text = dataset("movies.json");
			const movies = JSON.parse(text) as { Title: unknown }[];
			const titles = movies.map(movie => movie.Title).filter(title => title !== null);
			expect(new Set(titles.map(title => typeof title))).toEqual(new Set(["string", "number"]));
			expect(await column({ text }, "Title")).toEqual({
				type: "mixed",
				count: titles.length,
				nulls: movies.length - titles.length,
				distinct: new Set(titles).size,
				min: null,
				max: null,
			});
		});

		it("fails for flights-200k.json, which has more than 100,000 rows", async () => {
			expect(await failure({ text: dataset("flights-200k.json") })).toMatch(/^more than 100000 rows/);
		});

		it.each([
			"birdstrikes.csv",
			"github.csv",
			"global-temp.csv",
			"species.csv",
			"stocks.csv",
			"weather.csv",
			"windvectors.csv",
			"zipcodes.csv",
		])("reads every line of %s", async file => {
			const text = dataset(file);
			expect((await summarise({ text })).rows).toBe(text.trimEnd().split("\n").length - 1);
		});
	});
});

/** What a CSV field means, by way of JSON.parse. */
function typed(field: string): unknown {
	if (field === "") return null;
	try {
		const value: unknown = /\s/.test(field) ? field : JSON.parse(field);
		return typeof value === "boolean" || Number.isFinite(value) ? value : field;
	} catch {
		return field;
	}
}

function numbers(values: number[]): ColumnSummary {
	let sum = 0;
	for (const value of values) sum += value;
	const sorted = [...values].sort((a, b) => a - b);
	return {
		type: "number",
		count: values.length,
		nulls: 0,
		distinct: new Set(values).size,
		min: sorted[0]!,
		max: sorted.at(-1)!,
		sum,
		mean: sum / values.length,
	};
}

function strings(values: string[]): ColumnSummary {
	const sorted = [...values].sort();
	return { type: "string", count: values.length, nulls: 0, distinct: new Set(values).size, min: sorted[0]!, max: sorted.at(-1)! };
}
