import { closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync } from "node:fs";
import { join } from "node:path";
import { goModeOf } from "../../base/go-mode.ts";
import { Roots } from "../roots.ts";
import type { BuildSession, FileReceiver, FileStat, SyncRequest } from "../session.ts";

const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();

/** A client whose folders are on this machine: it walks them as BuildKit's clients do. */
export class FakeSession implements BuildSession {
  readonly id = "fake";
  readonly sharedKey: string;
  readonly gone: AbortSignal = new AbortController().signal;
  readonly folders: Readonly<Record<string, string>>;
  readonly secrets = new Map<string, string>();
  /** Paths whose bytes were asked for, of all syncs. */
  readonly sent: string[] = [];
  /** Sends what a wanted file is a link to as well: its folder's other files. */
  followLinks = false;
  /** Called before the files' bytes are sent. */
  beforeContents: () => Promise<void> = async () => {};

  constructor(folders: Readonly<Record<string, string>>, sharedKey = "shared") {
    this.folders = folders;
    this.sharedKey = sharedKey;
  }

  serves(): boolean {
    return true;
  }

  async sync(request: SyncRequest, receiver: FileReceiver, _signal: AbortSignal): Promise<void> {
    const folder = this.folders[request.name];
    if (folder === undefined) throw new Error(`no folder ${request.name}`);
    const wanted: FileStat[] = [];
    for (const stat of walk(folder, "", new Map())) {
      const { path } = stat;
      if (request.exclude.includes(path)) continue;
      const isFollowed = request.followPaths.some(
        (one) => one === path || one.startsWith(`${path}/`) || path.startsWith(`${one}/`),
      );
      if (request.followPaths.length > 0 && !isFollowed && !this.followLinks) continue;
      if (await receiver.file(stat)) wanted.push(stat);
    }
    await this.beforeContents();
    for (const stat of wanted) {
      this.sent.push(stat.path);
      await receiver.contents(stat, pieces(join(folder, stat.path)));
    }
    await receiver.end();
  }

  async secret(id: string): Promise<Uint8Array | undefined> {
    const value = this.secrets.get(id);
    return value === undefined ? undefined : Buffer.from(value);
  }

  checkAgent(): Promise<never> {
    throw new Error("no agent");
  }

  agent(): Promise<never> {
    throw new Error("no agent");
  }

  credentials(): Promise<never> {
    throw new Error("no credentials");
  }

  sendFile(): Promise<never> {
    throw new Error("not of this test");
  }

  sendFolder(): Promise<never> {
    throw new Error("not of this test");
  }

  content(): never {
    throw new Error("not of this test");
  }
}

export function* walk(root: string, folder: string, links: Map<bigint, string>): Generator<FileStat> {
  const names = readdirSync(join(root, folder)).sort((one, other) =>
    Buffer.compare(Buffer.from(one), Buffer.from(other)),
  );
  for (const name of names) {
    const path = folder === "" ? name : `${folder}/${name}`;
    const stat = lstatSync(join(root, path), { bigint: true });
    let linkname = stat.isSymbolicLink() ? readlinkSync(join(root, path)) : "";
    if (stat.isFile() && stat.nlink > 1n) {
      linkname = links.get(stat.ino) ?? "";
      if (linkname === "") links.set(stat.ino, path);
    }
    yield {
      path,
      mode: goModeOf(Number(stat.mode)),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      size: stat.isFile() ? Number(stat.size) : 0,
      modTime: stat.mtimeNs,
      linkname,
      devmajor: 0,
      devminor: 0,
      xattrs: NO_XATTRS,
    };
    if (stat.isDirectory()) yield* walk(root, path, links);
  }
}

async function* pieces(path: string): AsyncGenerator<Buffer> {
  const fd = openSync(path, "r");
  try {
    for (;;) {
      const piece = Buffer.allocUnsafe(32 << 10);
      const count = readSync(fd, piece);
      if (count === 0) return;
      yield piece.subarray(0, count);
    }
  } finally {
    closeSync(fd);
  }
}

/** Roots that are folders alone. */
export function folderRoots(): Pick<Roots, "folder"> {
  return new Roots({ snapshots: undefined as never, folder: "/nonexistent" });
}
