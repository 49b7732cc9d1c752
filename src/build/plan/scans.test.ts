import assert from "node:assert/strict";
import { test } from "node:test";
import { plan } from "./plan.ts";
import { planInput, type World } from "./plan-input.fixture.ts";

const SBOM = { attestations: new Map([["sbom" as const, new Map<string, string>()]]) };
const STAGES = `FROM alpine:3 AS base
RUN base
FROM base AS build
RUN build
FROM base AS other
RUN other
FROM scratch
COPY --from=build /out /
`;

/** What is scanned besides the target: its name, and the step it ends with. */
async function scanned(text: string, { request, ...world }: World = {}): Promise<string[]> {
  const { graph, targets } = await plan(planInput(text, { ...world, request: { ...SBOM, ...request } }));
  const names = new Map(graph.vertices.map(({ id, name }) => [id, name]));
  const rootOf = (id: string | undefined) => (id === undefined ? "nothing" : names.get(id));
  return (targets[0]!.scans ?? []).map(({ name, root }) => `${name}: ${rootOf(root)}`);
}

const BASE = "base: [base 2/2] RUN base";
const BUILD = "build: [build 1/1] RUN build";
const ROWS: readonly (readonly [what: string, text: string, args: Record<string, string>, found: readonly string[]])[] =
  [
    ["nothing is, unless it is said", STAGES, {}, []],
    [
      "stages that the target needs, by an argument of all",
      `ARG BUILDKIT_SBOM_SCAN_STAGE=1\n${STAGES}`,
      {},
      [BASE, BUILD],
    ],
    ["those that are named", `ARG BUILDKIT_SBOM_SCAN_STAGE=build,other,f\n${STAGES}`, {}, [BUILD]],
    [
      "one that says so of itself, and what stands on it",
      STAGES.replace("RUN base", "ARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN base"),
      {},
      [BASE, BUILD],
    ],
    [
      "not one that says that it is not to be",
      `ARG BUILDKIT_SBOM_SCAN_STAGE=true\n${STAGES.replace("RUN build", "ARG BUILDKIT_SBOM_SCAN_STAGE=false\nRUN build")}`,
      {},
      [BASE],
    ],
    [
      "what the client says, where it is declared",
      `ARG BUILDKIT_SBOM_SCAN_STAGE\n${STAGES}`,
      { STAGE: "build" },
      [BUILD],
    ],
    ["and not where it is not", STAGES, { STAGE: "build", CONTEXT: "1" }, []],
    [
      "a stage without a name, by its number",
      `ARG BUILDKIT_SBOM_SCAN_STAGE=1\nFROM alpine:3\nRUN a\nFROM scratch\nCOPY --from=0 / /\n`,
      {},
      ["stage-0: [stage-0 2/2] RUN a"],
    ],
    ["the target only once", "ARG BUILDKIT_SBOM_SCAN_STAGE=1\nFROM alpine:3\nRUN a\n", {}, []],
    [
      "the context, if the target says so",
      "ARG BUILDKIT_SBOM_SCAN_CONTEXT=true\nFROM scratch\nCOPY a /\n",
      {},
      ["context: [internal] load build context"],
    ],
    [
      "and not if another stage does",
      "FROM scratch AS a\nARG BUILDKIT_SBOM_SCAN_CONTEXT=true\nCOPY a /\nFROM scratch\nCOPY --from=a / /\n",
      {},
      [],
    ],
  ];

for (const [what, text, args, found] of ROWS) {
  test(`scanned is besides the target: ${what}`, async () => {
    const given = Object.fromEntries(
      Object.entries(args).map(([name, value]) => [`BUILDKIT_SBOM_SCAN_${name}`, value]),
    );
    assert.deepEqual(await scanned(text, { args: given }), found);
    // Who wants no bill of materials has nothing more to build.
    assert.deepEqual(await scanned(text, { args: given, request: { attestations: new Map() } }), []);
  });
}

test("of a context that is scanned is read what steps read, and all where they read nothing", async () => {
  const paths = async (steps: string) => {
    const text = `ARG BUILDKIT_SBOM_SCAN_CONTEXT=true\nFROM scratch\n${steps}`;
    const { graph } = await plan(planInput(text, { request: SBOM }));
    return graph.vertices.flatMap(({ operation }) => (operation.kind === "local" ? [operation.followPaths] : []));
  };
  assert.deepEqual(await paths("COPY a b /\n"), [["a", "b"]]);
  assert.deepEqual(await paths("LABEL a=b\n"), [undefined]);
});
