import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { assertOutside, isInside, OutsideForbidden, readAllow, readIp } from "../../lib/outside.ts";

function refusal(address: string, allow = ""): OutsideForbidden {
	try {
		assertOutside(address, readAllow(allow));
	} catch (error) {
		if (error instanceof OutsideForbidden) return error;
		throw error;
	}
	throw new Error(`${address} was not refused`);
}

describe("an address that leads inside is refused", () => {
	it.each([
		["loopback", "http://127.0.0.1/"],
		["all of loopback", "http://127.255.1.2/"],
		["a decimal address", "http://2130706433/"],
		["an octal address", "http://0177.0.0.01/"],
		["a hexadecimal address", "http://0x7f000001/"],
		["hexadecimal parts", "http://0x7f.0x0.0x0.0x1/"],
		["mixed bases", "http://0x7f.0.1/"],
		["two parts", "http://127.1/"],
		["one part, which is zero", "http://0/"],
		["a dot at the end", "http://127.0.0.1./"],
		["a decimal address with a dot at the end", "http://2130706433./"],
		["full-width digits", "http://１２７.０.０.１/"],
		["circled digits", "http://①②⑦.⓪.⓪.①/"],
		["ideographic full stops", "http://127。0。0。1/"],
		["percent-encoded digits", "http://%31%32%37.0.0.1/"],
		["backslashes", "http:\\\\127.0.0.1\\"],
		["a tab and a line break inside", "http://127.0\t.0\n.1/"],
		["missing slashes", "http:127.0.0.1"],
		["upper case and blanks around", "  HTTP://127.0.0.1  "],
		["unspecified", "http://0.0.0.0:8080/"],
		["private, class A", "http://10.255.255.255/"],
		["private, class B", "http://172.16.0.1/"],
		["private, class B, the last", "http://172.31.255.255/"],
		["private, class C", "http://192.168.1.1/"],
		["carrier-grade NAT", "http://100.64.0.1/"],
		["Alibaba's metadata", "http://100.100.100.200/latest/meta-data"],
		["metadata", "http://169.254.169.254/latest/meta-data/"],
		["metadata in decimal", "http://2852039166/"],
		["Azure's host", "http://168.63.129.16/"],
		["Oracle's metadata", "http://192.0.0.192/"],
		["multicast", "http://224.0.0.251/"],
		["broadcast", "http://255.255.255.255/"],
		["reserved", "http://240.0.0.1/"],
		["benchmarks", "http://198.19.0.1/"],
		["documentation", "http://203.0.113.7/"],
		["IPv6 loopback", "http://[::1]/"],
		["IPv6 loopback, written out", "http://[0:0:0:0:0:0:0:1]:8080/"],
		["IPv6 unspecified", "http://[::]/"],
		["mapped loopback", "http://[::ffff:127.0.0.1]/"],
		["mapped metadata in hexadecimal", "http://[::ffff:a9fe:a9fe]/"],
		["mapped, written out", "http://[0:0:0:0:0:ffff:10.0.0.1]/"],
		["IPv4-compatible", "http://[::127.0.0.1]/"],
		["translated", "http://[::ffff:0:127.0.0.1]/"],
		["NAT64 of loopback", "http://[64:ff9b::127.0.0.1]/"],
		["NAT64 of a network's own", "http://[64:ff9b:1::8.8.8.8]/"],
		["6to4 of a private address", "http://[2002:a00:1::]/"],
		["Teredo", "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/"],
		["unique local", "http://[fc00::1]/"],
		["Amazon's metadata over IPv6", "http://[fd00:ec2::254]/"],
		["link-local", "http://[fe80::1]/"],
		["site-local", "http://[fec0::1]/"],
		["IPv6 multicast", "http://[ff02::1]/"],
		["IPv6 documentation", "http://[2001:db8::1]/"],
		["IPv6 that nobody has been given", "http://[4000::1]/"],
		["localhost", "http://localhost:3000/"],
		["localhost in other case", "http://LocalHost/"],
		["localhost with a dot", "http://localhost./"],
		["localhost with two dots", "http://localhost../"],
		["a name under localhost", "http://db.localhost/"],
		["multicast DNS", "http://printer.local/"],
		["Google's metadata", "http://metadata.google.internal/computeMetadata/v1/"],
		["Google's metadata with a dot", "http://metadata.google.internal./"],
		["a home network", "http://router.home.arpa/"],
		["a name without a dot", "http://redis:8080/"],
		["a name without a dot, in full-width letters", "http://ｒｅｄｉｓ/"],
		["a name with an empty part", "http://example..com/"],
		["only a dot", "http://./"],
	])("%s", (_, address) => {
		expect(refusal(address).forNow).toBe(false);
	});

	it.each([
		["an IPv6 zone", "http://[fe80::1%25eth0]/"],
		["an IPv6 zone, not encoded", "http://[fe80::1%eth0]/"],
		["a number that is no address", "http://256.256.256.256/"],
		["too many parts", "http://1.2.3.4.5/"],
		["no host", "http:///"],
		["nothing", ""],
		["a path", "/api/jobs"],
		["a NUL", "http://exa\0mple.com/"],
		["another scheme", "ftp://example.com/"],
		["a file", "file:///etc/passwd"],
		["a script", "javascript:alert(1)"],
		["data", "data:text/plain,hello"],
		["gopher", "gopher://127.0.0.1:6379/_INFO"],
		["a socket", "unix:/var/run/docker.sock"],
		["a mail server's port", "http://example.com:25/"],
		["port 0", "http://example.com:0/"],
		["a user that looks like a host", "http://example.com@127.0.0.1/"],
		["a user", "http://user@example.com/"],
		["a password", "https://:secret@example.com/"],
		["a host behind a backslash", "http://127.0.0.1\\@example.com/"],
		["a host behind a fragment", "http://127.0.0.1#@example.com/"],
	])("%s", (_, address) => {
		expect(refusal(address)).toBeInstanceOf(OutsideForbidden);
	});
});

describe("an address that leads outside", () => {
	it.each([
		["a name", "https://api.example.com/a?b=c", "https://api.example.com/a?b=c"],
		["a name with a dot at the end", "https://example.com./", "https://example.com/"],
		["an international name", "https://bücher.example/", "https://xn--bcher-kva.example/"],
		["another port", "http://example.com:8080/", "http://example.com:8080/"],
		["a fragment, which is not sent", "http://example.com/#token", "http://example.com/"],
		["a name that only begins like one inside", "http://localhost.example.com/", "http://localhost.example.com/"],
		["a name that only ends like one inside", "http://mylocal/".replace("mylocal", "x.thelocal"), "http://x.thelocal/"],
		["IPv4", "http://8.8.8.8/", "http://8.8.8.8/"],
		["the addresses beside private ones", "http://172.32.0.1/", "http://172.32.0.1/"],
		["IPv6", "http://[2606:4700:4700::1111]/", "http://[2606:4700:4700::1111]/"],
		["NAT64 of a public address", "http://[64:ff9b::8.8.8.8]/", "http://[64:ff9b::808:808]/"],
		["mapped public IPv4", "http://[::ffff:8.8.8.8]/", "http://[::ffff:808:808]/"],
	])("is called: %s", (_, address, called) => {
		expect(assertOutside(address).href).toBe(called);
	});
});

describe("a refusal", () => {
	it("names the host and nothing else that the address holds", () => {
		for (const address of [
			"http://user:hunter2@example.com/path?token=hunter2",
			"http://10.0.0.1/hunter2?token=hunter2#hunter2",
			"http://localhost/hunter2?hunter2",
			"http://example.com:25/hunter2",
			"ftp://hunter2:hunter2@example.com/hunter2",
			"hunter2",
		])
			expect(refusal(address).message).not.toContain("hunter2");
		expect(refusal("http://10.0.0.1/x").message).toBe("10.0.0.1 is private, and may not be called unless TICKQ_OUTSIDE_ALLOW names it");
	});
});

describe("the allow-list", () => {
	it.each([
		["10.1.2.0/24", "http://10.1.2.255/"],
		["10.1.2.3", "http://10.1.2.3/"],
		["10.1.2.0/24", "http://[::ffff:10.1.2.3]/"],
		["10.9.9.9/8", "http://10.1.2.3/"],
		["::1", "http://[::1]/"],
		["[::1]", "http://[::1]/"],
		["fd00::/8", "http://[fd12:3456::1]/"],
		["internal.example, Redis localhost", "http://redis/"],
		["internal.example,Redis,localhost", "http://localhost:8080/"],
		["metadata.google.internal.", "http://metadata.google.internal/"],
	])("%s lets %s through", (allow, address) => {
		expect(() => assertOutside(address)).toThrow(OutsideForbidden);
		expect(() => assertOutside(address, readAllow(allow))).not.toThrow();
	});

	it.each([
		["10.1.2.0/24", "http://10.1.3.0/"],
		["10.1.2.3/32", "http://10.1.2.4/"],
		["fd00::/8", "http://[fc00::1]/"],
		["localhost", "http://db.localhost/"],
		["localhost", "http://127.0.0.1/"],
		["0.0.0.0/0", "http://[::1]/"],
		["127.0.0.1", "http://localhost/"],
		["localhost", "http://user:password@localhost/"],
		["localhost", "http://localhost:25/"],
		["localhost", "ftp://localhost/"],
	])("%s does not let %s through", (allow, address) => {
		refusal(address, allow);
	});

	it.each([
		"10.0.0.0/33",
		"10.0.0.0/x",
		"::1/129",
		"10.0.0/8",
		"http://internal",
		"a:80",
		"*.internal",
		"user@host",
		"127.1",
		"a/8",
		"[::1",
	])("says that it cannot read %s", entry => {
		expect(() => readAllow(`localhost, ${entry}`)).toThrow(`"${entry}" is neither a host`);
	});
});

describe("reading addresses", () => {
	it("agrees with the URL parser on every IPv6 address", () => {
		fc.assert(
			fc.property(fc.ipV6(), text => {
				const read = readIp(text);
				const parsed = URL.parse(`http://[${text}]/`);
				// Only what the parser takes can reach us in a URL.
				if (parsed === null) return;
				expect(read).not.toBeNull();
				expect(read).toEqual(readIp(parsed.hostname.slice(1, -1)));
			}),
		);
	});

	it("reads 16 bytes of whatever 16 bytes the parser writes", () => {
		fc.assert(
			fc.property(fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 8, maxLength: 8 }), groups => {
				const { hostname } = new URL(`http://[${groups.map(group => group.toString(16)).join(":")}]/`);
				const bytes = groups.flatMap(group => [group >> 8, group & 255]);
				const mapped = groups.slice(0, 5).every(group => group === 0) && groups[5] === 0xffff;
				expect(readIp(hostname.slice(1, -1))).toEqual(mapped ? bytes.slice(12) : bytes);
			}),
		);
	});

	it("takes what it cannot read for an address inside", () => {
		for (const text of [
			"",
			"localhost",
			"1.2.3",
			"1.2.3.4.5",
			"01.2.3.4",
			"1.2.3.256",
			"::1::",
			"1:2:3",
			":::",
			"fe80::1%eth0",
			"8.8.8.8 ",
		])
			expect([text, isInside(text)]).toEqual([text, true]);
	});

	it("judges IPv4 the same in its mapped form", () => {
		fc.assert(fc.property(fc.ipV4(), ip => isInside(ip) === isInside(`::ffff:${ip}`) && isInside(ip) === isInside(`64:ff9b::${ip}`)));
	});
});
