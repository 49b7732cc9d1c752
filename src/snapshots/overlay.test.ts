import { OverlaySnapshotter } from "./overlay.ts";
import { snapshotterSuite } from "./snapshotter.suite.ts";

snapshotterSuite("overlay2", (root) => new OverlaySnapshotter({ root }));
