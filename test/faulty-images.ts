import { gzipSync, constants as zlib, zstdCompressSync } from "node:zlib";
import { sha256 } from "./archive.ts";
import {
  type Content,
  contentOf,
  imageOf,
  indexOf,
  layerOf,
  randomEntries,
  type TestImage,
  type TestIndex,
  type TestLayer,
} from "./oci-image.ts";

/** Images that no registry should serve. Each is right in everything but what its name says. */

/** Digests of nothing that there is. */
function noDigest(at: number): string {
  return `sha256:${sha256(Buffer.from(`nothing ${at}`))}`;
}

/** Names a layer that the registry lacks: add it with `without: [missing]`. */
export function imageMissingLayer(): { readonly image: TestImage; readonly missing: string } {
  const layers = [
    layerOf([{ name: "there", body: "there" }]),
    layerOf([{ name: "missing", body: "missing" }]),
  ] as const;
  return { image: imageOf({ layers }), missing: layers[1].digest };
}

/** A manifest of this many bytes, by an annotation that nobody needs. */
export function imageWithManifestOf(bytes: number): TestImage {
  const plain = imageOf().manifest.bytes.length;
  const frame = ',"annotations":{"padding":""}'.length;
  return imageOf({
    editManifest: (manifest) => ({ ...manifest, annotations: { padding: "x".repeat(bytes - plain - frame) } }),
  });
}

/** So many layers, all of them the same small one unless `isDistinct`; its config has as many diff ids. */
export function imageOfLayers(count: number, options: { readonly isDistinct?: boolean } = {}): TestImage {
  const layer = layerOf([{ name: "small", body: "" }]);
  const rows = Array.from({ length: count }, (_, at) => ({
    mediaType: layer.mediaType,
    digest: options.isDistinct === true ? noDigest(at) : layer.digest,
    size: layer.bytes.length,
  }));
  return imageOf({
    layers: [layer],
    diffIds: rows.map((_, at) => (options.isDistinct === true ? noDigest(at) : layer.diffId)),
    editManifest: (manifest) => ({ ...manifest, layers: rows }),
  });
}

/** An index of platforms that no machine of ours is. */
export function indexOfOthers(): TestIndex {
  const platforms = [
    { os: "linux", architecture: "s390x" },
    { os: "linux", architecture: "arm", variant: "v7" },
    { os: "windows", architecture: "amd64" },
  ];
  return indexOf(
    platforms.map((platform) => imageOf({ platform })),
    { attestations: true },
  );
}

/** Its config has another number of diff ids than the manifest has layers. */
export function imageOfTooFewDiffIds(): TestImage {
  const layers = ["one", "two"].map((name) => layerOf([{ name, body: name }]));
  return imageOf({ layers, diffIds: layers.slice(1).map(({ diffId }) => diffId) });
}

/** Its config has the right number of diff ids, and the last is another archive's. */
export function imageOfWrongDiffId(): TestImage {
  const layers = ["one", "two"].map((name) => layerOf([{ name, body: name }]));
  return imageOf({ layers, diffIds: [layers[0]?.diffId ?? "", noDigest(0)] });
}

const ZEROS = 64 << 20;

/** A layer that is small until it is unpacked: one file of zeros of about so many bytes. */
export function bomb(unpacked: number, compression: "gzip" | "zstd" = "gzip"): TestLayer {
  const pieces = Math.ceil(unpacked / ZEROS);
  const zeros = Buffer.alloc(ZEROS);
  const packed = (bytes: Buffer): Buffer =>
    compression === "gzip"
      ? gzipSync(bytes, { level: 9 })
      : zstdCompressSync(bytes, { params: { [zlib.ZSTD_c_compressionLevel]: 3 } });
  const one = packed(zeros);
  const head = headerFor("bomb", pieces * ZEROS);
  const bytes = Buffer.concat([packed(head), ...Array.from({ length: pieces }, () => one), packed(Buffer.alloc(1024))]);
  const mediaType = `application/vnd.oci.image.layer.v1.tar+${compression}`;
  // Nobody unpacks it to the end: its diff id is as good as any.
  return { ...contentOf(mediaType, bytes), tar: head, diffId: noDigest(1), urls: undefined };
}

/** A ustar header of a file of up to 8 GiB. */
function headerFor(name: string, size: number): Buffer {
  const header = Buffer.from(layerOf([{ name, body: "" }]).tar.subarray(0, 512));
  header.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  header.fill(" ", 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}

/** A layer whose archive ends in the middle of a file, its digests right. */
export function cutArchive(): TestLayer {
  const whole = layerOf(randomEntries("cut", 100_000)).tar;
  return layerOf(whole.subarray(0, 50_000));
}

/** A layer whose gzip stream ends before its time, its blob's digest right. */
export function cutGzip(): TestLayer {
  const whole = layerOf(randomEntries("cut", 100_000));
  return { ...whole, ...contentOf(whole.mediaType, whole.bytes.subarray(0, 50_000)) };
}

/** Schema 1 of Docker's manifests, which nobody signs any more. */
export function schema1(): Content {
  const document = {
    schemaVersion: 1,
    name: "a/b",
    tag: "1",
    architecture: "amd64",
    fsLayers: [{ blobSum: noDigest(2) }],
    history: [{ v1Compatibility: "{}" }],
  };
  return contentOf("application/vnd.docker.distribution.manifest.v1+prettyjws", Buffer.from(JSON.stringify(document)));
}

/** An artifact that is no image: a chart, a signature. */
export function artifact(): TestImage {
  const body = Buffer.from("no archive");
  const layer = { ...contentOf("application/vnd.example.chart.v1.tar", body), tar: body, diffId: "", urls: undefined };
  return imageOf({
    layers: [layer],
    editManifest: (manifest) => ({
      ...manifest,
      config: { ...(manifest.config as object), mediaType: "application/vnd.example.config.v1+json" },
    }),
  });
}
