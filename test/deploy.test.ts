/** What deploy/ says of this program is true: its commands, ports, paths and settings, and the number that machines are scaled by. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { ROLE_SWITCHES, readSettings, type Settings } from "../emulator/settings.ts";
import { type OperationRow, operations, WAIT_MS_MAX } from "../lib/contract.ts";
import { inQueue } from "./functions/inQueue.ts";
import { readYaml, type Yaml } from "./support/readYaml.ts";

const ROOT = new URL("../", import.meta.url);
const textOf = (path: string): string => readFileSync(new URL(path, ROOT), "utf8");
const FOLDER = "deploy/kubernetes/";
const manifests: Yaml[] = readdirSync(new URL(FOLDER, ROOT))
	.filter(name => name.endsWith(".yaml"))
	.flatMap(name => readYaml(textOf(FOLDER + name)));
const named = (kind: string, name: string): Yaml => {
	const found = manifests.filter(manifest => manifest.kind === kind && manifest.metadata.name === name);
	if (found.length !== 1) throw new Error(`${found.length} times ${kind} ${name}`);
	return found[0];
};
const api = named("Deployment", "tickq-api");
const worker = named("Deployment", "tickq-worker");
const deployments = [api, worker];
const containers = (deployment: Yaml): Yaml[] => deployment.spec.template.spec.containers;
const tickqOf = (deployment: Yaml): Yaml => containers(deployment).find(({ name }) => name === "tickq");
const proxy: Yaml = containers(api).find(({ name }) => name === "proxy");
const caddyfile: string = named("ConfigMap", "tickq-proxy").data.Caddyfile;
const scaled = named("ScaledObject", "tickq-worker");
const hpa = named("HorizontalPodAutoscaler", "tickq-worker");
const trigger = scaled.spec.triggers[0];

/** What a process of a deployment is set to. The secret's values are not here, so these stand for them. */
function settingsOf(deployment: Yaml): { settings: Settings; mistakes: readonly unknown[] } {
	const { args = [], env } = tickqOf(deployment);
	const values = Object.fromEntries(env.map(({ name, value }: Yaml) => [name, value ?? "postgres://user:password@host:5432/db"]));
	return readSettings(args, values, { usage: "", switches: ROLE_SWITCHES });
}
const preStopMs = (container: Yaml): number => Number(container.lifecycle?.preStop.exec.command[1] ?? 0) * 1000;
const pathsToGet = Object.values(operations as Record<string, OperationRow>)
	.filter(({ method }) => method === "GET")
	.map(({ path }) => path);
const probesOf = (container: Yaml): Yaml[] => [container.startupProbe, container.livenessProbe, container.readinessProbe].filter(Boolean);

describe("the image", () => {
	const dockerfile = textOf("deploy/Dockerfile");
	const lines = (instruction: string): string[] =>
		[...dockerfile.matchAll(new RegExp(`^${instruction} (.*)$`, "gm"))].map(([, rest]) => rest!);

	it("starts what npm start starts", () => {
		const { scripts } = JSON.parse(textOf("package.json"));
		expect(JSON.parse(lines("ENTRYPOINT")[0]!).join(" ")).toBe(scripts.start.replace(/^exec /, ""));
		for (const deployment of deployments) expect(tickqOf(deployment).command).toBeUndefined();
	});

	it("has a Node that the program runs on", () => {
		const [, major] = /^node:(\d+)/.exec(lines("FROM")[0]!)!;
		const [, least] = />=(\d+)/.exec(JSON.parse(textOf("package.json")).engines.node)!;
		expect(Number(major)).toBeGreaterThan(Number(least));
		const { optionalDependencies } = JSON.parse(textOf("package.json"));
		for (const [name, version] of Object.entries(optionalDependencies))
			expect([name, String(version)]).toEqual([name, expect.stringMatching(`^${major}\\.`)]);
	});

	it("has what the program is made of, and its context lets that through", () => {
		const copied = lines("COPY").flatMap(line => line.split(" ").slice(0, -1));
		expect(copied).toEqual(["package.json", "package-lock.json", "lib", "functions", "emulator", "public"]);
		for (const path of copied) expect([path, existsSync(new URL(path, ROOT))]).toEqual([path, true]);
		expect(textOf("deploy/Dockerfile.dockerignore").trim().split("\n")).toEqual(["*", ...copied.map(path => `!${path}`)]);
	});

	it("does not run as root, by a number that the manifests name, too", () => {
		expect(lines("USER")).toEqual(["1000"]);
		for (const deployment of deployments) expect(tickqOf(deployment).securityContext.runAsUser).toBe(1000);
	});

	it("is the same everywhere", () => {
		const { version } = JSON.parse(textOf("package.json"));
		expect(deployments.map(deployment => tickqOf(deployment).image)).toEqual([`tickq:${version}`, `tickq:${version}`]);
	});
});

describe("the settings", () => {
	it("are understood: one only answers, one only is a worker", () => {
		expect(deployments.flatMap(deployment => settingsOf(deployment).mistakes)).toEqual([]);
		expect(settingsOf(api).settings).toMatchObject({ work: false, http: true });
		expect(settingsOf(worker).settings).toMatchObject({ work: true, http: true });
		for (const deployment of deployments) expect(settingsOf(deployment).settings.database).toMatch(/^postgres:/);
	});

	it("are ones that there are: each changes something when it has another value", () => {
		for (const { name, value } of deployments.flatMap(deployment => tickqOf(deployment).env)) {
			const other = value === undefined ? "postgres://user@host/db" : String(Number(value) + 1);
			const { settings } = readSettings([], { [name]: other });
			expect([name, settings]).not.toEqual([name, readSettings([], {}).settings]);
		}
	});

	it("come from the one secret", () => {
		const refs = deployments
			.flatMap(containers)
			.flatMap(({ env }) => env.map(({ valueFrom }: Yaml) => valueFrom?.secretKeyRef).filter(Boolean));
		expect(refs.map(({ name, key }: Yaml) => `${name} ${key}`).sort()).toEqual(["tickq database-url", "tickq database-url", "tickq token"]);
		for (const key of ["database-url", "token"]) expect(textOf(`${FOLDER}README.md`)).toContain(`--from-literal=${key}=`);
	});

	it("make a pod so many workers as it is counted for", () => {
		const { workersMin, workersMax } = settingsOf(worker).settings.config;
		expect(workersMin).toBe(workersMax);
		expect(Number(trigger.metadata.targetValue)).toBe(workersMax);
		expect(Number(hpa.spec.metrics[0].external.target.averageValue)).toBe(workersMax);
		expect(textOf(`${FOLDER}README.md`)).toContain(`pods = workers.desired / ${workersMax}`);
	});
});

describe("the ways in", () => {
	it("lead from the Service through the proxy to the port that tickq listens on", () => {
		const service = named("Service", "tickq-api");
		expect(service.spec.selector).toEqual(api.spec.template.metadata.labels);
		expect(service.spec.ports.map(({ targetPort }: Yaml) => targetPort)).toEqual(proxy.ports.map(({ name }: Yaml) => name));
		expect(caddyfile).toContain(`:${proxy.ports[0].containerPort} {`);
		const upstreams = [...caddyfile.matchAll(/reverse_proxy (\S+) \{\s*header_up Host (\S+)/g)];
		expect(upstreams.map(([, address, host]) => [address, host])).toEqual([
			[`127.0.0.1:${settingsOf(api).settings.port}`, "localhost"],
			[`127.0.0.1:${settingsOf(api).settings.port}`, "localhost"],
		]);
	});

	it("ask for the token, but for the probes' paths", () => {
		const [, open] = /@open path (.*)/.exec(caddyfile)!;
		expect(open!.split(" ").sort()).toEqual([...new Set(probesOf(tickqOf(api)).map(({ httpGet }) => httpGet.path))].sort());
		const [, variable] = /Bearer \{\$(\w+)\}/.exec(caddyfile)!;
		expect(proxy.env.find(({ name }: Yaml) => name === variable).valueFrom.secretKeyRef.key).toBe("token");
		expect(caddyfile).toMatch(/handle \{\s*header WWW-Authenticate Bearer\s*respond 401/);
	});

	it("of the probes are operations, at a port that answers", () => {
		for (const { httpGet } of probesOf(tickqOf(api))) {
			expect(pathsToGet).toContain(httpGet.path);
			expect(proxy.ports.map(({ name }: Yaml) => name)).toContain(httpGet.port);
		}
		const addresses = probesOf(tickqOf(worker)).map(({ exec }) => /fetch\('http:\/\/127\.0\.0\.1:(\d+)(\/\w+)'\)/.exec(exec.command[2])!);
		expect(addresses.map(([, port]) => Number(port))).toEqual(addresses.map(() => settingsOf(worker).settings.port));
		for (const [, , path] of addresses) expect(pathsToGet).toContain(path);
		for (const deployment of deployments) {
			const { livenessProbe, readinessProbe } = tickqOf(deployment);
			expect(JSON.stringify([livenessProbe, readinessProbe])).toMatch(/\/health.*\/ready/);
		}
	});
});

describe("a stop", () => {
	it("leaves workers their grace, and a few seconds more", () => {
		const { graceMs } = settingsOf(worker).settings.config;
		const { terminationGracePeriodSeconds } = worker.spec.template.spec;
		expect(terminationGracePeriodSeconds * 1000).toBeGreaterThanOrEqual(graceMs + preStopMs(tickqOf(worker)) + 10_000);
	});

	it("lets requests that wait be answered", () => {
		const { terminationGracePeriodSeconds } = api.spec.template.spec;
		expect(preStopMs(proxy)).toBe(preStopMs(tickqOf(api)));
		expect(terminationGracePeriodSeconds * 1000).toBeGreaterThanOrEqual(preStopMs(proxy) + WAIT_MS_MAX + 10_000);
		expect(Number(/grace_period (\d+)s/.exec(caddyfile)![1]) * 1000).toBeGreaterThan(WAIT_MS_MAX);
	});
});

describe("the pods", () => {
	it("belong to their deployment", () => {
		for (const { spec } of deployments) expect(spec.selector.matchLabels).toEqual(spec.template.metadata.labels);
	});

	it("ask for what they need, and may not do more", () => {
		for (const deployment of deployments) {
			const { spec } = deployment.spec.template;
			expect(spec.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
			expect(spec.automountServiceAccountToken).toBe(false);
			for (const { name, resources, securityContext, volumeMounts } of containers(deployment)) {
				expect([name, Object.keys(resources.requests)]).toEqual([name, ["cpu", "memory"]]);
				expect([name, securityContext]).toEqual([
					name,
					{ runAsUser: 1000, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } },
				]);
				// Node and Caddy keep a cache there.
				expect(volumeMounts).toContainEqual({ name: "tmp", mountPath: "/tmp" });
				for (const mount of volumeMounts) expect(spec.volumes.map((volume: Yaml) => volume.name)).toContain(mount.name);
			}
		}
	});

	it("of the workers have no fixed number, since that is scaled", () => {
		expect(worker.spec.replicas).toBeUndefined();
		expect(api.spec.replicas).toBeGreaterThan(1);
	});
});

describe("the scaling", () => {
	it("reads a number that the metrics have", () =>
		inQueue(async queue => {
			const { status, body } = await queue.call("metrics", new URL(trigger.metadata.url).pathname, { tenant: null });
			expect(status).toBe(200);
			const value = trigger.metadata.valueLocation.split(".").reduce((at: Yaml, key: string) => at[key], body);
			expect(value).toBe(0);
			for (let i = 0; i < 21; i++) await queue.call("submitJob", "/api/jobs", { body: { task: "echo" }, tenant: `t${i}` });
			const { body: busy } = await queue.call("metrics", "/api/metrics", { tenant: null });
			expect(trigger.metadata.valueLocation.split(".").reduce((at: Yaml, key: string) => at[key], busy)).toBe(5);
		}));

	it("asks the Service, with the secret's token", () => {
		const { hostname, port, pathname, protocol } = new URL(trigger.metadata.url);
		const service = named("Service", hostname.split(".")[0]!);
		expect([protocol, port, service.spec.ports[0].port]).toEqual(["http:", "", 80]);
		expect(pathname).toBe(operations.metrics.path);
		expect(trigger).toMatchObject({ type: "metrics-api", metadata: { authMode: "bearer" }, authenticationRef: { name: "tickq" } });
		expect(named("TriggerAuthentication", "tickq").spec.secretTargetRef).toEqual([{ parameter: "token", name: "tickq", key: "token" }]);
	});

	it("is of the workers, and the same both ways", () => {
		expect(scaled.spec.scaleTargetRef).toEqual({ name: worker.metadata.name });
		expect(hpa.spec.scaleTargetRef).toEqual({ apiVersion: worker.apiVersion, kind: worker.kind, name: worker.metadata.name });
		const { minReplicaCount, maxReplicaCount, advanced } = scaled.spec;
		expect([hpa.spec.minReplicas, hpa.spec.maxReplicas]).toEqual([minReplicaCount, maxReplicaCount]);
		expect(hpa.spec.behavior).toEqual(advanced.horizontalPodAutoscalerConfig.behavior);
		expect(textOf(`${FOLDER}README.md`)).toContain(hpa.spec.metrics[0].external.metric.name);
	});

	it("leaves one worker, without which nothing that is due later would start", () => {
		expect(scaled.spec.minReplicaCount).toBe(1);
	});
});

describe("what a manifest may be written in", () => {
	it.each([
		["a: yes", /in quotes/],
		["a: {b: 1}", /in quotes/],
		["a: b # c", /in quotes/],
		["a: &x 1", /in quotes/],
		["a:\n  b: 1\n c: 2", /indented|expected/],
		["a: 1\na: 2", /twice/],
		["a:", /no value/],
		["a: >\n  b", /in quotes/],
		["just text", /no key/],
		["a: 1.5", /in quotes/],
	])("is not %j", (text, why) => {
		expect(() => readYaml(text)).toThrow(why);
	});

	it("is read as it is meant", () => {
		const text =
			'# first\na:\n  - b: 1\n    c: "x: y"\n  - d\nt: |\n  \tone\n\n  # two\ne: ["f", 1]\n---\n# none\n---\ng: {}\nh: 10m\ni: true\n';
		expect(readYaml(text)).toEqual([
			{ a: [{ b: 1, c: "x: y" }, "d"], t: "\tone\n\n# two\n", e: ["f", 1] },
			{ g: {}, h: "10m", i: true },
		]);
	});
});
