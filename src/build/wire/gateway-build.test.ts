import assert from "node:assert/strict";
import { test } from "node:test";
import { type Definition, DefinitionSchema, OpSchema } from "../../buildkit/control.ts";
import { type Result, SolveRequestSchema } from "../../buildkit/gateway.ts";
import { create, encode } from "../../buildkit/message.ts";
import { sha256Of } from "../../oci/digest.ts";
import type { BuildResult } from "../builder.ts";
import { Definitions, definitionOf } from "./definitions.ts";
import { GatewayBuild, type GatewayPorts } from "./gateway-build.ts";
import { HandedResult } from "./handed-result.ts";
import { HeldFailures } from "./held-failures.ts";

const RESULT: BuildResult = { metadata: new Map(), imageId: undefined, warnings: 0 };

function portsOf(more: Partial<GatewayPorts> = {}): GatewayPorts {
  const nobody = () => Promise.reject(new Error("nobody asks for it"));
  return {
    ...{ definitions: new Definitions(), failures: new HeldFailures() },
    ...{ answer: nobody, run: nobody, openContainer: nobody, describe: nobody },
    ...more,
  };
}

/** So long that it is read in turns, standing on another build's result. */
function longDefinition(of: HandedResult): Definition {
  const [source] = definitionOf(of).def;
  const def = [source!];
  for (let n = 0; n < 9_000; n++) {
    const action = { input: 0n, output: 0n, mkdir: { path: `/${n}`, mode: 0o755, timestamp: -1n } };
    const on = { inputs: [{ digest: sha256Of(def.at(-1)!) }], file: { actions: [action] } };
    def.push(encode(OpSchema, create(OpSchema, on)));
  }
  def.push(encode(OpSchema, create(OpSchema, { inputs: [{ digest: sha256Of(def.at(-1)!) }] })));
  return create(DefinitionSchema, { def });
}

function idOf({ result }: Result): string {
  assert.equal(result.case, "ref");
  return result.value.id;
}

test("what a build is asked for is refused when it has ended meanwhile, and holds nothing", async () => {
  const definitions = new Definitions();
  const begun: string[] = [];
  const run: GatewayPorts["run"] = async ({ definition }) => {
    begun.push(String(definition?.operations.size));
    return RESULT;
  };
  const lower = new HandedResult({ frontend: "", options: {}, cacheImports: [], inputs: new Map() }, run);
  definitions.add(lower);
  const build = new GatewayBuild(portsOf({ definitions, run }));
  const asked = create(SolveRequestSchema, { Definition: longDefinition(lower), Evaluate: true });
  const solving = build.solve(asked);
  const refused = assert.rejects(solving, { kind: "not-found", message: "the build has ended" });
  await build[Symbol.asyncDispose]();
  await refused;
  assert.deepEqual(begun, []);
  // The build that made it was the only one who had it.
  lower.end();
  assert.throws(() => lower.use(), { message: "the build whose result this is has ended" });
});

test("a result has the names that were told, and no others", async () => {
  await using build = new GatewayBuild(portsOf());
  const request = create(SolveRequestSchema, { Frontend: "dockerfile.v0", allowResultReturn: true });
  const one = idOf(await build.solve(request));
  const several = { ...request, FrontendOpt: { platform: "linux/amd64,linux/arm64" } };
  const { result } = await build.solve(several);
  assert.equal(result.case, "refs");
  const names = Object.values(result.value.refs).map(({ id }) => id);
  assert.equal(names.length, 2);
  for (const name of [one, ...names]) assert.ok(build.find(name));
  for (const name of [`${one}/linux/amd64`, `${one}/`, `${names[0]}/x`, "result-9"]) {
    assert.throws(() => build.find(name), { kind: "not-found" }, name);
  }
});
