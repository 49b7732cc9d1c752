import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  type StatusResponse,
  StatusResponseSchema,
  type Vertex,
  VertexLogSchema,
  VertexSchema,
  VertexStatusSchema,
  VertexWarningSchema,
} from "../../../buildkit/control.ts";
import { create } from "../../../buildkit/message.ts";
import { coloursOf, DEFAULT_COLOURS } from "./colours.ts";
import { BuildModel } from "./model.ts";
import { PlainDisplay, type PlainOptions } from "./plain.ts";

const time = (millis: number) => ({ seconds: BigInt(Math.floor(millis / 1000)), nanos: (millis % 1000) * 1e6 });

type Told = NonNullable<Parameters<typeof create<StatusResponse>>[1]>;

/** What is printed for messages that are told one after the other; each is at its own second. */
function printed(messages: readonly Told[], options: PlainOptions = {}): string {
  const parts: string[] = [];
  const display = new PlainDisplay(new BuildModel(), (part) => parts.push(part), options);
  for (const message of messages) display.show(create<StatusResponse>(StatusResponseSchema, message));
  display.finish();
  return parts.join("");
}

const step = (
  digest: string,
  begun: number,
  completed?: number,
  more: NonNullable<Parameters<typeof create<Vertex>>[1]> = {},
) => ({
  vertexes: [
    create(VertexSchema, {
      digest,
      name: `RUN ${digest}`,
      started: time(begun),
      ...(completed !== undefined && { completed: time(completed) }),
      ...more,
    }),
  ],
});
const log = (vertex: string, at: number, text: string) => ({
  logs: [create(VertexLogSchema, { vertex, stream: 1n, timestamp: time(at), msg: Buffer.from(text) })],
});

describe("plain progress", () => {
  test("tells of one step until it is over, then of what others had to say meanwhile", () => {
    const messages = [
      step("a", 1000),
      step("b", 1000),
      log("b", 1500, "from b\n"),
      log("a", 1600, "from a\nno end"),
      step("a", 1000, 3000),
      log("b", 3500, "more\n"),
      step("b", 1000, 4000),
    ];
    assert.equal(
      printed(messages),
      "#1 RUN a\n#1 0.600 from a\n#1 2.000 no end\n#1 DONE 2.0s\n\n#2 RUN b\n#2 0.500 from b\n#2 2.500 more\n#2 DONE 3.0s\n",
    );
  });

  test("leaves a step that others have waited for, and says so", () => {
    let now = 0;
    const parts: string[] = [];
    const display = new PlainDisplay(new BuildModel(), (part) => parts.push(part), { now: () => now });
    const show = (message: Told): void => display.show(create<StatusResponse>(StatusResponseSchema, message));
    show(step("a", 0));
    show(step("b", 0));
    show(log("b", 100, "waits\n"));
    now = 6000;
    show(log("a", 6000, "goes on\n"));
    display.finish();
    assert.equal(parts.join(""), "#1 RUN a\n#1 6.000 goes on\n#1 ...\n\n#2 RUN b\n#2 0.100 waits\n");
  });

  test("tells how steps end, what they transfer and what is warned of", () => {
    const transfer = { ID: "transferring context:", vertex: "a", current: 2048n, started: time(0), completed: time(5) };
    const warning = { vertex: "a", level: 1n, short: Buffer.from("Odd: it is (line 2)") };
    assert.equal(
      printed([
        step("a", 0),
        { statuses: [create(VertexStatusSchema, transfer)] },
        { warnings: [create(VertexWarningSchema, warning)] },
        step("a", 0, 100, { cached: true }),
        step("b", 0, 100, { error: "exit code: 1" }),
        step("c", 0, 100, { error: "context canceled" }),
      ]),
      "#1 RUN a\n#1 transferring context: 2.048kB done\n#1 WARN: Odd: it is (line 2)\n#1 CACHED\n\n" +
        "#2 RUN b\n#2 ERROR: exit code: 1\n\n#3 RUN c\n#3 CANCELED\n",
    );
  });

  test("cuts long names where that is asked for", () => {
    const name = "x".repeat(80);
    assert.match(printed([step("a", 0, 1, { name })], { truncates: true }), /^#1 x{72}\.\.\.\n/);
    assert.match(printed([step("a", 0, 1, { name })]), /^#1 x{80}\n/);
  });
});

test("BUILDKIT_COLORS changes colours by name or by parts, and what is wrong in it nothing", () => {
  assert.deepEqual(coloursOf("run=light-green:error=255,0,10:cancel=default"), {
    ...{ run: "92", error: "38;2;255;0;10", cancel: "39" },
    warning: DEFAULT_COLOURS.warning,
  });
  assert.deepEqual(coloursOf("run=nothing:nonsense:error=1,2:warning=256,0,0"), DEFAULT_COLOURS);
});
