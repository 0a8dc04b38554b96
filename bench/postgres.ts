/** What tickq costs on PostgreSQL: beside other queues on it, beside itself with more around it, and in absolute figures. */
import type { Measure, Row } from "./measure.ts";
import { claimRows } from "./postgresClaim.ts";
import { drainRows, SLOTS, snapshotRows } from "./postgresDrain.ts";
import { latencyRows } from "./postgresLatency.ts";
import { hotRows, processRows, submitRows } from "./postgresMany.ts";
import { GRAPHILE, PG_BOSS, strangers } from "./postgresPeers.ts";
import { measuredServer, serverConditions } from "./postgresServer.ts";

const PARTS = {
	drain: drainRows,
	hot: hotRows,
	processes: processRows,
	submit: submitRows,
	claim: claimRows,
	latency: latencyRows,
	snapshot: snapshotRows,
};

export const postgres: Measure = {
	about:
		"all on one durable server (conditions above), each repeat in schemas of its own, vacuumed and analysed after filling; limits and history on for tickq",
	async run(bench) {
		const server = await measuredServer(bench);
		try {
			const conditions = await serverConditions(server, [
				[
					"tickq",
					`postgres.js, pool 10 a process (1 a connection where connections are counted, and for claims); ${SLOTS} slots; submits of 200 a call while filling`,
				],
				[
					"pg-boss",
					`${PG_BOSS}: fetch({ batchSize: 100 }) and complete([100 ids]), pool 10, no supervision; beside the loop, a batch is completed while the next is fetched`,
				],
				[
					"graphile",
					`graphile-worker ${GRAPHILE}: 24 jobs at once, pool 25, local queue 500, refetch delay 10 ms, completion batched (0 ms)`,
				],
				...strangers().map(text => ["NOTE", text] as const),
				["claims", "synchronous_commit=off on the measured connection, so that the disk's sync hides nothing"],
			]);
			process.stdout.write(`${conditions}\n\n`);
			const rows: Row[] = [];
			for (const [name, part] of Object.entries(PARTS)) {
				const from = performance.now();
				rows.push(...(await part(bench, server)));
				bench.say(`  ${name} took ${((performance.now() - from) / 1000).toFixed(0)} s`);
			}
			return rows;
		} finally {
			await server.stop();
		}
	},
};
