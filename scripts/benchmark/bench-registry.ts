import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { finish } from "../../test/command.ts";
import { pushTo, type TestImage } from "../../test/oci-image.ts";
import { startRegistry, type TestRegistry } from "../../test/registry.ts";
import { processorTimeOf } from "./memory.ts";
import type { Peer } from "./peer.ts";

const PORT = 5000;
const READY_MS = 20_000;

/** How the registry is called from where the peers are. */
export const REGISTRY = `127.0.0.1:${PORT}`;

/**
 * One storage of Debian's registry, filled once, that is served to each peer in its own network namespace by a process of
 * its own. Ends with the last peer.
 */
export class BenchRegistry {
  readonly #filled = new Set<string>();
  readonly #serving = new Map<Peer, ChildProcess>();
  #store: Promise<TestRegistry> | undefined;

  /** Serves the storage to a peer and makes sure that it has an image of this name. */
  async offer(peer: Peer, name: string, make: () => TestImage): Promise<void> {
    this.#store ??= startRegistry();
    const store = await this.#store;
    if (!this.#filled.has(name)) await pushTo(store, name, make());
    this.#filled.add(name);
    if (this.#serving.has(peer)) return;
    const child = await serve(peer, store);
    this.#serving.set(peer, child);
    peer.defer(async () => {
      this.#serving.delete(peer);
      const exit = new Promise((resolve) => child.once("exit", resolve));
      if (child.exitCode === null && child.kill("SIGKILL")) await exit;
      if (this.#serving.size > 0) return;
      this.#store = undefined;
      await store[Symbol.asyncDispose]();
    });
  }

  /** What serving a peer has taken of the processors so far. */
  processorTimeMs(peer: Peer): number {
    const pid = this.#serving.get(peer)?.pid;
    return pid === undefined ? 0 : processorTimeOf(pid);
  }

  /** Takes a repository away; what of it lies in others stays there. */
  async forget(repository: string): Promise<void> {
    const store = await this.#store;
    if (store !== undefined) await rm(folderOf(store, repository), { recursive: true, force: true });
    this.#filled.delete(repository);
  }
}

/** Where a storage of Debian's registry keeps a repository. */
function folderOf(store: TestRegistry, repository: string): string {
  return join(store.storage, "docker/registry/v2/repositories", repository);
}

async function serve(peer: Peer, store: TestRegistry): Promise<ChildProcess> {
  // Not below the peer's root: it is no part of the engine that is measured.
  const folder = join(store.storage, "..", "bench");
  mkdirSync(folder, { recursive: true });
  const config = join(folder, `${peer.name}.yml`);
  writeFileSync(
    config,
    JSON.stringify({
      version: "0.1",
      log: { level: "error", accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: store.storage }, delete: { enabled: true } },
      http: { addr: REGISTRY },
    }),
  );
  const inside = ["-t", String(peer.pid), "-n"];
  const child = spawn("nsenter", [...inside, "docker-registry", "serve", config], { stdio: "ignore" });
  const deadline = Date.now() + READY_MS;
  // The bench is in another namespace: a connection is tried from the peer's.
  const look = `exec 3<>/dev/tcp/${REGISTRY.replace(":", "/")}`;
  while ((await finish("nsenter", [...inside, "bash", "-c", look])).code !== 0) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error("the bench's registry does not answer");
    await after(50);
  }
  return child;
}
