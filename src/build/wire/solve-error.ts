import { isKind, messageOf } from "../../base/errors.ts";
import { type Columns, columnsOf } from "../../dockerfile/excerpt.ts";
import { DockerfileError } from "../../dockerfile/source.ts";
import { GrpcError, STATUS, type StatusDetail } from "../../grpc/status.ts";
import type { PlannedBuild } from "../builder.ts";
import { StepError } from "../step-error.ts";

/** Longer files are told in part. */
const WHOLE = 16_000;
/** More than clients show before and after what is meant. */
const LINES_AROUND = 10;
const MOST_LINES = 40;
/** Longer lines are not read by people. */
const WIDEST = 500;

interface Place {
  readonly file: string;
  readonly text: string;
  readonly start: number;
  readonly end: number;
  readonly columns?: Columns;
}

/**
 * Why a build failed, as BuildKit tells it: clients print the lines of the Dockerfile that the details hold. The
 * details are JSON, by the names of Go's types.
 */
export function solveError(
  error: unknown,
  plan: PlannedBuild | undefined,
  /** What a client may look into of a command that failed. */
  failureOf: (vertex: string) => unknown = () => undefined,
): GrpcError {
  if (error instanceof GrpcError) return error;
  if (isKind(error, "cancelled")) return new GrpcError(STATUS.cancelled, "context canceled", { cause: error });
  const details: StatusDetail[] = [];
  const step = found(error, (one) => (one instanceof StepError ? one : undefined));
  if (step !== undefined) details.push(detail("errdefs.Vertex+json", { digest: step.vertex.id }));
  const failure = step && failureOf(step.vertex.id);
  if (failure !== undefined) details.push(detail("errdefs.Solve+json", failure));
  const place = found(error, (one) => placeOf(one, plan));
  if (place !== undefined) details.push(detail("errdefs.Source+json", sourceOf(place)));
  return new GrpcError(STATUS.unknown, messageOf(error), { details, cause: error });
}

/** What `look` finds at the error or at what caused it. */
function found<T>(error: unknown, look: (error: unknown) => T | undefined): T | undefined {
  for (let one = error, depth = 0; one instanceof Error && depth < 10; one = one.cause, depth++) {
    const value = look(one);
    if (value !== undefined) return value;
  }
  return undefined;
}

function placeOf(error: unknown, plan: PlannedBuild | undefined): Place | undefined {
  if (error instanceof DockerfileError) {
    const { source, range } = error.place;
    return source && { file: source.name, text: source.text, ...range, columns: columnsOf(error.place) };
  }
  if (error instanceof StepError && plan !== undefined) {
    const { source } = error.vertex;
    // Of an included file the text isn't kept: the lines would be those of another one.
    if (source?.file === plan.file) return { text: plan.text, ...source };
  }
  return undefined;
}

/** The lines, and where it is known the part of them that is meant. */
function sourceOf({ file, text, start, end, columns }: Place): unknown {
  const data = Buffer.from(linesNear(text, start, end), "utf8").toString("base64");
  return {
    info: { filename: file, data, language: "Dockerfile" },
    ranges: [
      { start: { line: start, character: 0 }, end: { line: end, character: 0 } },
      ...(columns === undefined ? [] : [rangeOf(columns)]),
    ],
  };
}

/** Errors travel as headers: of a long file the lines that nobody is shown are empty, so that the others keep their numbers. */
function linesNear(text: string, start: number, end: number): string {
  if (text.length <= WHOLE) return text;
  const first = start - LINES_AROUND;
  const last = Math.min(end, start + MOST_LINES) + LINES_AROUND;
  let number = 0;
  const lines = text.split("\n", last);
  return lines.map((line) => (++number < first ? "" : line.slice(0, WIDEST))).join("\n");
}

function rangeOf({ line, start, end }: Columns): unknown {
  return { start: { line, character: start }, end: { line, character: end } };
}

function detail(type: string, value: unknown): StatusDetail {
  return { typeUrl: `github.com/moby/buildkit/${type}`, value: Buffer.from(JSON.stringify(value), "utf8") };
}
