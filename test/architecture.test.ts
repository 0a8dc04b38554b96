/** The rules of the house that a compiler does not see: who imports whom, where SQL is spoken, who reads the clock. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { functions } from "../functions/all.ts";
import { operations } from "../lib/contract.ts";
import { TRANSITIONS } from "../lib/job.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const ROOMS = ["lib", "functions", "emulator", "public", "test", "bench"];

const filesOf = (room: string): string[] =>
	existsSync(ROOT + room)
		? readdirSync(ROOT + room, { recursive: true, encoding: "utf8" })
				.map(name => `${room}/${name.replaceAll("\\", "/")}`)
				.filter(name => /\.[jt]s$/.test(name) && !name.endsWith(".d.ts"))
				.sort()
		: [];

interface Source {
	readonly path: string;
	readonly text: string;
	/** The code with comments taken out and the contents of texts and regular expressions blanked. */
	readonly code: string;
	/** The contents of every text, as written; of templates the parts between the expressions. */
	readonly texts: readonly string[];
	readonly imports: readonly string[];
}

/** Splits a file into code and texts. It knows comments, texts, templates and, by what stands before them, regular expressions. */
function split(text: string): { code: string; texts: string[] } {
	const texts: string[] = [];
	let code = "";
	let at = 0;
	/** Depths of braces at which a template goes on. */
	const templates: number[] = [];
	let depth = 0;
	const take = (until: RegExp): string => {
		until.lastIndex = at;
		const end = until.exec(text);
		const taken = text.slice(at, end === null ? text.length : end.index);
		at = end === null ? text.length : until.lastIndex;
		return taken;
	};
	const template = (): void => {
		let part = "";
		while (at < text.length) {
			if (text[at] === "\\") {
				part += text.slice(at, at + 2);
				at += 2;
			} else if (text[at] === "`") {
				at++;
				texts.push(part);
				code += "`";
				return;
			} else if (text.startsWith("${", at)) {
				at += 2;
				texts.push(part);
				templates.push(depth++);
				code += "${";
				return;
			} else part += text[at++];
		}
	};
	while (at < text.length) {
		const char = text[at]!;
		if (text.startsWith("//", at)) {
			take(/(?=\n)/g);
		} else if (text.startsWith("/*", at)) {
			take(/\*\//g);
		} else if (char === '"' || char === "'") {
			at++;
			let part = "";
			while (at < text.length && text[at] !== char) {
				if (text[at] === "\\") part += text[at++];
				part += text[at++];
			}
			at++;
			texts.push(part);
			code += `${char}${char}`;
		} else if (char === "`") {
			at++;
			code += "`";
			template();
		} else if (char === "/" && /(?:^|[(,=:[!&|?{};>]|=>|\breturn|\btypeof)\s*$/.test(code)) {
			at++;
			for (let inClass = false; at < text.length && (inClass || text[at] !== "/"); at++) {
				if (text[at] === "\\") at++;
				else if (text[at] === "[") inClass = true;
				else if (text[at] === "]") inClass = false;
			}
			at++;
			code += "//";
		} else {
			if (char === "{") depth++;
			if (char === "}") depth--;
			code += char;
			at++;
			if (char === "}" && templates.at(-1) === depth) {
				templates.pop();
				template();
			}
		}
	}
	return { code, texts };
}

/** What a file imports: static, dynamic and re-exported, types too. */
function importsOf(text: string): string[] {
	const bare = text.replaceAll(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm, "");
	return [
		...bare.matchAll(/^\s*(?:import|export)\s[^;"'`]*?\bfrom\s*["']([^"']+)["']/gm),
		...bare.matchAll(/^\s*import\s*["']([^"']+)["']/gm),
		...bare.matchAll(/\bimport\(\s*["']([^"']+)["']\s*\)/g),
		...bare.matchAll(/\bvi\.(?:mock|importActual)\(\s*["']([^"']+)["']/g),
	].map(([, name]) => name!);
}

/** Relative names as paths from the root of the project, so that one rule fits every depth. */
function fromRoot(path: string, name: string): string {
	if (!name.startsWith(".")) return name;
	const { pathname } = new URL(name, `file:///${path}`);
	return decodeURIComponent(pathname).slice(1);
}

const sources = new Map<string, Source>(
	ROOMS.flatMap(filesOf).map(path => {
		const text = readFileSync(ROOT + path, "utf8");
		return [path, { path, text, ...split(text), imports: importsOf(text).map(name => fromRoot(path, name)) }];
	}),
);
const inRoom = (room: string): Source[] => [...sources.values()].filter(({ path }) => path.startsWith(`${room}/`));

/** What breaks a rule, as "file imports what"; the one good answer is none. */
const strangers = (files: readonly Source[], may: (name: string, path: string) => boolean): string[] =>
	files.flatMap(({ path, imports }) => imports.filter(name => !may(name, path)).map(name => `${path} imports ${name}`));
const isPackage = (name: string): boolean => !/^(?:\/|node:|lib\/|functions\/|emulator\/|public\/|test\/|bench\/)/.test(name);

describe("this test", () => {
	it("sees every room, and what its files import", () => {
		for (const room of ["lib", "functions", "emulator", "public", "test"]) expect(inRoom(room).length).toBeGreaterThan(5);
		expect(sources.get("functions/submitJob.ts")!.imports).toContain("lib/operation.ts");
		expect(sources.get("emulator/emulate.js")!.imports).toContain("emulator/main.ts");
		expect(sources.get("emulator/openStorage.ts")!.imports).toContain("better-sqlite3");
	});

	it("tells code from texts", () => {
		// biome-ignore lint/suspicious/noTemplateCurlyInString: a program as a text.
		const { code, texts } = split("const a = `x ${b(`y ${1}`)} z`; // SELECT \n/* it's */ const c = /[/\"]'/.test('d\\'') && \"e\";");
		expect(texts).toEqual(["x ", "y ", "", " z", "d\\'", "e"]);
		expect(code).not.toMatch(/SELECT|it's/);
	});
});

describe("imports", () => {
	it("of functions/*.ts lead to lib/ only; functions/all.ts lists its siblings, functions/worker* are roots", () => {
		const files = inRoom("functions").filter(({ path }) => !/^functions\/(?:tasks\/|worker)/.test(path));
		expect(
			strangers(files, (name, path) => /^(?:lib\/|zod$)/.test(name) || (path === "functions/all.ts" && /^functions\/\w+\.ts$/.test(name))),
		).toEqual([]);
		for (const { path, imports } of files)
			if (path !== "functions/all.ts")
				expect([path, imports.filter(name => name.startsWith("lib/storage/") && name !== "lib/storage/storage.ts")]).toEqual([path, []]);
	});

	it("of functions/worker/ lead to lib/ and hono; the roots beside it bring the functions, the tasks and the driver", () => {
		const roots = inRoom("functions").filter(({ path }) => path.startsWith("functions/worker"));
		expect(
			strangers(roots, (name, path) =>
				path.startsWith("functions/worker/")
					? /^(?:lib\/|functions\/worker\/|hono$)/.test(name)
					: /^(?:lib\/|functions\/worker\/|functions\/all\.ts$|functions\/tasks\/index\.ts$|postgres$)/.test(name),
			),
		).toEqual([]);
		expect(sources.get("functions/worker.ts")!.imports).not.toContain("postgres");
	});

	it('of functions/tasks/*.ts lead to "tickq" and packages only; its index lists its siblings', () => {
		expect(
			strangers(
				inRoom("functions/tasks"),
				(name, path) => isPackage(name) || (path === "functions/tasks/index.ts" && /^functions\/tasks\/\w+\.ts$/.test(name)),
			),
		).toEqual([]);
	});

	it("of lib/ lead to lib/, hono, zod and croner only: no Node, no driver, no other room", () => {
		expect(strangers(inRoom("lib"), name => /^(?:lib\/|hono$|hono\/|zod$|croner$)/.test(name))).toEqual([]);
	});

	it("of lib/storage/ lead to lib/storage, the job and its history only", () => {
		// lib/job has the states and the transition table, lib/history the rule by which a row tells its own events: both are pure.
		expect(strangers(inRoom("lib/storage"), name => /^lib\/(?:storage\/|job\.ts$|history\.ts$)/.test(name))).toEqual([]);
	});

	it("of lib/ outside lib/storage do not reach behind the storage interface", () => {
		const outside = inRoom("lib").filter(({ path }) => !path.startsWith("lib/storage/"));
		expect(strangers(outside, name => !name.startsWith("lib/storage/") || name === "lib/storage/storage.ts")).toEqual([]);
	});

	it("of emulator/ lead anywhere but to tests, benchmarks and the dashboard", () => {
		expect(strangers(inRoom("emulator"), name => !/^(?:test|bench|public)\//.test(name))).toEqual([]);
	});

	it("of public/ stay in public/, but for the chart's library; types come in comments", () => {
		expect(strangers(inRoom("public"), name => /^(?:public\/|\/vendor\/)/.test(name))).toEqual([]);
	});

	it("never lead to test/ from outside; benchmarks may start the databases that tests start", () => {
		const outside = [...sources.values()].filter(({ path }) => !path.startsWith("test/") && !path.startsWith("bench/"));
		expect(strangers(inRoom("bench"), name => !name.startsWith("test/") || name.startsWith("test/support/"))).toEqual([]);
		expect(strangers(outside, name => !name.startsWith("test/"))).toEqual([]);
	});

	it("never go round in circles at run time", () => {
		const runtime = new Map(
			[...sources.values()].map(({ path, text }) => [
				path,
				importsOf(text.replaceAll(/^\s*(?:import|export)\s+type\s[^;]*?;/gm, "")).map(name => fromRoot(path, name)),
			]),
		);
		const done = new Set<string>();
		const walk = (path: string, above: readonly string[]): void => {
			expect(above.includes(path) ? [...above.slice(above.indexOf(path)), path].join(" -> ") : "").toBe("");
			if (done.has(path)) return;
			for (const name of runtime.get(path) ?? []) walk(name, [...above, path]);
			done.add(path);
		};
		for (const path of runtime.keys()) walk(path, []);
	});
});

describe("SQL", () => {
	const SQL =
		/\b(?:SELECT\s|INSERT\s+(?:OR\s+\w+\s+)?INTO\b|UPDATE\s+\S+\s+SET\b|DELETE\s+FROM\b|CREATE\s+(?:TABLE|INDEX|TRIGGER)\b|PRAGMA\s|BEGIN\s+IMMEDIATE)/;

	it("is spoken in lib/storage only", () => {
		const spoken = [...sources.values()]
			.filter(({ path }) => !/^(?:lib\/storage|test|bench)\//.test(path))
			.flatMap(({ path, texts }) => texts.filter(text => SQL.test(text)).map(text => `${path}: ${text.slice(0, 60)}`));
		expect(spoken).toEqual([]);
	});

	it("is spoken there, and found by this test", () => {
		expect(inRoom("lib/storage").filter(({ texts }) => texts.some(text => SQL.test(text))).length).toBeGreaterThan(5);
	});

	it("never asks the database for the time or for random numbers", () => {
		const asked = inRoom("lib/storage").flatMap(({ path, texts }) =>
			texts
				.filter(text => SQL.test(text) && /\b(?:CURRENT_TIMESTAMP|unixepoch|strftime|julianday|random\(\)|randomblob|'now')/i.test(text))
				.map(text => `${path}: ${text}`),
		);
		expect(asked).toEqual([]);
	});
});

describe("the clock, chance and the environment", () => {
	const FORBIDDEN: readonly [string, RegExp][] = [
		["Date.now", /\bDate\.now\b/],
		["new Date()", /\bnew Date\(\s*\)/],
		["Math.random", /\bMath\.random\b/],
		["crypto.getRandomValues", /\bgetRandomValues\b/],
		["crypto.randomUUID", /\brandomUUID\b/],
		["setTimeout", /\bsetTimeout\b/],
		["setInterval", /\bsetInterval\b/],
		["setImmediate", /\bsetImmediate\b/],
		["performance.now", /\bperformance\.now\b/],
		["AbortSignal.timeout", /\bAbortSignal\.timeout\b/],
	];

	it.each(FORBIDDEN)("%s stands in lib/clock.ts only, of lib and functions; a task may wait", (_, pattern) => {
		const found = [...inRoom("lib"), ...inRoom("functions")]
			.filter(({ path, code }) => path !== "lib/clock.ts" && !path.startsWith("functions/tasks/") && pattern.test(code))
			.map(({ path }) => path);
		expect(found).toEqual([]);
	});

	it("process.env stands in emulator/ only", () => {
		const found = [...sources.values()].filter(
			({ path, code }) => !/^(?:emulator|test|bench)\//.test(path) && /\bprocess\.env\b/.test(code),
		);
		expect(found.map(({ path }) => path)).toEqual([]);
	});

	it("lib and functions know no Node, but for tasks", () => {
		const found = [...inRoom("lib"), ...inRoom("functions")].filter(
			({ path, code }) =>
				!path.startsWith("functions/tasks/") && /\b(?:process\.\w|Buffer\b|__dirname|require\(|globalThis\.process)/.test(code),
		);
		expect(found.map(({ path }) => path)).toEqual([]);
	});
});

describe("functions", () => {
	it("are the operations of the contract, one for one", () => {
		expect(Object.keys(functions).sort()).toEqual(Object.keys(operations).sort());
	});

	it("stand each in the file of its name, which exports it and nothing else", () => {
		const files = filesOf("functions").filter(
			path => /^functions\/\w+\.ts$/.test(path) && !/^functions\/(?:all|worker\w*)\.ts$/.test(path),
		);
		expect(files.map(path => path.slice("functions/".length, -".ts".length)).sort()).toEqual(Object.keys(operations).sort());
		for (const path of files) {
			const name = path.slice("functions/".length, -".ts".length);
			const { text, code } = sources.get(path)!;
			expect([
				path,
				[...code.matchAll(/^export\s+(?:const|function|class|let|type|interface|default)\s*(\w*)/gm)].map(([, name]) => name),
			]).toEqual([path, [name]]);
			expect([path, text.includes(`operation("${name}"`)]).toEqual([path, true]);
		}
	});

	it("have a test each", () => {
		for (const name of Object.keys(operations)) expect([name, sources.has(`test/functions/${name}.test.ts`)]).toEqual([name, true]);
	});
});

describe("files", () => {
	it("of lib, functions and emulator say first what they own", () => {
		const silent = [...inRoom("lib"), ...inRoom("functions"), ...inRoom("emulator")].filter(
			({ text }) => !/^(?:#!.*\n)?\/\*\*[\s\S]*?\w[\s\S]*?\*\//.test(text),
		);
		expect(silent.map(({ path }) => path)).toEqual([]);
	});

	it("never name a place on somebody's machine", () => {
		const named = [...sources.values()].filter(({ texts }) => texts.some(text => /(?:^|\s)\/(?:home|Users|root|work)\/\w/.test(text)));
		expect(named.map(({ path }) => path)).toEqual([]);
	});
});

describe("the README's state diagram", () => {
	const edges = (): string[] => {
		const readme = existsSync(`${ROOT}README.md`) ? readFileSync(`${ROOT}README.md`, "utf8") : "";
		const diagram = /```mermaid\s+stateDiagram(?:-v2)?\n([\s\S]*?)```/.exec(readme)?.[1];
		if (diagram === undefined) throw new Error("README.md has no ```mermaid block that begins with stateDiagram-v2");
		return diagram
			.split("\n")
			.map(line => line.trim())
			.filter(line => line.includes("-->"));
	};

	it("has every move of the transition table, with its event, and no other", () => {
		const wanted = TRANSITIONS.map(({ from, to, event }) => `${from === "new" ? "[*]" : from} --> ${to} : ${event}`);
		expect(edges().sort()).toEqual([...wanted].sort());
	});

	it("has no move twice", () => {
		expect(new Set(edges()).size).toBe(edges().length);
	});
});
