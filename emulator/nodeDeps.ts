/** What the functions are handed on Node. */
import { systemClock, systemRandom } from "../lib/clock.ts";
import { slotsOf } from "../lib/config.ts";
import { Announcements, Bell, type Deps, Slots } from "../lib/context.ts";
import type { Log } from "../lib/log.ts";
import { messageOf } from "../lib/log.ts";
import { SchemaTooNew, SchemaTooOld } from "../lib/storage/migrate.ts";
import type { Storage } from "../lib/storage/storage.ts";
import type { TaskRegistry } from "../lib/task.ts";
import { createFetchOutside } from "./fetchOutside.ts";
import { workerName } from "./recover.ts";
import { databaseName, isPostgres, type Mistake, type Settings } from "./settings.ts";

export const nodeClock = systemClock(setImmediate);

export function nodeDeps(settings: Settings, storage: Storage, tasks: TaskRegistry, log: Log): Deps {
	const wake = new Bell();
	return {
		storage,
		clock: nodeClock,
		random: systemRandom(),
		log,
		config: settings.config,
		tasks,
		fetchOutside: createFetchOutside({ clock: nodeClock, allow: settings.outsideAllow }),
		outsideAllow: settings.outsideAllow,
		webhookSecrets: settings.webhookSecrets,
		...(settings.tasks === undefined ? {} : { works: settings.tasks }),
		...(settings.work ? {} : { answersOnly: true }),
		worker: workerName(),
		wake,
		ended: new Announcements(),
		slots: new Slots(slotsOf(settings.config), wake),
		running: new Map(),
		ticks: { lastTickAt: null, nextWakeAt: null },
	};
}

/** The code that the system, SQLite or PostgreSQL gave an error, or those that it came from. */
function codeOf(error: unknown): string {
	const { code, cause, errors } = (error ?? {}) as { code?: unknown; cause?: unknown; errors?: readonly unknown[] };
	const inner = cause ?? errors?.[0];
	return code === undefined && inner !== undefined ? codeOf(inner) : String(code ?? "");
}

/** What to do about a PostgreSQL database that cannot be opened. https://www.postgresql.org/docs/current/errcodes-appendix.html */
function postgresAdvice(code: string): string {
	if (code === "ERR_INVALID_URL") return "write @ : / ? # in its password as %40 %3A %2F %3F %23";
	if (code.startsWith("28")) return "check user and password in the address: DATABASE_URL=postgres://user:password@host:5432/db";
	if (code === "3D000") return "make it (createdb), or name another in the address: DATABASE_URL=postgres://user:password@host:5432/db";
	if (code === "42501") return "let its owner grant what is missing, or start as another user";
	if (/^E[A-Z]+$|^EAI_|^CONNECT|^08|^53|^57P/.test(code)) return "check that PostgreSQL runs there and may be reached from here";
	return "check the address: DATABASE_URL=postgres://user:password@host:5432/db";
}

/** Why the store cannot be opened, and what to do. Shows no password. */
export function storageMistake(error: unknown, database: string): Mistake {
	const file = databaseName(database);
	const code = codeOf(error);
	const message = ((error as { message?: string }).message || code || messageOf(error)).replaceAll(database, file);
	if (error instanceof SchemaTooOld) return { what: `${file}: ${message}`, instead: "npm run migrate -- --dry-run shows what it would do" };
	if (isPostgres(database)) {
		const other = "or start with another database: --database postgres://user@host:5432/other";
		return { what: `${file}: ${message}`, instead: error instanceof SchemaTooNew ? other : postgresAdvice(code) };
	}
	if (error instanceof SchemaTooNew) return { what: `${file}: ${message}`, instead: "or start with another file: --database ./other.db" };
	if (code === "SQLITE_NOTADB") return { what: `${file} is no SQLite database`, instead: "name another file: --database ./tickq.db" };
	if (code === "SQLITE_CORRUPT")
		return {
			what: `${file} is damaged (${message})`,
			instead: "restore a backup, or start with another file: --database ./new.db",
		};
	return { what: `${file} cannot be opened: ${message}`, instead: "check that its folder is there and may be written to" };
}
