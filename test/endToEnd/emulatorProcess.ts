/** The emulator as a process of its own, as a user starts it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const EMULATE = fileURLToPath(new URL("../../emulator/emulate.js", import.meta.url));

export interface EmulatorProcess {
	readonly url: string;
	readonly port: number;
	readonly child: ChildProcess;
	/** What it said when it had started. */
	readonly started: Record<string, unknown>;
	/** Ends it with a signal and waits until it is gone. */
	kill(signal: NodeJS.Signals): Promise<void>;
}

/** Starts it and waits for its first line; rejects with what it printed when it ends instead. */
export async function startEmulator(args: readonly string[]): Promise<EmulatorProcess> {
	const child = spawn(process.execPath, [EMULATE, "--log-format", "json", ...args], { stdio: ["ignore", "pipe", "pipe"] });
	const gone = once(child, "exit");
	let errors = "";
	child.stderr!.on("data", chunk => {
		errors += chunk;
	});
	const lines = createInterface({ input: child.stdout! });
	const first = await Promise.race([once(lines, "line"), gone.then(() => null)]);
	if (first === null) throw new Error(`the emulator ended: ${errors}`);
	lines.on("line", () => {});
	const started = JSON.parse(first[0] as string);
	return {
		url: started.url,
		port: Number(new URL(started.url).port),
		child,
		started,
		async kill(signal) {
			child.kill(signal);
			await gone;
		},
	};
}
