import { createHmac } from "node:crypto";
import { Webhook } from "standardwebhooks";
import { describe, expect, it } from "vitest";
import { readWebhookSecrets, signWebhook, tenantSecrets } from "../../lib/webhook.ts";

const OLD = `whsec_${Buffer.alloc(32, 1).toString("base64")}`;
const NEW = `whsec_${Buffer.alloc(24, 2).toString("base64")}`;
const BODY = JSON.stringify({ type: "job.done", data: { name: "Åse", n: 1.5 } });

/** The reference implementation only knows the wall clock. */
const now = () => Date.now();
const verify = (secret: string | undefined, headers: Record<string, string>, body = BODY) => new Webhook(secret!).verify(body, headers);

describe("signing", () => {
	it("is verified by the reference implementation with the tenant's secret", async () => {
		const headers = await signWebhook([NEW], "acme", "job_1", now(), BODY);
		const [secret] = await tenantSecrets([NEW], "acme");
		expect(verify(secret, headers)).toEqual(JSON.parse(BODY));
		expect(headers).toEqual({
			"webhook-id": "job_1",
			"webhook-timestamp": expect.stringMatching(/^\d{10}$/),
			"webhook-signature": expect.any(String),
		});
	});

	it("is verified during a rotation with either secret, the current one first", async () => {
		const headers = await signWebhook([NEW, OLD], "acme", "job_1", now(), BODY);
		const [current, former] = await tenantSecrets([NEW, OLD], "acme");
		expect(verify(current, headers)).toEqual(JSON.parse(BODY));
		expect(verify(former, headers)).toEqual(JSON.parse(BODY));
		const [first, second, ...more] = headers["webhook-signature"]!.split(" ");
		expect(more).toEqual([]);
		expect(verify(current, { ...headers, "webhook-signature": first! })).toEqual(JSON.parse(BODY));
		expect(verify(former, { ...headers, "webhook-signature": second! })).toEqual(JSON.parse(BODY));
	});

	it("is not verified with the secret of another tenant, or a root secret", async () => {
		const headers = await signWebhook([NEW, OLD], "acme", "job_1", now(), BODY);
		const others = [...(await tenantSecrets([NEW, OLD], "globex")), NEW, OLD];
		for (const secret of others) expect(() => verify(secret, headers)).toThrow("No matching signature found");
	});

	it.each([
		["body", {}, `${BODY} `],
		["id", { "webhook-id": "job_2" }, BODY],
		["time", { "webhook-timestamp": String(Math.floor(now() / 1000) + 7) }, BODY],
	])("is not verified when its %s was changed", async (_, change, body) => {
		const headers = await signWebhook([NEW], "acme", "job_1", now(), BODY);
		const [secret] = await tenantSecrets([NEW], "acme");
		expect(() => verify(secret, { ...headers, ...change }, body)).toThrow("No matching signature found");
	});

	it("is refused by the receiver when it is 6 minutes old", async () => {
		const headers = await signWebhook([NEW], "acme", "job_1", now() - 6 * 60_000, BODY);
		const [secret] = await tenantSecrets([NEW], "acme");
		expect(() => verify(secret, headers)).toThrow("Message timestamp too old");
	});

	it("signs an empty body, and says the time in whole seconds", async () => {
		const headers = await signWebhook([NEW], "acme", "job_1", 1_767_225_600_999, "");
		expect(headers["webhook-timestamp"]).toBe("1767225600");
		const key = createHmac("sha256", Buffer.alloc(24, 2)).update("acme").digest();
		expect(headers["webhook-signature"]).toBe(`v1,${createHmac("sha256", key).update("job_1.1767225600.").digest("base64")}`);
	});

	it("has no headers where no secret is set", async () => {
		expect(await signWebhook([], "acme", "job_1", now(), BODY)).toEqual({});
		expect(await tenantSecrets([], "acme")).toEqual([]);
	});

	it("refuses an id with a full stop, which could be taken for the time's", async () => {
		await expect(signWebhook([NEW], "acme", "job.1", now(), BODY)).rejects.toThrow(TypeError);
	});
});

describe("a tenant's secrets", () => {
	it("are the HMAC of its name under each root secret, so that anything can derive them", async () => {
		const [secret, ...more] = await tenantSecrets([OLD], "acme");
		expect(secret).toBe(`whsec_${createHmac("sha256", Buffer.alloc(32, 1)).update("acme").digest("base64")}`);
		expect(more).toEqual([]);
	});

	it("differ by tenant and by root", async () => {
		const all = [...(await tenantSecrets([NEW, OLD], "acme")), ...(await tenantSecrets([NEW, OLD], "globex"))];
		expect(new Set([...all, NEW, OLD]).size).toBe(6);
	});
});

describe("reading secrets", () => {
	it("takes them separated by blanks or commas", () => {
		expect(readWebhookSecrets(` ${NEW}, ${OLD}\n`)).toEqual([NEW, OLD]);
		expect(readWebhookSecrets("")).toEqual([]);
	});

	it.each([
		["no prefix", Buffer.alloc(32, 3).toString("base64"), "is not whsec_ followed by base64"],
		["no base64", "whsec_not*base64", "is not whsec_ followed by base64"],
		["nothing behind the prefix", "whsec_", "has 0 bytes"],
		["too short", `whsec_${Buffer.alloc(23, 3).toString("base64")}`, "has 23 bytes; it must have 24 to 64"],
		["too long", `whsec_${Buffer.alloc(65, 3).toString("base64")}`, "has 65 bytes"],
	])("refuses one with %s, and does not show it", (_, secret, says) => {
		expect(() => readWebhookSecrets(`${NEW} ${secret}`)).toThrow(`webhook secret 2 ${says}`);
		try {
			readWebhookSecrets(`${NEW} ${secret}`);
		} catch (error) {
			const shown = String((error as Error).stack);
			for (const part of [NEW, secret.replace("whsec_", "")].filter(text => text !== "")) expect(shown).not.toContain(part);
		}
	});
});
