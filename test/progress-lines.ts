import { request } from "node:http";
import type { TestEngine } from "./engine.ts";

/** A line of what a pull, a push or a copy tells of its progress. */
export interface ProgressLine {
  readonly status?: string;
  readonly id?: string;
  readonly progressDetail?: { readonly current?: number; readonly total?: number };
  readonly progress?: string;
  readonly aux?: { readonly Tag: string; readonly Digest: string; readonly Size: number };
  readonly error?: string;
  readonly errorDetail?: { readonly message: string };
}

export function linesOf(text: string): ProgressLine[] {
  return text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => JSON.parse(line) as ProgressLine);
}

/** A POST under way: its lines as they come, and a way to leave it. */
export function followLines(
  engine: Pick<TestEngine, "socket">,
  path: string,
  onLine: (line: ProgressLine) => void,
): { readonly ended: Promise<readonly ProgressLine[]>; leave(): void } {
  const { promise, resolve, reject } = Promise.withResolvers<readonly ProgressLine[]>();
  // Who leaves doesn't look.
  promise.catch(() => {});
  const lines: ProgressLine[] = [];
  const call = request({ socketPath: engine.socket, method: "POST", path, agent: false }, (response) => {
    let rest = "";
    response.setEncoding("utf8");
    response.on("data", (text: string) => {
      const parts = (rest + text).split("\n");
      rest = parts.pop() ?? "";
      for (const line of parts.flatMap(linesOf)) {
        lines.push(line);
        onLine(line);
      }
    });
    response.once("error", reject);
    response.once("close", () => (response.complete ? resolve(lines) : reject(new Error("the answer was cut"))));
  });
  call.once("error", reject);
  call.end();
  return { ended: promise, leave: () => void call.destroy() };
}
