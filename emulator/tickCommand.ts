/** `npm run tick`: one tick by hand on the database itself, for debugging; with --dry-run what it would do. */
import { existsSync } from "node:fs";
import { functions } from "../functions/all.ts";
import { storageDefaults } from "../lib/config.ts";
import { createLog, messageOf } from "../lib/log.ts";
import type { Held } from "../lib/storage/storage.ts";
import type { TaskRegistry } from "../lib/task.ts";
import type { TickReport } from "../lib/tick.ts";
import { loadTasks } from "./loadTasks.ts";
import { nodeClock, nodeDeps, storageMistake } from "./nodeDeps.ts";
import { openDatabase } from "./openDatabase.ts";
import type { Opened } from "./openPostgres.ts";
import { durationText, textOutput } from "./output.ts";
import {
	asksForHelp,
	type Command,
	databaseName,
	helpText,
	isPostgres,
	MIGRATE_SWITCHES,
	mistakesText,
	readSettings,
	unknownTasks,
} from "./settings.ts";

const TICK: Command = {
	usage:
		"Usage: npm run tick -- [--dry-run] [--json] [options]\n\nRuns one tick on the database: takes back lost leases, runs what is due, and says what it did.",
	switches: [
		{ flag: "dry-run", about: "say what a tick would do; nothing is written" },
		{ flag: "json", about: "print the report as JSON" },
		...MIGRATE_SWITCHES,
	],
};

/** Runs the command; answers its exit code: 0 fine, 1 the tick failed, 2 wrong use. */
export async function tickCommand(args: readonly string[]): Promise<number> {
	if (asksForHelp(args)) {
		process.stdout.write(helpText(TICK));
		return 0;
	}
	const { settings, on, mistakes } = readSettings(args, process.env, TICK);
	if (mistakes.length > 0) {
		process.stderr.write(mistakesText(mistakes));
		return 2;
	}
	let tasks: TaskRegistry;
	try {
		tasks = await loadTasks();
	} catch (error) {
		process.stderr.write(
			mistakesText([{ what: `the tasks cannot be loaded: ${messageOf(error)}`, instead: "mend the file; nothing was done" }]),
		);
		return 2;
	}
	const unknown = unknownTasks(settings, Object.keys(tasks));
	if (unknown.length > 0) {
		process.stderr.write(mistakesText(unknown));
		return 2;
	}
	if (!isPostgres(settings.database) && settings.database !== ":memory:" && !existsSync(settings.database)) {
		process.stderr.write(
			mistakesText([
				{ what: `${settings.database} is not there, and a tick makes no database`, instead: "name the file: --database ./tickq.db" },
			]),
		);
		return 2;
	}
	const say = (line: string): void => {
		process.stderr.write(`${line.replaceAll(settings.database, databaseName(settings.database))}\n`);
	};
	const migrate = settings.migrate && !on.has("dry-run");
	let opened: Opened;
	try {
		opened = await openDatabase(settings.database, storageDefaults(settings.config), Object.keys(tasks), { migrate, say });
	} catch (error) {
		process.stderr.write(mistakesText([storageMistake(error, settings.database)]));
		return 2;
	}
	const { storage } = opened;
	try {
		const log = createLog(textOutput(text => process.stderr.write(text)).log, nodeClock.now, settings.logLevel);
		const url = `http://localhost/api/tick${on.has("dry-run") ? "?dry_run=true" : ""}`;
		const response = await functions.processTick(new Request(url, { method: "POST" }), nodeDeps(settings, storage, tasks, log));
		const text = await response.text();
		process.stdout.write(on.has("json") || !response.ok ? `${text}\n` : reportText(JSON.parse(text)));
		return response.ok ? 0 : 1;
	} finally {
		await storage.close();
	}
}

const plural = (count: number, one: string, many = `${one}s`): string => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** Columns padded to their widest cell. */
function table(rows: readonly (readonly string[])[]): string {
	const widths = rows[0]!.map((_, column) => Math.max(...rows.map(row => row[column]!.length)));
	return rows
		.map(
			row =>
				`  ${row
					.map((cell, column) => cell.padEnd(widths[column]!))
					.join("  ")
					.trimEnd()}`,
		)
		.join("\n");
}

const HELD_TEXT: Readonly<Record<Held["code"], string>> = {
	tenant_concurrency: "at their tenant's concurrency limit",
	tenant_paused: "their tenant is paused",
	task_concurrency: "at their task's concurrency limit",
	task_paused: "their task is paused",
	circuit_open: "they kept failing alike: their circuit is open, one a minute probes",
	retry_after: "what they depend on asked to be left alone for a while",
	key_busy: "another job has their key",
	delayed: "not due yet",
};

/** A tick report for a person. */
export function reportText(report: TickReport): string {
	const dry = report.dry_run;
	const did = [
		`${dry ? "would start" : "started"} ${plural(report.claimed, "job")}`,
		...(report.expired_leases > 0 ? [`${dry ? "take" : "took"} back ${plural(report.expired_leases, "lost lease")}`] : []),
		...(report.expired_starts > 0
			? [
					`${dry ? "cancel" : "cancelled"} ${plural(report.expired_starts, "job")} past ${report.expired_starts === 1 ? "its" : "their"} start deadline`,
				]
			: []),
		...(report.pruned > 0 ? [`${dry ? "remove" : "removed"} ${plural(report.pruned, "old job")}`] : []),
	];
	const outcomes = Object.entries(report.outcomes).filter(([, count]) => count > 0);
	const next =
		report.next_wake_at === null ? "nothing is waiting" : `next wake ${report.next_wake_at.slice(11, 19)} UTC (${report.next_wake_reason})`;
	const parts = [
		`${dry ? "A tick now" : "The tick"} ${did.join(", ")}.${dry ? " Nothing was changed." : ` It took ${durationText(report.duration_ms)} and stopped because ${stopText(report.stopped_by)}.`}`,
	];
	if (outcomes.length > 0) parts.push(`  ${outcomes.map(([outcome, count]) => `${count} ${outcome}`).join(" · ")}`);
	if (report.jobs.length > 0)
		parts.push(
			table([
				["TENANT", "TASK", "JOB", "ATTEMPT", "WAITED", ...(dry ? [] : ["RAN", "OUTCOME"])],
				...report.jobs.map(job => [
					job.tenant_id,
					job.task,
					job.id,
					String(job.attempt),
					durationText(job.waited_ms),
					...(dry ? [] : [durationText(job.ran_ms ?? 0), job.outcome ?? ""]),
				]),
			]) + (report.jobs_omitted > 0 ? `\n  … ${plural(report.jobs_omitted, "more job")}` : ""),
		);
	if (report.held.length > 0)
		parts.push(
			table([
				["HELD JOBS", "TENANTS", "WHY"],
				...report.held.map(({ code, jobs, tenants }) => [
					jobs.toLocaleString("en"),
					tenants.toLocaleString("en"),
					HELD_TEXT[code as Held["code"]] ?? code,
				]),
			]),
		);
	parts.push(`${plural(report.statements, "statement")}; ${next}.`);
	return `${parts.join("\n\n")}\n`;
}

function stopText(why: TickReport["stopped_by"]): string {
	switch (why) {
		case "nothing_due":
			return "nothing more was due";
		case "budget":
			return "its time was up";
		case "jobs":
			return "it had started as many jobs as it may";
		case "statements":
			return "it had sent as many statements as it may";
		case "slots":
			return "all slots were taken";
		case "stopped":
			return "it was stopped";
	}
}
