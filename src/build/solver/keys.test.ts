import assert from "node:assert/strict";
import { test } from "node:test";
import type { Operation } from "../graph.ts";
import { counted, definitionKey, stepKey } from "./keys.ts";

const USUAL = { extraHosts: [], network: "default" } as const;

function file(data: string, encoding?: "utf8" | "base64"): Operation {
  const action = { type: "mkfile", target: "/a", data, mode: 0o644, owner: undefined } as const;
  return {
    kind: "files",
    root: -1,
    actions: [encoding === undefined ? action : { ...action, encoding }],
    platform: { os: "linux", architecture: "amd64" },
  };
}

test("a long file counts by its digest: keys differ as the texts do, and are made of little", () => {
  const long = "line\n".repeat(100_000);
  const operations = [file(long), file(`${long}.`), file(long, "base64"), file("short"), file("shor")];
  assert.equal(new Set(operations.map((one) => definitionKey(one, [], USUAL))).size, operations.length);
  assert.equal(stepKey(file(long), [], USUAL), stepKey(operations[0]!, [], USUAL));
  assert.ok(JSON.stringify(counted(operations[0]!)).length < 400);
  const { actions } = counted(operations[3]!) as Extract<Operation, { kind: "files" }>;
  assert.ok(actions[0]?.type === "mkfile" && actions[0].data === "short");
  // Nobody's text is another's digest.
  const shown = counted(operations[0]!) as unknown as { readonly actions: readonly { readonly data: object }[] };
  assert.notEqual(
    definitionKey(file(JSON.stringify(shown.actions[0]!.data)), [], USUAL),
    definitionKey(file(long), [], USUAL),
  );
});
