import type { Duplex } from "node:stream";
import type { Credentials } from "../../remote/credentials.ts";
import type { BuildSession, FileReceiver, SendFolderOptions, SessionContent, SyncRequest } from "../session.ts";

/** A build's session, of which some folders come by sessions that several builds of one client share. */
export class SharedSession implements BuildSession {
  readonly id: string;
  readonly sharedKey: string;
  readonly gone: AbortSignal;
  readonly #own: BuildSession;
  readonly #folders: ReadonlyMap<string, BuildSession>;

  constructor(own: BuildSession, folders: ReadonlyMap<string, BuildSession>, sharedKey: string) {
    this.id = own.id;
    this.sharedKey = sharedKey;
    this.gone = own.gone;
    this.#own = own;
    this.#folders = folders;
  }

  serves(method: string): boolean {
    return this.#own.serves(method) || [...this.#folders.values()].some((other) => other.serves(method));
  }

  sync(request: SyncRequest, receiver: FileReceiver, signal: AbortSignal): Promise<void> {
    return (this.#folders.get(request.name) ?? this.#own).sync(request, receiver, signal);
  }

  secret(id: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
    return this.#own.secret(id, signal);
  }

  checkAgent(id: string, signal: AbortSignal): Promise<void> {
    return this.#own.checkAgent(id, signal);
  }

  agent(id: string, signal: AbortSignal): Promise<Duplex> {
    return this.#own.agent(id, signal);
  }

  credentials(registry: string, signal: AbortSignal): Promise<Credentials> {
    return this.#own.credentials(registry, signal);
  }

  sendFile(
    id: string,
    bytes: AsyncIterable<Uint8Array>,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<void> {
    return this.#own.sendFile(id, bytes, headers, signal);
  }

  sendFolder(id: string, folder: string, signal: AbortSignal, options?: SendFolderOptions): Promise<void> {
    return this.#own.sendFolder(id, folder, signal, options);
  }

  content(store: string): SessionContent {
    return this.#own.content(store);
  }
}
