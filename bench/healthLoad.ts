/** Asks /health in a process of its own, one request at a time on one connection, and says how long each took. */
import { Agent, get } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

export interface HealthLoad {
	readonly port: number;
	readonly requests: number;
	readonly pauseMs: number;
}

const agent = new Agent({ keepAlive: true, maxSockets: 1 });
const ask = (port: number): Promise<void> =>
	new Promise((resolve, reject) => {
		get({ port, host: "127.0.0.1", path: "/health", agent }, response => {
			if (response.statusCode !== 200) reject(new Error(`/health was answered with ${response.statusCode}`));
			response.resume().once("end", resolve);
		}).once("error", reject);
	});

async function run({ port, requests, pauseMs }: HealthLoad): Promise<number[]> {
	const times: number[] = [];
	for (let i = 0; i < requests; i++) {
		const from = performance.now();
		await ask(port);
		times.push(performance.now() - from);
		await sleep(pauseMs);
	}
	return times;
}

process.on("message", (load: HealthLoad) => void run(load).then(times => process.send!(times)));
