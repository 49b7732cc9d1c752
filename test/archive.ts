import { createHash } from "node:crypto";

/** An entry of a tar archive as a test wants it, legal or not. */
export interface TarEntry {
  readonly name: string;
  readonly type?: "file" | "directory" | "symlink" | "hardlink" | "character" | "block" | "fifo";
  readonly body?: string | Uint8Array;
  readonly link?: string;
  readonly mode?: number;
  readonly device?: readonly [major: number, minor: number];
  readonly uid?: number;
  readonly gid?: number;
  /** Seconds since 1970. */
  readonly mtime?: number;
  /** Names with their namespace; they go into a pax header, as do names and links longer than ustar's fields. */
  readonly xattrs?: Readonly<Record<string, string>>;
}

const TYPE_FLAG = { file: "0", hardlink: "1", symlink: "2", character: "3", block: "4", directory: "5", fifo: "6" };

/** A ustar archive of exactly these entries: no name is cleaned, nothing is refused. */
export function tarOf(entries: readonly TarEntry[]): Buffer {
  const blocks = entries.flatMap((entry) => {
    const body = Buffer.from(entry.body ?? "");
    const more = paxOf(entry);
    const pax = more.length === 0 ? [] : [headerOf({ name: "pax" }, more.length, "x"), more, paddingOf(more)];
    return [...pax, headerOf(entry, body.length), body, paddingOf(body)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

function paddingOf(body: Buffer): Buffer {
  return Buffer.alloc((512 - (body.length % 512)) % 512);
}

/** Records of a pax extended header (POSIX.1-2001, pax): `length key=value`, the length counting itself. */
function paxOf({ name, link = "", xattrs = {} }: TarEntry): Buffer {
  const records = [
    ...(Buffer.byteLength(name) > 100 ? [["path", name]] : []),
    ...(Buffer.byteLength(link) > 100 ? [["linkpath", link]] : []),
    ...Object.entries(xattrs).map(([key, value]) => [`SCHILY.xattr.${key}`, value]),
  ];
  const texts = records.map(([key, value]) => {
    const rest = ` ${key}=${value}\n`;
    const bytes = Buffer.byteLength(rest);
    const length = bytes + String(bytes + String(bytes).length).length;
    return `${length}${rest}`;
  });
  return Buffer.from(texts.join(""));
}

function headerOf(entry: TarEntry, size: number, flag?: string): Buffer {
  const type = entry.type ?? "file";
  const header = Buffer.alloc(512);
  header.write(entry.name, 0, 100);
  header.write(octal(entry.mode ?? (type === "directory" ? 0o755 : 0o644), 8), 100);
  header.write(octal(entry.uid ?? 0, 8), 108);
  header.write(octal(entry.gid ?? 0, 8), 116);
  header.write(octal(size, 12), 124);
  header.write(octal(entry.mtime ?? 1_700_000_000, 12), 136);
  header.write(flag ?? TYPE_FLAG[type], 156);
  header.write(entry.link ?? "", 157, 100);
  header.write("ustar\x0000", 257);
  if (entry.device !== undefined) {
    header.write(octal(entry.device[0], 8), 329);
    header.write(octal(entry.device[1], 8), 337);
  }
  header.fill(" ", 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}

function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, "0")}\0`;
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** What `docker save` writes for an image of these layers. `diffIds` may be told otherwise, to lie. */
export function imageArchive(tag: string, layers: readonly Buffer[], diffIds?: readonly string[]): Buffer {
  const config = JSON.stringify({
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    os: "linux",
    created: "2024-01-02T03:04:05Z",
    config: { Cmd: ["/bin/sh"], Env: ["PATH=/bin"] },
    rootfs: { type: "layers", diff_ids: diffIds ?? layers.map((layer) => `sha256:${sha256(layer)}`) },
    history: layers.map((_, index) => ({ created: "2024-01-02T03:04:05Z", created_by: `layer ${index}` })),
  });
  const configName = `${sha256(Buffer.from(config))}.json`;
  const paths = layers.map((layer, index) => `${sha256(layer).slice(0, 32)}${index}/layer.tar`);
  return tarOf([
    { name: configName, body: config },
    ...layers.map((layer, index) => ({ name: paths[index] ?? "", body: layer })),
    { name: "manifest.json", body: JSON.stringify([{ Config: configName, RepoTags: [tag], Layers: paths }]) },
  ]);
}
