import { mkdirSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { dirname, join } from "node:path";

/** A call that a plugin got: its method, and the object it came with. */
export interface PluginCall {
  readonly method: string;
  readonly body: Readonly<Record<string, unknown>>;
}

export interface PluginBehaviour {
  readonly scope?: string;
  readonly implements?: readonly string[];
  /** Answers in the plugin's stead: an object, a text as it is, or nothing at all for "hang" and "drop". */
  readonly answer?: (call: PluginCall, plugin: FolderPlugin) => object | string | "hang" | "drop" | undefined;
}

/**
 * A volume plugin that keeps folders below its own, as the simplest real ones do: HTTP over a unix socket, each volume
 * mounted as often as ids ask for it.
 */
export class FolderPlugin implements AsyncDisposable {
  readonly calls: PluginCall[] = [];
  readonly root: string;
  readonly socket: string;
  /** Ids that hold a volume mounted, by its name. */
  readonly mounted = new Map<string, Set<string>>();
  readonly options = new Map<string, unknown>();
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  behaviour: PluginBehaviour;

  private constructor(socket: string, root: string, behaviour: PluginBehaviour) {
    this.socket = socket;
    this.root = root;
    this.behaviour = behaviour;
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.on("connection", (each: Socket) => {
      this.#sockets.add(each.on("close", () => this.#sockets.delete(each)));
    });
  }

  static async listen(socket: string, root: string, behaviour: PluginBehaviour = {}): Promise<FolderPlugin> {
    mkdirSync(dirname(socket), { recursive: true });
    mkdirSync(root, { recursive: true });
    const plugin = new FolderPlugin(socket, root, behaviour);
    await plugin.listen();
    return plugin;
  }

  listen(): Promise<void> {
    rmSync(this.socket, { force: true });
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject).listen(this.socket, resolve);
    });
  }

  /** Ends as a plugin that dies: what it was asked is not answered. */
  close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    for (const socket of this.#sockets) socket.destroy();
    return promise;
  }

  methods(): string[] {
    return this.calls.map(({ method }) => method);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    rmSync(this.socket, { force: true });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = "";
    for await (const piece of request as AsyncIterable<Buffer>) text += piece.toString();
    const call = {
      method: (request.url ?? "").slice(1),
      body: text === "" ? {} : (JSON.parse(text) as Record<string, unknown>),
    };
    this.calls.push(call);
    const answer = this.behaviour.answer?.(call, this) ?? this.#answer(call);
    if (answer === "hang") return;
    if (answer === "drop") {
      request.socket.destroy();
      return;
    }
    response.setHeader("Content-Type", "application/vnd.docker.plugins.v1.2+json");
    response.end(typeof answer === "string" ? answer : JSON.stringify(answer));
  }

  #answer({ method, body }: PluginCall): object {
    const name = String(body.Name);
    const folder = join(this.root, name);
    const shown = (each: string) => ({
      Name: each,
      Mountpoint: this.mounted.has(each) ? join(this.root, each) : "",
      CreatedAt: "2024-01-02T03:04:05Z",
      Status: { holders: this.mounted.get(each)?.size ?? 0 },
    });
    if (method === "Plugin.Activate") return { Implements: this.behaviour.implements ?? ["VolumeDriver"] };
    if (method === "VolumeDriver.Capabilities") return { Capabilities: { Scope: this.behaviour.scope ?? "local" } };
    if (method === "VolumeDriver.List") return { Volumes: [...this.options.keys()].map(shown), Err: "" };
    if (method === "VolumeDriver.Create") {
      this.options.set(name, body.Opts);
      mkdirSync(folder, { recursive: true });
      return { Err: "" };
    }
    if (!this.options.has(name)) return { Err: `no volume ${name} here` };
    switch (method) {
      case "VolumeDriver.Get":
        return { Volume: shown(name), Err: "" };
      case "VolumeDriver.Path":
        return { Mountpoint: shown(name).Mountpoint, Err: "" };
      case "VolumeDriver.Mount":
        this.mounted.set(name, (this.mounted.get(name) ?? new Set()).add(String(body.ID)));
        return { Mountpoint: folder, Err: "" };
      case "VolumeDriver.Unmount": {
        const ids = this.mounted.get(name);
        if (ids?.delete(String(body.ID)) !== true) return { Err: `no mount ${String(body.ID)} of ${name}` };
        if (ids.size === 0) this.mounted.delete(name);
        return { Err: "" };
      }
      case "VolumeDriver.Remove":
        this.options.delete(name);
        rmSync(folder, { recursive: true, force: true });
        return { Err: "" };
      default:
        return { Err: `no method ${method}` };
    }
  }
}
