import { GantryError } from "../base/errors.ts";
import type { EventBus } from "../events/bus.ts";
import type {
  Builder,
  BuildHistory,
  BuildOptions,
  BuildRequest,
  BuildResult,
  CacheUsage,
  PruneOptions,
} from "./builder.ts";
import type { BuildFiles, BuildResults, BuildSources, BuildSteps } from "./parts.ts";
import type { Roots } from "./roots.ts";

export interface BuildsPorts {
  readonly events: EventBus;
  readonly roots: Roots;
  readonly sources: BuildSources;
  readonly files: BuildFiles;
  readonly steps: BuildSteps;
  readonly results: BuildResults;
}

/** The builds of one engine. */
export class Builds implements Builder {
  readonly history: BuildHistory = {
    list: () => [],
    get: () => undefined,
    events: async function* () {},
    remove: async (id) => {
      throw new GantryError("not-found", `no build ${id}`);
    },
    watch: () => ({ [Symbol.dispose]: () => {} }),
  };
  readonly #ports: BuildsPorts;

  constructor(ports: BuildsPorts) {
    this.#ports = ports;
  }

  async build(request: BuildRequest, options: BuildOptions): Promise<BuildResult> {
    await using inputs = this.#ports.sources.open(request, options);
    await inputs.dockerfile();
    throw new GantryError("unsupported", "this builder has no solver yet");
  }

  cancel(_id: string): void {}

  async usage(_filters: readonly string[]): Promise<readonly CacheUsage[]> {
    return [];
  }

  async prune(
    _options: PruneOptions,
  ): Promise<{ readonly deleted: readonly string[]; readonly spaceReclaimed: number }> {
    return { deleted: [], spaceReclaimed: 0 };
  }

  async close(): Promise<void> {}
}
