/** What an address that a user gave may be: public, and reached by http or https. Nothing is resolved here; see the roots' fetchOutside. */

/** The address leads inside, or is none that may be called. */
export class OutsideForbidden extends Error {
	override readonly name = "OutsideForbidden";
	/** Only what the name resolved to was refused: another time, or on another machine, it may lead elsewhere. */
	readonly forNow: boolean;
	constructor(message: string, forNow = false) {
		super(message);
		this.forNow = forNow;
	}
}

/** An address, 4 or 16 bytes. IPv4 that is mapped into IPv6 is IPv4. */
type Ip = readonly number[];
interface Net {
	readonly ip: Ip;
	readonly bits: number;
}
/** What may be called although it is inside. */
export interface Allow {
	readonly names: ReadonlySet<string>;
	readonly nets: readonly Net[];
}
export const ALLOW_NOTHING: Allow = { names: new Set(), nets: [] };

/**
 * Reads a list of hosts and networks that may be called although they are inside: "10.1.2.0/24, internal.example, ::1". Names are exact.
 * @throws Error that says which entry cannot be read
 */
export function readAllow(text: string): Allow {
	const names = new Set<string>();
	const nets: Net[] = [];
	for (const entry of text.split(/[\s,]+/).filter(entry => entry !== "")) {
		const net = readNet(entry);
		const name = net === null && /^[^/:@?#\\%*]+$/.test(entry) ? URL.parse(`http://${entry}`)?.hostname.replace(/\.$/, "") : undefined;
		if (net !== null) nets.push(net);
		else if (name !== undefined && readIp(name) === null) names.add(name);
		else throw new Error(`"${entry}" is neither a host, such as internal.example, nor a network, such as 10.1.2.0/24`);
	}
	return { names, nets };
}

/** Whether the operator has allowed this host by its name; then it does not matter where the name leads. */
export const allowsName = (allow: Allow, host: string): boolean => allow.names.has(host);

/** https://fetch.spec.whatwg.org/#port-blocking: ports where something listens that takes an HTTP request for something else. */
const BAD_PORTS = new Set(
	(
		"0 1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 111 113 115 117 119 123 135 137 139 143 161 " +
		"179 389 427 465 512 513 514 515 526 530 531 532 540 548 554 556 563 587 601 636 989 990 993 995 1719 1720 1723 2049 3659 4045 4190 " +
		"5060 5061 6000 6566 6665 6666 6667 6668 6669 6679 6697 10080"
	).split(" "),
);

/** Names that are never public: RFC 6761, 6762 and 8375, ICANN's .internal, and endings that are kept undelegated because networks use them. */
const INSIDE_NAME = /(?:^|\.)(?:localhost|localdomain|local|internal|intranet|private|corp|home|lan|home\.arpa)$/;

/**
 * Checks what can be seen of an address without resolving it. Answers the URL as it is to be called: without fragment and trailing dot.
 * Messages name the host at most: the rest of a URL may hold credentials.
 * @throws OutsideForbidden
 */
export function assertOutside(address: string | URL, allow: Allow = ALLOW_NOTHING): URL {
	const url = URL.parse(address);
	if (url === null) throw new OutsideForbidden("the address cannot be read as a URL");
	if (url.protocol !== "http:" && url.protocol !== "https:") throw new OutsideForbidden("only http and https may be called");
	if (url.username !== "" || url.password !== "")
		throw new OutsideForbidden(`the address for ${url.host} has a user or password in it: send an Authorization header instead`);
	url.hash = "";
	url.hostname = url.hostname.replace(/\.$/, "");
	const host = hostOf(url);
	if (BAD_PORTS.has(url.port)) throw new OutsideForbidden(`port ${url.port} of ${host} is not one to call`);
	if (allowsName(allow, host)) return url;
	const why = readIp(host) === null ? whyInsideName(host) : whyInside(host, allow);
	if (why !== null) throw new OutsideForbidden(`${host} ${why}, and may not be called unless TICKQ_OUTSIDE_ALLOW names it`);
	return url;
}

/** The host without the brackets of IPv6. */
export const hostOf = (url: URL): string => url.hostname.replace(/^\[(.*)\]$/, "$1");

function whyInsideName(host: string): string | null {
	if (INSIDE_NAME.test(host)) return "is a name inside a network";
	if (!host.includes(".")) return "is a name without a dot, which is only known inside a network";
	return host.split(".").includes("") ? "is not a name that can be resolved" : null;
}

/** https://www.iana.org/assignments/iana-ipv4-special-registry and Azure's host, which has a public address. */
const INSIDE_4 = nets({
	"0.0.0.0/8": "is unspecified",
	"10.0.0.0/8": "is private",
	"100.64.0.0/10": "is shared address space",
	"127.0.0.0/8": "is loopback",
	"168.63.129.16/32": "is a metadata service",
	"169.254.0.0/16": "is link-local",
	"172.16.0.0/12": "is private",
	"192.0.0.0/24": "is reserved for protocols",
	"192.0.2.0/24": "is for documentation",
	"192.31.196.0/24": "is reserved for protocols",
	"192.52.193.0/24": "is reserved for protocols",
	"192.88.99.0/24": "is a relay",
	"192.168.0.0/16": "is private",
	"192.175.48.0/24": "is reserved for protocols",
	"198.18.0.0/15": "is for benchmarks",
	"198.51.100.0/24": "is for documentation",
	"203.0.113.0/24": "is for documentation",
	"224.0.0.0/4": "is multicast",
	"240.0.0.0/4": "is reserved",
});

/** What stands outside of 2000::/3, with better words than "is not public"; and what is not for everybody inside of it. */
const INSIDE_6 = nets({
	"::/128": "is unspecified",
	"::1/128": "is loopback",
	"fc00::/7": "is private",
	"fe80::/10": "is link-local",
	"fec0::/10": "is site-local",
	"ff00::/8": "is multicast",
	// Teredo, ORCHID, benchmarks, and other things that are no hosts.
	"2001::/23": "is reserved for protocols",
	"2001:db8::/32": "is for documentation",
	"2002::/16": "is a relay",
	"3fff::/20": "is for documentation",
});
const PUBLIC_6 = readNet("2000::/3")!;
/** RFC 6052: the last four bytes are the IPv4 address that is meant. */
const NAT64 = readNet("64:ff9b::/96")!;

/** Whether a resolved address is not a public one, or cannot be read. */
export const isInside = (address: string, allow: Allow = ALLOW_NOTHING): boolean => whyInside(address, allow) !== null;

function whyInside(address: string, allow: Allow): string | null {
	const ip = readIp(address);
	if (ip === null) return "is not an address";
	if (allow.nets.some(net => contains(net, ip))) return null;
	if (ip.length === 16 && contains(NAT64, ip)) return whyInside(ip.slice(12).join("."), allow);
	const found = (ip.length === 4 ? INSIDE_4 : INSIDE_6).find(([net]) => contains(net, ip));
	if (found !== undefined) return found[1];
	return ip.length === 4 || contains(PUBLIC_6, ip) ? null : "is not public";
}

function nets(table: Readonly<Record<string, string>>): readonly (readonly [Net, string])[] {
	return Object.entries(table).map(([text, why]) => [readNet(text)!, why]);
}

function contains({ ip: start, bits }: Net, ip: Ip): boolean {
	if (start.length !== ip.length) return false;
	return start.every((byte, i) => {
		const left = Math.min(8, Math.max(0, bits - i * 8));
		return (byte ^ ip[i]!) >> (8 - left) === 0;
	});
}

/** "10.0.0.0/8", or one address. */
function readNet(text: string): Net | null {
	const [address = "", length, ...more] = text.replace(/^\[(.*)\]$/, "$1").split("/");
	const ip = readIp(address);
	if (ip === null || more.length > 0 || (length !== undefined && !/^\d{1,3}$/.test(length))) return null;
	const bits = length === undefined ? ip.length * 8 : Number(length);
	return bits > ip.length * 8 ? null : { ip, bits };
}

/** Reads the canonical forms only; of a URL, the parser has made them of all others. One with a zone is none. */
export function readIp(text: string): Ip | null {
	if (!text.includes(":")) return readIp4(text);
	// The last four bytes may be written as IPv4.
	const dotted = /^(.*:)([\d.]+)$/.exec(text);
	const tail = dotted?.[2]?.includes(".") ? readIp4(dotted[2]) : [];
	if (tail === null) return null;
	const head = tail.length === 0 ? text : dotted![1]!.replace(/([^:]):$/, "$1");
	const halves = head.split("::").map(half => (half === "" ? [] : half.split(":")));
	const groups = halves.flat();
	const missing = 8 - tail.length / 2 - groups.length;
	if (halves.length > 2 || !groups.every(group => /^[\da-f]{1,4}$/i.test(group))) return null;
	if (halves.length === 2 ? missing < 1 : missing !== 0) return null;
	const zeros = Array.from({ length: halves.length === 2 ? missing : 0 }, () => "0");
	const bytes = [...halves[0]!, ...zeros, ...(halves[1] ?? [])].flatMap(group => {
		const value = Number.parseInt(group, 16);
		return [value >> 8, value & 255];
	});
	const ip = [...bytes, ...tail];
	return ip.slice(0, 10).every(byte => byte === 0) && ip[10] === 255 && ip[11] === 255 ? ip.slice(12) : ip;
}

function readIp4(text: string): Ip | null {
	const parts = text.split(".");
	return parts.length === 4 && parts.every(part => /^(?:0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256) ? parts.map(Number) : null;
}
