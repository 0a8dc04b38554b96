import { afterEach, describe, expect, it, vi } from "vitest";
import { createFetchOutside } from "../../functions/worker/fetchOutside.ts";
import { OutsideForbidden, readAllow } from "../../lib/outside.ts";

afterEach(() => {
	vi.unstubAllGlobals();
});

/** The platform's fetch: what it was asked, and what it answers. */
function platform(answer: (url: URL, init: RequestInit) => Response | Promise<Response>) {
	const asked: { readonly url: string; readonly init: RequestInit }[] = [];
	vi.stubGlobal("fetch", async (url: URL, init: RequestInit) => {
		asked.push({ url: url.href, init });
		return answer(url, init);
	});
	return asked;
}

describe("fetchOutside of a Worker", () => {
	it("hands the call to the platform, which follows nothing by itself", async () => {
		const asked = platform(() => new Response("ok"));
		const response = await createFetchOutside()("https://example.com/a#b", { method: "POST", body: "1", headers: { "x-own": "y" } });
		expect(await response.text()).toBe("ok");
		expect(asked[0]).toMatchObject({ url: "https://example.com/a", init: { method: "POST", body: "1", redirect: "manual" } });
		expect(Object.fromEntries(asked[0]!.init.headers as Headers)).toEqual({ "accept-encoding": "identity", "x-own": "y" });
	});

	it("refuses what can be seen to lead inside", async () => {
		const asked = platform(() => new Response());
		for (const url of [
			"http://127.0.0.1/",
			"http://2130706433/",
			"http://[::1]/",
			"http://metadata.google.internal/",
			"http://a:b@example.com/",
		])
			await expect(createFetchOutside()(url)).rejects.toThrow(OutsideForbidden);
		expect(asked).toEqual([]);
	});

	it("checks each redirect like the first address", async () => {
		const asked = platform(
			({ pathname }) => new Response(null, { status: 302, headers: { location: pathname === "/" ? "/next" : "http://169.254.169.254/" } }),
		);
		await expect(createFetchOutside()("https://example.com/")).rejects.toThrow(OutsideForbidden);
		expect(asked.map(({ url }) => url)).toEqual(["https://example.com/", "https://example.com/next"]);
	});

	it("lets through what the operator allows", async () => {
		platform(() => new Response("ok"));
		expect(await (await createFetchOutside(readAllow("10.1.2.0/24"))("http://10.1.2.3/")).text()).toBe("ok");
	});

	it("keeps the platform's own words to itself, since they may hold the address", async () => {
		platform(url => Promise.reject(new TypeError(`Fetch API cannot load: ${url}`)));
		const error: Error = await createFetchOutside()("https://example.com/?token=hunter2").catch(error => error);
		expect([error.message, String(error.stack).includes("hunter2")]).toEqual(["example.com could not be called", false]);
	});

	it("ends with the reason of the signal", async () => {
		const controller = new AbortController();
		const reason = new Error("cancelled");
		platform(() => {
			controller.abort(reason);
			throw new DOMException("aborted", "AbortError");
		});
		await expect(createFetchOutside()("https://example.com/", { signal: controller.signal })).rejects.toBe(reason);
	});
});
