import { GantryError } from "../../base/errors.ts";
import { sha256Of } from "../../oci/digest.ts";
import type { ImageConfig, ImageProcess, Platform } from "../../oci/image.ts";
import { formatPlatform } from "../../oci/platform.ts";
import type { BuildRequest } from "../builder.ts";
import { plainRequest } from "../request.fixture.ts";
import type { Plan, PlanInput } from "./types.ts";

/** What a test says of the world that a plan is made in. */
export interface World {
  readonly request?: Partial<BuildRequest>;
  readonly args?: Readonly<Record<string, string>>;
  readonly contexts?: Readonly<Record<string, string>>;
  /** Configs of images by their normal name; any other name is not found. */
  readonly images?: Readonly<Record<string, ImageProcess & { readonly layers?: number; readonly platform?: string }>>;
  /** Every image is there. */
  readonly anyImage?: boolean;
  readonly files?: Readonly<Record<string, string>>;
  readonly ignore?: readonly string[];
}

const HOST: Platform = { os: "linux", architecture: "amd64" };

export function planInput(text: string, world: World = {}): PlanInput & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    text,
    file: "Dockerfile",
    hostPlatform: HOST,
    ignore: world.ignore,
    signal: new AbortController().signal,
    request: plainRequest({
      context: { type: "session", name: "context" },
      dockerfile: { path: "Dockerfile" },
      buildArgs: new Map(Object.entries(world.args ?? {})),
      namedContexts: new Map(Object.entries(world.contexts ?? {})),
      ...world.request,
    }),
    ports: {
      resolveBase: async (reference, platform) => {
        asked.push(`${reference} ${formatPlatform(platform)}`);
        const image =
          world.images?.[reference] ??
          (world.anyImage || reference === "docker.io/library/alpine:3" ? ALPINE : undefined);
        if (image === undefined) throw new GantryError("not-found", `${reference}: not found`);
        const id = sha256Of(`${reference} ${formatPlatform(platform)}`);
        return { id, config: configOf(image, platform), reference: `${reference}@${sha256Of(reference)}` };
      },
      resolveLayout: async (value, platform) => {
        return { store: value, digest: sha256Of(value), config: configOf(ALPINE, platform) };
      },
      include: async (context, path) => {
        const found = world.files?.[`${context}/${path}`];
        if (found === undefined) throw new GantryError("not-found", `no ${path} in ${context}`);
        return found;
      },
      ignoreOf: async () => undefined,
    },
  };
}

const ALPINE = { Env: ["PATH=/bin"], Cmd: ["/bin/sh"], layers: 1 };

function configOf(
  { layers = 1, platform, ...config }: ImageProcess & { readonly layers?: number; readonly platform?: string },
  wanted: Platform,
): ImageConfig {
  const [os = wanted.os, architecture = wanted.architecture] = platform?.split("/") ?? [];
  return {
    os,
    architecture,
    config,
    rootfs: { type: "layers", diff_ids: Array.from({ length: layers }, (_, index) => sha256Of(String(index))) },
    history: Array.from({ length: layers }, () => ({ created: "2024-01-01T00:00:00Z", created_by: "base" })),
  };
}

/** A plan in lines: each vertex with its inputs' numbers, then the history. */
export function printed(plan: Plan): string[] {
  const numbers = new Map(plan.graph.vertices.map(({ id }, index) => [id, index]));
  return plan.graph.vertices.map(({ name, inputs, operation }, index) => {
    const from = inputs.length === 0 ? "" : ` < ${inputs.map((id) => numbers.get(id)).join(" ")}`;
    return `${index} ${operation.kind} ${name.replace(/@sha256:[0-9a-f]+/, "@…")}${from}`;
  });
}
