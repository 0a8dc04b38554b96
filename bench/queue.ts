/** A queue on a file in the scratch folder, put together as the emulator does it. */
import { rmSync } from "node:fs";
import type Database from "better-sqlite3";
import { nodeClock, nodeDeps } from "../emulator/nodeDeps.ts";
import { openStorage } from "../emulator/openStorage.ts";
import { readSettings } from "../emulator/settings.ts";
import { type Config, storageDefaults } from "../lib/config.ts";
import type { Deps } from "../lib/context.ts";
import { createLog, type LogRecord } from "../lib/log.ts";
import type { Storage } from "../lib/storage/storage.ts";
import { defineTask, type TaskRegistry } from "../lib/task.ts";
import type { TickDeps } from "../lib/tick.ts";

export interface BenchQueue {
	readonly storage: Storage;
	readonly database: Database.Database;
	readonly deps: Deps;
	/** The same for a tick or a loop. */
	readonly tickDeps: TickDeps;
	/** Recounts the store and throws when anything does not add up, then discards it. */
	close(): Promise<void>;
	/** Closes the store and removes its file. */
	discard(): Promise<void>;
}

/** 180 bytes of JSON, the payload of every job here. */
export const PAYLOAD = JSON.stringify({ to: "someone@example.com", template: "welcome", text: "x".repeat(180 - 59) });

export const noop = defineTask({ run: () => null });
export const noopTasks = (names: readonly string[]): TaskRegistry => Object.fromEntries(names.map(name => [name, noop]));

export async function openQueue(file: string, tasks: TaskRegistry, config: Partial<Config> = {}): Promise<BenchQueue> {
	const { settings } = readSettings(["--database", file], {});
	const whole = { ...settings, config: { ...settings.config, ...config } };
	const { storage, database } = await openStorage(file, storageDefaults(whole.config), Object.keys(tasks));
	// A queue that has something to complain of is not what is measured: the run ends, whoever waits for what.
	const complain = (record: LogRecord): void =>
		queueMicrotask(() => {
			throw new Error(JSON.stringify(record));
		});
	const log = createLog(complain, nodeClock.now, "warn");
	const deps = nodeDeps(whole, storage, tasks, log);
	const discard = async (): Promise<void> => {
		await storage.close();
		for (const suffix of ["", "-wal", "-shm"]) rmSync(file + suffix, { force: true });
	};
	return {
		storage,
		database,
		deps,
		tickDeps: { ...deps, store: storage.worker },
		discard,
		async close() {
			await mustAddUp(storage);
			await discard();
		},
	};
}

export async function mustAddUp(storage: Storage): Promise<void> {
	const violations = await storage.operator.verify();
	if (violations.length > 0) throw new Error(`the store does not add up:\n${violations.slice(0, 20).join("\n")}`);
}
