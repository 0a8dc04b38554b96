/** Signs what is sent to users, by Standard Webhooks 1.0.0 (https://www.standardwebhooks.com). Nothing is stored: a tenant's secret is derived. */

const PREFIX = "whsec_";
/** The specification's bounds. */
const SECRET_BYTES_MIN = 24;
const SECRET_BYTES_MAX = 64;

/**
 * Reads a list of secrets, the current one first: "whsec_… whsec_…". Each is `whsec_` and 24 to 64 random bytes in base64.
 * @throws Error that says which is wrong by its place, and never shows one
 */
export function readWebhookSecrets(text: string): string[] {
	const secrets = text.split(/[\s,]+/).filter(secret => secret !== "");
	secrets.forEach((secret, i) => {
		const length = secret.startsWith(PREFIX) ? decode(secret)?.length : undefined;
		if (length === undefined) throw new Error(`webhook secret ${i + 1} is not ${PREFIX} followed by base64`);
		if (length < SECRET_BYTES_MIN || length > SECRET_BYTES_MAX)
			throw new Error(`webhook secret ${i + 1} has ${length} bytes; it must have ${SECRET_BYTES_MIN} to ${SECRET_BYTES_MAX}`);
	});
	return secrets;
}

/**
 * The secrets with which one tenant's messages are signed: HMAC-SHA256 of its name (UTF-8) under each root secret, as `whsec_…`. So a tenant
 * can be given its own, and learns nobody else's by it.
 */
export async function tenantSecrets(secrets: readonly string[], tenant: string): Promise<string[]> {
	const keys = await tenantKeys(secrets, tenant);
	return keys.map(key => PREFIX + encode(key));
}

/**
 * The headers of a signed message; none when there is no secret. With two secrets, during a rotation, there are two signatures, separated by
 * a space, and whoever holds either secret can verify.
 * @param messageId the same for each attempt to deliver the same message; without a full stop
 * @param timestampMs epoch milliseconds of this attempt
 * @param body as it is sent, to the byte
 */
export async function signWebhook(
	secrets: readonly string[],
	tenant: string,
	messageId: string,
	timestampMs: number,
	body: string,
): Promise<Record<string, string>> {
	if (secrets.length === 0) return {};
	if (!/^[\w-]+$/.test(messageId)) throw new TypeError("a message's id has letters, digits, _ and - only");
	const timestamp = Math.floor(timestampMs / 1000);
	const keys = await tenantKeys(secrets, tenant);
	const signatures = await Promise.all(keys.map(async key => `v1,${encode(await hmac(key, `${messageId}.${timestamp}.${body}`))}`));
	return { "webhook-id": messageId, "webhook-timestamp": String(timestamp), "webhook-signature": signatures.join(" ") };
}

const tenantKeys = (secrets: readonly string[], tenant: string): Promise<Uint8Array<ArrayBuffer>[]> =>
	Promise.all(
		secrets.map(secret => {
			const root = decode(secret);
			if (root === null) throw new TypeError("a webhook secret is not base64");
			return hmac(root, tenant);
		}),
	);

async function hmac(key: Uint8Array<ArrayBuffer>, text: string): Promise<Uint8Array<ArrayBuffer>> {
	const made = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
	return new Uint8Array(await crypto.subtle.sign("HMAC", made, new TextEncoder().encode(text)));
}

const encode = (bytes: Uint8Array): string => btoa(String.fromCharCode(...bytes));

function decode(secret: string): Uint8Array<ArrayBuffer> | null {
	try {
		return Uint8Array.from(atob(secret.slice(PREFIX.length)), character => character.charCodeAt(0));
	} catch {
		return null;
	}
}
