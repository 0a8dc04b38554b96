/** Calls addresses that users gave, from a Worker: what stands in the URL is checked, at each redirect anew. A name cannot be resolved here first. */
import { followRedirects } from "../../lib/followRedirects.ts";
import { readAllow } from "../../lib/outside.ts";
import type { FetchOutside } from "../../lib/task.ts";

export interface FetchOutsideOptions {
	/** Hosts and networks that may be called although they are inside: "10.1.2.0/24, internal.example". */
	readonly allow?: string;
}

/** @throws Error for an allow-list that cannot be read */
export function createFetchOutside({ allow = "" }: FetchOutsideOptions = {}): FetchOutside {
	const allowed = readAllow(allow);
	return (address, init = {}) =>
		followRedirects(address, init, allowed, async (url, { method, headers, body, signal }) => {
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
}
