import type { ContainerConfig } from "../../api/container.ts";
import type { ImageInspect, ImageSummary } from "../../api/image.ts";
import { compareVersions } from "../../api/version.ts";

/** How answers about images looked in earlier versions of the API. */

const NO_TIME = "0001-01-01T00:00:00Z";

/** What a config shows since API 1.50: the rest of a container's was never an image's to say. */
const IMAGE_FIELDS: ReadonlySet<string> = new Set([
  "ArgsEscaped",
  "Cmd",
  "Entrypoint",
  "Env",
  "ExposedPorts",
  "Healthcheck",
  "Labels",
  "OnBuild",
  "Shell",
  "StopSignal",
  "User",
  "Volumes",
  "WorkingDir",
]);

const NO_CONFIG: ContainerConfig = {
  Hostname: "",
  Domainname: "",
  User: "",
  AttachStdin: false,
  AttachStdout: false,
  AttachStderr: false,
  Tty: false,
  OpenStdin: false,
  StdinOnce: false,
  Env: null,
  Cmd: null,
  Image: "",
  Volumes: null,
  WorkingDir: "",
  Entrypoint: null,
  OnBuild: null,
  Labels: null,
};

export function summaryAsOf(version: string, summary: ImageSummary): ImageSummary {
  const isBefore = (other: string) => compareVersions(version, other) < 0;
  const { VirtualSize: _size, Descriptor, ...rest } = summary;
  const isNameless = rest.RepoTags.length === 0 && rest.RepoDigests.length === 0;
  return {
    ...rest,
    ...(isBefore("1.43") && isNameless && { RepoTags: ["<none>:<none>"], RepoDigests: ["<none>@<none>"] }),
    ...(isBefore("1.44") && { VirtualSize: rest.Size }),
    ...(!isBefore("1.48") && Descriptor !== undefined && { Descriptor }),
    ...(isBefore("1.51") && { Containers: -1 }),
  };
}

export function inspectAsOf(version: string, inspected: ImageInspect): ImageInspect {
  const isBefore = (other: string) => compareVersions(version, other) < 0;
  const { VirtualSize: _size, Descriptor, ...rest } = inspected;
  return {
    ...rest,
    ...(isBefore("1.44") && { VirtualSize: rest.Size, ...(rest.Created === "" && { Created: NO_TIME }) }),
    ...(isBefore("1.45") && { Container: "", ContainerConfig: NO_CONFIG }),
    ...(!isBefore("1.48") && Descriptor !== undefined && { Descriptor }),
    ...(!isBefore("1.50") && rest.Config !== null && { Config: imageFields(rest.Config) }),
  };
}

function imageFields(config: ContainerConfig): ContainerConfig {
  return Object.fromEntries(Object.entries(config).filter(([field]) => IMAGE_FIELDS.has(field))) as ContainerConfig;
}
