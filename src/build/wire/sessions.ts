import type { Duplex } from "node:stream";
import { GantryError } from "../../base/errors.ts";
import { GrpcClient } from "../../grpc/client.ts";
import type { SessionHello } from "../session-hello.ts";
import { ClientSession } from "./client-session.ts";

/** A client that is silent for so long has gone: one behind a network may go without a word. */
const KEEP_ALIVE = { everyMs: 15_000, withinMs: 45_000 };
/** A build's session may come after the build: it has another connection. */
const PATIENCE_MS = 10_000;
/** Of what clients may have, the shortest is a test's. */
const ID = /^[\x21-\x7e]{1,256}$/;

/** The clients' sessions that are open, by their ids. */
export class Sessions {
  readonly #open = new Map<string, ClientSession>();
  readonly #waiting = new Map<string, Set<(session: ClientSession) => void>>();

  /** Throws for a session that can't be; before the connection is taken over. */
  check({ id }: SessionHello): void {
    if (!ID.test(id)) throw new GantryError("invalid", "the session has no id that could be one");
    if (this.#open.has(id)) throw new GantryError("conflict", `session ${id} already exists`);
  }

  /** Takes a connection on which the client serves. It lasts until the connection ends. */
  add(hello: SessionHello, socket: Duplex): ClientSession {
    this.check(hello);
    const session = new ClientSession(hello, new GrpcClient(socket, { keepAlive: KEEP_ALIVE }));
    this.#open.set(hello.id, session);
    const forget = () => {
      if (this.#open.get(hello.id) === session) this.#open.delete(hello.id);
    };
    if (session.gone.aborted) forget();
    else session.gone.addEventListener("abort", forget, { once: true });
    for (const resolve of this.#waiting.get(hello.id) ?? []) resolve(session);
    this.#waiting.delete(hello.id);
    return session;
  }

  /** Waits a while for one that isn't there yet. Rejects with not-found. */
  async get(id: string, signal: AbortSignal): Promise<ClientSession> {
    const found = this.#open.get(id);
    if (found !== undefined) return found;
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<ClientSession>();
    const waiting = this.#waiting.get(id) ?? new Set();
    waiting.add(resolve);
    this.#waiting.set(id, waiting);
    const timer = setTimeout(() => reject(new GantryError("not-found", `no active session for ${id}`)), PATIENCE_MS);
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      waiting.delete(resolve);
      if (waiting.size === 0 && this.#waiting.get(id) === waiting) this.#waiting.delete(id);
    }
  }

  /** Ends all. */
  close(): void {
    for (const session of this.#open.values()) session.close();
  }
}
