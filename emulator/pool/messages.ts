/** What the main thread and a thread of the pool say to each other, and the memory that they share. */
import type { MessagePort } from "node:worker_threads";
import type { Config } from "../../lib/config.ts";
import type { LogLevel, LogRecord } from "../../lib/log.ts";
import type { Allow } from "../../lib/outside.ts";
import type { StopReason } from "../../lib/runJob.ts";
import type { Claimed, Ending } from "../../lib/storage/storage.ts";

/** What a thread is given at its start. */
export interface ThreadData {
	/** Address of the module that exports the task registry. */
	readonly tasks: string;
	readonly config: Config;
	readonly logLevel: LogLevel;
	readonly webhookSecrets: readonly string[];
	readonly outsideAllow: Allow;
	/** `CELLS + tasksPerWorker` numbers of 32 bits. */
	readonly cells: SharedArrayBuffer;
	/** Where it speaks with the pool: on the port of its own, that every thread has, libraries speak as well. */
	readonly port: MessagePort;
}
/** The same for all threads. */
export type PoolData = Omit<ThreadData, "cells" | "port">;

/** The attempt whose own code runs at this moment, by its number in the thread; 0: none, or nobody knows whose. */
export const ENTERED = 0;
/** Log records that the main thread has not read yet. */
export const UNREAD_LOGS = 1;
/** One cell follows for each place: the state of the attempt that has it. */
export const CELLS = 2;

/** Whoever moves an attempt out of this state has it: the thread that starts it, or the main thread that takes it back. */
export const QUEUED = 0;
export const STARTED = 1;
export const TAKEN_BACK = 2;

export interface ToThread {
	readonly starts: readonly Start[];
	readonly stops: readonly (readonly [seq: number, why: StopReason])[];
}
export interface Start {
	/** Its number in this thread, from 1 on. */
	readonly seq: number;
	readonly place: number;
	readonly job: Claimed;
}

export interface FromThread {
	/** It has loaded the tasks. */
	readonly ready?: true;
	/** Why it could not. It ends. */
	readonly unloadable?: string;
	/** Attempts that have begun and not ended in the same turn. */
	readonly started?: readonly number[];
	/** Each attempt that it was sent ends here once; without an ending if it was taken back before. */
	readonly ended?: readonly (readonly [seq: number, ending?: Ending | null])[];
	readonly progress?: readonly (readonly [seq: number, progress: string])[];
	readonly log?: LogRecord;
	/** Why it should be replaced when what runs in it has ended. */
	readonly spoiled?: string;
}
