import { statfsSync } from "node:fs";
import { join } from "node:path";
import { failpoint } from "../base/failpoint.ts";
import type { Logger } from "../base/log.ts";
import type { ContentStore } from "../content/content-store.ts";
import type { EventBus } from "../events/bus.ts";
import type { ResolvedImage } from "../images/image.ts";
import type { ImageStore } from "../images/image-store.ts";
import { hostPlatform } from "../oci/platform.ts";
import type { Registries } from "../remote/registry.ts";
import type { StepRunner } from "../runtime/step.ts";
import type { Snapshotter } from "../snapshots/snapshotter.ts";
import type { Store } from "../state/store.ts";
import { Attestor } from "./attest/attestor.ts";
import { recordedProvenance } from "./attest/recorded.ts";
import { ScanRoot } from "./attest/scan/scan-root.ts";
import type { Builder, CacheArchives, FailedSteps } from "./builder.ts";
import { Builds } from "./builds.ts";
import { StepCache } from "./cache/step-cache.ts";
import { Upkeep } from "./cache/upkeep.ts";
import { openSteps } from "./exec/open-steps.ts";
import { Files } from "./files/build-files.ts";
import { type GcConfig, gcPolicy } from "./gc-config.ts";
import { History, type HistoryLimits } from "./history/history.ts";
import { plan } from "./plan/plan.ts";
import { createResults } from "./results/results.ts";
import { Roots } from "./roots.ts";
import { Solver } from "./solver/solver.ts";
import { openSources } from "./sources/open-sources.ts";
import type { SourceSettings } from "./sources/settings.ts";

/** What a builder stands on. */
export interface BuilderPorts {
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly content: ContentStore;
  readonly snapshots: Snapshotter;
  readonly store: Store;
  readonly events: EventBus;
  readonly images: ImageStore;
  /** As with containers: the policy's word on an image that is here. */
  readonly admit?: (image: ResolvedImage, asked: string) => Promise<void>;
  readonly registries: Registries;
  readonly runner: StepRunner;
  readonly log: Logger;
  /** The program of the threads that copy and digest: files/worker.ts, or what it was bundled to. */
  readonly filesWorker: string;
  /** The program of the threads that look for packages: attest/scan/worker.ts, likewise. */
  readonly scanWorker: string;
  readonly settings: () => BuilderSettings;
}

/** What of the engine's configuration is the builder's. */
export interface BuilderSettings {
  /** Steps that run at a time, of all builds. */
  readonly maxParallelism: number;
  readonly gc: GcConfig;
  readonly history: HistoryLimits;
  readonly sources: SourceSettings;
}

/** A builder and what the engine does with it. */
export interface OpenBuilder {
  readonly builder: Builder;
  readonly failedSteps: FailedSteps;
  readonly cacheArchives: CacheArchives;
  /** Blobs and snapshots that images must leave here. */
  keep(): Iterable<string>;
  /** Removes what a crash left. Before snapshots and images recover. */
  recover(): Promise<void>;
  /** Ends what runs; nothing begins any more. */
  end(): Promise<void>;
  /** The same, and brings to the disk what is kept, which takes as long as a busy disk does. */
  close(): Promise<void>;
}

/** Puts a builder together. */
export function openBuilder(ports: BuilderPorts): OpenBuilder {
  const { dataRoot, execRoot, snapshots } = ports;
  const roots = new Roots({ snapshots, folder: join(execRoot, "build/roots") });
  const sources = openSources({
    ...ports,
    ...{ root: join(dataRoot, "build/sources"), roots },
    settings: () => ports.settings().sources,
  });
  const files = new Files({ worker: ports.filesWorker });
  const steps = openSteps({
    ...ports,
    driver: snapshots.driver,
    digest: (root, path, { signal }) => files.digest(root, signal, path),
  });
  const cache = new StepCache({ ...ports, roots });
  const history = new History({
    ...ports,
    folder: join(dataRoot, "build/history"),
    limits: () => ports.settings().history,
  });
  const upkeep = new Upkeep({
    ...ports,
    cache,
    roots,
    holders: [sources.cache, steps.cache],
    policy: () => gcPolicy(ports.settings().gc, diskBytes(dataRoot)),
  });
  const solver = new Solver({
    ...{ snapshots, roots, cache },
    operators: { ...sources.operators, files: files.operator, exec: steps.operator },
    digest: (root, signal) => files.digest(root, signal),
    maxParallelism: ports.settings().maxParallelism,
  });
  const results = createResults({
    images: ports.images,
    snapshots,
    roots,
    rename: (name, to) => cache.rename(name, to),
    settle: () => cache.settle(),
    tempRoot: join(execRoot, "build/outputs"),
    platform: hostPlatform(),
    archives: steps.archives,
    attestor: new Attestor({ scan: new ScanRoot({ worker: ports.scanWorker }) }),
  });
  const builds = new Builds({
    ...{ sources, plan, solver, results, history, upkeep },
    provenance: recordedProvenance,
    openContainer: (request, signal) => steps.openContainer(request, signal),
  });
  let ending: Promise<void> | undefined;
  let closing: Promise<void> | undefined;
  const endAll = async () => {
    await builds.close();
    upkeep.close();
    await steps.close();
  };
  const end = () => {
    ending ??= endAll();
    return ending;
  };
  const close = async () => {
    await end();
    failpoint("build.close.ended");
    await cache.settle();
    await history.close();
    await files.close();
  };
  return {
    builder: builds,
    failedSteps: steps.failed,
    cacheArchives: steps.archives,
    keep: () => [...roots.held(), ...cache.snapshots()],
    recover: async () => {
      await steps.recover();
      roots.recover();
      await sources.recover();
      history.recover();
    },
    end,
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

function diskBytes(path: string): number {
  const { blocks, bsize } = statfsSync(path);
  return blocks * bsize;
}
