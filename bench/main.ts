/** Runs the measures that are asked for and prints their table. Never part of a test: what it finds depends on the machine. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { autoscale } from "./autoscale.ts";
import { claim } from "./claim.ts";
import { conditions } from "./conditions.ts";
import { d1 } from "./d1.ts";
import { drain } from "./drain.ts";
import { latency } from "./latency.ts";
import { life } from "./life.ts";
import { list } from "./list.ts";
import { type Bench, isMissed, type Measure, type Row, tableText } from "./measure.ts";
import { pool } from "./pool.ts";
import { postgres } from "./postgres.ts";
import { start } from "./start.ts";
import { submit } from "./submit.ts";

const MEASURES: Readonly<Record<string, Measure>> = { submit, life, drain, claim, list, latency, start, pool, autoscale, d1, postgres };

const USAGE = `Usage: npm run bench -- [${Object.keys(MEASURES).join("] [")}] [--quick]\n`;

/** Answers the exit code: 1 when something that must be reached is not. */
export async function bench(args: readonly string[]): Promise<number> {
	const names = args.filter(arg => !arg.startsWith("-"));
	const unknown = args.find(arg => (arg.startsWith("-") ? arg !== "--quick" : !Object.hasOwn(MEASURES, arg)));
	if (unknown !== undefined) {
		process.stderr.write(`${unknown} is not known here.\n${USAGE}`);
		return 2;
	}
	const folder = mkdtempSync(join(tmpdir(), "tickq-bench-"));
	const endings: (() => void)[] = [() => rmSync(folder, { recursive: true, force: true })];
	const cleanUp = (): void => {
		for (const ending of endings.splice(0).reverse()) ending();
	};
	// Whatever ends the run, an error that nobody caught included.
	process.once("exit", cleanUp);
	for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));
	const context: Bench = {
		quick: args.includes("--quick"),
		file: name => join(folder, name),
		atEnd: ending => void endings.push(ending),
		say: text => void process.stderr.write(`${text}\n`),
	};
	try {
		const startedAt = performance.now();
		process.stdout.write(`${conditions(context)}\n\n`);
		const sections: { name: string; about: string; rows: Row[] }[] = [];
		for (const [name, { about, run }] of Object.entries(MEASURES)) {
			if (names.length > 0 && !names.includes(name)) continue;
			const from = performance.now();
			context.say(`${name} …`);
			sections.push({ name, about, rows: await run(context) });
			context.say(`${name} took ${((performance.now() - from) / 1000).toFixed(0)} s`);
		}
		const rows = sections.flatMap(section => section.rows);
		const bars = rows.filter(row => row.must !== undefined);
		const missed = rows.filter(isMissed);
		process.stdout.write(
			`\n${tableText(sections)}\n\n${bars.length - missed.length} of ${bars.length} musts reached, in ${((performance.now() - startedAt) / 1000).toFixed(0)} s${missed.length > 0 ? `; MISSED: ${missed.map(row => row.what).join(" · ")}` : ""}\n`,
		);
		return missed.length > 0 ? 1 : 0;
	} finally {
		cleanUp();
	}
}
