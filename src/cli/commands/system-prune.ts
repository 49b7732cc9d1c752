import { humanSize } from "../../base/units.ts";
import { EngineError, isOlder } from "../../client/client.ts";
import { type Command, ExitError } from "../command.ts";
import { boolFlag, checkFilter, textFlag } from "../flags/spec.ts";
import { confirmed } from "../output/confirm.ts";
import { print } from "../output/print.ts";
import { pruneFilters } from "../output/prune-filters.ts";
import {
  type Pruned,
  pruneBuildCache,
  pruneStoppedContainers,
  pruneUnusedImages,
  pruneUnusedNetworks,
  pruneUnusedVolumes,
} from "./prune.ts";

export const pruneSystem: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: [
    boolFlag("a,all", "Remove all unused images, not just those without a name"),
    textFlag("filter", 'Remove only what matches (e.g. "label=<key>=<value>")', { type: "filter", check: checkFilter }),
    boolFlag("f,force", "Do not ask for confirmation"),
    boolFlag("volumes", "Remove anonymous volumes that nobody uses, too"),
  ],
  async run(call) {
    const { flags } = call;
    const all = flags.bool("all");
    const filters = pruneFilters(call);
    if (flags.bool("volumes") && filters.has("until")) {
      throw new ExitError(1, 'ERROR: The "until" filter is not supported with "--volumes"');
    }
    if (!flags.bool("force") && !(await confirmed(warning(all, flags.bool("volumes"), filters), "\n"))) return 0;
    const steps: (() => Promise<Pruned>)[] = [
      () => pruneStoppedContainers(call, filters),
      () => pruneUnusedNetworks(call, filters),
      ...(flags.bool("volumes") ? [() => pruneUnusedVolumes(call, filters, false)] : []),
      () => pruneUnusedImages(call, filters, all),
    ];
    let bytes = 0;
    const add = (pruned: Pruned): void => {
      bytes += pruned.bytes;
      if (pruned.text !== "") print(`${pruned.text}\n`);
    };
    // One after the other: what a container held is unused only when it is gone.
    for (const step of steps) add(await step());
    if (!isOlder(call.client.version, "1.31")) {
      try {
        add(
          await pruneBuildCache(call, new Map([...filters].filter(([key]) => key !== "label!")), all, { reserved: 0 }),
        );
      } catch (error) {
        // An engine without a builder has no cache of one.
        if (!(error instanceof EngineError && (error.status === 404 || error.status === 501))) throw error;
      }
    }
    print(`Total reclaimed space: ${humanSize(bytes)}\n`);
    return 0;
  },
};

function warning(all: boolean, volumes: boolean, filters: ReadonlyMap<string, readonly string[]>): string {
  const rows = [
    "all stopped containers",
    "all networks not used by at least one container",
    ...(volumes ? ["all anonymous volumes not used by at least one container"] : []),
    all ? "all images without at least one container associated to them" : "all dangling images",
    all ? "all build cache" : "unused build cache",
  ];
  const conditions = [...filters]
    .flatMap(([key, values]) => values.map((value) => `${key}=${value}`))
    .sort()
    .map((text) => `  - ${text}\n`);
  const filtered =
    conditions.length === 0 ? "" : `\n  Items to be pruned will be filtered with:\n${conditions.join("")}`;
  return `WARNING! This will remove:\n${rows.map((text) => `  - ${text}\n`).join("")}${filtered}`;
}
