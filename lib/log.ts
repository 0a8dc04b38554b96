/** Structured logs: one record a line, written by whoever the root hands in. */
import type { LogFields } from "./task.ts";

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface LogRecord extends LogFields {
	readonly level: LogLevel;
	readonly at: number;
	readonly message: string;
}
/** Where records go. */
export type LogSink = (record: LogRecord) => void;

export interface Log {
	debug(message: string, fields?: LogFields): void;
	info(message: string, fields?: LogFields): void;
	warn(message: string, fields?: LogFields): void;
	error(message: string, fields?: LogFields): void;
	/** The same log with fields that every record carries. */
	with(fields: LogFields): Log;
}

/** @param least records below this level are dropped before they are made */
export function createLog(sink: LogSink, now: () => number, least: LogLevel, base: LogFields = {}): Log {
	const write = (level: LogLevel, message: string, fields?: LogFields): void => {
		if (LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(least)) return;
		try {
			sink({ ...base, ...fields, level, at: now(), message });
		} catch {
			// Fields that cannot be written must not fail whoever logs them.
			sink({ ...base, level, at: now(), message });
		}
	};
	return {
		debug: (message, fields) => write("debug", message, fields),
		info: (message, fields) => write("info", message, fields),
		warn: (message, fields) => write("warn", message, fields),
		error: (message, fields) => write("error", message, fields),
		with: fields => createLog(sink, now, least, { ...base, ...fields }),
	};
}

/** What a thrown value says, for people: never empty, whatever was thrown. */
export function messageOf(error: unknown): string {
	try {
		const message = error instanceof Error ? error.message || error.name : error;
		return String(message) || "unknown error";
	} catch {
		return "unknown error";
	}
}
