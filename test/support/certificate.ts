/** A certificate that vouches for itself, for tests of TLS: Node can read one, and has no way to make one. RFC 5280 tells the form. */
import { generateKeyPairSync, sign } from "node:crypto";

/** A value in DER: its tag, its length, its contents. */
function der(tag: number, ...contents: readonly Buffer[]): Buffer {
	const body = Buffer.concat(contents);
	const length = body.length < 128 ? [body.length] : [0x82, body.length >> 8, body.length & 255];
	return Buffer.concat([Buffer.from([tag, ...length]), body]);
}
const sequence = (...contents: readonly Buffer[]): Buffer => der(0x30, ...contents);
const hex = (text: string): Buffer => Buffer.from(text, "hex");
const time = (year: number): Buffer => der(0x18, Buffer.from(`${year}0101000000Z`));

const COMMON_NAME = hex("0603550403");
const SUBJECT_ALT_NAME = hex("0603551d11");
const ECDSA_WITH_SHA256 = sequence(hex("06082a8648ce3d040302"));

const toPem = (what: string, bytes: Buffer): string =>
	`-----BEGIN ${what}-----\n${bytes.toString("base64").replaceAll(/.{64}/g, "$&\n")}\n-----END ${what}-----\n`;

/** For a host by its name and by its IPv4 address, both as PEM. */
export function createCertificate(host: string, address: string): { readonly certificate: string; readonly key: string } {
	const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
	const name = sequence(der(0x31, sequence(COMMON_NAME, der(0x0c, Buffer.from(host)))));
	const names = sequence(der(0x82, Buffer.from(host)), der(0x87, Buffer.from(address.split(".").map(Number))));
	const facts = sequence(
		der(0xa0, hex("020102")), // version 3
		hex("020101"), // its number
		ECDSA_WITH_SHA256,
		name,
		sequence(time(2020), time(2120)),
		name,
		publicKey.export({ type: "spki", format: "der" }),
		der(0xa3, sequence(sequence(SUBJECT_ALT_NAME, der(0x04, names)))),
	);
	const signature = sign("sha256", facts, privateKey);
	return {
		certificate: toPem("CERTIFICATE", sequence(facts, ECDSA_WITH_SHA256, der(0x03, hex("00"), signature))),
		key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
	};
}
