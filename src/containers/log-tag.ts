import { GantryError, messageOf } from "../base/errors.ts";
import { linearPattern } from "../base/linear-pattern.ts";
import { compileTemplate } from "../base/template/evaluate.ts";
import type { LogOptions } from "./log-options.ts";
import type { ContainerRecord } from "./record.ts";

const SHORT = 12;
const DEFAULT_TAG = "{{.ID}}";
/** Letters and steps: a client's template must not hold the engine up. */
const MOST_STEPS = 100_000;

/** What a log driver may say of a container besides its output. */
export interface LogIdentity {
  readonly record: ContainerRecord;
  readonly options: LogOptions;
  readonly logPath: string;
}

/**
 * The log's tag: a Go template over the container's names. Throws `invalid` with Go's words for a template that can't
 * be. `fallback` holds without the option; an empty one gives an empty tag.
 */
export function logTag({ record, options, logPath }: LogIdentity, fallback = DEFAULT_TAG): string {
  const template = options.tag === undefined || options.tag === "" ? fallback : options.tag;
  const { id, name, imageId, image, config, created } = record;
  const [entrypoint = "", ...args] = [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])];
  const imageHash = imageId.replace(/^sha256:/, "");
  const data = {
    ID: id.slice(0, SHORT),
    FullID: id,
    Name: name,
    ImageID: imageHash.slice(0, SHORT),
    ImageFullID: imageId,
    ImageName: image,
    Command: commandOf(record),
    DaemonName: "gantry",
    Config: { ...options },
    ContainerID: id,
    ContainerName: `/${name}`,
    ContainerEntrypoint: entrypoint,
    ContainerArgs: args,
    ContainerImageID: imageId,
    ContainerImageName: image,
    ContainerCreated: created,
    ContainerEnv: config.Env ?? [],
    ContainerLabels: config.Labels ?? {},
    LogPath: logPath,
  };
  try {
    return compileTemplate(template, { name: "log-tag", type: "*logger.Info", limit: MOST_STEPS })(data);
  } catch (error) {
    throw new GantryError("invalid", messageOf(error));
  }
}

export function commandOf({ config }: ContainerRecord): string {
  return [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])].join(" ");
}

/** The labels and variables that the options name, by whole name or by expression; `rename` makes the keys. */
export function extraAttributes(
  { record, options }: Pick<LogIdentity, "record" | "options">,
  rename: (key: string) => string = (key) => key,
): Record<string, string> {
  const { Labels, Env } = record.config;
  const labels = Object.entries(Labels ?? {});
  const env = (Env ?? []).map((entry): [string, string] => {
    const equals = entry.indexOf("=");
    return equals < 0 ? [entry, ""] : [entry.slice(0, equals), entry.slice(equals + 1)];
  });
  const chosen = [
    ...choose(labels, options.labels, options["labels-regex"]),
    ...choose(env, options.env, options["env-regex"]),
  ];
  return Object.fromEntries(chosen.map(([key, value]) => [rename(key), value]));
}

function choose(
  pairs: readonly [string, string][],
  names: string | undefined,
  expression: string | undefined,
): readonly [string, string][] {
  const named = new Set((names ?? "").split(",").filter((name) => name !== ""));
  const test = expression === undefined || expression === "" ? undefined : patternOf(expression);
  return pairs.filter(([key]) => named.has(key) || test?.(key) === true);
}

function patternOf(expression: string): (text: string) => boolean {
  try {
    return linearPattern(expression);
  } catch (error) {
    throw new GantryError("invalid", `error parsing regexp: ${messageOf(error)}`);
  }
}
