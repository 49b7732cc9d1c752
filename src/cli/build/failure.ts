import { GrpcError } from "../../grpc/status.ts";
import { styled } from "../output/style.ts";

interface SourceDetail {
  readonly info?: { readonly filename?: string; readonly data?: string };
  readonly ranges?: readonly {
    readonly start?: { readonly line?: number };
    readonly end?: { readonly line?: number };
  }[];
}

const AROUND = 4;

/** The lines of a Dockerfile about which an error is, as BuildKit's client shows them; "" where it names none. */
export function errorExcerpt(error: unknown): string {
  for (const { typeUrl, value } of error instanceof GrpcError ? error.details : []) {
    if (!typeUrl.endsWith("errdefs.Source+json")) continue;
    const { info, ranges = [] } = JSON.parse(Buffer.from(value).toString()) as SourceDetail;
    const [range] = ranges;
    const text = Buffer.from(info?.data ?? "", "base64").toString();
    if (range?.start?.line !== undefined)
      return excerpt(info?.filename ?? "", text, range.start.line, range.end?.line ?? range.start.line);
  }
  return "";
}

/** The digest of the step that failed; undefined if it was none. */
export function failedStep(error: unknown): string | undefined {
  for (const { typeUrl, value } of error instanceof GrpcError ? error.details : []) {
    if (!typeUrl.endsWith("errdefs.Vertex+json")) continue;
    return (JSON.parse(Buffer.from(value).toString()) as { readonly digest?: string }).digest;
  }
  return undefined;
}

/** Lines with their numbers, `>>>` before those that are meant; lines count from 1. */
export function excerpt(file: string, text: string, first: number, last: number): string {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  const from = Math.max(1, first - Math.max(1, AROUND - (last - first)));
  const to = Math.min(lines.length, last + Math.max(1, AROUND - (last - first)));
  const place = first === last ? `${file}:${first}` : `${file}:${first}-${last}`;
  const rows = lines.slice(from - 1, to).map((line, index) => {
    const number = from + index;
    const isMeant = number >= first && number <= last;
    const row = `${String(number).padStart(4)} | ${isMeant ? ">>>" : "   "} ${line}`;
    return isMeant ? styled(31, row, 2) : row;
  });
  const rule = "-".repeat(20);
  return `${[place, rule, ...rows, rule].join("\n")}\n`;
}
