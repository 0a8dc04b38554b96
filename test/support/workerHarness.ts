/** A Worker in workerd for tests that need none of its files: what `wrangler.jsonc` says of them is left out, and so is their build. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createTestHarness, type TestHarness } from "wrangler";

// No look-ups on the internet, and no reports to it.
process.env.CLOUDFLARE_CF_FETCH_ENABLED = "false";
process.env.WRANGLER_SEND_METRICS = "false";

export const projectPath = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));

/** @param main the Worker, from the root of the project */
export async function startWorker(main: string, config: object): Promise<{ readonly server: TestHarness; close(): Promise<void> }> {
	const folder = mkdtempSync(join(tmpdir(), "tickq-worker-"));
	const configPath = join(folder, "wrangler.json");
	writeFileSync(configPath, JSON.stringify({ name: "tickq", main: projectPath(main), compatibility_date: "2026-11-01", ...config }));
	const server = createTestHarness({ workers: [{ configPath }] });
	await server.listen();
	return {
		server,
		async close() {
			await server.close();
			rmSync(folder, { recursive: true });
		},
	};
}
