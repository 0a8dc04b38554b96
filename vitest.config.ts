import { defineConfig } from "vitest/config";

export default defineConfig({
	test: {
		include: ["test/**/*.test.ts"],
		globalSetup: "test/support/postgresSetup.ts",
		sequence: { shuffle: true },
		testTimeout: 30_000,
		// Many files wait for processes and databases, so that two do not get into each other's way on two cores.
		maxWorkers: 2,
	},
});
