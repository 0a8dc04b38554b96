import { defineConfig } from "vitest/config";

export default defineConfig({
	test: {
		include: ["test/**/*.test.ts"],
		globalSetup: "test/support/postgresSetup.ts",
		sequence: { shuffle: true },
		testTimeout: 30_000,
		// One more than the two cores that are to be had at least: many files wait for processes and databases.
		maxWorkers: 3,
	},
});
