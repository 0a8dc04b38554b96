import { describe, expect, it } from "vitest";
import { type OperationRow, operations } from "../../lib/contract.ts";
import { openApiDocument } from "../../lib/openapi.ts";
import { PROBLEMS } from "../../lib/problem.ts";

// biome-ignore lint/suspicious/noExplicitAny: a document is looked at from outside.
const document = openApiDocument() as any;
const rows = Object.entries(operations) as [string, OperationRow][];

function* nodes(node: unknown, path = "#"): Generator<[string, Record<string, unknown>]> {
	if (node === null || typeof node !== "object") return;
	if (!Array.isArray(node)) yield [path, node as Record<string, unknown>];
	for (const [name, value] of Object.entries(node)) yield* nodes(value, `${path}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`);
}
const resolve = (ref: string): unknown =>
	ref
		.slice(2)
		.split("/")
		.map(part => part.replaceAll("~1", "/").replaceAll("~0", "~"))
		// biome-ignore lint/suspicious/noExplicitAny: as above.
		.reduce((at: any, part) => at?.[part], document);

describe("openApiDocument", () => {
	it("is OpenAPI 3.1, and nothing but JSON", () => {
		expect(document).toMatchObject({ openapi: "3.1.0", info: { title: "tickq", version: expect.any(String) } });
		expect(JSON.parse(JSON.stringify(document))).toEqual(document);
	});

	it("has every operation at its path and method, and no other", () => {
		const found = Object.entries(document.paths as Record<string, Record<string, { operationId: string }>>).flatMap(([path, methods]) =>
			Object.entries(methods).map(([method, { operationId }]) => [operationId, method.toUpperCase(), path]),
		);
		expect(found.sort()).toEqual(rows.map(([name, { method, path }]) => [name, method, path]).sort());
	});

	it.each(rows)("describes %s whole", (name, row) => {
		const operation = document.paths[row.path][row.method.toLowerCase()];
		expect(operation.summary).toBe(row.summary);
		const names = (place: string) =>
			operation.parameters.filter((one: { in: string }) => one.in === place).map(({ name }: { name: string }) => name);
		expect(names("path")).toEqual([...row.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name));
		expect(names("query")).toEqual(Object.keys(row.query?.shape ?? {}));
		expect(names("header")).toEqual(row.tenants === undefined ? [] : ["X-Tenant-ID"]);
		for (const parameter of operation.parameters)
			expect([name, typeof parameter.schema, typeof parameter.required]).toEqual([name, "object", "boolean"]);
		expect(operation.requestBody !== undefined).toBe(row.body !== undefined);
		if (row.status === 204) expect(operation.responses[204].content).toBeUndefined();
		else expect(operation.responses[row.status].content["application/json"].schema).toBeTypeOf("object");
		for (const code of row.problems) expect(operation.responses[PROBLEMS[code][0]].description.split(", ")).toContain(code);
		for (const [status, response] of Object.entries(operation.responses as Record<string, { description: string; content: object }>)) {
			expect(response.description.length).toBeGreaterThan(0);
			if (Number(status) >= 400) expect(Object.keys(response.content)).toEqual(["application/problem+json"]);
		}
	});

	it("has no $ref that leads nowhere", () => {
		const refs = [...nodes(document)].filter(([, node]) => "$ref" in node);
		expect(refs.length).toBeGreaterThan(10);
		for (const [path, { $ref }] of refs) {
			expect([path, $ref]).toEqual([path, expect.stringMatching(/^#\//)]);
			expect([path, $ref, typeof resolve($ref as string)]).toEqual([path, $ref, "object"]);
		}
	});

	it("names each component in the letters that are allowed, and uses them all", () => {
		const used = new Set([...nodes(document)].map(([, { $ref }]) => $ref));
		for (const name of Object.keys(document.components.schemas)) {
			expect(name).toMatch(/^[A-Za-z0-9._-]+$/);
			expect([name, used.has(`#/components/schemas/${name}`)]).toEqual([name, true]);
		}
	});

	it("has schemas whose types, required fields and patterns can be used", () => {
		const types = ["string", "number", "integer", "boolean", "object", "array", "null"];
		for (const [path, node] of nodes(document.components.schemas, "#/components/schemas")) {
			if (path.endsWith("/properties") || path.includes("/examples")) continue;
			if (typeof node.type === "string") expect([path, types.includes(node.type)]).toEqual([path, true]);
			if (Array.isArray(node.required))
				for (const name of node.required)
					expect([path, name, Object.keys(node.properties as object).includes(name)]).toEqual([path, name, true]);
			if (typeof node.pattern === "string") expect(() => new RegExp(node.pattern as string, "u")).not.toThrow();
			expect([path, "nullable" in node, "$defs" in node]).toEqual([path, false, false]);
		}
	});

	it("lists every problem code in the problem's schema", () => {
		expect(document.components.schemas.Problem.properties.code.enum).toEqual(Object.keys(PROBLEMS));
	});

	// Bug: header_invalid (submitJob), dry_run_unsupported (all but processTick) and method_not_allowed stand at no operation.
	it("documents every problem code at an operation that may refuse with it", () => {
		const documented = new Set(
			[...nodes(document.paths)].flatMap(([, { description, content }]) => (content === undefined ? [] : String(description).split(", "))),
		);
		expect(Object.keys(PROBLEMS).filter(code => !documented.has(code))).toEqual([]);
	});
});
