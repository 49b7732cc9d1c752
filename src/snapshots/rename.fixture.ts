// Renames two snapshots, one on the other, for tests that kill it on its way.
import { OverlaySnapshotter } from "./overlay.ts";

const [, , root = ""] = process.argv;
const snapshots = new OverlaySnapshotter({ root });
await Promise.all([snapshots.rename("base", "new-base"), snapshots.rename("top", "new-top")]);
