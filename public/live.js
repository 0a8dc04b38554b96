/** The live connection: one WebSocket for the whole page. Owns the last metrics, their age, and trying again after a loss. */

import { getMetrics, messageOf } from "./api.js";
import { setServerTime } from "./clock.js";
import { recordSample } from "./samples.js";

/** @import { Metrics } from "./types.js" */

const KEY = "tickq.metrics";
/** The server sends every 2 s; this much silence means the line is dead. */
const SILENCE_MS = 8000;
const RETRY_MAX_MS = 10_000;
/** A tab that nobody looks at hangs up, so that an open dashboard keeps no database awake. */
const HIDDEN_MS = 30_000;

/**
 * @typedef {object} Live
 * @property {"connecting" | "live" | "offline"} connection
 * @property {Metrics | null} queue the whole queue
 * @property {Metrics | null} metrics the scope's part of it; the same object when the scope is all tenants
 * @property {string | null} problem why the server does not tell the scope's part
 * @property {number | null} receivedAt when `metrics` came, by this computer's clock
 * @property {number | null} retryAt when the connection is tried again
 */

/** @type {Live} */
const state = { connection: "connecting", queue: null, metrics: null, problem: null, receivedAt: null, retryAt: null };
/** @type {Set<(live: Live) => void>} */
const listeners = new Set();
/** @type {string | null} */
let scope = null;
/** The version of the queue at which the scope's part was asked for last. @type {number | null} */
let askedAt = null;
/** @type {WebSocket | null} */
let socket = null;
let failures = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let silenceTimer;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let retryTimer;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let hiddenTimer;

/**
 * Calls `listener` at once and whenever the metrics or the connection change.
 * @param {(live: Live) => void} listener
 * @returns {() => void} ends the subscription
 */
export function subscribe(listener) {
	listeners.add(listener);
	listener(state);
	return () => listeners.delete(listener);
}

function tell() {
	for (const listener of listeners) listener(state);
}

/** @param {string | null} tenant */
export function setScope(tenant) {
	if (tenant === scope && state.metrics) return;
	scope = tenant;
	const remembered = recall();
	state.metrics = remembered?.metrics ?? null;
	state.receivedAt = remembered?.receivedAt ?? null;
	state.problem = null;
	askedAt = null;
	if (state.queue) void receive(state.queue);
	tell();
}

/** The numbers of the last visit, drawn greyed until the first push. @returns {{ metrics: Metrics, receivedAt: number } | null} */
function recall() {
	try {
		return JSON.parse(sessionStorage.getItem(`${KEY}:${scope ?? ""}`) ?? "null");
	} catch {
		return null;
	}
}

addEventListener("pagehide", () => {
	if (!state.metrics) return;
	try {
		sessionStorage.setItem(`${KEY}:${scope ?? ""}`, JSON.stringify({ metrics: state.metrics, receivedAt: state.receivedAt }));
	} catch {
		// Only the greyed first picture is lost.
	}
});

export function connect() {
	clearTimeout(retryTimer);
	hangUp();
	state.retryAt = null;
	const url = new URL("/ws/metrics", location.href);
	url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
	const opened = new WebSocket(url);
	socket = opened;
	listenForSilence();
	opened.addEventListener("message", event => {
		if (socket !== opened) return;
		failures = 0;
		state.connection = "live";
		listenForSilence();
		void receive(JSON.parse(event.data));
	});
	opened.addEventListener("close", ({ code }) => {
		if (socket !== opened) return;
		// 1001: the server hangs up in good order, and may be called again at once.
		if (code === 1001) connect();
		else lost();
	});
	tell();
}

/** @param {Metrics} queue */
async function receive(queue) {
	setServerTime(queue.timestamp);
	state.queue = queue;
	const wanted = scope;
	if (wanted === null) {
		state.metrics = queue;
	} else if (askedAt !== queue.version) {
		// The socket speaks of the whole queue; one tenant's part is asked for only when anything has changed.
		askedAt = queue.version;
		try {
			const slice = await getMetrics(wanted);
			if (wanted !== scope) return;
			state.metrics = slice;
			state.problem = null;
		} catch (error) {
			if (wanted !== scope) return;
			state.problem = messageOf(error);
		}
	}
	state.receivedAt = Date.now();
	if (state.metrics) recordSample(scope, state.metrics, Date.now());
	tell();
}

function listenForSilence() {
	clearTimeout(silenceTimer);
	silenceTimer = setTimeout(lost, SILENCE_MS);
}

function lost() {
	hangUp();
	failures++;
	const delay = Math.min(RETRY_MAX_MS, 1000 * 2 ** (failures - 1));
	state.connection = "offline";
	state.retryAt = Date.now() + delay;
	retryTimer = setTimeout(connect, delay);
	tell();
}

function hangUp() {
	clearTimeout(silenceTimer);
	const closing = socket;
	socket = null;
	closing?.close();
}

document.addEventListener("visibilitychange", () => {
	clearTimeout(hiddenTimer);
	if (document.hidden) {
		hiddenTimer = setTimeout(() => {
			clearTimeout(retryTimer);
			hangUp();
		}, HIDDEN_MS);
	} else if (!socket) {
		connect();
	}
});
