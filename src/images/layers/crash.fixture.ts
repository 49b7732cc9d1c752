// Brings one layer from a file into the store under a root, for tests that kill it on its way.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ContentStore } from "../../content/content-store.ts";
import { OverlaySnapshotter } from "../../snapshots/overlay.ts";
import { Claims } from "../claims.ts";
import type { LayerWish } from "../ports.ts";
import { LayerFetcher } from "./layer-fetcher.ts";

const [, , root = "", blob = "", wish = ""] = process.argv;
const snapshots = new OverlaySnapshotter({ root: join(root, "snapshots") });
const claims = new Claims();
const layers = new LayerFetcher({
  content: new ContentStore({ root: join(root, "content") }),
  snapshots,
  claims,
  sizeOf: (chainId) => snapshots.usage(chainId),
  settings: () => ({ maxDownloads: 3, maxUnpackRatio: 200 }),
  workerScript: fileURLToPath(new URL("worker.ts", import.meta.url)),
});
const bytes = readFileSync(blob);
using scope = await claims.open();
await layers.fetch(
  scope,
  { ...(JSON.parse(wish) as LayerWish), parentReady: Promise.resolve() },
  async function* (_descriptor, offset) {
    for (let at = offset; at < bytes.length; at += 1 << 20) {
      yield bytes.subarray(at, at + (1 << 20));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  },
  {},
);
await layers.close();
