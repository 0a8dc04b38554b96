/** Processes of their own on the measured server, from the side of who starts them. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Bench } from "./measure.ts";
import type { Order, Said } from "./postgresWorker.ts";

const WORKER = fileURLToPath(new URL("postgresWorker.ts", import.meta.url));

/** What a run may not have, and how often it had it. */
export interface Troubles {
	readonly count: number;
	readonly first: string;
}

export class Crew {
	readonly #children: ChildProcess[] = [];
	readonly #troubles: string[] = [];
	readonly #bench: Bench;
	#listener: (said: Said, child: number) => void = () => {};
	constructor(bench: Bench) {
		this.#bench = bench;
	}

	/** Resolves when it has opened the queue. */
	async add(order: Order): Promise<void> {
		const number = this.#children.length;
		const child = fork(WORKER, [JSON.stringify(order)], { execArgv: [] });
		this.#children.push(child);
		this.#bench.atEnd(() => child.kill());
		const ready = Promise.withResolvers<void>();
		child.on("message", (said: Said) => {
			if (said.ready) ready.resolve();
			if (said.trouble !== undefined) this.#troubles.push(said.trouble);
			this.#listener(said, number);
		});
		child.once("exit", code => {
			if (code !== 0) this.#troubles.push(`a process ended with ${code}`);
			ready.reject(new Error(`a process ended with ${code}`));
		});
		await ready.promise;
	}
	listen(listener: (said: Said, child: number) => void): void {
		this.#listener = listener;
	}
	go(): void {
		for (const child of this.#children) child.send("go");
	}
	/** Ends them all in order, and answers what they had to complain of. */
	async end(): Promise<Troubles> {
		const gone = this.#children.map(child => (child.exitCode === null ? once(child, "exit") : null));
		for (const child of this.#children) if (child.connected) child.send("stop");
		await Promise.all(gone);
		return { count: this.#troubles.length, first: this.#troubles[0] ?? "" };
	}

	/** Lets them work until so many jobs have ended, all together. Answers how long that took, in milliseconds. */
	workOff(jobs: number): Promise<number> {
		const done = this.#children.map(() => 0);
		let lastAt = 0;
		const startedAt = performance.timeOrigin + performance.now();
		return new Promise((resolve, reject) => {
			let seen = -1;
			const watch = setInterval(() => {
				const sum = done.reduce((a, b) => a + b, 0);
				if (sum === seen) {
					clearInterval(watch);
					reject(new Error(`${sum} of ${jobs} jobs ended, and no more in 30 s: ${this.#troubles[0] ?? "without a complaint"}`));
				}
				seen = sum;
			}, 30_000);
			this.listen((said, child) => {
				if (said.done === undefined) return;
				done[child] = said.done;
				lastAt = Math.max(lastAt, said.at!);
				if (done.reduce((a, b) => a + b, 0) < jobs) return;
				clearInterval(watch);
				resolve(lastAt - startedAt);
			});
			this.go();
		});
	}
}
