import type { Duplex } from "node:stream";
import type { Stat } from "../buildkit/packet.ts";
import type { Credentials } from "../remote/credentials.ts";

/** What a build may ask of the client that it runs for. Every call rejects when the client has gone. */
export interface BuildSession {
  readonly id: string;
  /** Builds of one client and folder have the same: what was sent before is compared with. Empty if it has none. */
  readonly sharedKey: string;
  /** Aborted when the client has gone. */
  readonly gone: AbortSignal;
  /** True if the client serves a method, as `/moby.filesync.v1.FileSync/DiffCopy`. */
  serves(method: string): boolean;

  /** Brings a folder of the client's to where `receiver` wants it. */
  sync(request: SyncRequest, receiver: FileReceiver, signal: AbortSignal): Promise<void>;
  /** undefined if the client has no such secret. */
  secret(id: string, signal: AbortSignal): Promise<Uint8Array | undefined>;
  /** Rejects with not-found if no agent of this id is forwarded. */
  checkAgent(id: string, signal: AbortSignal): Promise<void>;
  /** A connection to the client's agent. */
  agent(id: string, signal: AbortSignal): Promise<Duplex>;
  credentials(registry: string, signal: AbortSignal): Promise<Credentials>;
  /** Sends a file (an archive, say) to the client: `--output type=tar`, `oci`, `docker`; `id` is the exporter's number. */
  sendFile(
    id: string,
    bytes: AsyncIterable<Uint8Array>,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<void>;
  /** Sends what is in a folder to the client: `--output type=local`. Several calls lay it over what is there. */
  sendFolder(id: string, folder: string, signal: AbortSignal, options?: SendFolderOptions): Promise<void>;
  /** Blobs of the client's OCI layouts and of `--cache-from/to type=local`. */
  content(store: string): SessionContent;
}

export interface SendFolderOptions {
  /** A folder at the client, one name, that it goes into. */
  readonly under?: string;
  /** Unix seconds: every file's time. */
  readonly modTime?: number;
}

export interface SyncRequest {
  /** `context`, `dockerfile`, or a named context's. */
  readonly name: string;
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  readonly followPaths: readonly string[];
}

/**
 * A file as the client has it: its path is relative, without `..`; its mode is Go's. The order is that of a walk, folders
 * before what is in them, names by their bytes.
 */
export type FileStat = Stat;

/** Where a sync goes: it says which files' bytes it wants. */
export interface FileReceiver {
  /** Called once for each file of the client's. True asks for its bytes. */
  file(stat: FileStat): boolean | Promise<boolean>;
  /** The bytes of a file that was asked for. Several at a time. */
  contents(stat: FileStat, bytes: AsyncIterable<Uint8Array>): Promise<void>;
  /** All files were told and all bytes have come. */
  end(): Promise<void>;
}

export interface SessionContent {
  /** Rejects with not-found. */
  read(digest: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
  info(digest: string, signal: AbortSignal): Promise<{ readonly size: number }>;
  write(digest: string, size: number, bytes: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void>;
}
