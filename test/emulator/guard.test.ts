/** An older Node gets a sentence, not a crash: nothing may be loaded before the guard that it cannot load. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const ENTRIES = ["emulator/emulate.js", "emulator/start.js", "emulator/tick.js", "emulator/migrate.js", "bench/bench.js"];
const pathOf = (entry: string): string => fileURLToPath(new URL(`../../${entry}`, import.meta.url));
const PRETEND_20 = 'data:text/javascript,Object.defineProperty(process,"versions",{value:{...process.versions,node:"20.20.2"}})';

describe("the guard", () => {
	it.each(ENTRIES)("speaks first in %s", entry => {
		const { status, stderr, stdout } = spawnSync(process.execPath, ["--import", PRETEND_20, pathOf(entry)], { encoding: "utf8" });
		expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
		expect(stderr).toMatch(/^tickq needs Node 22\.18 or newer; this is 20\.20\.2\.\n/);
		expect(stderr).toContain("npm run");
	});

	it.each([...ENTRIES, "emulator/guard.js"])(
		"is not outrun by what %s imports: a name that an older Node lacks fails before any code runs",
		entry => {
			const imports = [...readFileSync(pathOf(entry), "utf8").matchAll(/^import\s+(.*)$/gm)].map(([, what]) => what);
			for (const what of imports) expect(what).toMatch(/^"\.\/guard\.js";$|^"\.\.\/emulator\/guard\.js";$|^\* as \w+ from "node:\w+";$/);
		},
	);
});
