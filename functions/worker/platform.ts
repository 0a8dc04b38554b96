/** The parts of Cloudflare's platform that are used here, so that its types need not be installed. */

export interface Invocation {
	waitUntil(work: Promise<unknown>): void;
}
export interface Fetcher {
	fetch(request: Request): Promise<Response>;
}
export interface Scheduled {
	readonly cron: string;
}

export interface DurableObjects {
	idFromName(name: string): object;
	get(id: object): Fetcher;
}
export interface DurableState {
	readonly storage: {
		getAlarm(): Promise<number | null>;
		setAlarm(at: number): Promise<void>;
	};
}

interface ServerSocket extends WebSocket {
	accept(): void;
}
declare const WebSocketPair: new () => { readonly 0: WebSocket; readonly 1: ServerSocket };

/** Answers an upgrade, and the socket to speak on. */
export function acceptSocket(): { readonly socket: WebSocket; readonly response: Response } {
	const { 0: client, 1: socket } = new WebSocketPair();
	socket.accept();
	return { socket, response: new Response(null, { status: 101, webSocket: client } as ResponseInit) };
}
