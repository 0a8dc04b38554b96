/** Addresses: every view is a link (`#/jobs?status=failed&tenant=acme`). Owns reading and writing the hash. */

/** @import { Route } from "./types.js" */

/** @returns {Route} */
export function currentRoute() {
	const [path = "", query = ""] = location.hash.replace(/^#/, "").split(/\?(.*)/s);
	const params = new URLSearchParams(query);
	return { path: path.split("/").filter(Boolean).map(decode), params, tenant: params.get("tenant") || null };
}

/** @param {string} part */
function decode(part) {
	try {
		return decodeURIComponent(part);
	} catch {
		return part;
	}
}

/**
 * The address of a view. The current scope goes along unless `params` names a tenant; null leaves a parameter out.
 * @param {string[]} path
 * @param {Record<string, string | null | undefined>} [params]
 */
export function href(path, params = {}) {
	const query = new URLSearchParams();
	for (const [name, value] of Object.entries({ ...params, tenant: "tenant" in params ? params.tenant : currentRoute().tenant })) {
		if (value) query.set(name, value);
	}
	return `#/${path.map(encodeURIComponent).join("/")}${query.size > 0 ? `?${query}` : ""}`;
}

/**
 * The present view with some parameters changed.
 * @param {Record<string, string | null>} changes
 */
export function hrefWith(changes) {
	const { path, params } = currentRoute();
	return href(path, { ...Object.fromEntries(params), ...changes });
}

/** @param {string} address */
export function go(address) {
	location.hash = address;
}
