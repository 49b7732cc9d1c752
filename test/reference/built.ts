import { tarOf } from "../archive.ts";
import type { TestEngine } from "../engine.ts";
import { contextOf, type ReferenceCase } from "./case.ts";

/** What became of a case at an engine: undefined is an image by the case's name, else why there is none. */
export async function buildCase(engine: TestEngine, one: ReferenceCase, tag: string): Promise<string | undefined> {
  const query = new URLSearchParams({
    t: tag,
    networkmode: "none",
    ...(one.target !== undefined && { target: one.target }),
  });
  if (one.args !== undefined) query.set("buildargs", JSON.stringify(one.args));
  const answer = await engine.request("POST", `/build?${query}`, tarOf(contextOf(one)), {
    "Content-Type": "application/x-tar",
  });
  if (answer.status !== 200) return answer.json?.message ?? answer.text;
  for (const line of answer.text.split("\n")) {
    if (!line.startsWith('{"error')) continue;
    return (JSON.parse(line) as { error: string }).error;
  }
  return undefined;
}
