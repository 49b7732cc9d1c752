import { closeSync, constants, openSync } from "node:fs";
import { isKind, SyscallError } from "../../base/errors.ts";
import type { FilesOperation } from "../graph.ts";
import { choose } from "./choose.ts";
import type { Reading } from "./digest.ts";
import { walk } from "./walk.ts";

/** So much takes a thread longer to begin with than it takes to do it here. */
const FEW = 200;
const LITTLE = 1 << 20;
const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY;

/** Whether what an operation or a digest reads is soon done: it looks no further than that. */
export function isSmall(
  readings: readonly { readonly root: string | undefined; readonly reading: Omit<Reading, "withFolder"> }[],
): boolean {
  let count = 0;
  let bytes = 0;
  for (const { root, reading } of readings) {
    const fd = root === undefined ? undefined : openSync(root, FOLDER);
    try {
      for (const source of reading.sources) {
        for (const chosen of choose(fd, source, reading)) {
          const top = chosen.open();
          try {
            for (const { stat } of walk(top, chosen.filter)) {
              bytes += stat.size;
              if (++count > FEW || bytes > LITTLE) return false;
            }
          } finally {
            closeSync(top.dir);
          }
        }
      }
    } catch (error) {
      // Whoever does it says what is wrong with it.
      if (!isKind(error, "not-found") && !(error instanceof SyscallError)) throw error;
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }
  return true;
}

/** What the copies of an operation read, by their inputs. */
export function readingsOf({ actions }: FilesOperation) {
  return actions.flatMap((action) => (action.type === "copy" ? [{ input: action.input, reading: action }] : []));
}
