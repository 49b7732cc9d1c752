import { throwIfAborted } from "../../base/abort.ts";
import type { ImageAssembly } from "../../images/assemble.ts";
import type { Descriptor } from "../../oci/image.ts";
import { MEDIA_TYPE } from "../../oci/image.ts";
import { familiarString, formatReference, type Reference } from "../../oci/reference.ts";
import { type TarOutput, writeTar } from "../../oci/tar/writer.ts";
import type { SessionContent } from "../session.ts";
import type { ImagePackage } from "./image-package.ts";

export interface LayoutOptions {
  readonly names: readonly Reference[];
  /** With Docker's own list, so that `docker load` reads it. */
  readonly docker: boolean;
}

/** An image, or an index, as the tar of an OCI layout; the same content is the same bytes. */
export function layoutTar(
  assembly: ImageAssembly,
  contents: ImagePackage,
  top: Descriptor,
  options: LayoutOptions,
): AsyncGenerator<Buffer> {
  return writeTar(members(assembly, contents, top, options));
}

function* members(
  assembly: ImageAssembly,
  contents: ImagePackage,
  top: Descriptor,
  { docker, names }: LayoutOptions,
): Generator<TarOutput> {
  yield { entry: { name: "blobs", type: "directory" } };
  yield { entry: { name: "blobs/sha256", type: "directory" } };
  const documents = new Map(contents.manifests.map(({ bytes, descriptor }) => [descriptor.digest, bytes]));
  const sizes = new Map(contents.blobs.map(({ digest, size }) => [digest, size]));
  for (const [digest, bytes] of documents) sizes.set(digest, bytes.length);
  for (const digest of [...sizes.keys()].sort()) {
    const document = documents.get(digest);
    yield {
      entry: { name: pathOf(digest), type: "file", size: sizes.get(digest)! },
      body: document === undefined ? opened(assembly, digest) : [document],
    };
  }
  yield json("index.json", indexOf(top, names));
  if (docker) {
    yield json(
      "manifest.json",
      contents.images.map(({ config, layers }) => ({
        Config: pathOf(config.digest),
        RepoTags: names.map(familiarString),
        Layers: layers.map(({ digest }) => pathOf(digest)),
      })),
    );
  }
  yield json("oci-layout", { imageLayoutVersion: "1.0.0" });
}

/** Opened when it is read: the client may leave before. */
async function* opened(assembly: ImageAssembly, digest: string): AsyncGenerator<Uint8Array> {
  yield* assembly.read(digest);
}

function indexOf(top: Descriptor, names: readonly Reference[]): unknown {
  const manifests =
    names.length === 0
      ? [top]
      : names.map((name) => ({
          ...top,
          annotations: {
            ...top.annotations,
            "io.containerd.image.name": formatReference(name),
            "org.opencontainers.image.ref.name": name.tag ?? "",
          },
        }));
  return { schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests };
}

/** Brings the same into a content store of the client's, who writes the layout's index. What is there is not sent. */
export async function sendLayout(
  assembly: ImageAssembly,
  { blobs, manifests }: ImagePackage,
  store: SessionContent,
  signal: AbortSignal,
): Promise<void> {
  for (const { digest, size } of new Map(blobs.map((blob) => [blob.digest, blob])).values()) {
    if (await hasBlob(store, digest, signal)) continue;
    await store.write(digest, size, assembly.read(digest), signal);
  }
  for (const { bytes, descriptor } of manifests) {
    if (await hasBlob(store, descriptor.digest, signal)) continue;
    await store.write(descriptor.digest, bytes.length, once(bytes), signal);
  }
}

export async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** Whatever its reason, a store that doesn't say that it has a blob is sent it. */
export async function hasBlob(store: SessionContent, digest: string, signal: AbortSignal): Promise<boolean> {
  try {
    await store.info(digest, signal);
    return true;
  } catch {
    throwIfAborted(signal);
    return false;
  }
}

function json(name: string, value: unknown): TarOutput {
  const bytes = Buffer.from(JSON.stringify(value));
  return { entry: { name, type: "file", size: bytes.length }, body: [bytes] };
}

function pathOf(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}
