import { closeSync, constants, openSync } from "node:fs";
import { withoutErrno } from "../../base/errno-words.ts";
import { type FilesContext, runActions } from "./copy.ts";
import { digestReading, type KnownDigests } from "./digest.ts";
import type { FilesOrder, FilesOutcome } from "./messages.ts";
import { Pace } from "./pace.ts";

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY;
const NOTHING: KnownDigests = { get: () => undefined, set: () => {} };

/** Does what is ordered, on whichever thread it is called. */
export async function doOrder(
  order: FilesOrder,
  context: FilesContext,
  known: KnownDigests = NOTHING,
): Promise<FilesOutcome> {
  const open: number[] = [];
  const openFolder = (path: string | undefined): number | undefined => {
    if (path === undefined) return undefined;
    open.push(openSync(path, FOLDER));
    return open.at(-1)!;
  };
  try {
    if (order.do === "digest") {
      const { digest, files } = await digestReading(
        openFolder(order.root),
        order.reading,
        known,
        new Pace(context.signal),
      );
      return { digest, files: files && [...files] };
    }
    const root = openFolder(order.root)!;
    await runActions(root, order.inputs.map(openFolder), order.operation, context);
    return {};
  } catch (error) {
    throw withoutErrno(error);
  } finally {
    for (const fd of open) closeSync(fd);
  }
}
