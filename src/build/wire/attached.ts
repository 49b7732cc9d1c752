import { StatusSchema } from "../../buildkit/control.ts";
import { create, encode } from "../../buildkit/message.ts";
import type { BuildAttachment, BuildResult, PlannedBuild } from "../builder.ts";
import { solveError } from "./solve-error.ts";

/** What the history keeps of a build in the forms of BuildKit's clients: how it came about, or why it failed. */
export function attachmentsOf(
  end: { readonly result: BuildResult } | { readonly error: unknown },
  plan: PlannedBuild | undefined,
): readonly BuildAttachment[] {
  if ("error" in end) return [failureOf(end.error, plan)];
  const { answer, config, provenance } = end.result;
  if (answer !== undefined) return [];
  const claims = (provenance?.() ?? []).map(
    ({ platform, predicate, predicateType }): BuildAttachment => ({
      kind: "provenance",
      platform,
      mediaType: "application/vnd.in-toto+json",
      annotations: { "in-toto.io/predicate-type": predicateType },
      bytes: Buffer.from(predicate),
    }),
  );
  if (config === undefined) return claims;
  return [...claims, { kind: "result", platform: "", annotations: {}, ...config }];
}

function failureOf(error: unknown, plan: PlannedBuild | undefined): BuildAttachment {
  const { code, details, message } = solveError(error, plan);
  const status = create(StatusSchema, {
    code,
    message,
    details: details.map(({ typeUrl, value }) => ({ typeUrl, value })),
  });
  return {
    kind: "error",
    platform: "",
    mediaType: "application/vnd.googeapis.google.rpc.status+proto",
    annotations: {},
    bytes: encode(StatusSchema, status),
  };
}
