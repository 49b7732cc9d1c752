import assert from "node:assert/strict";
import type { Answer, TestEngine } from "./engine.ts";
import { followLines, linesOf, type ProgressLine } from "./progress-lines.ts";

export interface Pulled extends Answer {
  readonly lines: readonly ProgressLine[];
  /** The last line's, or the answer's message; empty if all went well. */
  readonly error: string;
}

/** `POST /images/create` as clients send it, to its end. */
export async function pull(
  engine: Pick<TestEngine, "request">,
  fromImage: string,
  options: { readonly tag?: string; readonly platform?: string; readonly auth?: object } = {},
): Promise<Pulled> {
  const query = new URLSearchParams({ fromImage });
  if (options.tag !== undefined) query.set("tag", options.tag);
  if (options.platform !== undefined) query.set("platform", options.platform);
  const headers: Record<string, string> =
    options.auth === undefined
      ? {}
      : { "X-Registry-Auth": Buffer.from(JSON.stringify(options.auth)).toString("base64url") };
  const answer = await engine.request("POST", `/v1.41/images/create?${query}`, undefined, headers);
  const lines = linesOf(answer.text);
  const error = answer.status === 200 ? (lines.at(-1)?.error ?? "") : String(answer.json?.message);
  return { ...answer, lines, error };
}

/** A pull that must succeed. */
export async function pullWell(...args: Parameters<typeof pull>): Promise<Pulled> {
  const pulled = await pull(...args);
  assert.equal(pulled.status, 200, pulled.text);
  assert.equal(pulled.error, "");
  return pulled;
}

/** A pull under way: its lines as they come, and a way to leave it. */
export function followPull(
  engine: Pick<TestEngine, "socket">,
  fromImage: string,
  tag: string,
  onLine: (line: ProgressLine) => void = () => {},
): ReturnType<typeof followLines> {
  return followLines(engine, `/v1.41/images/create?${new URLSearchParams({ fromImage, tag })}`, onLine);
}

/** What was told of each row, without what only moves its bar. */
export function rowsOf(lines: readonly ProgressLine[]): Map<string, string[]> {
  const rows = new Map<string, string[]>();
  for (const { id, progressDetail, status = "" } of lines) {
    if (id === undefined || progressDetail === undefined) continue;
    const row = rows.get(id) ?? [];
    if (row.at(-1) !== status) row.push(status);
    rows.set(id, row);
  }
  return rows;
}
