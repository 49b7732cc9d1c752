import { spawn } from "node:child_process";
import { closeSync } from "node:fs";
import { GantryError, messageOf } from "../../base/errors.ts";
import { unixSocketPair } from "../../kernel/unix-socket.ts";
import { Registries } from "../../remote/registry.ts";
import type { RemoteSettings } from "../../remote/settings.ts";
import { ControlConnection } from "../../runtime/control-connection.ts";
import type { FromServer, ServedOrder, ServedRow, ToServer } from "../protocol.ts";
import { NotHereError } from "./blob-cache.ts";
import { ChunkCache } from "./chunk-cache.ts";
import { FuseSession } from "./fuse-session.ts";
import { Layer } from "./layer.ts";
import type { FileNode } from "./tree.ts";

/** Between two tellings of what fails in one layer, and of what was fetched. */
const TELL_MS = 2000;
const FETCHED_MS = 100;
const RETRY_MS = 1000;
const TRIES = 60;

export interface ServerPlace {
  readonly execRoot: string;
  readonly script: string;
  readonly fuse: number;
  readonly control: number;
}

/**
 * Serves layers' files to the kernel, for a keeper that has the file system's descriptor as well: if this process dies,
 * the keeper starts another; if the keeper dies, this starts another keeper.
 */
export class Server {
  readonly #place: ServerPlace;
  readonly #registries: Registries;
  readonly #chunks = new ChunkCache();
  readonly #layers = new Map<number, Layer>();
  /** What another keeper is told, layers that are still being opened included. */
  readonly #rows = new Map<number, ServedRow>();
  #pids: ReadonlySet<number> = new Set();
  readonly #session: FuseSession;
  readonly #told = new Map<string, number>();
  #settings: RemoteSettings | undefined;
  #connection: ControlConnection;
  #isEnding = false;
  #hasBegun = false;
  /** Its keeper died. */
  #isOrphan = false;
  #opening = 0;

  constructor(place: ServerPlace) {
    this.#place = place;
    this.#registries = new Registries({ settings: () => this.#currentSettings() });
    this.#session = new FuseSession({
      fd: place.fuse,
      mayNotWait: (tid) => this.#pids.has(tid),
      onFailure: (layer, node, error) => this.#failed(layer, node, error),
      onEnd: () => {
        this.#send({ event: "unmounted" });
        this.#end();
      },
    });
    this.#connection = this.#connect(place.control);
  }

  #currentSettings(): RemoteSettings {
    if (this.#settings === undefined) throw new GantryError("internal", "no layer was asked for yet");
    return this.#settings;
  }

  #connect(fd: number): ControlConnection {
    const connection: ControlConnection = new ControlConnection(
      fd,
      (message, received) => {
        if (received !== undefined) closeSync(received);
        void this.#act(message as ToServer);
      },
      () => void this.#lost(connection),
    );
    return connection;
  }

  async #act(message: ToServer): Promise<void> {
    switch (message.op) {
      case "engines":
        this.#pids = new Set(message.pids);
        return;
      case "serve":
        await this.#serve(message.request, message.served, message.known);
        return;
      case "release": {
        this.#layers.get(message.number)?.close();
        this.#layers.delete(message.number);
        this.#rows.delete(message.number);
        this.#session.remove(message.number);
        this.#send({ reply: message.request, size: 0, hasRoot: false });
        return;
      }
      case "begin":
        this.#begin(message);
        return;
      case "shutdown":
        this.#end();
    }
  }

  async #serve(request: number, served: ServedOrder, known: ServedRow | undefined): Promise<void> {
    const { number, order } = served;
    this.#settings = order.settings;
    if (known !== undefined) this.#rows.set(number, known);
    this.#opening++;
    try {
      const layer = await Layer.open(
        order,
        {
          registries: this.#registries,
          chunks: this.#chunks,
          onFetch: () => this.#tell(`fetched ${order.id}`, FETCHED_MS, { event: "fetched", id: order.id }),
          onFailure: (message) => this.#complain(order.id, message),
        },
        { isAgain: known !== undefined },
      );
      const { hasRoot, size } = layer.tree;
      this.#layers.set(number, layer);
      this.#rows.set(number, { number, order, size, hasRoot });
      this.#session.add(number, layer);
      this.#send({ reply: request, size, hasRoot });
    } catch (error) {
      const kind = error instanceof GantryError ? error.kind : "internal";
      this.#send({ reply: request, error: { kind, message: messageOf(error) } });
    } finally {
      this.#opening--;
      if (this.#isOrphan && this.#opening === 0) this.#begin({ resend: true });
    }
  }

  #begin(options: { readonly resend: boolean }): void {
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    this.#session.begin(options);
  }

  #send(message: FromServer): void {
    this.#connection.send(message);
  }

  #failed(layer: Layer, node: FileNode, error: unknown): void {
    const why = error instanceof NotHereError ? "the engine asked, which doesn't wait" : messageOf(error);
    this.#complain(layer.order.id, `cannot read ${pathOf(node)} of layer ${layer.order.blob.digest}: ${why}`);
  }

  #complain(id: string, message: string): void {
    this.#tell(`failed ${id}`, TELL_MS, { event: "failed", id, message });
  }

  /** At most once in so many milliseconds. */
  #tell(what: string, milliseconds: number, message: FromServer): void {
    const now = performance.now();
    if (now - (this.#told.get(what) ?? Number.NEGATIVE_INFINITY) < milliseconds) return;
    this.#told.set(what, now);
    this.#send(message);
  }

  /** The keeper has gone: another gets what it knew. */
  async #lost(connection: ControlConnection): Promise<void> {
    if (this.#isEnding || this.#connection !== connection) return;
    // Nobody else tells it to, if that keeper didn't.
    this.#isOrphan = true;
    if (this.#opening === 0) this.#begin({ resend: true });
    for (let tries = 0; tries < TRIES && !this.#isEnding; tries++) {
      const [own, its] = unixSocketPair();
      const next = this.#connect(own);
      this.#connection = next;
      const { execRoot, fuse, script } = this.#place;
      const args = ["--max-semi-space-size=4", script, execRoot, "adopt"];
      const child = spawn(process.execPath, args, {
        cwd: "/",
        detached: true,
        stdio: ["ignore", "inherit", "inherit", "ignore", fuse, its],
      });
      closeSync(its);
      const ended = new Promise<void>((resolve) => {
        child.once("exit", () => resolve());
        child.once("error", () => resolve());
      });
      child.unref();
      this.#send({ event: "table", rows: [...this.#rows.values()] });
      const isUp = await Promise.race([
        ended.then(() => false),
        new Promise<boolean>((resolve) => setTimeout(() => resolve(true), RETRY_MS)),
      ]);
      // Its end, now or later, is told by the connection.
      if (isUp) return;
    }
  }

  #end(): void {
    this.#isEnding = true;
    setImmediate(() => process.exit(0));
  }
}

function pathOf(node: FileNode): string {
  const names: string[] = [];
  for (let at = node; at.parent !== undefined; at = at.parent) {
    const name = [...(at.parent.children ?? [])].find(([, child]) => child === at)?.[0];
    names.unshift(name ?? "?");
  }
  return `/${names.join("/")}`;
}
