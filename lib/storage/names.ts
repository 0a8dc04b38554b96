/** Names that the store has numbers for. A name never changes its number, so they are remembered for the life of the process. */
import { laneOf, type Row } from "./rows.ts";

/** Lanes and tenants remembered at most; beyond, they are looked up anew. */
const NAMES_MAX = 100_000;

export class Names {
	readonly #tenantIds = new Map<string, number>();
	readonly #tenantNames = new Map<number, string>();
	readonly #taskIds = new Map<string, number>();
	readonly #taskNames = new Map<number, string>();
	readonly #lanes = new Set<number>();

	tenantId(name: string): number | undefined {
		return this.#tenantIds.get(name);
	}
	tenantName(id: number): string | undefined {
		return this.#tenantNames.get(id);
	}
	taskId(name: string): number | undefined {
		return this.#taskIds.get(name);
	}
	taskName(id: number): string | undefined {
		return this.#taskNames.get(id);
	}
	/** The number of a lane that is known to be in the store. */
	lane(tenant: string, task: string): number | undefined {
		const tenantId = this.#tenantIds.get(tenant);
		const taskId = this.#taskIds.get(task);
		if (tenantId === undefined || taskId === undefined) return undefined;
		const lane = laneOf(tenantId, taskId);
		return this.#lanes.has(lane) ? lane : undefined;
	}

	learnTenant({ tenant_id: id, name }: Row): number {
		if (this.#tenantIds.size >= NAMES_MAX) {
			this.#tenantIds.clear();
			this.#tenantNames.clear();
		}
		this.#tenantIds.set(name, id);
		this.#tenantNames.set(id, name);
		return id;
	}
	learnTask({ task_id: id, name }: Row): number {
		this.#taskIds.set(name, id);
		this.#taskNames.set(id, name);
		return id;
	}
	learnLane(tenantId: number, taskId: number): number {
		if (this.#lanes.size >= NAMES_MAX) this.#lanes.clear();
		const lane = laneOf(tenantId, taskId);
		this.#lanes.add(lane);
		return lane;
	}
}
