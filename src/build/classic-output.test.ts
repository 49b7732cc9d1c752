import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ClassicOutput } from "./classic-output.ts";
import type { Graph, Vertex } from "./graph.ts";
import type { VertexState } from "./progress.ts";

const TEXT = `FROM base AS one
ENV A=b
RUN echo one && \\
    echo two
FROM unused AS other
RUN never
FROM base
COPY --from=one /f /g
RUN echo last
CMD ["sh"]
`;

function vertex(id: string, stage: string, start: number): Vertex {
  const operation = { kind: "files", root: -1, actions: [], platform: { os: "linux", architecture: "amd64" } } as const;
  return { id, operation, inputs: [], name: id, stage, site: id, source: { file: "Dockerfile", start, end: start } };
}

const GRAPH: Graph = {
  vertices: [vertex("from", "", 1), vertex("run one", "one", 3), vertex("copy", "2", 8), vertex("run last", "2", 9)],
};

function started(): {
  readonly lines: string[];
  readonly output: ClassicOutput;
  vertex(id: string, state: Partial<VertexState>): void;
  log(id: string, text: string, stream?: 1 | 2): void;
} {
  const lines: string[] = [];
  let open = "";
  const output = new ClassicOutput(
    (message) => {
      if (!("stream" in message)) lines.push(`${message.id} ${message.status}`);
      else {
        open += message.stream;
        const rows = open.split("\n");
        open = rows.pop()!;
        lines.push(...rows.map((row) => row.replace(/\b[0-9a-f]{12}\b/, "ID")));
      }
    },
    { keepsContainers: false },
  );
  output.plan({ text: TEXT, file: "Dockerfile", graph: GRAPH });
  return {
    lines,
    output,
    vertex: (id, state) => {
      const whole = { digest: id, inputs: [], name: id, cached: false, started: 1, ...state };
      void output.event({ type: "vertex", vertex: whole });
    },
    log: (id, text, stream = 1) => {
      void output.event({ type: "log", log: { vertex: id, stream, data: Buffer.from(text), timestamp: 1 } });
    },
  };
}

describe("the classic builder's output", () => {
  it("tells in the end of arguments that nothing declared, and nothing of the lint", () => {
    const told = started();
    const warning = { vertex: "from", level: 1, detail: [], url: "" };
    const unused = "[Warning] One or more build-args [A] were not consumed";
    for (const short of ["StageNameCasing: Stage name 'A' should be lowercase (line 1)", unused]) {
      void told.output.event({ type: "warning", warning: { ...warning, short } });
    }
    told.output.end("sha256:0123456789abcdef");
    assert.deepEqual(told.lines.slice(-2), [" ---> ID", `\u001b[91m${unused}`]);
  });

  it("tells steps as they are written, each with its own output, whichever order they are done in", () => {
    const told = started();
    assert.deepEqual(told.lines, ["Step 1/7 : FROM base AS one"]);
    told.vertex("from", { completed: 1 });
    told.vertex("run last", {});
    told.log("run last", "last\n");
    told.vertex("run last", { completed: 3 });
    told.vertex("run one", {});
    told.log("run one", "one\n");
    told.log("run one", "wrong\n", 2);
    assert.deepEqual(told.lines.slice(-3), [" ---> Running in ID", "one", "\u001b[91mwrong"]);
    told.vertex("run one", { completed: 4 });
    told.vertex("copy", { completed: 5 });
    told.output.end("sha256:0123456789abcdef");
    assert.deepEqual(told.lines, [
      ...["Step 1/7 : FROM base AS one", " ---> ID"],
      ...["Step 2/7 : ENV A=b", " ---> ID"],
      ...["Step 3/7 : RUN echo one &&     echo two", " ---> Running in ID", "one", "\u001b[91mwrong"],
      ...["\u001b[0mRemoving intermediate container ID", " ---> ID"],
      ...["Step 4/7 : FROM base", " ---> ID", "Step 5/7 : COPY --from=one /f /g", " ---> ID"],
      ...["Step 6/7 : RUN echo last", " ---> Running in ID", "last", "Removing intermediate container ID", " ---> ID"],
      ...['Step 7/7 : CMD ["sh"]', " ---> ID"],
    ]);
  });

  it("says what came from the cache, and configuration after it", () => {
    const told = started();
    for (const id of ["from", "run one", "run last"]) told.vertex(id, { cached: true, completed: 1 });
    told.vertex("copy", {});
    told.vertex("copy", { completed: 2 });
    told.output.end("sha256:0123456789abcdef");
    assert.deepEqual(
      told.lines.flatMap((line, index) => (line === " ---> Using cache" ? [told.lines[index - 1]!.slice(5, 8)] : [])),
      ["3/7", "6/7", "7/7"],
    );
    assert.ok(!told.lines.join("\n").includes("never"));
  });

  it("tells of a failed step what it printed", () => {
    const told = started();
    told.vertex("from", { completed: 1 });
    told.vertex("run one", {});
    told.log("run one", "oh");
    told.vertex("run one", { completed: 2, error: "no" });
    told.output.fail(true);
    assert.deepEqual(told.lines.slice(-2), [" ---> Running in ID", "ohRemoving intermediate container ID"]);
  });

  it("keeps no more than two megabytes of what it can't tell yet, and says so", () => {
    const told = started();
    const line = `${"x".repeat(99_999)}\n`;
    for (let index = 0; index < 50; index++) told.log("run last", line);
    for (const id of ["from", "run one", "copy", "run last"]) told.vertex(id, { completed: 1 });
    told.output.end("sha256:0123456789abcdef");
    const text = told.lines.join("\n");
    assert.ok(text.length < (2 << 20) + 200_000);
    assert.ok(text.includes("[output clipped, log limit 2MiB reached]"));
  });
});
