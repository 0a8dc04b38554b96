/** The programs as processes of their own, as a user starts them. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const FOLDER = fileURLToPath(new URL("../../emulator/", import.meta.url));

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
export const startEmulator = (args: readonly string[]): Promise<EmulatorProcess> =>
	startProgram("emulate.js", ["--log-format", "json", ...args]);

/** The same for any program that runs until it is stopped. */
export async function startProgram(file: string, args: readonly string[], env: Record<string, string> = {}): Promise<EmulatorProcess> {
	const child = spawn(process.execPath, [`${FOLDER}${file}`, ...args], {
		env: { ...process.env, ...env },
		stdio: ["ignore", "pipe", "pipe"],
	});
	const gone = once(child, "exit");
	let errors = "";
	child.stderr!.on("data", chunk => {
		errors += chunk;
	});
	const lines = createInterface({ input: child.stdout! });
	const first = await Promise.race([once(lines, "line"), gone.then(() => null)]);
	if (first === null) throw new Error(`${file} ended: ${errors}`);
	lines.on("line", () => {});
	const started = JSON.parse(first[0] as string);
	return {
		url: started.url,
		port: started.url === null ? 0 : Number(new URL(started.url).port),
		child,
		started,
		async kill(signal) {
			child.kill(signal);
			await gone;
		},
	};
}
