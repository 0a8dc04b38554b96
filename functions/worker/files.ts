/** The dashboard's files, with the same headers as everywhere. */
import type { Context, Hono } from "hono";
import { PAGE_HEADERS } from "../../lib/pageHeaders.ts";
import type { Fetcher } from "./platform.ts";

/** @param assets what `wrangler.jsonc` puts together: static/ and vendor/ */
export function addFiles(app: Hono, assets: (context: Context) => Fetcher | undefined): void {
	const file = async (context: Context, path: string): Promise<Response> => {
		const { raw } = context.req;
		const found = await assets(context)?.fetch(new Request(new URL(path, raw.url), raw));
		if (found === undefined || found.status === 404) return context.notFound();
		const response = new Response(found.body, found);
		for (const [name, value] of Object.entries(PAGE_HEADERS)) response.headers.set(name, value);
		return response;
	};
	app.get("/", context => file(context, "/static/index.html"));
	app.on("GET", ["/static/*", "/vendor/*"], context => file(context, context.req.path));
}
