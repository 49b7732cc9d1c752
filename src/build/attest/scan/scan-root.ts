import { Worker } from "node:worker_threads";
import { cancelled } from "../../../base/abort.ts";
import { GantryError, messageOf } from "../../../base/errors.ts";
import type { Root } from "../../root.ts";
import { type SpdxOptions, spdxOf } from "../spdx.ts";

export type ScanOrder =
  | { readonly do: "bom"; readonly root: string; readonly options: SpdxOptions }
  | { readonly do: "files"; readonly root: string; readonly most: number };

export interface ScanPorts {
  /** The path of worker.ts, or of what it was bundled to. */
  readonly worker: string;
  readonly longestMs?: number;
}

const LONGEST_MS = 300_000;
const MOST_FILES = 200_000;
const MOST_MEMORY_MB = 1024;

/** Looks into roots, each time in a thread of its own that ends, whatever it meets. */
export class ScanRoot {
  readonly #ports: ScanPorts;

  constructor(ports: ScanPorts) {
    this.#ports = ports;
  }

  /** An SPDX document of the packages, as JSON. */
  async bom(root: Root | undefined, options: SpdxOptions, signal: AbortSignal): Promise<string> {
    if (root === undefined) {
      return JSON.stringify(spdxOf({ distribution: undefined, packages: [], notes: [] }, options));
    }
    await using opened = await root.open();
    return await this.#run({ do: "bom", root: opened.path, options }, "scan for an SBOM", signal);
  }

  /** The regular files as subjects, as JSON; `invalid` if there are too many to tell. */
  async files(root: Root | undefined, signal: AbortSignal): Promise<string> {
    if (root === undefined) return "[]";
    await using opened = await root.open();
    const order = { do: "files", root: opened.path, most: MOST_FILES } as const;
    return await this.#run(order, "attest the files", signal);
  }

  async #run(order: ScanOrder, what: string, signal: AbortSignal): Promise<string> {
    if (signal.aborted) throw cancelled();
    const { longestMs = LONGEST_MS, worker: script } = this.#ports;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const worker = new Worker(script, {
      workerData: order,
      execArgv: [],
      trackUnmanagedFds: false,
      resourceLimits: { maxOldGenerationSizeMb: MOST_MEMORY_MB },
    });
    const fail = (why: string, cause?: unknown): void =>
      reject(new GantryError("invalid", `cannot ${what}: ${why}`, { cause }));
    worker.on("message", resolve);
    worker.on("error", (error) => fail(messageOf(error), error));
    worker.on("exit", (code) => fail(`the thread has ended with code ${code}`));
    const timer = setTimeout(() => fail(`it took longer than ${longestMs / 1000} seconds`), longestMs);
    const stop = (): void => reject(cancelled());
    signal.addEventListener("abort", stop, { once: true });
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      // The root is closed when nobody reads it any more.
      await worker.terminate();
    }
  }
}
