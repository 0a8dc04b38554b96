/** Load in a process of its own: on each connection one request after the other, as fast as they are answered. */
import { connect } from "node:net";

export interface Load {
	readonly port: number;
	readonly ms: number;
	readonly connections: number;
	readonly tenants: number;
	readonly body: string;
}
export interface LoadAnswer {
	readonly requests: number;
	readonly seconds: number;
	readonly statuses: Readonly<Record<string, number>>;
	readonly jobIds: string[];
	/** Share of the time in which this process had work. */
	readonly busy: number;
}

const HEAD_END = "\r\n\r\n";

/** Resolves when every request that was sent is answered. */
async function run({ port, ms, connections, tenants, body }: Load): Promise<LoadAnswer> {
	const statuses: Record<string, number> = {};
	const jobIds: string[] = [];
	let requests = 0;
	const cpu = process.cpuUsage();
	const startedAt = performance.now();
	const endsAt = startedAt + ms;

	const drive = (i: number): Promise<void> =>
		new Promise((resolve, reject) => {
			const request = Buffer.from(
				`POST /api/jobs HTTP/1.1\r\nHost: localhost:${port}\r\nContent-Type: application/json\r\nX-Tenant-ID: tenant-${i % tenants}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
			);
			let pending = "";
			const onText = (text: string): void => {
				pending = pending === "" ? text : pending + text;
				const headEnd = pending.indexOf(HEAD_END);
				if (headEnd === -1) return;
				const length = /content-length: (\d+)/i.exec(pending)?.[1];
				if (length === undefined) {
					reject(new Error(`an answer without a length: ${pending}`));
					return;
				}
				if (pending.length < headEnd + HEAD_END.length + Number(length)) return;
				const status = pending.slice(9, 12);
				statuses[status] = (statuses[status] ?? 0) + 1;
				const at = pending.indexOf("location: /api/jobs/");
				if (at !== -1) jobIds.push(pending.slice(at + "location: /api/jobs/".length, pending.indexOf("\r\n", at)));
				requests++;
				pending = "";
				if (performance.now() < endsAt) socket.write(request);
				else socket.end(resolve);
			};
			const socket = connect({
				port,
				host: "127.0.0.1",
				noDelay: true,
				onread: {
					buffer: Buffer.alloc(64 * 1024),
					callback: (bytes, buffer) => {
						onText((buffer as Buffer).toString("latin1", 0, bytes));
						return true;
					},
				},
			});
			socket.once("error", reject);
			socket.once("connect", () => socket.write(request));
		});
	await Promise.all(Array.from({ length: connections }, (_, i) => drive(i)));

	const seconds = (performance.now() - startedAt) / 1000;
	const { user, system } = process.cpuUsage(cpu);
	return { requests, seconds, statuses, jobIds, busy: (user + system) / 1e6 / seconds };
}

process.on("message", (load: Load) => void run(load).then(answer => process.send!(answer)));
