import type { ContainerConfig } from "../api/container.ts";
import type { ImageHistoryRow, ImageInspect } from "../api/image.ts";
import { GantryError } from "../base/errors.ts";
import type { ImageConfig, ImageProcess } from "../oci/image.ts";
import type { Snapshotter } from "../snapshots/snapshotter.ts";
import { descriptorOf, manifestIn } from "./manifests.ts";
import { type ImageRecord, type ImageRecords, sizeOf } from "./record.ts";
import type { Target } from "./resolve.ts";

const NO_TIME = "0001-01-01T00:00:00Z";

/** GET /images/{name}/json of an image, which may be one of an index; `isChosen` where a platform was asked for. */
export function inspectImage(
  target: Target,
  records: ImageRecords,
  snapshots: Snapshotter,
  { isChosen }: { readonly isChosen: boolean },
): ImageInspect {
  const { image, index } = target;
  const { config } = image;
  const { tags, digests } = namesOf(target, records);
  const size = sizeOf(image);
  return {
    Id: image.id,
    RepoTags: tags,
    RepoDigests: digests,
    Parent: image.parent ?? "",
    Comment: commentOf(config),
    Created: shortest(config.created ?? ""),
    DockerVersion: config.docker_version ?? "",
    Author: config.author ?? "",
    Config: config.config === undefined ? null : containerConfig(config.config),
    Architecture: config.architecture,
    ...(config.variant !== undefined && { Variant: config.variant }),
    Os: config.os,
    Size: size,
    GraphDriver: { Name: snapshots.driver, Data: graphData(image, records, snapshots) },
    RootFS: {
      Type: "layers",
      ...(config.rootfs.diff_ids.length > 0 && { Layers: config.rootfs.diff_ids }),
    },
    Metadata: { LastTagTime: image.lastTagged ?? NO_TIME },
    Descriptor: isChosen
      ? manifestIn(image, index)
      : descriptorOf(image, index?.image === image.id ? index : undefined),
  };
}

/** Other platforms' images of an index have its names. By its id an image is told of with all that it has. */
function namesOf(
  { by, image: { id }, index }: Target,
  records: ImageRecords,
): ReturnType<ImageRecords["familiarNames"]> {
  const own = index === undefined ? records.ownNamesOf(id) : records.namesOfIndex(index);
  return records.familiarNames(id, by === "id" && index?.image === id ? undefined : own);
}

/** Where its files are; of one whose layers are still pulled, that it is so. */
function graphData(
  { id, layers }: ImageRecord,
  records: ImageRecords,
  snapshots: Snapshotter,
): Record<string, string> | null {
  const underWay = records.underWay(id);
  if (underWay !== undefined)
    return { UnderWay: underWay.broken ?? "it can be started, and its layers are still pulled" };
  const top = layers.at(-1)?.chainId;
  return top === undefined ? null : snapshots.describe(top);
}

/** A time without the zeros that end its fraction, as Go prints it. */
function shortest(time: string): string {
  return time.replace(/(\.\d*?)0+(?=Z|[+-]|$)/, (_, kept: string) => (kept === "." ? "" : kept));
}

/** GET /images/{name}/history of an image, youngest first. */
export function imageHistory(target: Target, records: ImageRecords): ImageHistoryRow[] {
  const { image } = target;
  let layer = 0;
  const rows = (image.config.history ?? []).map((row): ImageHistoryRow => {
    let size = 0;
    if (row.empty_layer !== true) {
      const own = image.layers[layer++];
      if (own === undefined) throw new GantryError("internal", "too many non-empty layers in History section");
      size = own.size;
    }
    return {
      Id: "<missing>",
      Created: Math.trunc(Date.parse(row.created ?? NO_TIME) / 1000),
      CreatedBy: row.created_by ?? "",
      Tags: null,
      Size: size,
      Comment: row.comment ?? "",
    };
  });
  rows.reverse();
  let step: ImageRecord | undefined = image;
  for (const row of rows) {
    if (step === undefined) break;
    const { tags } = step === image ? namesOf(target, records) : records.familiarNames(step.id);
    row.Id = step.id;
    row.Tags = tags.length === 0 ? null : tags;
    step = step.parent === undefined ? undefined : records.get(step.parent);
  }
  return rows;
}

/** An image's process in the API's whole shape: every field that Docker always shows is there. */
function containerConfig(process: ImageProcess): ContainerConfig {
  return {
    Hostname: process.Hostname ?? "",
    Domainname: process.Domainname ?? "",
    User: process.User ?? "",
    AttachStdin: false,
    AttachStdout: false,
    AttachStderr: false,
    ...(process.ExposedPorts != null && { ExposedPorts: process.ExposedPorts }),
    Tty: false,
    OpenStdin: false,
    StdinOnce: false,
    Env: process.Env ?? null,
    Cmd: process.Cmd ?? null,
    ...(process.Healthcheck != null && { Healthcheck: process.Healthcheck }),
    ...(process.ArgsEscaped !== undefined && { ArgsEscaped: process.ArgsEscaped }),
    Image: "",
    Volumes: process.Volumes ?? null,
    WorkingDir: process.WorkingDir ?? "",
    Entrypoint: process.Entrypoint ?? null,
    OnBuild: process.OnBuild ?? null,
    Labels: process.Labels ?? null,
    ...(process.StopSignal !== undefined && { StopSignal: process.StopSignal }),
    ...(process.StopTimeout != null && { StopTimeout: process.StopTimeout }),
    ...(process.Shell != null && { Shell: process.Shell }),
  };
}

/** The config's own comment, else that of the last step, as archives of the OCI's kind have it. */
function commentOf(config: ImageConfig): string {
  return config.comment ?? config.history?.at(-1)?.comment ?? "";
}
