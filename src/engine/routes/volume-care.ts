import type { ProgressMessage } from "../../api/image.ts";
import { GantryError } from "../../base/errors.ts";
import { bytesSize } from "../../base/units.ts";
import type { CopiedTree } from "../../snapshots/copy-tree.ts";
import type { VolumeCare } from "../../volumes/care.ts";
import type { Writers } from "../../volumes/quiet.ts";
import { empty, json, stream } from "../answer.ts";
import { progressAnswer } from "../progress.ts";
import type { Handlers } from "../route-request.ts";

type CareRoutes = Pick<
  Handlers,
  | "volumeClone"
  | "volumeExport"
  | "volumeImport"
  | "volumeRename"
  | "volumeResize"
  | "volumeRestore"
  | "volumeSnapshot"
  | "volumeSnapshotList"
  | "volumeSnapshotRemove"
  | "volumeUsage"
>;

/** What volumes can be beyond Docker's API. What takes long answers lines of progress; what it made is in the last. */
export function volumeCareRoutes(care: VolumeCare): CareRoutes {
  return {
    volumeUsage: async () => json(await care.usage()),
    volumeRename: async ({ params, query }) => json(await care.rename(params.name!, needed(query.name, "name"))),
    volumeResize: async ({ params, query }) => json(await care.resize(params.name!, needed(query.size, "size"))),
    volumeClone: ({ params, query, signal }) => {
      const to = needed(query.to, "to");
      const how = { writers: writersOf(query), labels: labelsOf(query.label) };
      return progressAnswer(async (onProgress) => {
        const told = copying(onProgress, params.name!);
        const { volume, copied } = await care.clone(params.name!, to, how, { signal, onProgress: told });
        await onProgress({ id: params.name!, status: summary(copied), aux: volume });
      });
    },
    volumeSnapshot: ({ params, query, signal }) => {
      const name = query.name || undefined;
      return progressAnswer(async (onProgress) => {
        const told = copying(onProgress, params.name!);
        const made = await care.snapshot(params.name!, name, writersOf(query), { signal, onProgress: told });
        const status = summary({ bytes: made.Size, shared: made.Shared });
        await onProgress({ id: params.name!, status, aux: made });
      });
    },
    volumeSnapshotList: ({ params }) => json(care.snapshots(params.name!)),
    volumeSnapshotRemove: async ({ params }) => {
      await care.removeSnapshot(params.name!, params.snapshot!);
      return empty();
    },
    volumeRestore: ({ params, signal }) =>
      progressAnswer(async (onProgress) => {
        const told = copying(onProgress, params.name!);
        const copied = await care.restore(params.name!, params.snapshot!, { signal, onProgress: told });
        await onProgress({ id: params.name!, status: summary(copied) });
      }),
    volumeExport: async ({ params, query, signal }) =>
      stream("application/x-tar", await care.export(params.name!, writersOf(query), { signal })),
    volumeImport: async (request) => {
      const { params, query, signal } = request;
      const how = { replace: query.replace, labels: labelsOf(query.label) };
      return json(await care.import(params.name!, request.body(), how, { signal }));
    },
  };
}

function needed(value: string | undefined, name: string): string {
  if (value) return value;
  throw new GantryError("invalid", `the parameter ${name}= is missing`);
}

function writersOf({ pause, force }: { readonly pause: boolean; readonly force: boolean }): Writers {
  if (pause && force) throw new GantryError("invalid", "pause and force exclude each other");
  return pause ? "pause" : force ? "ignore" : "refuse";
}

function labelsOf(given: readonly string[]): Readonly<Record<string, string>> | undefined {
  if (given.length === 0) return undefined;
  const labels = new Map<string, string>();
  for (const text of given) {
    const equals = text.indexOf("=");
    labels.set(equals < 0 ? text : text.slice(0, equals), equals < 0 ? "" : text.slice(equals + 1));
  }
  return Object.fromEntries(labels);
}

function copying(onProgress: (message: ProgressMessage) => void, id: string): (done: CopiedTree) => void {
  return ({ bytes }) => onProgress({ id, status: "Copying", progressDetail: { current: bytes } });
}

function summary({ bytes, shared }: Pick<CopiedTree, "bytes" | "shared">): string {
  return `${bytesSize(bytes)} ${shared ? "shared with what they are a copy of" : "copied"}`;
}
