import type { ContainerConfig } from "../api/container.ts";
import { GantryError, isKind } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { applyChanges } from "../dockerfile/config-change.ts";
import type { ImageProcess } from "../oci/image.ts";
import { familiarString, parseNormalized, type Reference, tagNameOnly, withTag } from "../oci/reference.ts";
import { refuseLeaving } from "./archive.ts";
import type { CommitRequest } from "./controller.ts";
import { layConfig } from "./create.ts";
import { publishContainerEvent } from "./event.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { ContainerPorts } from "./ports.ts";
import type { Entry } from "./table.ts";

/** Makes an image of what a container has changed. Resolves with the image's id. */
export async function commitContainer(
  ports: ContainerPorts,
  lifecycle: Lifecycle,
  entry: Entry,
  request: CommitRequest,
): Promise<string> {
  refuseLeaving(entry, "commit");
  const { record } = entry;
  const reference = referenceOf(request);
  const upper = request.config ?? record.config;
  const config = layConfig({ ...upper, ...(applyChanges(upper, request.changes) as ContainerConfig) }, record.config);
  const { state } = record;
  const stops = request.pause && state.status === "running" && !state.paused;
  if (stops) await lifecycle.pause(entry, "commit");
  failpoint("containers.commit.paused");
  const read = Promise.withResolvers<void>();
  // It goes on while the image is made of what was read.
  const resumed = read.promise.then(async () => {
    if (stops) await resume(lifecycle, entry);
  });
  // It is told at the end.
  resumed.catch(() => {});
  try {
    const id = await ports.images.commit({
      parent: record.imageId,
      snapshot: record.id,
      onRead: () => read.resolve(),
      config: imageProcess(config),
      containerId: record.id,
      createdBy: (record.config.Cmd ?? []).join(" "),
      author: request.author,
      comment: request.comment,
      reference,
      signal: request.signal,
    });
    publishContainerEvent(ports.events, record, "commit", {
      comment: request.comment,
      imageID: id,
      imageRef: reference === undefined ? "" : familiarString(reference),
    });
    return id;
  } finally {
    read.resolve();
    await resumed;
  }
}

/** Somebody else may have ended it, or let it go on. */
async function resume(lifecycle: Lifecycle, entry: Entry): Promise<void> {
  try {
    await lifecycle.unpause(entry);
  } catch (error) {
    if (!isKind(error, "conflict")) throw error;
  }
}

function referenceOf({ repository, tag }: CommitRequest): Reference | undefined {
  if (repository === "") return undefined;
  const name = parseNormalized(repository);
  if (name.digest !== undefined) throw new GantryError("invalid", "refusing to create a tag with a digest reference");
  const reference = tag === "" ? tagNameOnly(name) : withTag(name, tag);
  if (reference.domain === "docker.io" && reference.path === "library/sha256") {
    throw new GantryError("invalid", "refusing to create an ambiguous tag using digest algorithm as name");
  }
  return reference;
}

/** What of a container's config an image has: not how it was attached or which network it asked for. */
function imageProcess(config: ContainerConfig): ImageProcess {
  return {
    Hostname: config.Hostname,
    Domainname: config.Domainname,
    User: config.User,
    ...(config.ExposedPorts !== undefined && { ExposedPorts: config.ExposedPorts }),
    Env: config.Env,
    Cmd: config.Cmd,
    ...(config.Healthcheck !== undefined && { Healthcheck: config.Healthcheck }),
    Volumes: config.Volumes,
    WorkingDir: config.WorkingDir,
    Entrypoint: config.Entrypoint,
    OnBuild: config.OnBuild,
    Labels: config.Labels,
    ...(config.StopSignal !== undefined && { StopSignal: config.StopSignal }),
    ...(config.StopTimeout !== undefined && { StopTimeout: config.StopTimeout }),
    ...(config.Shell !== undefined && { Shell: config.Shell }),
  };
}
