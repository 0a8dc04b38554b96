/** What the emulator prints: for people on a terminal, JSON lines for whoever reads them otherwise. */
import { styleText } from "node:util";
import type { AttemptOutcome, Outcome } from "../lib/context.ts";
import type { LogRecord } from "../lib/log.ts";
import { recordText } from "./recordText.ts";
import type { Settings } from "./settings.ts";

const COLOURS: Record<Outcome, Parameters<typeof styleText>[0]> = {
	done: "green",
	retry: "yellow",
	failed: "red",
	dead_letter: "red",
	cancelled: "gray",
	snoozed: "gray",
	released: "gray",
	lost: "yellow",
};

export function durationText(ms: number): string {
	if (ms < 999.5) return `${Math.round(ms)} ms`;
	if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
	return ms < 59.5 * 60_000 ? `${Math.round(ms / 60_000)} min` : `${(ms / 3_600_000).toFixed(1)} h`;
}
export const bytesText = (bytes: number): string =>
	bytes < 1024 * 1024 ? `${Math.max(1, Math.round(bytes / 1024))} KB` : `${(bytes / 1024 / 1024).toFixed(1)} MB`;
const clockText = (ms: number): string => new Date(ms).toTimeString().slice(0, 8);
/** Control characters of a payload or message must not steer the terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is taken out.
const printable = (text: string): string => text.replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, " ");

export interface Output {
	/** The lines of the start. */
	banner(lines: readonly string[], facts: Readonly<Record<string, unknown>>): void;
	log(record: LogRecord): void;
	outcome(outcome: AttemptOutcome): void;
	/** The queue has nothing to do: said once each time it falls asleep. */
	asleep(nextWakeAt: number | null, reason: string): void;
}

export function textOutput(write: (text: string) => void): Output {
	const paint = (style: Parameters<typeof styleText>[0], text: string): string => styleText(style, text, { stream: process.stdout });
	const line = (at: number, what: string, style: Parameters<typeof styleText>[0], rest: string): void =>
		write(`${paint("gray", clockText(at))}  ${paint(style, what.padEnd(11))} ${rest}\n`);
	return {
		banner: lines => write(`${lines.map(text => (text === "" ? "" : `  ${text}`)).join("\n")}\n`),
		log({ level, at, message, ...fields }) {
			const rest = Object.entries(fields).map(
				([name, value]) => `${name}=${typeof value === "string" ? value : recordText({ value }).slice(9, -1)}`,
			);
			line(at, level, level === "error" ? "red" : level === "warn" ? "yellow" : "gray", printable(`${message}  ${rest.join(" ")}`));
		},
		outcome(outcome) {
			const again = outcome.again_in_ms === undefined ? "" : ` · again in ${durationText(outcome.again_in_ms)}`;
			const detail =
				outcome.error === undefined
					? durationText(outcome.ran_ms)
					: `attempt ${outcome.attempt} of ${outcome.max_attempts} failed: ${printable(outcome.error).slice(0, 120)}${outcome.outcome === "retry" ? again : ""}`;
			line(
				Date.now(),
				outcome.outcome,
				COLOURS[outcome.outcome],
				`${outcome.task.padEnd(13)} ${outcome.tenant_id.padEnd(8)} ${outcome.id}  ${detail}  ${paint("gray", `trace ${outcome.trace_id.slice(0, 8)}`)}`,
			);
		},
		asleep(nextWakeAt, reason) {
			line(
				Date.now(),
				"asleep",
				"gray",
				`nothing due · ${nextWakeAt === null ? "until a job comes" : `next wake ${clockText(nextWakeAt)} (${reason})`}`,
			);
		},
	};
}

/** What a program prints to, as it was told: without being told, text on a terminal and JSON lines elsewhere. */
export const outputTo = (stream: NodeJS.WriteStream, { logFormat }: Pick<Settings, "logFormat">): Output =>
	(logFormat === "text" || (logFormat === "auto" && stream.isTTY) ? textOutput : jsonOutput)(text => stream.write(text));

export function jsonOutput(write: (text: string) => void): Output {
	const line = (record: object): void => write(`${recordText(record)}\n`);
	const now = (): string => new Date().toISOString();
	return {
		banner: (_, facts) => line({ level: "info", time: now(), message: "started", ...facts }),
		log: ({ level, at, message, ...fields }) => line({ ...fields, level, time: new Date(at).toISOString(), message }),
		outcome: outcome => line({ level: outcome.outcome === "done" ? "info" : "warn", time: now(), message: "attempt ended", ...outcome }),
		asleep: (nextWakeAt, reason) =>
			line({
				level: "info",
				time: now(),
				message: "asleep",
				next_wake_at: nextWakeAt === null ? null : new Date(nextWakeAt).toISOString(),
				reason,
			}),
	};
}
