import assert from "node:assert/strict";
import { test } from "node:test";
import { create, encode, type Init } from "../../buildkit/message.ts";
import { DefinitionSchema, type Op, OpSchema } from "../../buildkit/operations.ts";
import { sha256Of } from "../../oci/digest.ts";
import type { BuildRequest } from "../builder.ts";
import type { Plan } from "../plan/types.ts";
import { readDefinition } from "./definition.ts";
import { planDefinition } from "./plan-definition.ts";

type Defined = Init<Op> & { readonly on?: readonly number[] };

const CONFIG = {
  ...{
    os: "linux",
    architecture: "amd64",
    rootfs: { type: "layers" as const, diff_ids: [`sha256:${"1".repeat(64)}`] },
  },
  history: [{ created_by: "base", empty_layer: false }],
};
const image = { source: { identifier: "docker-image://x" } };
const run = (more: object = {}) => ({
  exec: { meta: { args: ["true"] }, mounts: [{ dest: "/", input: 0n, output: 0n }], ...more },
});
const at = { timestamp: -1n };

function definitionOf(operations: readonly Defined[], output = 0n) {
  const digests: string[] = [];
  const def = operations.map(({ on = [], ...op }) => {
    const bytes = encode(
      OpSchema,
      create<Op>(OpSchema, { ...op, inputs: on.map((one) => ({ digest: digests[one]! })) }),
    );
    digests.push(sha256Of(bytes));
    return bytes;
  });
  const last = create(OpSchema, { inputs: [{ digest: digests.at(-1)!, index: output }] });
  return create(DefinitionSchema, { def: [...def, encode(OpSchema, last)] });
}

async function planOf(
  operations: readonly Defined[],
  { outputs = [], output = 0n }: { outputs?: unknown[]; output?: bigint } = {},
): Promise<Plan> {
  return planDefinition({
    definition: await readDefinition(definitionOf(operations, output)),
    request: { outputs, pull: false, session: { id: "mine" } } as unknown as BuildRequest,
    ports: {
      resolveBase: async (reference) => ({ id: `sha256:${"2".repeat(64)}`, config: CONFIG, reference }),
      resolveLayout: async (value) => ({ store: value, digest: "sha256:3", config: CONFIG }),
    },
    signal: new AbortController().signal,
  });
}

/** Each vertex as its kind, and the places of what it stands on. */
function shapeOf({ graph }: Plan): string[] {
  const ids = graph.vertices.map(({ id }) => id);
  return graph.vertices.map(({ inputs, operation }) => {
    const what = operation.kind === "files" ? operation.actions.map(({ type }) => type).join("+") : operation.kind;
    return [what, ...inputs.map((id) => ids.indexOf(id))].join(" ");
  });
}

test("file operations in a line are one layer, and what others read of it a layer of its own", async () => {
  const mkdir = (input: bigint, output = -1n) => ({ input, output, mkdir: { path: `/${input}`, mode: 0o755, ...at } });
  const line = await planOf([image, { file: { actions: [mkdir(0n), mkdir(1n), mkdir(2n, 0n)] }, on: [0] }]);
  assert.deepEqual(shapeOf(line), ["image", "mkdir+mkdir+mkdir 0"]);
  const copy = { input: 1n, secondaryInput: 1n, output: 0n, copy: { src: "/a", dest: "/b", mode: -1, ...at } };
  const forked = await planOf([image, { file: { actions: [mkdir(0n), copy] }, on: [0] }]);
  // What is read is an input of its own, so that the root counts by how it was made.
  assert.deepEqual(shapeOf(forked), ["image", "mkdir 0", "copy 1 1"]);
  assert.deepEqual(
    forked.targets[0]?.history.map(({ createdBy }) => createdBy),
    ["base", "mkdir /0", "copy /a /b"],
  );
});

test("folders are copied into a layer where something stands on them, or an image is made of them", async () => {
  const git = { source: { identifier: "git://host/x.git#main:sub", attrs: { "git.fullurl": "https://host/x.git" } } };
  const looked = await planOf([git]);
  assert.deepEqual(shapeOf(looked), ["git"]);
  const [vertex] = looked.graph.vertices;
  assert.deepEqual(vertex?.operation, {
    kind: "git",
    remote: "https://host/x.git",
    ref: "main",
    subdir: "sub",
    keepGitDir: false,
  });
  assert.deepEqual(shapeOf(await planOf([git], { outputs: [{}] })), ["git", "copy 0"]);
  assert.deepEqual(shapeOf(await planOf([git, { ...run(), on: [0] }])), ["git", "copy 0", "exec 1"]);
});

test("what a command only mounts stays what it is, and what it writes there is no result", async () => {
  const mounts = (readonly: boolean) => [
    { dest: "/", input: 0n, output: 0n },
    { dest: "/src", input: 1n, output: 1n, readonly },
  ];
  const operations = (readonly: boolean) => [
    image,
    { source: { identifier: "local://context" } },
    { ...run({ mounts: mounts(readonly) }), on: [0, 1] },
  ];
  assert.deepEqual(shapeOf(await planOf(operations(true), { output: 1n })), ["local"]);
  assert.deepEqual(shapeOf(await planOf(operations(false))), ["image", "local", "exec 0 1"]);
  await assert.rejects(planOf(operations(false), { output: 1n }), /writes to another mount than its root, as a result/);
  await assert.rejects(planOf(operations(false), { output: 2n }), /an operation has no result 2/);
});

test("a definition that stands on nothing it has, or says nothing, is none", async () => {
  const read = (def: readonly Uint8Array[]) => readDefinition(create(DefinitionSchema, { def }));
  const op = (init: Init<Op>) => encode(OpSchema, create<Op>(OpSchema, init));
  assert.equal((await readDefinition(create(DefinitionSchema))).result, undefined);
  await assert.rejects(read([op(image)]), /does not say what the result is/);
  await assert.rejects(read([op({ inputs: [{ digest: "sha256:0" }] })]), /stands on sha256:0, which is not there/);
  const both = op({ ...image, file: {} });
  await assert.rejects(
    read([both, op({ inputs: [{ digest: sha256Of(both) }] })]),
    /nothing of what it does, or several things/,
  );
  const source = op(image);
  const far = op({ inputs: [{ digest: sha256Of(source), index: -1n }] });
  await assert.rejects(read([source, far]), /no result -1/);
});

test("a definition as deep as any is planned without a deep stack", async () => {
  const deep: Defined[] = [
    image,
    ...Array.from({ length: 9_000 }, (_, before) => ({ ...run({ network: before % 3 }), on: [before] })),
  ];
  const { graph } = await planOf(deep);
  assert.equal(graph.vertices.length, 9_001);
});

test("an operation of more parts than anybody needs is refused before it is read", async () => {
  const [source] = definitionOf([image]).def;
  const actions = Array.from({ length: 100_000 }, () => ({ input: 0n, output: 0n, mkdir: { path: "/x", ...at } }));
  for (const more of [{ file: { actions } }, { exec: { meta: { env: Array(100_000).fill("") } } }]) {
    const inputs = [{ digest: sha256Of(source!) }];
    const large = encode(OpSchema, create<Op>(OpSchema, { inputs, ...more }));
    const last = encode(OpSchema, create<Op>(OpSchema, { inputs: [{ digest: sha256Of(large) }] }));
    const definition = create(DefinitionSchema, { def: [source!, large, last] });
    await assert.rejects(readDefinition(definition), { kind: "invalid", message: /more than 20000 fields/ });
  }
});

test("operations that are more steps than anybody builds are refused", async () => {
  const actions = Array.from({ length: 2000 }, (_, n) => ({
    ...{ input: BigInt(n), output: BigInt(n === 1999 ? 0 : n + 1) },
    mkdir: { path: `/${n}`, mode: 0o755, ...at },
  }));
  const operations = Array.from({ length: 11 }, (_, n) => ({ file: { actions }, on: [n] }));
  await assert.rejects(planOf([image, ...operations]), { kind: "invalid", message: /it has 22001 steps/ });
});
