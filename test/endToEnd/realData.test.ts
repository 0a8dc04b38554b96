/**
 * Real tables, which nobody here wrote, go through the queue in slices while the emulator is killed three times. At the end every
 * accepted job is done exactly once as far as the store is concerned, and the merged results equal an independent computation.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openStorage } from "../../emulator/openStorage.ts";
import { STORAGE_DEFAULTS } from "../support/harness.ts";
import { type EmulatorProcess, startEmulator } from "./emulatorProcess.ts";
import { checkTable, submitAll, tables, untilIdle } from "./tables.ts";

describe("the queue under real data and real crashes", () => {
	it("loses nothing and does nothing twice while it is killed three times", { timeout: 90_000 }, async () => {
		const folder = mkdtempSync(join(tmpdir(), "tickq e2e "));
		const database = join(folder, "queue.db");
		const all = tables();
		const slices = all.flatMap(({ slices }) => slices);
		expect(slices.length).toBeGreaterThanOrEqual(2000);

		let emulator: EmulatorProcess = await startEmulator([
			"--port",
			"0",
			"--database",
			database,
			"--workers-min",
			"2",
			"--tasks-per-worker",
			"4",
		]);
		const { port } = emulator;
		const accepted = new Map<string, string>();
		const killAt = [0.25, 0.5, 0.75].map(share => Math.floor(slices.length * share));
		const kills: { pendingOrRunning: number }[] = [];
		let killing: Promise<void> = Promise.resolve();
		await submitAll(
			slices,
			() => emulator.url,
			(jobId, slice) => {
				accepted.set(slice.key, jobId);
				if (accepted.size !== killAt[kills.length]) return killing;
				const kill = { pendingOrRunning: -1 };
				kills.push(kill);
				killing = (async () => {
					await emulator.kill("SIGKILL");
					const { storage } = await openStorage(database, STORAGE_DEFAULTS, []);
					const { ready, delayed, running } = await storage.operator.counts();
					kill.pendingOrRunning = ready + delayed + running;
					await storage.close();
					emulator = await startEmulator(["--port", String(port), "--database", database, "--workers-min", "2", "--tasks-per-worker", "4"]);
				})();
				return killing;
			},
		);
		expect(kills).toHaveLength(3);
		expect(Math.max(...kills.map(kill => kill.pendingOrRunning))).toBeGreaterThan(0);
		expect(accepted.size).toBe(slices.length);

		await untilIdle(() => emulator.url);
		for (const table of all) await checkTable(emulator.url, table, accepted);

		await emulator.kill("SIGTERM");
		const { storage } = await openStorage(database, STORAGE_DEFAULTS, []);
		expect(await storage.operator.verify()).toEqual([]);
		const { done, submitted, finished } = await storage.operator.counts();
		expect({ done, submitted, finished }).toEqual({ done: slices.length, submitted: slices.length, finished: slices.length });
		await storage.close();
		rmSync(folder, { recursive: true });
		console.log(
			`${slices.length} jobs of ${all.length} tenants; at the three kills ${kills.map(kill => kill.pendingOrRunning).join(", ")} were unfinished`,
		);
	});
});
