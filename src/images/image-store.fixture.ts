import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import type { EventMessage } from "../api/event.ts";
import type { ProgressMessage } from "../api/image.ts";
import { ContentStore } from "../content/content-store.ts";
import { EventBus } from "../events/bus.ts";
import type { Snapshotter } from "../snapshots/snapshotter.ts";
import { openMemory } from "../state/memory.ts";
import type { Store } from "../state/store.ts";
import type { ImageUse } from "./image.ts";
import { ImageStore } from "./image-store.ts";
import { memorySnapshotter } from "./memory-snapshotter.fixture.ts";
import type { ImagePorts } from "./ports.ts";

export interface Fixture {
  readonly root: string;
  readonly images: ImageStore;
  readonly content: ContentStore;
  readonly snapshots: Snapshotter;
  readonly store: Store;
  readonly registries: ImagePorts["registries"];
  readonly uses: Map<string, ImageUse[]>;
  /** Actions and names of the events so far. */
  events(): string[];
  /** A store of images over the same disk and records, as after a restart. */
  reopen(): ImageStore;
}

/** How layers of a registry are brought. */
export const LAYERS = {
  maxUploads: () => 5,
  takesForeignLayers: async () => false,
  layerSettings: () => ({ maxDownloads: 3, maxUnpackRatio: 200 }),
  layerWorker: fileURLToPath(new URL("layers/worker.ts", import.meta.url)),
  packWorker: fileURLToPath(new URL("packing/worker.ts", import.meta.url)),
};

/** Images in a folder of their own, gone with the test. */
export function openImages(t: TestContext, snapshots: Snapshotter = memorySnapshotter()): Fixture {
  const root = temporary(t);
  const content = new ContentStore({ root: join(root, "content") });
  const store = openMemory();
  const bus = new EventBus();
  const seen: EventMessage[] = [];
  bus.subscribe((event) => void seen.push(event));
  const uses = new Map<string, ImageUse[]>();
  const bootstrap = {
    aptRoot: "/etc/apt",
    mmdebstrap: "/usr/bin/mmdebstrap",
    busybox: "/bin/busybox",
    tempRoot: join(root, "bootstrap"),
  };
  const refuse = () => Promise.reject(new Error("the images' tests ask no registry"));
  const registries = { reading: refuse, writing: refuse };
  const reopen = (): ImageStore =>
    new ImageStore({ content, snapshots, store, events: bus, registries, inUse: () => uses, bootstrap, ...LAYERS });
  const events = (): string[] => seen.map(({ Action, Actor }) => `${Action} ${Actor.Attributes.name ?? ""}`.trim());
  return { root, images: reopen(), content, snapshots, store, registries, uses, events, reopen };
}

export function temporary(t: TestContext): string {
  const root = mkdtempSync(join(tmpdir(), "gantry-images-"));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  return root;
}

/** GNU tar's archive of files; a text that begins with `->` is a symbolic link. */
export function gnuTar(
  t: TestContext,
  files: Readonly<Record<string, string | Uint8Array>>,
  ...flags: string[]
): Buffer {
  const root = temporary(t);
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    if (typeof content === "string" && content.startsWith("->")) {
      execFileSync("ln", ["-s", content.slice(2), join(root, name)]);
    } else writeFileSync(join(root, name), content);
  }
  const names = Object.keys(files);
  const plain = ["--owner=0", "--group=0", "--mtime=@0", "--no-recursion"];
  return execFileSync("tar", ["-C", root, "-c", ...plain, ...flags, "--", ...names], { maxBuffer: 1 << 28 });
}

export function streamOf(bytes: Uint8Array, chunk = 10_007): Readable {
  const parts = Array.from({ length: Math.ceil(bytes.length / chunk) }, (_, at) =>
    bytes.subarray(at * chunk, (at + 1) * chunk),
  );
  return Readable.from(parts, { objectMode: false });
}

export async function gather(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Imports an image of one file and gives its id. */
export async function importOf(
  t: TestContext,
  { images }: Fixture,
  text: string,
  reference: string,
  ...changes: string[]
): Promise<string> {
  const tar = gnuTar(t, { file: text });
  return images.import(streamOf(tar), { changes, message: "", reference }, {});
}

/** What was told by progress, as texts. */
export function told(messages: readonly ProgressMessage[]): string[] {
  return messages.flatMap(({ stream }) => (stream === undefined ? [] : [stream.trimEnd()]));
}
