/** The commands as processes of their own, for the tests that run them as a user does. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach } from "vitest";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** What is undone after each test, the last first. */
export const ended: (() => unknown)[] = [];
afterEach(async () => {
	for (const end of ended.splice(0).reverse()) await end();
});

export function folder(): string {
	const path = realpathSync(mkdtempSync(join(tmpdir(), "tickq-")));
	ended.push(() => rmSync(path, { recursive: true, force: true }));
	return path;
}

/** What the programs need, as a project of its own, to be changed at will. */
export function project(): string {
	const root = folder();
	for (const part of ["lib", "functions", "emulator", "public"]) cpSync(join(ROOT, part), join(root, part), { recursive: true });
	writeFileSync(join(root, "package.json"), readFileSync(join(ROOT, "package.json")));
	symlinkSync(join(ROOT, "node_modules"), join(root, "node_modules"), "dir");
	return root;
}

/** A project with one more task, whose name and code these are. */
export function projectWith(name: string, code: string): string {
	const root = project();
	const tasks = join(root, "functions/tasks");
	writeFileSync(join(tasks, `${name}.ts`), `import { defineTask } from "tickq";\nexport const ${name} = defineTask(${code});\n`);
	const index = readFileSync(join(tasks, "index.ts"), "utf8");
	writeFileSync(
		join(tasks, "index.ts"),
		index.replace("export const tasks = {", `import { ${name} } from "./${name}.ts";\nexport const tasks = { ${name},`),
	);
	return root;
}

export interface Running {
	readonly child: ChildProcess;
	readonly url: string;
	readonly lines: Record<string, unknown>[];
	/** The next line, from now on or before, for which `is` holds. */
	line(is: (line: Record<string, unknown>) => boolean): Promise<Record<string, unknown>>;
	readonly exit: Promise<number | null>;
}

const environment = (more: Record<string, string> = {}) => ({
	...Object.fromEntries(
		Object.entries(process.env).filter(([name]) => !name.startsWith("TICKQ_") && name !== "PORT" && name !== "DATABASE_URL"),
	),
	...more,
});

/** Starts a program that runs until it is stopped, and waits until it says that it has started. */
export async function start(file: string, args: readonly string[], { root = ROOT, cwd = folder(), env = {} } = {}): Promise<Running> {
	const child = spawn(process.execPath, [join(root, "emulator", file), ...args], {
		cwd,
		env: environment(env),
		stdio: ["ignore", "pipe", "pipe"],
	});
	ended.push(() => child.kill("SIGKILL"));
	const exit = once(child, "close").then(([code]) => code as number | null);
	const lines: Record<string, unknown>[] = [];
	const waiting = new Set<() => void>();
	let errors = "";
	child.stderr.on("data", chunk => {
		errors += chunk;
	});
	createInterface({ input: child.stdout }).on("line", text => {
		lines.push(JSON.parse(text));
		for (const look of waiting) look();
	});
	const line = (is: (line: Record<string, unknown>) => boolean) =>
		new Promise<Record<string, unknown>>((resolve, reject) => {
			const look = () => {
				const found = lines.find(is);
				if (found === undefined) return;
				waiting.delete(look);
				resolve(found);
			};
			waiting.add(look);
			look();
			void exit.then(code => reject(new Error(`${file} ended with ${code}: ${errors}`)));
		});
	const { url } = await line(({ message }) => message === "started");
	return { child, url: String(url), lines, line, exit };
}

/** Runs a command to its end, or until it is told to stop. */
export async function run(
	file: string,
	args: readonly string[],
	{
		root = ROOT,
		cwd = folder(),
		env = {},
		stopAfterMs,
	}: { root?: string; cwd?: string; env?: Record<string, string>; stopAfterMs?: number } = {},
) {
	const child = spawn(process.execPath, [join(root, "emulator", file), ...args], {
		cwd,
		env: environment(env),
		stdio: ["ignore", "pipe", "pipe"],
	});
	ended.push(() => child.kill("SIGKILL"));
	if (stopAfterMs !== undefined) setTimeout(() => child.kill("SIGTERM"), stopAfterMs);
	let out = "";
	let err = "";
	child.stdout.on("data", chunk => {
		out += chunk;
	});
	child.stderr.on("data", chunk => {
		err += chunk;
	});
	const [code] = await once(child, "close");
	return { code: code as number | null, out, err };
}

export const post = (url: string, body: unknown, tenant = "tenant-demo") =>
	fetch(url, { method: "POST", headers: { "content-type": "application/json", "x-tenant-id": tenant }, body: JSON.stringify(body) });
export const json = async (url: string, tenant = "tenant-demo") => (await fetch(url, { headers: { "x-tenant-id": tenant } })).json();
