import { GantryError } from "../../src/base/errors.ts";
import { plan } from "../../src/build/plan/plan.ts";
import type { Plan, PlanInput } from "../../src/build/plan/types.ts";
import { plainRequest } from "../../src/build/request.fixture.ts";
import { excerptOf } from "../../src/dockerfile/excerpt.ts";
import { readIgnoreFile } from "../../src/dockerfile/ignore-file.ts";
import { DockerfileError } from "../../src/dockerfile/source.ts";
import { sha256Of } from "../../src/oci/digest.ts";
import type { ImageConfig, Platform } from "../../src/oci/image.ts";
import { configOf, historyOf } from "../image-tree.ts";
import { contextOf, type ReferenceCase } from "./case.ts";
import { type Recorded, sorted, withLines, withoutIds } from "./record.ts";

const HOST: Platform = { os: "linux", architecture: "amd64" };

/** What the plan of a case says, in the words of the recording; without what only a build makes. */
export async function plannedOf(one: ReferenceCase, base: ImageConfig): Promise<Recorded> {
  const [made, check, outline, targets] = await Promise.all([
    attempt(one, base, "build"),
    attempt(one, base, "check"),
    one.isBuilt ? undefined : attempt(one, base, "outline"),
    one.isBuilt ? undefined : attempt(one, base, "targets"),
  ]);
  const answers = {
    check: checkOf(check),
    ...(outline?.answer !== undefined && { outline: withoutSources(outline.answer.json) }),
    ...(targets?.answer !== undefined && { targets: withoutSources(targets.answer.json) }),
  };
  if (made.error !== undefined) return { error: made.error, warnings: [], ...answers };
  const { config, history } = made.targets[0]!;
  const image = {
    ...config,
    history: history.map((row) => ({ created_by: row.createdBy, empty_layer: isEmpty(row) })),
  };
  return {
    warnings: sorted(
      made.warnings
        .filter(({ url }) => url !== "")
        .map(
          ({ source, short }) =>
            `${source?.start === source?.end ? source?.start : `${source?.start}-${source?.end}`} ${short.replace(/ \(line \d+\)$/, "")}`,
        ),
    ),
    ...answers,
    config: configOf({ config: image, tree: new Map() }),
    history: historyOf({ config: image, tree: new Map() }),
  };
}

type Attempt = Plan & { readonly error?: NonNullable<Recorded["error"]> };

async function attempt(
  one: ReferenceCase,
  base: ImageConfig,
  call: "build" | "check" | "outline" | "targets",
): Promise<Attempt> {
  try {
    return await plan(inputOf(one, base, call));
  } catch (error) {
    if (!(error instanceof GantryError)) throw error;
    const excerpt = error instanceof DockerfileError ? excerptOf(error.place) : "";
    const nothing = { graph: { vertices: [] }, targets: [], warnings: [] };
    return { ...nothing, error: { message: withoutIds(error.message), excerpt: withoutCarets(excerpt) } };
  }
}

function inputOf(one: ReferenceCase, base: ImageConfig, call: PlanInput["request"]["call"]): PlanInput {
  const ignore = contextOf(one).find(({ name }) => name === ".dockerignore");
  return {
    text: one.dockerfile,
    file: "Dockerfile",
    hostPlatform: HOST,
    ignore: ignore && readIgnoreFile(String(ignore.body ?? "")),
    signal: new AbortController().signal,
    request: plainRequest({
      context: { type: "session", name: "context" },
      dockerfile: { path: "Dockerfile" },
      buildArgs: new Map(Object.entries(one.args ?? {})),
      target: one.target ?? "",
      call,
    }),
    ports: {
      resolveBase: async (reference) => {
        if (reference !== "docker.io/library/busybox:latest")
          throw new GantryError("not-found", `${reference}: not found`);
        return { id: sha256Of(reference), config: base, reference };
      },
      resolveLayout: async () => Promise.reject(new Error("no case has a layout")),
      include: async () => Promise.reject(new Error("no case includes another file")),
      ignoreOf: async () => undefined,
    },
  };
}

function isEmpty(row: { readonly vertex?: string; readonly emptyLayer?: boolean }): boolean {
  return row.emptyLayer ?? row.vertex === undefined;
}

function checkOf({ answer, error }: Attempt): Recorded["check"] {
  if (answer === undefined) return { code: 1, warnings: [], error: error?.message ?? "" };
  const { warnings, buildError } = withLines(JSON.parse(answer.json)) as {
    readonly warnings:
      | readonly { readonly location: string; readonly ruleName: string; readonly detail: string }[]
      | null;
    readonly buildError?: { readonly message: string; readonly location: string };
  };
  return {
    code: answer.code,
    warnings: sorted((warnings ?? []).map(({ location, ruleName, detail }) => `${location} ${ruleName}: ${detail}`)),
    ...(buildError !== undefined && { error: `${buildError.location} ${withoutIds(buildError.message)}` }),
  };
}

function withoutSources(json: string): unknown {
  const { sources: _, ...rest } = withLines(JSON.parse(json)) as Record<string, unknown>;
  return rest;
}

/** BuildKit shows none. */
function withoutCarets(excerpt: string): string {
  return excerpt.replace(/^ {5}\| +\^+\n/gm, "");
}
