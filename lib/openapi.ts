/** The OpenAPI 3.1 document, made from the contract. */
import * as z from "zod";
import { commonProblems, type OperationRow, operations } from "./contract.ts";
import { PROBLEMS, type ProblemCode } from "./problem.ts";
import { VERSION } from "./version.ts";

type JsonSchema = Record<string, unknown>;

/** Schemas with an id become components; everything else stands where it is used. */
function schemaOf(schema: z.ZodType, components: Record<string, JsonSchema>, io: "input" | "output"): JsonSchema {
	const {
		$schema: _,
		$defs,
		...rest
	} = z.toJSONSchema(schema, { io, unrepresentable: "any", target: "draft-2020-12" }) as JsonSchema & {
		$defs?: Record<string, JsonSchema>;
	};
	for (const [name, definition] of Object.entries($defs ?? {})) components[name] = moveRefs(definition);
	const moved = moveRefs(rest);
	const id = moved.id;
	if (typeof id !== "string") return moved;
	components[id] = moved;
	return { $ref: `#/components/schemas/${id}` };
}
const moveRefs = (schema: JsonSchema): JsonSchema => JSON.parse(JSON.stringify(schema).replaceAll('"#/$defs/', '"#/components/schemas/'));

const PROBLEM: JsonSchema = {
	type: "object",
	description: "RFC 9457",
	required: ["type", "title", "status", "code", "detail", "instance", "trace_id"],
	properties: {
		type: { type: "string" },
		title: { type: "string" },
		status: { type: "integer" },
		code: { type: "string", enum: Object.keys(PROBLEMS) },
		detail: { type: "string", description: "What is wrong, and what to do next" },
		instance: { type: "string" },
		errors: {
			type: "array",
			items: {
				type: "object",
				required: ["pointer", "code", "detail"],
				properties: { pointer: { type: "string", description: "RFC 6901" }, code: { type: "string" }, detail: { type: "string" } },
			},
		},
		trace_id: { type: "string" },
	},
};

const tenantHeader = (required: boolean, all: boolean, calls: boolean): JsonSchema => ({
	name: "X-Tenant-ID",
	in: "header",
	required,
	description: `Whose jobs${all ? "; * for those of all tenants" : ""}${calls ? "; ~acme for the calls to webhooks of acme" : ""}`,
	schema: { type: "string", examples: ["acme"] },
});

function parametersOf(row: OperationRow, components: Record<string, JsonSchema>): JsonSchema[] {
	const inPath = [...row.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({ name, in: "path", required: true, schema: { type: "string" } }));
	const inQuery = Object.entries(row.query?.shape ?? {}).map(([name, schema]) => {
		const { description, ...rest } = schemaOf(schema as z.ZodType, components, "input");
		return { name, in: "query", required: false, ...(description === undefined ? {} : { description }), schema: rest };
	});
	const inHeader =
		row.tenants === undefined ? [] : [tenantHeader(row.tenants !== "all by default", row.tenants !== "one", row.calls === true)];
	return [...inPath, ...inQuery, ...inHeader];
}

function responsesOf(row: OperationRow, components: Record<string, JsonSchema>): Record<string, JsonSchema> {
	const byStatus = new Map<number, ProblemCode[]>();
	for (const code of [...row.problems, ...commonProblems(row)])
		byStatus.set(PROBLEMS[code][0], [...(byStatus.get(PROBLEMS[code][0]) ?? []), code]);
	const success = (status: number, answer: z.ZodType, description = "Success"): [string, JsonSchema] => [
		String(status),
		{
			description,
			...(answer instanceof z.ZodUndefined ? {} : { content: { "application/json": { schema: schemaOf(answer, components, "output") } } }),
		},
	];
	return Object.fromEntries([
		success(row.status, row.answer),
		...(row.dryRun === undefined ? [] : [success(200, row.dryRun, "What it would do; nothing was written")]),
		...[...byStatus].map(([status, codes]) => [
			String(status),
			{ description: codes.join(", "), content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } } },
		]),
	]);
}

/** The whole document, for this version of the contract. */
export function openApiDocument(): Record<string, unknown> {
	const components: Record<string, JsonSchema> = { Problem: PROBLEM };
	const paths: Record<string, Record<string, JsonSchema>> = {};
	for (const [name, row] of Object.entries(operations) as [string, OperationRow][]) {
		paths[row.path] ??= {};
		paths[row.path]![row.method.toLowerCase()] = {
			operationId: name,
			summary: row.summary,
			parameters: parametersOf(row, components),
			...(row.body === undefined
				? {}
				: {
						requestBody: {
							required: !row.body.safeParse({}).success,
							content: { "application/json": { schema: schemaOf(row.body, components, "input") } },
						},
					}),
			responses: responsesOf(row, components),
		};
	}
	return {
		openapi: "3.1.0",
		info: {
			title: "tickq",
			version: VERSION,
			description: "A multi-tenant job queue. Fields and codes are only ever added.",
			license: { name: "MIT", identifier: "MIT" },
		},
		servers: [{ url: "/" }],
		paths,
		components: { schemas: components },
	};
}
