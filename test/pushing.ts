import assert from "node:assert/strict";
import { tarOf } from "./archive.ts";
import type { Answer, TestEngine } from "./engine.ts";
import { randomBytesOf } from "./oci-image.ts";
import { followLines, linesOf, type ProgressLine } from "./progress-lines.ts";

export interface Pushed extends Answer {
  readonly lines: readonly ProgressLine[];
  /** The last line's, or the answer's message; empty if all went well. */
  readonly error: string;
  /** Of the last manifest. */
  readonly digest: string;
}

type Asks = Pick<TestEngine, "request">;

export function authHeader(auth: object): Record<string, string> {
  return { "X-Registry-Auth": Buffer.from(JSON.stringify(auth)).toString("base64url") };
}

/** `POST /images/{name}/push` as clients send it, to its end; an empty tag pushes all. */
export async function push(
  engine: Asks,
  name: string,
  tag: string,
  options: { readonly auth?: object; readonly platform?: object } = {},
): Promise<Pushed> {
  const query = new URLSearchParams(tag === "" ? {} : { tag });
  if (options.platform !== undefined) query.set("platform", JSON.stringify(options.platform));
  const headers = authHeader(options.auth ?? {});
  return told(await engine.request("POST", `/images/${name}/push?${query}`, undefined, headers));
}

export async function pushWell(...args: Parameters<typeof push>): Promise<Pushed> {
  const pushed = await push(...args);
  assert.equal(pushed.status, 200, pushed.text);
  assert.equal(pushed.error, "", pushed.text);
  return pushed;
}

/** `POST /gantry/images/copy`, to its end. */
export async function copy(
  engine: Asks,
  query: Readonly<Record<string, string>>,
  headers: Readonly<Record<string, string>> = {},
): Promise<Pushed> {
  return told(await engine.request("POST", `/gantry/images/copy?${new URLSearchParams(query)}`, undefined, headers));
}

export async function copyWell(...args: Parameters<typeof copy>): Promise<Pushed> {
  const copied = await copy(...args);
  assert.equal(copied.status, 200, copied.text);
  assert.equal(copied.error, "", copied.text);
  return copied;
}

function told(answer: Answer): Pushed {
  const lines = answer.status === 200 ? linesOf(answer.text) : [];
  const error = answer.status === 200 ? (lines.at(-1)?.error ?? "") : String(answer.json?.message);
  return { ...answer, lines, error, digest: lines.findLast(({ aux }) => aux !== undefined)?.aux?.Digest ?? "" };
}

/** A push under way: its lines as they come, and a way to leave it. */
export function followPush(
  engine: Pick<TestEngine, "socket">,
  name: string,
  tag: string,
  onLine: (line: ProgressLine) => void,
): ReturnType<typeof followLines> {
  return followLines(engine, `/images/${name}/push?${new URLSearchParams({ tag })}`, onLine);
}

/** Statuses of one row, each once in a row. */
export function stepsOf(lines: readonly ProgressLine[], id: string): string[] {
  const steps = lines.filter((line) => line.id === id).map(({ status = "" }) => status);
  return steps.filter((step, index) => step !== steps[index - 1]);
}

/** Makes an image here, of one layer that no registry knows; resolves with the layer's tar. */
export async function importRandom(engine: Asks, name: string, seed: string, size: number): Promise<Buffer> {
  const tar = tarOf([{ name: "data", body: randomBytesOf(seed, size) }]);
  const at = name.lastIndexOf(":");
  const query = new URLSearchParams({ fromSrc: "-", repo: name.slice(0, at), tag: name.slice(at + 1) });
  const answer = await engine.request("POST", `/images/create?${query}`, tar, { "Content-Type": "application/x-tar" });
  assert.equal(answer.status, 200, answer.text);
  return tar;
}
