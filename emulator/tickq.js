#!/usr/bin/env node
/** `tickq`: every command under one name. Each reads its own part of the command line. */
import "./guard.js";
import * as module from "node:module";

const COMMANDS = {
	emulate: ["./emulate.js", "the queue on this machine: API, workers, dashboard"],
	start: ["./start.js", "the queue as a server, one of any number on one database"],
	work: ["", "run tasks here for a queue that is elsewhere"],
	tick: ["./tick.js", "one tick by hand, or with --dry-run what it would do"],
	migrate: ["./migrate.js", "apply missing migrations to a database"],
	conformance: ["../test/conformance.js", "whether a database does what tickq needs of it"],
};

const lines = Object.entries(COMMANDS).map(([name, [, about]]) => `  ${name.padEnd(12)} ${about}`);
const HELP = `Usage: tickq COMMAND [options]\n\n${lines.join("\n")}\n\ntickq COMMAND --help says what a command takes.\n`;

/** How many letters differ, are missing or too many. */
function distance(a, b) {
	let row = Array.from({ length: b.length + 1 }, (_, i) => i);
	for (let i = 1; i <= a.length; i++) {
		const next = [i];
		for (let j = 1; j <= b.length; j++) next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
		row = next;
	}
	return row[b.length];
}

const [, , command = "--help", ...args] = process.argv;
if (command === "--help" || command === "-h" || command === "help") process.stdout.write(HELP);
else if (command === "work") {
	const { workCommand } = await import("./workCommand.ts");
	const code = await workCommand(args);
	module.flushCompileCache();
	// Connections that are kept open for the next request would keep the process.
	process.exit(code);
} else if (Object.hasOwn(COMMANDS, command)) {
	process.argv.splice(2, 1);
	await import(new URL(COMMANDS[command][0], import.meta.url).href);
} else {
	const [nearest] = Object.keys(COMMANDS).sort((a, b) => distance(command, a) - distance(command, b));
	process.stderr.write(`tickq has no command ${JSON.stringify(command.slice(0, 100))}\n  → tickq ${nearest}, or tickq --help\n`);
	process.exitCode = 2;
}
