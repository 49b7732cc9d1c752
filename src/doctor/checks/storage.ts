import { bytesSize } from "../../base/units.ts";
import { type Check, failure, note, ok, warning } from "../check.ts";

const LEAST_BYTES = 1 << 30;
const LEAST_SHARE = 0.05;
const SLOW_MS = 50;

const space: Check = {
  id: "storage.space",
  title: "free space",
  async run({ disk }, { dataRoot }) {
    const { bytes, freeBytes, fileSystem } = await disk.space(dataRoot);
    const found = `${bytesSize(freeBytes)} of ${bytesSize(bytes)} free in ${dataRoot} (${fileSystem})`;
    const mend = "Remove what nobody uses: gantry system prune --all";
    if (freeBytes < LEAST_BYTES / 10) return failure(found, mend);
    return freeBytes < LEAST_BYTES || freeBytes < bytes * LEAST_SHARE ? warning(found, mend) : ok(found);
  },
};

const inodes: Check = {
  id: "storage.inodes",
  title: "free inodes",
  async run({ disk }, { dataRoot }) {
    const { inodes: all, freeInodes } = await disk.space(dataRoot);
    if (all === 0) return ok("the file system has no limit");
    const found = `${freeInodes} of ${all} free in ${dataRoot}`;
    const mend = "Remove images that nobody uses: gantry image prune --all";
    if (freeInodes === 0) return failure(found, mend);
    return freeInodes < all * LEAST_SHARE ? warning(found, mend) : ok(found);
  },
};

const overlay: Check = {
  id: "storage.overlay",
  title: "overlays in the data root",
  async run({ disk }, { dataRoot }) {
    const why = await disk.overlayRefusal(dataRoot);
    if (why === undefined) return ok("mounted, written to and read back");
    return failure(
      `an overlay in ${dataRoot} fails: ${why}`,
      "Put the data root on ext4, or on xfs made with ftype=1; or start the engine with --storage-driver vfs, which copies whole images.",
    );
  },
};

const sync: Check = {
  id: "storage.sync",
  title: "synced writes",
  async run({ disk }, { dataRoot }) {
    const times = await disk.syncTimes(dataRoot);
    const median = times[Math.floor(times.length / 2)] ?? 0;
    const found = `${median.toFixed(1)} ms each`;
    if (median <= SLOW_MS) return ok(found);
    return note(`${found}: each change of a container waits for it`, "Put the data root on a faster disk.");
  },
};

export const storageChecks: readonly Check[] = [space, inodes, overlay, sync];
