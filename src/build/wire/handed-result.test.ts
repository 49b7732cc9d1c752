import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { GantryError, isKind } from "../../base/errors.ts";
import { type Definition, DefinitionSchema, OpSchema } from "../../buildkit/control.ts";
import { create, decode, encode } from "../../buildkit/message.ts";
import { sha256Of } from "../../oci/digest.ts";
import type { BuildResult } from "../builder.ts";
import { readDefinition } from "../definition/definition.ts";
import type { MadeTarget } from "../made.ts";
import type { Root } from "../root.ts";
import { Definitions, definitionOf } from "./definitions.ts";
import { type FrontendRequest, HandedResult } from "./handed-result.ts";

const PLATFORM = { os: "linux", architecture: "amd64" };
const ASKED: FrontendRequest = { frontend: "dockerfile.v0", options: {}, cacheImports: [], inputs: new Map() };
const RESULT: BuildResult = { metadata: new Map(), imageId: undefined, warnings: 0 };
const { signal } = new AbortController();

/** A root that counts who holds it. */
function countedRoot(): { readonly root: Root; readonly holders: () => number } {
  let count = 0;
  const hold = (): Root => {
    count++;
    const root: Root = {
      ...{ snapshot: "s", layers: [], share: hold, isShared: false },
      open: () => Promise.reject(new Error("nobody reads it")),
      [Symbol.asyncDispose]: async () => {
        count--;
      },
    };
    return root;
  };
  return { root: hold(), holders: () => count };
}

function madeOf(root: Root): MadeTarget {
  const config = { ...PLATFORM, rootfs: { type: "layers" as const, diff_ids: [] } };
  return { target: { platform: PLATFORM, root: "v", config, history: [] }, root, key: "k", sources: [] };
}

/** A result whose build tells how far it has come. */
function resultOf(root: Root): { readonly result: HandedResult; readonly steps: string[] } {
  const steps: string[] = [];
  const result = new HandedResult(ASKED, async (_asked, onMade, ending) => {
    steps.push("begun");
    ending.addEventListener("abort", () => steps.push("ended"));
    steps.push((await onMade([madeOf(root)])) === "wanted" ? "exported" : "unwanted");
    return RESULT;
  });
  return { result, steps };
}

describe("a result that a client was given", () => {
  test("is built once, and exported when it is returned", async () => {
    const { result, steps } = resultOf(countedRoot().root);
    await Promise.all([result.evaluate(), result.evaluate(), result.made(PLATFORM, signal)]);
    assert.deepEqual(steps, ["begun"]);
    assert.equal(await result.finish(), RESULT);
    assert.deepEqual(steps, ["begun", "exported"]);
  });

  test("is held until the last who uses it has ended", async () => {
    const { holders, root } = countedRoot();
    const { result } = resultOf(root);
    const other = result.use();
    await result.finish();
    result.end();
    const { root: shared } = await result.made(PLATFORM, signal);
    await root[Symbol.asyncDispose]();
    assert.equal(shared?.snapshot, "s");
    assert.equal(holders(), 1);
    other[Symbol.dispose]();
    await new Promise(setImmediate);
    assert.equal(holders(), 0);
    assert.throws(() => result.use(), { message: "the build whose result this is has ended" });
  });

  test("that nobody returned ends with its client", async () => {
    const { result, steps } = resultOf(countedRoot().root);
    await result.evaluate();
    const finished = assert.rejects(Promise.resolve(result.made(PLATFORM, AbortSignal.abort())), (error) =>
      isKind(error, "cancelled"),
    );
    result.end();
    await finished;
    assert.deepEqual(steps, ["begun", "ended"]);
  });

  test("that its client only looked at was built well, and nothing comes of it", async () => {
    const { result, steps } = resultOf(countedRoot().root);
    await result.evaluate();
    result.end(true);
    await new Promise(setImmediate);
    assert.deepEqual(steps, ["begun", "unwanted"]);
  });

  test("tells all who wait why it could not be built", async () => {
    const failure = new GantryError("invalid", "no such stage");
    const result = new HandedResult(ASKED, () => Promise.reject(failure));
    await assert.rejects(result.made(PLATFORM, signal), failure);
    await assert.rejects(result.finish(), failure);
  });
});

describe("a definition", () => {
  const definitions = new Definitions();
  const { result } = resultOf(countedRoot().root);
  definitions.add(result);

  /** As clients write it anew: the last operation is their own. */
  function passedOn({ def, metadata }: Definition): Definition {
    const source = def[0]!;
    const last = encode(
      OpSchema,
      create(OpSchema, { inputs: [{ digest: sha256Of(source) }], platform: { OS: "linux" } }),
    );
    return create(DefinitionSchema, { def: [source, last], metadata });
  }

  test("stands for the result that it was made of, also when a client wrote it anew", () => {
    const definition = definitionOf(result);
    assert.equal(definitions.find(definition), result);
    assert.equal(definitions.find(passedOn(definition)), result);
    const [source, last] = definition.def.map((bytes) => decode(OpSchema, bytes));
    assert.equal(last!.inputs[0]!.digest, sha256Of(definition.def[0]!));
    assert.match(source!.source!.identifier, /^gantry-result:\/\/[0-9a-f]{32}$/);
  });

  test("of what was not made here is none of ours, also where it stands on one", async () => {
    const other = (identifier: string) => encode(OpSchema, create(OpSchema, { source: { identifier } }));
    const [own] = definitionOf(result).def;
    for (const def of [[other("docker-image://x")], [own!, other("local://context")], Array(20).fill(own)]) {
      assert.equal(definitions.find(create(DefinitionSchema, { def })), undefined);
    }
    const unknown = create(DefinitionSchema, { def: [other(`gantry-result://${"0".repeat(32)}`)] });
    assert.throws(() => definitions.find(unknown), { kind: "not-found" });
    const digest = sha256Of(own!);
    const copy = encode(OpSchema, create(OpSchema, { inputs: [{ digest }], file: { actions: [] } }));
    const last = encode(OpSchema, create(OpSchema, { inputs: [{ digest: sha256Of(copy) }] }));
    const on = await readDefinition(create(DefinitionSchema, { def: [own!, copy, last] }));
    assert.deepEqual([...definitions.usedBy(on).values()], [result]);
  });

  test("is forgotten with its build", () => {
    const short = new Definitions();
    short.add(result);
    short.remove(result);
    assert.throws(() => short.find(definitionOf(result)), { kind: "not-found" });
  });
});
