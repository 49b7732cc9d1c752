import { writeFile } from "node:fs/promises";
import { Worker } from "node:worker_threads";
import { cancelled } from "../../../base/abort.ts";
import { GantryError, messageOf } from "../../../base/errors.ts";
import type { Root } from "../../root.ts";
import { type SpdxOptions, spdxOf } from "../spdx.ts";

export type ScanOrder =
  | { readonly do: "bom"; readonly root: string; readonly options: SpdxOptions }
  /** Told is how many bytes were written to `file`. */
  | { readonly do: "files"; readonly root: string; readonly file: string };

export interface ScanPorts {
  /** The path of worker.ts, or of what it was bundled to. */
  readonly worker: string;
  /** Of a scan, and of a list of all files. */
  readonly longestMs?: { readonly bom: number; readonly files: number };
}

const LONGEST_MS = { bom: 300_000, files: 3_600_000 };
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

  /**
   * Writes the regular files as subjects to `file`, as JSON, however many there are; resolves with its length. What was
   * written by then stays where it rejects.
   */
  async files(root: Root | undefined, file: string, signal: AbortSignal): Promise<number> {
    if (root === undefined) {
      await writeFile(file, "[]", { flag: "wx", mode: 0o600 });
      return 2;
    }
    await using opened = await root.open();
    return Number(await this.#run({ do: "files", root: opened.path, file }, "attest the files", signal));
  }

  async #run(order: ScanOrder, what: string, signal: AbortSignal): Promise<string> {
    if (signal.aborted) throw cancelled();
    const { worker: script } = this.#ports;
    const longestMs = (this.#ports.longestMs ?? LONGEST_MS)[order.do];
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
