import { execFile } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { promisify } from "node:util";
import { afterEach, describe, expect, it } from "vitest";
import { createFetchOutside, type FetchOutsideOptions } from "../../emulator/fetchOutside.ts";
import { ALLOW_NOTHING, OutsideForbidden, readAllow } from "../../lib/outside.ts";
import { createCertificate } from "../support/certificate.ts";
import { type Answerer, type LocalServer, startServer } from "../support/localServer.ts";

const closing: (() => unknown)[] = [];
afterEach(async () => {
	for (const close of closing.splice(0)) await close();
});

async function serve(answer: Answerer, tls?: Parameters<typeof startServer>[1]): Promise<LocalServer> {
	const server = await startServer(answer, tls);
	closing.push(server.close);
	return server;
}
const ok: Answerer = (_, response) => response.end("ok");

/** Timers that go off when told. */
function createTimers() {
	const timers = new Map<object, { readonly ms: number; readonly callback: () => void }>();
	return {
		after(ms: number, callback: () => void) {
			const key = {};
			timers.set(key, { ms, callback });
			return () => timers.delete(key);
		},
		ring(ms: number) {
			for (const timer of timers.values()) if (timer.ms === ms) timer.callback();
		},
		count: () => timers.size,
	};
}

/** Speaks whatever it likes on a plain connection. */
async function speak(talk: (socket: Socket) => void): Promise<string> {
	const server = createServer(socket => {
		socket.on("error", () => {});
		talk(socket);
	});
	server.listen(0, "127.0.0.1");
	await once(server, "listening");
	closing.push(() => server.close());
	return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

/** Loopback is outside here, but for 127.0.0.2 and above. */
const fetchWith = (options: Partial<FetchOutsideOptions> = {}) =>
	createFetchOutside({ clock: createTimers(), allow: readAllow("127.0.0.1"), resolve: async () => ["127.0.0.1"], ...options });

async function rejected(work: Promise<unknown>): Promise<Error> {
	return work.then(
		() => expect.fail("it did not reject"),
		(error: Error) => error,
	);
}
async function forbidden(work: Promise<unknown>): Promise<OutsideForbidden> {
	const error = await rejected(work);
	expect(error).toBeInstanceOf(OutsideForbidden);
	return error as OutsideForbidden;
}

describe("a call", () => {
	it("brings method, path, headers and body there, and the answer back", async () => {
		const server = await serve((_, response) => {
			response.writeHead(418, { "x-one": "1", "set-cookie": ["a=1", "b=2"] });
			response.end("grüße");
		});
		const response = await fetchWith()(`${server.url}/a%20b?c=d#e`, { method: "post", headers: { "X-Own": "yes" }, body: "grüße" });
		expect([response.status, response.headers.get("x-one"), response.headers.getSetCookie(), await response.text()]).toEqual([
			418,
			"1",
			["a=1", "b=2"],
			"grüße",
		]);
		expect(server.received).toEqual([
			{
				method: "POST",
				url: "/a%20b?c=d",
				body: "grüße",
				headers: {
					"x-own": "yes",
					host: `127.0.0.1:${server.port}`,
					connection: "close",
					"accept-encoding": "identity",
					"content-length": "7",
				},
			},
		]);
		await server.idle();
	});

	it("sets the headers of the connection itself", async () => {
		const server = await serve(ok);
		await fetchWith()(server.url, {
			method: "POST",
			body: "1",
			headers: {
				Host: "evil.example",
				"Content-Length": "500",
				"Transfer-Encoding": "chunked",
				Connection: "keep-alive",
				Upgrade: "h2c",
				TE: "trailers",
			},
		});
		expect(server.received[0]!.headers).toEqual({
			host: `127.0.0.1:${server.port}`,
			connection: "close",
			"accept-encoding": "identity",
			"content-length": "1",
		});
	});

	it.each(["HEAD", "GET 204", "GET 304"])("answers %s without a body", async what => {
		const [method = "", status = "200"] = what.split(" ");
		const server = await serve((_, response) => response.writeHead(Number(status)).end());
		const response = await fetchWith()(server.url, { method });
		expect([response.status, response.body]).toEqual([Number(status), null]);
		await server.idle();
	});

	it("takes no method that makes something else of a connection", async () => {
		const server = await serve(ok);
		for (const method of ["CONNECT", "TRACE", "GET / HTTP/1.1\r\nx: y", ""])
			expect(await rejected(fetchWith()(server.url, { method }))).toBeInstanceOf(TypeError);
		expect(server.received).toEqual([]);
	});

	it.each(["a\r\nx-injected: 1", "a\nb", "a\0b"])(
		"refuses a header with a line break in it, and does not show its value: %j",
		async value => {
			const server = await serve(ok);
			const error = await rejected(fetchWith()(server.url, { headers: { "x-own": `hunter2${value}` } }));
			expect(error).toBeInstanceOf(TypeError);
			expect(error.message).toContain('"x-own"');
			expect(String(error.stack)).not.toContain("hunter2");
			expect(server.received).toEqual([]);
		},
	);

	it("does not use proxies of the environment", async () => {
		const server = await serve(ok);
		const proxy = await serve((_, response) => response.writeHead(502).end("proxy"));
		const code = `
			import { createFetchOutside } from ${JSON.stringify(new URL("../../emulator/fetchOutside.ts", import.meta.url))};
			import { readAllow } from ${JSON.stringify(new URL("../../lib/outside.ts", import.meta.url))};
			const call = createFetchOutside({ clock: { after: () => () => {} }, allow: readAllow("127.0.0.1"), resolve: async () => ["127.0.0.1"] });
			console.log(await (await call("http://endpoint.example:${server.port}/")).text());`;
		const env = {
			...process.env,
			NODE_USE_ENV_PROXY: "1",
			HTTP_PROXY: proxy.url,
			http_proxy: proxy.url,
			ALL_PROXY: proxy.url,
			NO_PROXY: "",
		};
		const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", code], { env });
		expect([stdout.trim(), proxy.received, server.received.length]).toEqual(["ok", [], 1]);
	});
});

describe("an address inside", () => {
	it("is not connected to", async () => {
		const server = await serve(ok);
		for (const host of ["127.0.0.1", "localhost", "0x7f.1", "[::ffff:127.0.0.1]", "2130706433"]) {
			const error = await forbidden(fetchWith({ allow: ALLOW_NOTHING })(`http://${host}:${server.port}/`));
			expect([host, error.forNow]).toEqual([host, false]);
		}
		expect(server.received).toEqual([]);
	});

	it.each([
		["only inside", ["127.0.0.2"]],
		["outside and inside", ["127.0.0.1", "10.0.0.1"]],
		["inside as the last of many", ["127.0.0.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:169.254.169.254"]],
		["link-local with a zone", ["fe80::1%eth0"]],
		["what is no address", ["localhost"]],
	])("is refused when a name resolves to it, for now: %s", async (_, addresses) => {
		const server = await serve(ok);
		const error = await forbidden(fetchWith({ resolve: async () => addresses })(`http://endpoint.example:${server.port}/`));
		expect([error.forNow, error.message]).toEqual([
			true,
			"endpoint.example resolves to an address that is not public, and may not be called unless TICKQ_OUTSIDE_ALLOW names it",
		]);
		expect(server.received).toEqual([]);
	});

	it("is not reached by a name that leads outside when asked first and inside when asked again", async () => {
		const server = await serve(ok);
		const answers = [["127.0.0.1"], ["127.0.0.2"]];
		let asked = 0;
		const call = fetchWith({ resolve: async () => answers[asked++]! });
		const response = await call(`http://endpoint.example:${server.port}/`);
		// Resolved once: whatever comes next is not connected to.
		expect([await response.text(), asked]).toEqual(["ok", 1]);
		await forbidden(call(`http://endpoint.example:${server.port}/`));
		expect([asked, server.received.length]).toEqual([2, 1]);
	});

	it("is called where the operator allows its name, and then wherever that leads", async () => {
		const server = await serve(ok);
		const asked: unknown[] = [];
		const resolve: FetchOutsideOptions["resolve"] = async (name, allowed) => {
			asked.push([name, allowed]);
			return ["127.0.0.1"];
		};
		const response = await fetchWith({ allow: readAllow("endpoint.internal"), resolve })(`http://endpoint.internal:${server.port}/`);
		expect([await response.text(), asked]).toEqual(["ok", [["endpoint.internal", true]]]);
	});

	it("is found by the system's own resolver where its name is allowed", async () => {
		const server = await serve(ok);
		const call = createFetchOutside({ clock: createTimers(), allow: readAllow("localhost") });
		expect(await (await call(`http://localhost:${server.port}/`)).text()).toBe("ok");
	});
});

describe("a redirect", () => {
	/** `/status/place` redirects there; the place is percent-encoded. */
	const redirecting = () =>
		serve(({ url }, response) => {
			const [, status, to] = /^\/(\d{3})\/(.+)$/.exec(url) ?? [];
			if (to === undefined) response.end("there");
			else response.writeHead(Number(status), { location: decodeURIComponent(to) }).end("moved");
		});
	const via = (server: LocalServer, status: number, to: string) => `${server.url}/${status}/${encodeURIComponent(to)}`;
	const sent = (server: LocalServer) => server.received.map(({ method, url, body }) => [method, url.slice(0, 5), body]);

	it.each([
		["http://10.0.0.1/"],
		["http://[::1]/"],
		["http://localhost/"],
		["//169.254.169.254/latest/meta-data/"],
		["http://0x7f000002/"],
		["file:///etc/passwd"],
		["http://user:hunter2@127.0.0.1/"],
		["http://127.0.0.1:25/"],
	])("to %s is refused for good", async to => {
		const server = await redirecting();
		const error = await forbidden(fetchWith()(via(server, 302, to)));
		expect(error.forNow).toBe(false);
		expect(error.message).not.toContain("hunter2");
		expect(server.received.length).toBe(1);
	});

	it("to a name that resolves to inside is refused for now", async () => {
		const server = await redirecting();
		const error = await forbidden(
			fetchWith({ resolve: async () => ["127.0.0.2"] })(via(server, 307, `http://endpoint.example:${server.port}/`)),
		);
		expect(error.forNow).toBe(true);
		expect(server.received.length).toBe(1);
	});

	it.each([301, 302, 303, 307, 308])("with %i is followed by a GET", async status => {
		const server = await redirecting();
		expect(await (await fetchWith()(via(server, status, "/end"))).text()).toBe("there");
		expect(sent(server)).toEqual([
			["GET", `/${status}/`, ""],
			["GET", "/end", ""],
		]);
		await server.idle();
	});

	it.each([307, 308])("with %i keeps method and body", async status => {
		const server = await redirecting();
		await fetchWith()(via(server, status, "/end"), { method: "PUT", body: "1", headers: { authorization: "Bearer hunter2" } });
		expect(sent(server)[1]).toEqual(["PUT", "/end", "1"]);
		expect(server.received[1]!.headers).toMatchObject({ authorization: "Bearer hunter2", "content-length": "1" });
	});

	it("with 303 makes a GET of a POST, without what was for its body", async () => {
		const server = await redirecting();
		await fetchWith()(via(server, 303, "/end"), {
			method: "POST",
			body: "1",
			headers: { "content-type": "text/plain", "webhook-signature": "v1,x", "x-own": "y" },
		});
		expect(sent(server)[1]).toEqual(["GET", "/end", ""]);
		expect(Object.keys(server.received[1]!.headers).sort()).toEqual(["accept-encoding", "connection", "host", "x-own"]);
	});

	it.each([301, 302])("with %i is the answer to a POST, since following would lose its body", async status => {
		const server = await redirecting();
		const response = await fetchWith()(via(server, status, "/end"), { method: "POST", body: "1" });
		expect([response.status, response.headers.get("location"), await response.text()]).toEqual([status, "/end", "moved"]);
		expect(server.received.length).toBe(1);
	});

	it("to another origin brings no credentials there", async () => {
		const [server, other] = [await redirecting(), await redirecting()];
		await fetchWith()(via(server, 307, `${other.url}/end`), {
			method: "POST",
			body: "1",
			headers: {
				authorization: "a",
				cookie: "b",
				"x-api-key": "c",
				"content-type": "text/plain",
				"idempotency-key": "d",
				"webhook-id": "e",
			},
		});
		const { host, connection, "accept-encoding": _, "content-length": length, ...kept } = other.received[0]!.headers;
		expect([host, connection, length]).toEqual([`127.0.0.1:${other.port}`, "close", "1"]);
		expect(kept).toEqual({ "content-type": "text/plain", "idempotency-key": "d", "webhook-id": "e" });
	});

	it("is followed five times, and not six times", async () => {
		const server = await serve(({ url }, response) => {
			const left = Number(url.slice(1));
			if (left === 0) response.end("there");
			else response.writeHead(307, { location: `/${left - 1}` }).end("moved");
		});
		expect(await (await fetchWith()(`${server.url}/5`)).text()).toBe("there");
		expect((await rejected(fetchWith()(`${server.url}/6`))).message).toBe(`127.0.0.1:${server.port} redirects more than 5 times`);
		expect(server.received.length).toBe(6 + 6);
		await server.idle();
	});

	it("that says nothing readable is an error, and one without a place is the answer", async () => {
		const server = await serve(({ url }, response) =>
			response.writeHead(302, url === "/none" ? {} : { location: "http://[" }).end("moved"),
		);
		expect((await rejected(fetchWith()(server.url))).message).toContain("redirects to an address that cannot be read");
		expect((await fetchWith()(`${server.url}/none`)).status).toBe(302);
	});

	it("is not read before it is followed, however long it is", async () => {
		const server = await serve(({ url }, response) => {
			if (url === "/") response.writeHead(307, { location: "/end" }).write("moved");
			else response.end("there");
		});
		expect(await (await fetchWith()(server.url)).text()).toBe("there");
		await server.idle();
	});

	it("still listens to the signal after it was followed", async () => {
		const server = await serve(({ url }, response) => {
			if (url === "/") response.writeHead(307, { location: "/slow" }).end();
			else controller.abort(new Error("enough"));
		});
		const controller = new AbortController();
		expect((await rejected(fetchWith()(server.url, { signal: controller.signal }))).message).toBe("enough");
		await server.idle();
	});
});

describe("TLS", () => {
	const tls = createCertificate("endpoint.example", "127.0.0.1");
	const trusting = async (work: () => Promise<void>): Promise<void> => {
		const before = getCACertificates("default");
		setDefaultCACertificates([tls.certificate]);
		await work().finally(() => setDefaultCACertificates(before));
	};

	it("is spoken with the name of the address, and with the address where it is the name", () =>
		trusting(async () => {
			const server = await serve(ok, tls);
			const response = await fetchWith()(`https://endpoint.example:${server.port}/`);
			expect([await response.text(), server.received[0]!.headers.host]).toEqual(["ok", `endpoint.example:${server.port}`]);
			expect(await (await fetchWith()(server.url)).text()).toBe("ok");
			await server.idle();
		}));

	it("is not spoken with whom nobody vouches for", async () => {
		const server = await serve(ok, tls);
		const { message } = await rejected(fetchWith()(`https://endpoint.example:${server.port}/?token=hunter2`));
		expect(message).toBe(`endpoint.example:${server.port} has a certificate that is not trusted (DEPTH_ZERO_SELF_SIGNED_CERT)`);
		expect(server.received).toEqual([]);
	});

	it("is not spoken with somebody else", () =>
		trusting(async () => {
			const server = await serve(ok, tls);
			const { message } = await rejected(fetchWith()(`https://other.example:${server.port}/`));
			expect(message).toBe(`other.example:${server.port} has a certificate for another name (ERR_TLS_CERT_ALTNAME_INVALID)`);
			expect(server.received).toEqual([]);
		}));

	it("is not given up by a redirect", () =>
		trusting(async () => {
			const plain = await serve(ok);
			const server = await serve((_, response) => response.writeHead(307, { location: `${plain.url}/` }).end(), tls);
			expect((await forbidden(fetchWith()(server.url))).message).toContain("redirects from https to http");
			expect(plain.received).toEqual([]);
		}));

	it("says so when the other side does not speak it", async () => {
		const server = await serve(ok);
		const { message } = await rejected(fetchWith()(server.url.replace("http:", "https:")));
		expect(message).toMatch(/^127\.0\.0\.1:\d+ could not agree on TLS \(/);
	});
});

describe("trouble", () => {
	it("is said with the host, and without what the address may have for credentials", async () => {
		const refusing = await serve(ok);
		await refusing.close();
		closing.splice(0);
		const cases: [string, Partial<FetchOutsideOptions>, RegExp][] = [
			[refusing.url, {}, /^127\.0\.0\.1:\d+ refused the connection \(ECONNREFUSED\)$/],
			[
				"http://endpoint.example",
				{ resolve: () => Promise.reject(codeError("ENOTFOUND")) },
				/^endpoint\.example has no address: check the name$/,
			],
			["http://endpoint.example", { resolve: async () => [] }, /^endpoint\.example has no address/],
			[
				"http://endpoint.example",
				{ resolve: () => Promise.reject(codeError("ETIMEOUT")) },
				/^endpoint\.example could not be resolved \(ETIMEOUT\)$/,
			],
			[(await speak(socket => socket.destroy())).slice(0, -1), {}, /^127\.0\.0\.1:\d+ broke the connection off \(ECONNRESET\)$/],
			[(await speak(socket => socket.end("220 mail.example ESMTP\r\n"))).slice(0, -1), {}, /did not answer in HTTP\/1\.1 \(HPE_/],
			[(await speak(socket => socket.end("HTTP/1.1 999 Odd\r\n\r\n"))).slice(0, -1), {}, /did not answer in HTTP\/1\.1$/],
			[
				(await speak(socket => socket.end("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"))).slice(0, -1),
				{},
				/did not answer in HTTP\/1\.1/,
			],
			[
				(await speak(socket => socket.end(`HTTP/1.1 200 OK\r\nx: ${"y".repeat(20_000)}\r\n\r\n`))).slice(0, -1),
				{},
				/answered with more than 16384 bytes of headers/,
			],
		];
		for (const [address, options, says] of cases) {
			const error = await rejected(fetchWith(options)(`${address}/hunter2?hunter2`, { headers: { authorization: "hunter2" } }));
			expect(error.message).toMatch(says);
			expect(String(error.stack)).not.toContain("hunter2");
		}
	});

	it("in the middle of an answer fails its reader", async () => {
		const address = await speak(socket => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345"));
		const response = await fetchWith()(address);
		expect((await rejected(response.text())).message).toMatch(/broke the connection off/);
	});

	it("does not come of two answers in one", async () => {
		const address = await speak(socket =>
			socket.end("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"),
		);
		expect(await (await fetchWith()(address)).text()).toBe("ok");
	});
});

const codeError = (code: string): Error => Object.assign(new Error(`queryA ${code} endpoint.example`), { code });

describe("limits", () => {
	it("break off an answer that is too long", async () => {
		const server = await serve((_, response) => response.end("x".repeat(1001)));
		expect((await rejected(fetchWith({ bodyBytesMax: 1000 })(server.url).then(response => response.text()))).message).toBe(
			`127.0.0.1:${server.port} answered with more than 1000 bytes`,
		);
		expect((await (await fetchWith({ bodyBytesMax: 1001 })(server.url)).text()).length).toBe(1001);
		await server.idle();
	});

	it("hold for an answer without end, which is closed", async () => {
		const server = await serve((_, response) => {
			const more = () => {
				while (!response.destroyed && response.write("x".repeat(16_384)));
				if (!response.destroyed) response.once("drain", more);
			};
			more();
		});
		expect((await rejected(fetchWith({ bodyBytesMax: 100_000 })(server.url).then(response => response.text()))).message).toContain(
			"100000 bytes",
		);
		await server.idle();
	});

	it("close the connection of a reader who wants no more", async () => {
		const server = await serve((_, response) => response.write("some"));
		const response = await fetchWith()(server.url);
		const reader = response.body!.getReader();
		expect((await reader.read()).value?.byteLength).toBe(4);
		await reader.cancel();
		await server.idle();
	});

	it("end a call whose name is never resolved", async () => {
		const clock = createTimers();
		const call = rejected(fetchWith({ clock, connectMs: 500, resolve: () => new Promise(() => {}) })("http://endpoint.example/"));
		clock.ring(500);
		expect((await call).message).toBe("endpoint.example accepted no connection within 500 ms");
	});

	it("end a call that is never answered, and one whose answer never ends", async () => {
		for (const begin of [false, true]) {
			const clock = createTimers();
			const arrived = Promise.withResolvers<void>();
			const server = await serve((_, response) => {
				if (begin) response.write("some");
				arrived.resolve();
			});
			const call = rejected(fetchWith({ clock, totalMs: 500 })(server.url).then(response => response.text()));
			await arrived.promise;
			clock.ring(500);
			expect((await call).message).toBe("the call took longer than 500 ms");
			await server.idle();
		}
	});

	it("do not hold a clock when the call is over", async () => {
		const clock = createTimers();
		const server = await serve(ok);
		await (await fetchWith({ clock })(server.url)).text();
		await rejected(fetchWith({ clock })("http://10.0.0.1/"));
		const response = await fetchWith({ clock })(server.url);
		expect(clock.count()).toBe(1);
		await response.body!.cancel();
		await server.idle();
		expect(clock.count()).toBe(0);
	});
});

describe("an abort", () => {
	it("that came before leaves everything undone", async () => {
		const server = await serve(ok);
		const reason = new Error("too late");
		expect(await rejected(fetchWith()(server.url, { signal: AbortSignal.abort(reason) }))).toBe(reason);
		expect(server.received).toEqual([]);
	});

	it("ends a call while its name is resolved", async () => {
		const controller = new AbortController();
		const reason = new Error("cancelled");
		const resolve = () => {
			controller.abort(reason);
			return new Promise<string[]>(() => {});
		};
		expect(await rejected(fetchWith({ resolve })("http://endpoint.example/", { signal: controller.signal }))).toBe(reason);
	});

	it("ends a call that waits for its answer, and closes the connection", async () => {
		const controller = new AbortController();
		const reason = new Error("cancelled");
		const server = await serve(() => controller.abort(reason));
		expect(await rejected(fetchWith()(server.url, { signal: controller.signal }))).toBe(reason);
		await server.idle();
	});

	it("ends a call whose answer is being read, and closes the connection", async () => {
		const controller = new AbortController();
		const reason = new Error("cancelled");
		const server = await serve((_, response) => response.write("some"));
		const response = await fetchWith()(server.url, { signal: controller.signal });
		const reader = response.body!.getReader();
		await reader.read();
		controller.abort(reason);
		expect(await rejected(reader.read())).toBe(reason);
		await server.idle();
	});
});
