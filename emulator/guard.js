/**
 * Speaks before anything else is loaded: better-sqlite3 ends an older Node without a message. Plain JavaScript, since an older Node
 * cannot read the rest.
 */
import * as module from "node:module";

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < 22 || (major === 22 && minor < 18)) {
	process.stderr.write(
		`tickq needs Node 22.18 or newer; this is ${process.versions.node}.\n  → start it through npm (npm run emulate): the project brings its own Node 26\n  → if that is what you did, install again with optional packages: npm ci --include=optional\n`,
	);
	process.exit(1);
}
// Keeps the types stripped and the code compiled between starts: a third of the start, and 15 MB of the memory.
module.enableCompileCache();
