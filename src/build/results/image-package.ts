import { GantryError } from "../../base/errors.ts";
import type { ImageAssembly } from "../../images/assemble.ts";
import type { FormOptions, LayerForm } from "../../images/layer-forms.ts";
import { type Descriptor, type ImageConfig, type Index, type Manifest, MEDIA_TYPE } from "../../oci/image.ts";
import { describe } from "../../oci/image-config.ts";
import { formatPlatform } from "../../oci/platform.ts";
import { annotationsFor, type ImageFields } from "./attributes.ts";
import type { BuiltImage } from "./built-image.ts";
import { type Part, wholeOf } from "./document-parts.ts";

/** What says something of an image: an in-toto statement. */
export interface Attestation {
  /** `https://slsa.dev/provenance/v1`. */
  readonly predicateType: string;
  /** `provenance.json`, for outputs that are files. */
  readonly fileName: string;
  /** The statement as JSON; about an image it is in memory, about files its subjects are in one. */
  readonly parts: readonly Part[];
}

/** What an attestation is about. */
export interface AttestedImage {
  readonly image: BuiltImage;
  readonly manifest: Descriptor;
  readonly layers: readonly Descriptor[];
}

export interface PackagedDocument {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

/** All that an image, or an index of several, is made of. */
export interface ImagePackage {
  /** Configs, layers and statements: in the content store, or where `isThere` said. */
  readonly blobs: readonly Descriptor[];
  /** Those that are named come before those that name them; the last is the one that is named by people. */
  readonly manifests: readonly PackagedDocument[];
  /** What an index of a layout says of it. */
  readonly top: Descriptor;
  readonly images: readonly {
    readonly image: BuiltImage;
    readonly manifest: Descriptor;
    readonly config: Descriptor;
    readonly layers: readonly Descriptor[];
  }[];
}

export interface PackageOptions extends FormOptions {
  readonly fields: ImageFields;
  /** Where the output doesn't say. */
  readonly defaultForm: LayerForm;
  readonly attest: (image: AttestedImage) => Promise<readonly Attestation[]>;
}

const IN_TOTO = "application/vnd.in-toto+json";
const EMPTY_TYPE = "application/vnd.oci.empty.v1+json";
const ATTESTATION_TYPE = "application/vnd.docker.attestation.manifest.v1+json";
const UNKNOWN = { architecture: "unknown", os: "unknown" };
const DOCKER_TYPES: Readonly<Record<string, string>> = {
  [MEDIA_TYPE.ociLayer]: MEDIA_TYPE.dockerLayer,
  [MEDIA_TYPE.ociLayerGzip]: MEDIA_TYPE.dockerLayerGzip,
};
const OCI_TYPES: Readonly<Record<string, string>> = {
  [MEDIA_TYPE.dockerLayer]: MEDIA_TYPE.ociLayer,
  [MEDIA_TYPE.dockerLayerGzip]: MEDIA_TYPE.ociLayerGzip,
};

/** Writes the documents of an image, or of several with their index, and sees to it that the layers have their form. */
export async function packageImages(
  assembly: ImageAssembly,
  images: readonly BuiltImage[],
  options: PackageOptions,
): Promise<ImagePackage> {
  const { fields } = options;
  const blobs: Descriptor[] = [];
  const manifests: PackagedDocument[] = [];
  const packaged: ImagePackage["images"][number][] = [];
  const attested: Descriptor[] = [];
  const entries: Descriptor[] = [];
  for (const image of images) {
    const one = await packageImage(assembly, image, options);
    blobs.push(one.config, ...one.layers);
    manifests.push(one.document);
    const { descriptor } = one.document;
    packaged.push({ image, manifest: descriptor, config: one.config, layers: one.layers });
    const annotations = annotationsFor(fields.annotations, "manifest-descriptor", formatPlatform(image.platform));
    entries.push({ ...descriptor, ...(annotations !== undefined && { annotations }), platform: platformOf(image) });
    const statements = await options.attest({ image, manifest: descriptor, layers: one.layers });
    if (statements.length === 0) continue;
    const attestation = await packageAttestations(assembly, descriptor, statements, fields);
    blobs.push(...attestation.blobs);
    manifests.push(attestation.document);
    attested.push(attestation.entry);
  }
  const [first] = entries;
  if (first === undefined) throw new GantryError("internal", "cannot export an image: there is none");
  if (entries.length === 1 && attested.length === 0) {
    if (fields.annotations.some(({ on }) => on.startsWith("index"))) {
      throw new GantryError("invalid", "index annotations not supported for single platform export");
    }
    return { blobs, manifests, top: first, images: packaged };
  }
  if (attested.length > 0 && !fields.ociTypes) {
    throw new GantryError("invalid", 'cannot export attestations with "oci-mediatypes=false"');
  }
  const annotations = annotationsFor(fields.annotations, "index", undefined);
  const index: Index = {
    schemaVersion: 2,
    mediaType: fields.ociTypes ? MEDIA_TYPE.ociIndex : MEDIA_TYPE.dockerManifestList,
    manifests: [...entries, ...attested],
    ...(annotations !== undefined && { annotations }),
  };
  const document = documentOf(index.mediaType!, index);
  manifests.push(document);
  const own = annotationsFor(fields.annotations, "index-descriptor", undefined);
  const top = { ...document.descriptor, ...(own !== undefined && { annotations: own }) };
  return { blobs, manifests, top, images: packaged };
}

/** A manifest's annotations, and its layers' media types, as an output asks for them. */
export function manifestFor(
  config: Descriptor,
  layers: readonly Descriptor[],
  fields: Pick<ImageFields, "annotations" | "ociTypes">,
  platform: string,
): PackagedDocument {
  const types = fields.ociTypes ? OCI_TYPES : DOCKER_TYPES;
  const annotations = annotationsFor(fields.annotations, "manifest", platform);
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: fields.ociTypes ? MEDIA_TYPE.ociManifest : MEDIA_TYPE.dockerManifest,
    config,
    layers: layers.map((layer) => ({ ...layer, mediaType: types[layer.mediaType] ?? layer.mediaType })),
    ...(annotations !== undefined && { annotations }),
  };
  return documentOf(manifest.mediaType!, manifest);
}

export function configType({ ociTypes }: Pick<ImageFields, "ociTypes">): string {
  return ociTypes ? MEDIA_TYPE.ociConfig : MEDIA_TYPE.dockerConfig;
}

async function packageImage(
  assembly: ImageAssembly,
  image: BuiltImage,
  options: PackageOptions,
): Promise<{ document: PackagedDocument; config: Descriptor; layers: readonly Descriptor[] }> {
  const { defaultForm, fields } = options;
  const config = await assembly.document(configType(fields), image.configBytes);
  const layers = await Promise.all(
    image.layers.map((layer) => assembly.form(layer, fields.form ?? defaultForm, options)),
  );
  const document = manifestFor(config, layers, fields, formatPlatform(image.platform));
  return { document, config, layers };
}

/** As BuildKit has them: a manifest of its own in the index, whose layers are the statements. */
async function packageAttestations(
  assembly: ImageAssembly,
  subject: Descriptor,
  statements: readonly Attestation[],
  fields: ImageFields,
): Promise<{ document: PackagedDocument; entry: Descriptor; blobs: readonly Descriptor[] }> {
  const layers: Descriptor[] = [];
  for (const { parts, predicateType } of statements) {
    const { digest, size } = await assembly.document(IN_TOTO, wholeOf(parts));
    layers.push({ mediaType: IN_TOTO, digest, size, annotations: { "in-toto.io/predicate-type": predicateType } });
  }
  const rootfs = { type: "layers", diff_ids: layers.map(({ digest }) => digest) };
  const config = fields.ociArtifact
    ? await assembly.document(EMPTY_TYPE, Buffer.from("{}"))
    : await assembly.document(MEDIA_TYPE.ociConfig, Buffer.from(JSON.stringify({ ...UNKNOWN, config: {}, rootfs })));
  const { mediaType, digest, size } = subject;
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociManifest,
    ...(fields.ociArtifact && { artifactType: ATTESTATION_TYPE }),
    config,
    layers,
    ...(fields.ociArtifact && { subject: { mediaType, digest, size } }),
  };
  const document = documentOf(MEDIA_TYPE.ociManifest, manifest);
  const entry: Descriptor = {
    ...document.descriptor,
    annotations: {
      "vnd.docker.reference.digest": digest,
      "vnd.docker.reference.type": "attestation-manifest",
    },
    platform: UNKNOWN,
  };
  return { document, entry, blobs: [config, ...layers] };
}

function documentOf(mediaType: string, value: unknown): PackagedDocument {
  const bytes = Buffer.from(JSON.stringify(value));
  return { descriptor: describe(mediaType, bytes), bytes };
}

function platformOf({ config }: { readonly config: ImageConfig }): NonNullable<Descriptor["platform"]> {
  const { architecture, os, variant } = config;
  const version = config["os.version"];
  return {
    architecture,
    os,
    ...(variant !== undefined && { variant }),
    ...(version !== undefined && { "os.version": version }),
  };
}
