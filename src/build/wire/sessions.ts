import type { Duplex } from "node:stream";
import { GantryError } from "../../base/errors.ts";
import type { Caller } from "../../grpc/caller.ts";
import { GrpcClient } from "../../grpc/client.ts";
import type { SessionHello } from "../session-hello.ts";
import { Arrivals } from "./arrivals.ts";
import { ClientSession } from "./client-session.ts";

/** A client that is silent for so long has gone: one behind a network may go without a word. */
const KEEP_ALIVE = { everyMs: 15_000, withinMs: 45_000 };
/** A build's session may come after the build: it has another connection. */
const PATIENCE_MS = 10_000;
/** Of what clients may have, the shortest is a test's. */
const ID = /^[\x21-\x7e]{1,256}$/;

/** The clients' sessions that are open, by their ids. */
export class Sessions {
  readonly #open = new Arrivals<ClientSession>(PATIENCE_MS);

  /** Throws for a session that can't be; before the connection is taken over. */
  check({ id }: SessionHello): void {
    if (!ID.test(id)) throw new GantryError("invalid", "the session has no id that could be one");
    if (this.#open.find(id) !== undefined) throw new GantryError("conflict", `session ${id} already exists`);
  }

  /** Takes a connection on which the client serves. It lasts until the connection ends. */
  add(hello: SessionHello, socket: Duplex): ClientSession {
    this.check(hello);
    return this.addCaller(hello, new GrpcClient(socket, { keepAlive: KEEP_ALIVE }));
  }

  /** As `add`, of a connection that is served already. */
  addCaller(hello: SessionHello, caller: Caller): ClientSession {
    this.check(hello);
    const session = new ClientSession(hello, caller);
    this.#open.add(hello.id, session);
    const forget = () => this.#open.remove(hello.id, session);
    if (session.gone.aborted) forget();
    else session.gone.addEventListener("abort", forget, { once: true });
    return session;
  }

  /** Waits a while for one that isn't there yet. Rejects with not-found. */
  get(id: string, signal: AbortSignal): Promise<ClientSession> {
    return this.#open.get(id, `no active session for ${id}`, signal);
  }

  /** Ends all. */
  close(): void {
    for (const session of this.#open.all()) session.close();
  }
}
