import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { TarEntry } from "./archive.ts";
import { contentOf } from "./oci-image.ts";
import type { SeekableLayer } from "./seekable-layer.ts";

/**
 * Layers that can be read file by file as the tools that people use make them, which are not where the tests run:
 * `scripts/record-layers.ts` has recorded them.
 */

const FOLDER = fileURLToPath(new URL("recorded-layers/", import.meta.url));

/** How a form is made, by the tool of its name. */
export const RECORDED = {
  "podman-zstd-chunked": { tool: "podman", flags: ["--compression-format", "zstd:chunked"] },
  "ctr-remote-estargz": { tool: "ctr-remote", flags: ["--estargz", "--estargz-chunk-size", "20000"] },
  // Small files share a compressed piece.
  "ctr-remote-shared-pieces": { tool: "ctr-remote", flags: ["--estargz", "--estargz-min-chunk-size", "50000"] },
  "ctr-remote-zstd-chunked": { tool: "ctr-remote", flags: ["--zstdchunked"] },
} as const;
export type Recorded = keyof typeof RECORDED;

/** What a file of test/recorded-layers has. */
export interface Recording {
  /** The tool, as it names its version. */
  readonly producer: string;
  readonly mediaType: string;
  readonly diffId: string;
  readonly annotations: Readonly<Record<string, string>>;
  /** In base64. */
  readonly blob: string;
}

/** cap_net_raw, permitted and effective (struct vfs_cap_data, revision 2). */
const CAPABILITY = "\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const LINES = Array.from({ length: 6000 }, (_, at) => `line ${at} of many lines\n`).join("");

/** What the layer of a form has; all is in one folder, so that several forms can be in one image. */
export function recordedTree(folder: string): TarEntry[] {
  return [
    { name: `${folder}/`, type: "directory", mode: 0o1777, uid: 7, gid: 8, mtime: 1_600_000_000 },
    { name: `${folder}/lines`, body: LINES, mode: 0o600, mtime: 1 },
    { name: `${folder}/zeros`, body: Buffer.alloc(70_000) },
    { name: `${folder}/holes`, body: Buffer.concat([Buffer.from("a"), Buffer.alloc(90_001), Buffer.from("b\n")]) },
    { name: `${folder}/twice`, body: LINES.slice(0, 60_000).repeat(2) },
    { name: `${folder}/owned`, body: "owned\n", mode: 0o4750, uid: 1000, gid: 1001, mtime: 1_500_000_000 },
    { name: `${folder}/again`, type: "hardlink", link: `${folder}/owned` },
    { name: `${folder}/link`, type: "symlink", link: "../big" },
    { name: `${folder}/pipe`, type: "fifo", mode: 0o600 },
    { name: `${folder}/null`, type: "character", device: [1, 3], mode: 0o666 },
    { name: `${folder}/disk`, type: "block", device: [259, 70_000], mode: 0o640 },
    { name: `${folder}/empty` },
    { name: `${folder}/one`, body: "1" },
    { name: `${folder}/attributes`, body: "has some\n", xattrs: { "user.note": "of the archive" } },
    { name: `${folder}/capable`, body: "x", mode: 0o755, xattrs: { "security.capability": CAPABILITY } },
    { name: `${folder}/größe 大きさ/`, type: "directory" },
    { name: `${folder}/größe 大きさ/${"n".repeat(200)}`, body: "long\n" },
    { name: `${folder}/.wh.gone` },
    { name: `${folder}/hidden/`, type: "directory", mode: 0o711 },
    { name: `${folder}/hidden/.wh..wh..opq` },
    { name: `${folder}/hidden/above`, body: "above\n" },
  ];
}

/** What lies below such a layer, of which it takes something away. */
export function treeBelowRecorded(folder: string): TarEntry[] {
  return [
    { name: `${folder}/`, type: "directory" },
    { name: `${folder}/gone`, body: "of the layer below\n" },
    { name: `${folder}/stays`, body: "of the layer below, too\n" },
    { name: `${folder}/hidden/`, type: "directory" },
    { name: `${folder}/hidden/below`, body: "hidden\n" },
  ];
}

/** A recorded layer of `recordedTree(form)`. */
export function recordedLayer(form: Recorded): SeekableLayer {
  const { annotations, blob, diffId, mediaType } = JSON.parse(readFileSync(fileOf(form), "utf8")) as Recording;
  const content = contentOf(mediaType, Buffer.from(blob, "base64"));
  return { ...content, annotations, diffId, tar: Buffer.alloc(0), urls: undefined };
}

export function record(form: Recorded, recording: Recording): void {
  writeFileSync(fileOf(form), `${JSON.stringify(recording, undefined, 2)}\n`);
}

function fileOf(form: Recorded): string {
  return `${FOLDER}${form}.json`;
}
