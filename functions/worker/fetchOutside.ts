/** Calls addresses that users gave, from a Worker: what stands in the URL is checked, at each redirect anew. A name cannot be resolved here first. */
import { followRedirects } from "../../lib/followRedirects.ts";
import { ALLOW_NOTHING, type Allow } from "../../lib/outside.ts";
import type { FetchOutside } from "../../lib/task.ts";

/** @param allow what may be called although it is inside */
export const createFetchOutside =
	(allow: Allow = ALLOW_NOTHING): FetchOutside =>
	(address, init = {}) =>
		followRedirects(address, init, allow, async (url, { method, headers, body, signal }) => {
			headers.set("accept-encoding", "identity");
			try {
				return await fetch(url, {
					method,
					headers,
					redirect: "manual",
					...(body === undefined ? {} : { body }),
					...(signal ? { signal } : {}),
				});
			} catch {
				// The platform's own words may hold the whole address, and with it credentials.
				throw signal?.aborted ? signal.reason : new Error(`${url.host} could not be called`);
			}
		});
