import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GantryError } from "../base/errors.ts";
import { Logger } from "../base/log.ts";
import type { Builder, CacheArchives, FailedSteps } from "../build/builder.ts";
import type { ContainerController, HijackedConnection } from "../containers/controller.ts";
import { EventBus } from "../events/bus.ts";
import type { ImageRegistry } from "../images/image.ts";
import type { NetworkController } from "../networks/network.ts";
import type { Registries } from "../remote/registry.ts";
import { openMemory } from "../state/memory.ts";
import { VolumeCare } from "../volumes/care.ts";
import { LocalVolumes } from "../volumes/local.ts";
import { Volumes } from "../volumes/volumes.ts";
import { DiskUsageReader } from "./disk-usage.ts";
import { engineHandlers } from "./handlers.ts";
import { engineMetrics } from "./metrics.ts";
import { createEngineServer } from "./server.ts";

/** A server on a socket of its own, with containers that only echo. */
export interface TestServer extends AsyncDisposable {
  /** The socket's path; with `tcp` there is a port instead. */
  readonly path: string;
  readonly port: number | undefined;
  readonly events: EventBus;
  /** Calls of the controller, by name. */
  readonly calls: { readonly name: string; readonly args: readonly unknown[] }[];
  /** Lines of the log. */
  readonly log: readonly string[];
}

/** Writes the preamble, gives back in upper case what comes, and ends when the client does. */
function echo({ socket, head, preamble }: HijackedConnection): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const answer = (bytes: Uint8Array) => socket.write(Buffer.from(bytes).toString().toUpperCase());
  socket.write(preamble);
  if (head.length > 0) answer(head);
  socket.on("data", answer);
  socket.on("end", () => socket.end("\nbye"));
  socket.on("close", () => resolve());
  return promise;
}

export async function startTestServer(
  overrides: Partial<ContainerController> = {},
  options: {
    headersTimeoutMs?: number;
    tcp?: boolean;
    access?: "all" | "read";
    images?: Partial<ImageRegistry>;
  } = {},
): Promise<TestServer> {
  const root = mkdtempSync(join(tmpdir(), "gantry-server-"));
  const events = new EventBus();
  const calls: TestServer["calls"] = [];
  const known: Partial<ContainerController> = {
    attach: async (id, { hijack }) => {
      if (id === "missing") throw new GantryError("not-found", "No such container: missing");
      await echo(hijack({ multiplexed: id !== "tty" }));
    },
    execStart: async (_id, start) => {
      if (!start.detach) await echo(start.hijack({ multiplexed: !start.tty }));
    },
    create: async () => ({ Id: "a".repeat(64), Warnings: [] }),
    start: async () => undefined,
    list: async () => [],
    wait: async (_id, _condition, { ready }) => {
      ready();
      return { StatusCode: 0 };
    },
    remove: async () => undefined,
    ...overrides,
  };
  const containers = new Proxy(known, {
    get: (target, name: keyof ContainerController) => {
      const act = target[name] as ((...args: unknown[]) => unknown) | undefined;
      return (...args: unknown[]) => {
        calls.push({ name, args });
        if (act === undefined) throw new Error(`the fake has no ${name}`);
        return act(...args);
      };
    },
  }) as ContainerController;
  const images = (options.images ?? {}) as ImageRegistry;
  const log: string[] = [];
  const local = new LocalVolumes({ root: join(root, "volumes"), store: openMemory(), events, usersOf: () => [] });
  const volumes = new Volumes({ local });
  const server = createEngineServer({
    handlers: engineHandlers({
      containers,
      images,
      networks: { list: () => [] } as unknown as NetworkController,
      registries: {} as Registries,
      builder: {} as Builder,
      buildWire: () => Promise.reject(new Error("no builder")),
      failedSteps: {} as FailedSteps,
      cacheArchives: {} as CacheArchives,
      doctor: async () => ({ Version: "0.0.0", Healthy: true, Checks: [] }),
      volumes,
      volumeCare: new VolumeCare({ local, volumes, users: { of: () => [], pause: noPause, renamed: () => () => {} } }),
      diskUsage: new DiskUsageReader({
        builder: { usage: async () => [] },
        images,
        containers,
        volumes,
        usersOf: () => [],
      }),
      metrics: engineMetrics(),
      events,
      system: {
        version: () => ({ Version: "0.0.0", ApiVersion: "1.51", MinAPIVersion: "1.24" }) as never,
        info: async () => ({}) as never,
      },
    }),
    log: new Logger("error", (line) => void log.push(line)),
    engineVersion: "0.0.0",
    ...options,
  });
  const path = join(root, "e.sock");
  const address = options.tcp ? { port: 0, host: "127.0.0.1" } : { path };
  await new Promise<void>((resolve) => server.listen(address, resolve));
  return {
    path,
    port: options.tcp ? (server.address() as AddressInfo).port : undefined,
    events,
    calls,
    log,
    [Symbol.asyncDispose]: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** A bare connection that keeps all that it gets. */
export class RawClient {
  readonly socket: Socket;
  #received = "";

  constructor(address: string | number) {
    const to = typeof address === "string" ? { path: address } : { port: address, host: "127.0.0.1" };
    this.socket = createConnection({ ...to, allowHalfOpen: true });
    this.socket.on("data", (bytes) => {
      this.#received += bytes.toString("latin1");
    });
    this.socket.on("error", () => undefined);
  }

  send(text: string): void {
    this.socket.write(text);
  }

  /** Waits until what came matches; the whole of it is the result. */
  until(pattern: RegExp | string): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const look = () => {
      const found = typeof pattern === "string" ? this.#received.includes(pattern) : pattern.test(this.#received);
      if (found) resolve(this.#received);
    };
    const gone = () => reject(new Error(`closed after ${JSON.stringify(this.#received)}`));
    this.socket.on("data", look).on("close", gone);
    look();
    if (this.socket.destroyed) gone();
    return promise.finally(() => this.socket.off("data", look).off("close", gone));
  }

  /** Everything up to the end of the server's side. */
  async all(): Promise<string> {
    if (!this.socket.readableEnded && !this.socket.destroyed) {
      await new Promise<void>((resolve) => this.socket.once("end", resolve).once("close", () => resolve()));
    }
    this.socket.destroy();
    return this.#received;
  }
}

async function noPause(): Promise<AsyncDisposable> {
  return { [Symbol.asyncDispose]: async () => {} };
}
