import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { cp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import type { TestContext } from "node:test";
import { GantryError } from "../../base/errors.ts";
import { ContentStore } from "../../content/content-store.ts";
import { EventBus } from "../../events/bus.ts";
import { LAYERS } from "../../images/image-store.fixture.ts";
import { ImageStore } from "../../images/image-store.ts";
import type { ImagePorts } from "../../images/ports.ts";
import { sha256Of } from "../../oci/digest.ts";
import type { Platform } from "../../oci/image.ts";
import { type TarInput, writeTar } from "../../oci/tar/writer.ts";
import { ANONYMOUS } from "../../remote/credentials.ts";
import { OverlaySnapshotter } from "../../snapshots/overlay.ts";
import type { Snapshotter } from "../../snapshots/snapshotter.ts";
import { VfsSnapshotter } from "../../snapshots/vfs.ts";
import { openMemory } from "../../state/memory.ts";
import type { Store } from "../../state/store.ts";
import type { BuildOutput, BuildRequest } from "../builder.ts";
import type { PlannedHistory } from "../graph.ts";
import type { BuildResults, CachedStep, Exported, ExportInput, SolvedTarget } from "../parts.ts";
import type { BuildEvent } from "../progress.ts";
import { plainRequest } from "../request.fixture.ts";
import { Roots } from "../roots.ts";
import type { BuildSession, SendFolderOptions, SessionContent } from "../session.ts";
import { createResults, type ResultsPorts } from "./results.ts";

export const AMD64: Platform = { architecture: "amd64", os: "linux" };

/** A file of a step: its text, or what else is to be said of it. */
export type StepFile = string | Partial<TarInput>;

/** An engine's images, snapshots and results in a folder, gone with the test. */
export interface ResultsFixture {
  readonly root: string;
  readonly images: ImageStore;
  readonly content: ContentStore;
  readonly snapshots: Snapshotter;
  readonly results: BuildResults;
  readonly roots: Roots;
  readonly session: FakeClient;
  readonly events: BuildEvent[];
  /** Commits the changes of steps, each over the one before; gives their snapshots' names. */
  steps(...steps: Readonly<Record<string, StepFile>>[]): Promise<string[]>;
  /** A target whose steps these are. */
  target(names: readonly string[], more?: Partial<SolvedTarget["target"]>): SolvedTarget;
  export(
    targets: readonly SolvedTarget[],
    outputs: readonly BuildOutput[],
    more?: Partial<BuildRequest>,
    steps?: readonly CachedStep[],
  ): Promise<Exported>;
}

export interface FixtureOptions {
  readonly root?: string;
  readonly store?: Store;
  readonly registries?: ImagePorts["registries"];
  readonly attestor?: ResultsPorts["attestor"];
  /** Default overlay2. */
  readonly driver?: "vfs";
  /** Snapshots that the cache keeps. */
  readonly keep?: () => Iterable<string>;
}

export function openResults(t: Pick<TestContext, "after">, options: FixtureOptions = {}): ResultsFixture {
  const root = options.root ?? mkdtempSync(join(tmpdir(), "gantry-results-"));
  const content = new ContentStore({ root: join(root, "content") });
  const snapshots =
    options.driver === "vfs"
      ? new VfsSnapshotter({ root: join(root, "vfs") })
      : new OverlaySnapshotter({ root: join(root, "overlay2") });
  const refuse = () => Promise.reject(new Error("these tests ask no registry"));
  const images = new ImageStore({
    content,
    snapshots,
    store: options.store ?? openMemory(),
    events: new EventBus(),
    registries: options.registries ?? { reading: refuse, writing: refuse },
    inUse: () => new Map(),
    keep: options.keep ?? (() => []),
    bootstrap: { aptRoot: "", mmdebstrap: "", busybox: "", tempRoot: join(root, "bootstrap") },
    ...LAYERS,
  });
  const mounts = join(root, "roots");
  mkdirSync(mounts, { recursive: true });
  const roots = new Roots({ snapshots, folder: mounts });
  t.after(async () => {
    await images.close();
    roots.recover();
    rmSync(root, { recursive: true, force: true });
  });
  const rename = async (name: string, to: string): Promise<void> => {
    await snapshots.rename(name, to);
    roots.renamed(name, to);
  };
  const results = createResults({
    images,
    snapshots,
    roots,
    rename,
    settle: () => snapshots.sync(),
    tempRoot: join(root, "outputs"),
    platform: AMD64,
    ...(options.attestor !== undefined && { attestor: options.attestor }),
  });
  const session = new FakeClient();
  const events: BuildEvent[] = [];
  let count = 0;
  const fixture: ResultsFixture = {
    root,
    images,
    content,
    snapshots,
    results,
    roots,
    session,
    events,
    steps: async (...steps) => {
      const names: string[] = [];
      for (const files of steps) {
        const key = `key-${++count}`;
        await snapshots.prepare(key, names.at(-1), { bare: true });
        await snapshots.extract(key, tarOf(files));
        const name = `build-${randomBytes(12).toString("hex")}`;
        await snapshots.commit(name, key);
        names.push(name);
      }
      return names;
    },
    target: (names, more = {}) => ({
      root: names.length === 0 ? undefined : roots.snapshot(names.at(-1)!),
      target: {
        platform: AMD64,
        root: sha256Of("root"),
        config: {
          architecture: "amd64",
          os: "linux",
          config: { Cmd: ["/hello"] },
          rootfs: { type: "layers", diff_ids: [] },
        },
        history: names.map(
          (_, index): PlannedHistory => ({
            createdBy: `RUN step ${index} # buildkit`,
            comment: "buildkit.dockerfile.v0",
            vertex: sha256Of(`vertex ${index}`),
          }),
        ),
        ...more,
      },
    }),
    export: async (targets, outputs, more = {}, steps = []) => {
      const request = requestOf({ session, outputs, ...more });
      results.check(request);
      const input: ExportInput = {
        request,
        targets,
        steps: () => steps,
        signal: new AbortController().signal,
        onEvent: (event) => void events.push(event),
      };
      return results.export(input);
    },
  };
  return fixture;
}

export function requestOf(more: Partial<BuildRequest>): BuildRequest {
  return plainRequest({ platforms: [AMD64], credentialsOf: async () => ANONYMOUS, ...more });
}

export function outputOf(type: BuildOutput["type"], attributes: Readonly<Record<string, string>> = {}): BuildOutput {
  return { type, attributes: new Map(Object.entries(attributes)) };
}

export function tarOf(files: Readonly<Record<string, StepFile>>): Readable {
  const tar = writeTar(
    Object.entries(files).map(([name, file]) => {
      if (typeof file === "string") {
        const body = Buffer.from(file);
        return { entry: { name, type: "file" as const, size: body.length }, body: [body] };
      }
      return { entry: { name, type: "directory" as const, ...file } };
    }),
  );
  return Readable.from(tar, { objectMode: false });
}

/** A client that keeps what it is sent. */
export class FakeClient implements BuildSession {
  readonly id = "client";
  readonly sharedKey = "";
  readonly gone: AbortSignal = new AbortController().signal;
  readonly files = new Map<string, Buffer>();
  readonly folders: { readonly id: string; readonly options: SendFolderOptions | undefined; readonly copy: string }[] =
    [];
  readonly stores = new Map<string, Map<string, Buffer>>();
  /** Where folders are copied to. */
  copies = "";

  serves(): boolean {
    return true;
  }

  sync(): never {
    throw new Error("not here");
  }

  async secret(): Promise<undefined> {}

  checkAgent(): never {
    throw new Error("not here");
  }

  agent(): never {
    throw new Error("not here");
  }

  credentials(): never {
    throw new Error("not here");
  }

  async sendFile(id: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    const pieces: Uint8Array[] = [];
    for await (const piece of bytes) pieces.push(Buffer.from(piece));
    this.files.set(id, Buffer.concat(pieces));
  }

  async sendFolder(id: string, folder: string, _signal: AbortSignal, options?: SendFolderOptions): Promise<void> {
    const copy = join(this.copies, String(this.folders.length));
    await cp(folder, copy, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
    this.folders.push({ id, options, copy });
  }

  content(name: string): SessionContent {
    const blobs = this.stores.get(name) ?? new Map<string, Buffer>();
    this.stores.set(name, blobs);
    const find = (digest: string): Buffer => {
      const bytes = blobs.get(digest);
      if (bytes === undefined) throw new GantryError("not-found", `no blob ${digest}`);
      return bytes;
    };
    return {
      read: async (digest) => {
        const bytes = find(digest);
        return (async function* () {
          yield bytes;
        })();
      },
      info: async (digest) => ({ size: find(digest).length }),
      write: async (digest, _size, bytes) => {
        const pieces: Uint8Array[] = [];
        for await (const piece of bytes) pieces.push(Buffer.from(piece));
        blobs.set(digest, Buffer.concat(pieces));
      },
    };
  }
}
