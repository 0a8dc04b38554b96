import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { LOAD_MS, loadTasks } from "../../emulator/loadTasks.ts";
import { folder, json, post, project, ROOT, start } from "./processes.ts";

const GOOD = "export const tasks = { a: { run: () => 1 } };";

/** What is said of each of these modules, loaded by Node itself in a folder far from here. */
function said(files: Record<string, string>, names = Object.keys(files)): Record<string, string> {
	const cwd = folder();
	mkdirSync(join(cwd, "tasks"));
	writeFileSync(join(cwd, "package.json"), '{"type":"module"}');
	for (const [name, text] of Object.entries(files)) writeFileSync(join(cwd, "tasks", name), text);
	const script = `
		import { loadTasks } from ${JSON.stringify(pathToFileURL(join(ROOT, "emulator/loadTasks.ts")).href)};
		const said = {};
		for (const name of process.argv.slice(1))
			said[name] = await loadTasks(${JSON.stringify(pathToFileURL(join(cwd, "tasks/")).href)} + name).then(tasks => Object.keys(tasks).join(), error => error.message);
		console.log(JSON.stringify(said));`;
	const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script, ...names], { cwd, encoding: "utf8" });
	if (stdout === "") throw new Error(stderr);
	return JSON.parse(stdout);
}

describe("a module of tasks", () => {
	// Bug: "Expected ',', got '<eof>'" was all that was said; a module that is not there was missed by our own loadTasks.ts.
	it("that is broken is told with file and line, as far as Node knows them", () => {
		const files = {
			"syntax.ts": `const a: number = 1;\n${GOOD.slice(0, -1)}\n(`,
			"enum.ts": `${GOOD}\n\nexport enum Kind { a }`,
			"twice.ts": `${GOOD}\nconst a = 1;\nconst a = 2;`,
			"script.js": `${GOOD}\n)`,
			"absent.ts": `// first\nimport { b } from './b.ts';\n${GOOD}`,
			"package.ts": `\n\nimport b from "no-such-package";\n${GOOD}`,
			"name.ts": `import { b } from "./good.ts";\n${GOOD}`,
			"throws.ts": `const broken = () => {\n\tthrow new TypeError("mistyped");\n};\nbroken();\n${GOOD}`,
			"schema.ts": `import * as z from "zod";\nexport const tasks = { a: { input: z.nothing(), run: () => 1 } };`,
			"optional.ts": `await import("./none.ts").catch(() => {});\nthrow new Error("another");\n${GOOD}`,
			"inner.ts": `import "./syntax.ts";\n${GOOD}`,
			"text.ts": `throw "only a text";`,
			"nothing.ts": "export const task = 1;",
			"null.ts": "export const tasks = null;",
			"key.ts": 'export const tasks = { "a b": { run: () => 1 } };',
			"run.ts": "export const tasks = { a: () => 1 };",
			"good.ts": GOOD,
		};
		expect(said(files, [...Object.keys(files), "gone.ts", ""])).toEqual({
			"syntax.ts": "Expression expected (tasks/syntax.ts:3)",
			"enum.ts": "TypeScript enum is not supported in strip-only mode (tasks/enum.ts:3)",
			"twice.ts": "Identifier 'a' has already been declared (tasks/twice.ts)",
			"script.js": "Unexpected token ')' (tasks/script.js)",
			"absent.ts": "Cannot find module 'tasks/b.ts' (tasks/absent.ts:2)",
			"package.ts": "Cannot find package 'no-such-package' (tasks/package.ts:3)",
			"name.ts": "The requested module './good.ts' does not provide an export named 'b' (tasks/name.ts:1)",
			"throws.ts": "mistyped (tasks/throws.ts:2)",
			"schema.ts": "z.nothing is not a function (tasks/schema.ts:2)",
			"optional.ts": "another (tasks/optional.ts:2)",
			"inner.ts": "Expression expected (tasks/syntax.ts:3)",
			"text.ts": "only a text",
			"nothing.ts": "tasks/nothing.ts must export `tasks`",
			"null.ts": "tasks/null.ts must export `tasks`",
			"key.ts": 'tasks/key.ts: "a b" cannot be a task\'s name (letters, digits, _ . -)',
			"run.ts": "tasks/run.ts: a is no task; make it with defineTask({ run })",
			"good.ts": "a",
			"gone.ts": "Cannot find module 'tasks/gone.ts'",
			"": "Directory import 'tasks/' is not supported",
		});
	});

	// Bug: "Cannot find package 'tickq'" wherever the file was not in this repository.
	it("may be anywhere, and imports tickq, the one that runs it, and zod", () => {
		const module = `
			import { defineTask, Failed } from "tickq";
			import * as z from "zod";
			import { Failed as own } from ${JSON.stringify(pathToFileURL(join(ROOT, "lib/index.ts")).href)};
			export const tasks = { [Failed === own ? "same" : "another"]: defineTask({ input: z.string(), run: text => text }) };`;
		expect(said({ "mine.ts": module })).toEqual({ "mine.ts": "same" });
	});

	it("that imports packages of its own gets its own zod", () => {
		const cwd = folder();
		mkdirSync(join(cwd, "node_modules/zod"), { recursive: true });
		writeFileSync(join(cwd, "node_modules/zod/package.json"), '{"name":"zod","type":"module","exports":"./index.js"}');
		writeFileSync(join(cwd, "node_modules/zod/index.js"), "export const whose = 'its_own';");
		writeFileSync(join(cwd, "mine.mts"), 'import { whose } from "zod";\nexport const tasks = { [whose]: { run: () => 1 } };');
		const name = pathToFileURL(join(cwd, "mine.mts")).href;
		const script = `import { loadTasks } from ${JSON.stringify(pathToFileURL(join(ROOT, "emulator/loadTasks.ts")).href)};
			console.log(Object.keys(await loadTasks(process.argv[1])).join());`;
		const { stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", script, name], { cwd, encoding: "utf8" });
		expect(stdout).toBe("its_own\n");
	});

	// Bug: the program went on loading for ever, or ended without a word.
	it("that never finishes loading is told after 30 s", async () => {
		vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
		onTestFinished(() => void vi.useRealTimers());
		const file = join(folder(), "mine.mjs");
		writeFileSync(file, "await new Promise(() => {});");
		const loading = loadTasks(pathToFileURL(file).href);
		vi.advanceTimersByTime(LOAD_MS);
		await expect(loading).rejects.toThrow("has not loaded within 30 s");
	});
});

describe("the folder of tasks", { timeout: 20_000 }, () => {
	it("tells where a file that changes is broken, in the main thread and in the others", async () => {
		const root = project();
		const server = await start("emulate.js", ["--port", "0", "--database", ":memory:"], { root, cwd: root });
		await server.line(({ message }) => message === "asleep");
		const echo = join(root, "functions/tasks/echo.ts");
		const good = readFileSync(echo, "utf8");
		writeFileSync(echo, 'import { defineTask } from "tickq";\n\nexport const echo = (');
		const error = "Expression expected (functions/tasks/echo.ts:3)";
		await server.line(line => line.message === "the tasks cannot be loaded; the ones before stay" && line.error === error);
		const { id } = await (await post(`${server.url}/api/jobs`, { task: "echo", payload: 1 })).json();
		await server.line(line => line.message === "a worker thread cannot be started" && line.error === error);
		writeFileSync(echo, good);
		expect(await json(`${server.url}/api/jobs/${id}?wait_ms=10000`)).toMatchObject({ status: "done", result: 1 });
	});

	// Bug: a file that index.ts does import was called forgotten when its task's name was another than the file's.
	it("calls a file forgotten that nobody imports, and no other", async () => {
		const root = project();
		const tasks = join(root, "functions/tasks");
		writeFileSync(join(tasks, "words.ts"), 'export const hello = "hello";');
		writeFileSync(
			join(tasks, "greeting.ts"),
			'import { defineTask } from "tickq";\nimport { hello } from "./words.ts";\nexport const greet = defineTask({ run: () => hello });',
		);
		writeFileSync(join(tasks, "left_out.ts"), 'import { defineTask } from "tickq";\nexport const left_out = defineTask({ run: () => 1 });');
		const index = readFileSync(join(tasks, "index.ts"), "utf8").replace("export const tasks = {", "export const tasks = { hello: greet,");
		const comment = '// import { left_out } from "./left_out.ts";\n';
		writeFileSync(join(tasks, "index.ts"), `${comment}import { greet } from "./greeting.ts";\n${index}`);
		const server = await start("emulate.js", ["--port", "0", "--database", ":memory:"], { root, cwd: root });
		await server.line(({ message }) => message === "asleep");
		writeFileSync(join(tasks, "words.ts"), 'export const hello = "hello again";');
		await server.line(({ message }) => message === "tasks loaded anew");
		const { id } = await (await post(`${server.url}/api/jobs`, { task: "hello" })).json();
		expect(await json(`${server.url}/api/jobs/${id}?wait_ms=5000`)).toMatchObject({ result: "hello again" });
		const warnings = server.lines.filter(({ level }) => level === "warn").map(({ message }) => message);
		const warning = 'functions/tasks/left_out.ts is not in functions/tasks/index.ts: add "left_out" there';
		expect(warnings).toEqual([warning, warning]);
	});
});
