import { tarOf } from "./archive.ts";
import { contentsOf, type TestImage, type TestIndex } from "./oci-image.ts";

/** An OCI layout as an archive, which names each of these so. */
export function layoutOf(named: Readonly<Record<string, TestImage | TestIndex>>): Buffer {
  const blobs = new Map<string, Buffer>();
  for (const image of Object.values(named)) {
    const { blobs: plain, manifests } = contentsOf(image);
    for (const { bytes, digest } of [...plain, ...manifests]) blobs.set(digest, bytes);
  }
  const manifests = Object.entries(named).map(
    ([
      name,
      {
        manifest: { bytes, digest, mediaType },
      },
    ]) => ({
      mediaType,
      digest,
      size: bytes.length,
      annotations: { "io.containerd.image.name": name },
    }),
  );
  const index = { schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests };
  return tarOf([
    { name: "oci-layout", body: JSON.stringify({ imageLayoutVersion: "1.0.0" }) },
    { name: "index.json", body: JSON.stringify(index) },
    ...[...blobs].map(([digest, body]) => ({ name: `blobs/${digest.replace(":", "/")}`, body })),
  ]);
}
