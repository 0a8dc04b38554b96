/** More tenants than are remembered: forgetting some must not fail those that are being written down. */
import { expect, it } from "vitest";
import { openStorage } from "../../emulator/openStorage.ts";
import { START_MS, STORAGE_DEFAULTS } from "../support/harness.ts";

const TENANTS = 100_300;
const TOGETHER = 500;

it("takes the first job of each of more tenants than are remembered", { timeout: 60_000 }, async () => {
	const { storage } = await openStorage(":memory:", STORAGE_DEFAULTS, ["a"]);
	// Not a divisor of the limit: the memory is emptied in the middle of a batch.
	for (let from = 0; from < TENANTS; from += TOGETHER - 1) {
		const count = Math.min(TOGETHER - 1, TENANTS - from);
		await Promise.all(
			Array.from({ length: count }, (_, i) =>
				storage.tenant(`t${from + i}`).insertJob({ task: "a", payload: "1", maxRetries: 0, tail: 1, traceId: "t" }, START_MS),
			),
		);
	}
	expect(await storage.operator.counts()).toMatchObject({ ready: TENANTS, activeTenants: TENANTS });
	expect((await storage.tenant("t7").listJobs({ limit: 5 })).jobs).toHaveLength(1);
	await storage.close();
});
