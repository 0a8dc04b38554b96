/** The tenants this browser has seen, newest first: the choices of the scope and of the form. The API has no list of them yet. */

const KEY = "tickq.tenants";
const TENANTS_MAX = 50;
const LAST = "tickq.tenant";

/** @type {Set<() => void>} */
const listeners = new Set();

/** @returns {string[]} */
export function knownTenants() {
	try {
		const names = JSON.parse(localStorage.getItem(KEY) ?? "[]");
		return Array.isArray(names) ? names.filter(name => typeof name === "string") : [];
	} catch {
		return [];
	}
}

/** @param {Iterable<string>} names */
export function rememberTenants(names) {
	const known = knownTenants();
	const fresh = [...new Set(names)].filter(name => !known.includes(name));
	if (fresh.length === 0) return;
	localStorage.setItem(KEY, JSON.stringify([...fresh, ...known].slice(0, TENANTS_MAX)));
	for (const listener of listeners) listener();
}

/** @param {() => void} listener */
export function onTenants(listener) {
	listeners.add(listener);
}

/**
 * The tenant a new job is for: the scope, or the last one used here.
 * @param {string | null} scope
 */
export const tenantForSubmit = scope => scope ?? localStorage.getItem(LAST) ?? "acme";

/** @param {string} tenant */
export function rememberSubmit(tenant) {
	localStorage.setItem(LAST, tenant);
	rememberTenants([tenant]);
}
