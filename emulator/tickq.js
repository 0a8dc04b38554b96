#!/usr/bin/env node
/** `tickq`: every command under one name. Each reads its own part of the command line. */
import "./guard.js";

const COMMANDS = {
	emulate: ["./emulate.js", "the queue on this machine: API, workers, dashboard"],
	start: ["./start.js", "the queue as a server, one of any number on one database"],
	work: ["./work.js", "run tasks here for a queue that is elsewhere"],
	tick: ["./tick.js", "one tick by hand, or with --dry-run what it would do"],
	migrate: ["./migrate.js", "apply missing migrations to a database"],
	conformance: ["../test/conformance.js", "whether a database does what tickq needs of it"],
};

const lines = Object.entries(COMMANDS).map(([name, [, about]]) => `  ${name.padEnd(12)} ${about}`);
const HELP = `Usage: tickq COMMAND [options]\n\n${lines.join("\n")}\n\ntickq COMMAND --help says what a command takes.\n`;

const [, , command = "--help"] = process.argv;
if (command === "--help" || command === "-h" || command === "help") process.stdout.write(HELP);
else if (Object.hasOwn(COMMANDS, command)) {
	process.argv.splice(2, 1);
	await import(new URL(COMMANDS[command][0], import.meta.url).href);
} else {
	const { nearest } = await import("../lib/nearest.ts");
	const meant = nearest(command, Object.keys(COMMANDS));
	const hint = meant === undefined ? "tickq --help" : `tickq ${meant}, or tickq --help`;
	process.stderr.write(`tickq has no command ${JSON.stringify(command.slice(0, 100))}\n  → ${hint}\n`);
	process.exitCode = 2;
}
