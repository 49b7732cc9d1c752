import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "../../base/log.ts";
import type { StepRunner } from "../../runtime/step.ts";
import type { Store } from "../../state/store.ts";
import type { CacheArchives } from "../builder.ts";
import type { BuildSteps } from "../parts.ts";
import { cacheArchives } from "./cache-archives.ts";
import { CacheMounts } from "./cache-mounts.ts";
import { ExecOperator, type SourceDigest } from "./exec-operator.ts";
import { KeptSteps } from "./kept-steps.ts";
import { StepContainers } from "./step-containers.ts";
import { WritableCopies } from "./writable-copy.ts";

export interface StepsPorts {
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly store: Store;
  readonly log: Logger;
  /** `overlay2`, or what works where there is no overlayfs. */
  readonly driver: "overlay2" | "vfs";
  readonly runner: StepRunner;
  readonly digest: SourceDigest;
}

/** What RUN is made of. */
export function openSteps(ports: StepsPorts): BuildSteps & { readonly archives: CacheArchives } {
  const { dataRoot, execRoot, store, log, runner, digest } = ports;
  const nothing = join(execRoot, "build/nothing");
  const caches = new CacheMounts({ store, log, folder: join(dataRoot, "build/cache-mounts") });
  const copies = new WritableCopies({
    folder: join(dataRoot, "build/writable"),
    places: join(execRoot, "build/writable"),
    overlay: ports.driver === "overlay2",
  });
  const kept = new KeptSteps(log);
  const containers = new StepContainers({ runner, caches, copies, nothing });
  return {
    openContainer: (request, signal) => containers.open(request, signal),
    operator: new ExecOperator({ runner, caches, copies, nothing, kept, digest }),
    cache: caches,
    archives: cacheArchives(caches),
    failed: kept,
    recover: async () => {
      mkdirSync(nothing, { recursive: true, mode: 0o755 });
      await copies.recover();
      await caches.recover();
    },
    close: async () => {
      await kept.close();
      await containers.close();
      await runner.quiet();
    },
  };
}
