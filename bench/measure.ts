/** What a measure is, the figures it answers with, and the table they become. */

export interface Bench {
	/** Fewer repeats and smaller stores, for a look in between. */
	readonly quick: boolean;
	/** A path in the scratch folder, which is removed at the end. */
	file(name: string): string;
	/** Called at the end, or when the run is broken off. */
	atEnd(cleanUp: () => void): void;
	/** Tells on stderr what is going on. */
	say(text: string): void;
}

export interface Measure {
	/** What is compared, and how. */
	readonly about: string;
	run(bench: Bench): Promise<Row[]>;
}

export type Bar = { readonly atLeast: number } | { readonly atMost: number };

export interface Row {
	readonly what: string;
	/** The absolute figures behind a ratio, with their units. */
	readonly tickq?: string;
	readonly against?: string;
	/** One for each repeat; the row's value is their median unless `value` says otherwise. */
	readonly values: readonly number[];
	readonly value?: number;
	readonly unit: "×" | "ms" | "s" | "MB" | "rows";
	/** What has to be reached, and what is fought for. A row without is for information. */
	readonly must?: Bar;
	readonly goal?: Bar;
}

export function quantile(values: readonly number[], q: number): number {
	const sorted = values.toSorted((a, b) => a - b);
	const at = (sorted.length - 1) * q;
	const low = sorted[Math.floor(at)]!;
	return low + (sorted[Math.ceil(at)]! - low) * (at - Math.floor(at));
}
export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** a[i] / b[i]: the two sides of each repeat. */
export const ratios = (a: readonly number[], b: readonly number[]): number[] => a.map((value, i) => value / b[i]!);

export const number = (value: number): string =>
	value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(value >= 10 ? 3 : 2);
export const perSecond = (values: readonly number[], what: string): string => `${number(median(values))} ${what}/s`;
export const ms = (values: readonly number[]): string => `${median(values).toFixed(3)} ms`;

const reaches = (value: number, bar: Bar): boolean => ("atLeast" in bar ? value >= bar.atLeast : value <= bar.atMost);
const barText = (bar: Bar | undefined): string => (bar === undefined ? "" : "atLeast" in bar ? `≥ ${bar.atLeast}` : `≤ ${bar.atMost}`);
const figure = ({ value, values }: Row): number => value ?? median(values);
const inUnit = (value: number, unit: Row["unit"]): string =>
	unit === "MB" ? `${value.toFixed(0)} MB` : `${value.toFixed(value >= 100 ? 0 : 2)} ${unit}`;

export const isMissed = (row: Row): boolean => row.must !== undefined && !reaches(figure(row), row.must);

function verdict(row: Row): string {
	if (row.must === undefined) return "";
	if (isMissed(row)) return "MISSED";
	return row.goal !== undefined && reaches(figure(row), row.goal) ? "goal" : "must";
}

const HEADINGS = ["", "tickq", "against", "result", "min … max", "must", "goal", "reached"];

/** One table; each measure has a line that says what it compares, and its rows below. */
export function tableText(sections: readonly { readonly name: string; readonly about: string; readonly rows: readonly Row[] }[]): string {
	const cells = (row: Row): string[] => [
		row.what,
		row.tickq ?? "",
		row.against ?? "",
		inUnit(figure(row), row.unit),
		`${inUnit(Math.min(...row.values), row.unit).replace(/ \S+$/, "")} … ${inUnit(Math.max(...row.values), row.unit).replace(/ \S+$/, "")}`,
		barText(row.must),
		barText(row.goal),
		verdict(row),
	];
	const bodies = sections.map(section => ({ ...section, lines: section.rows.map(cells) }));
	const all = [HEADINGS, ...bodies.flatMap(({ lines }) => lines)];
	const widths = HEADINGS.map((_, column) => Math.max(...all.map(line => line[column]!.length)));
	const line = (texts: readonly string[]): string =>
		`  ${texts.map((text, column) => (column === 0 || column === 7 ? text.padEnd(widths[column]!) : text.padStart(widths[column]!))).join("  ")}`.trimEnd();
	return [line(HEADINGS), ...bodies.flatMap(({ name, about, lines }) => ["", `${name}: ${about}`, ...lines.map(line)])].join("\n");
}
