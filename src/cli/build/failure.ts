import { HclError } from "../../bake/bake.ts";
import { GantryError } from "../../base/errors.ts";
import { EngineError } from "../../client/client.ts";
import { excerptOf } from "../../dockerfile/excerpt.ts";
import { GrpcError } from "../../grpc/status.ts";
import { ExitError } from "../command.ts";
import { errorLine } from "../error-line.ts";
import { styled } from "../output/style.ts";

interface SourceDetail {
  readonly info?: { readonly filename?: string; readonly data?: string };
  readonly ranges?: readonly { readonly start?: Position; readonly end?: Position }[];
}

interface Position {
  readonly line?: number;
  readonly character?: number;
}

/** The lines of a Dockerfile about which an error is, as BuildKit's client shows them; "" where it names none. */
export function errorExcerpt(error: unknown): string {
  for (const { typeUrl, value } of error instanceof GrpcError ? error.details : []) {
    if (!typeUrl.endsWith("errdefs.Source+json")) continue;
    const { info, ranges = [] } = JSON.parse(Buffer.from(value).toString()) as SourceDetail;
    const [range] = ranges;
    const text = Buffer.from(info?.data ?? "", "base64").toString();
    const first = range?.start?.line;
    if (first === undefined) continue;
    return excerpt(info?.filename ?? "", text, first, range?.end?.line ?? first, partIn(text, ranges[1]));
  }
  return "";
}

/** Gantry's engine says in a second range which part of the lines is meant. */
function partIn(text: string, range: NonNullable<SourceDetail["ranges"]>[number] | undefined): string | undefined {
  const line = range?.start?.line;
  if (line === undefined) return undefined;
  return text.split("\n")[line - 1]?.slice(range?.start?.character ?? 0, range?.end?.character ?? 0);
}

/** The digest of the step that failed; undefined if it was none. */
export function failedStep(error: unknown): string | undefined {
  for (const { typeUrl, value } of error instanceof GrpcError ? error.details : []) {
    if (!typeUrl.endsWith("errdefs.Vertex+json")) continue;
    return (JSON.parse(Buffer.from(value).toString()) as { readonly digest?: string }).digest;
  }
  return undefined;
}

/** Runs a command of builds. What it fails of reads as by Docker's builders, with the lines of a file that is wrong. */
export async function toldAsBuild(run: () => Promise<number>): Promise<number> {
  try {
    return await run();
  } catch (error) {
    // Whoever has no engine has the same of all commands.
    if (!(error instanceof GantryError) || error instanceof EngineError || error.kind === "unavailable") throw error;
    const lines = error instanceof HclError ? excerptOf(error, { dress: inRed }) : "";
    throw new ExitError(1, `${lines}ERROR: ${errorLine(error)}`);
  }
}

/** Lines with their numbers, `>>>` before those that are meant and carets below their `part`; lines count from 1. */
export function excerpt(file: string, text: string, first: number, last: number, part?: string): string {
  const place = { source: { name: file, text }, range: { start: first, end: last }, offending: part };
  return excerptOf(place, { dress: inRed });
}

const inRed = (row: string): string => styled(31, row, 2);
