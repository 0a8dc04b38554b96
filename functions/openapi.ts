/** GET /openapi.json: this API, described. */
import { openApiDocument } from "../lib/openapi.ts";
import { operation, Reply } from "../lib/operation.ts";

let text: string | undefined;

export const openapi = operation("openapi", () => {
	text ??= JSON.stringify(openApiDocument());
	return new Reply(text);
});
