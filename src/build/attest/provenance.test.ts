import assert from "node:assert/strict";
import { test } from "node:test";
import type { BuildRequest } from "../builder.ts";
import type { Vertex } from "../graph.ts";
import type { ExportInput, SolvedTarget } from "../parts.ts";
import type { ProvenanceOptions } from "./options.ts";
import { provenanceOf } from "./provenance.ts";

const AMD = { os: "linux", architecture: "amd64" };
const SHA = "0".repeat(64);
const PLAIN: ProvenanceOptions = { mode: "max", version: "v1", builderId: "me", reproducible: true, inlineOnly: false };
const fetched: Vertex = {
  id: "sha256:a",
  operation: { kind: "http", url: "https://me:hidden@example.com/a?b" },
  inputs: [],
  name: "fetch https://me:hidden@example.com/a",
  stage: "",
  site: "",
};
const ran: Vertex = {
  id: "sha256:b",
  operation: {
    kind: "exec",
    root: 0,
    args: ["make"],
    env: ["A=1"],
    proxyEnv: ["HTTP_PROXY=http://me:hidden@proxy"],
    cwd: "/",
    user: "",
    network: "default",
    security: "sandbox",
    mounts: [],
    secretEnv: [
      { name: "T", id: "token", required: false },
      { name: "U", id: "token", required: true },
    ],
    platform: AMD,
  },
  inputs: ["sha256:a"],
  name: "[1/1] RUN make",
  stage: "",
  site: "",
};
const unused: Vertex = { ...fetched, id: "sha256:c", operation: { kind: "http", url: "https://example.com/unused" } };

function predicate(request: Partial<BuildRequest>, options: Partial<ProvenanceOptions> = {}) {
  const asked = {
    id: "x",
    context: { type: "none" },
    dockerfile: { path: "a/Dockerfile" },
    network: "default",
    ...request,
  };
  const input = {
    request: asked,
    graph: { vertices: [fetched, unused, ran] },
    sources: () => [
      { vertex: fetched, digest: `sha256:${SHA}` },
      { vertex: unused, digest: `sha256:${SHA}` },
    ],
    startedAt: 1000,
    dockerfile: { text: "FROM x", file: "Dockerfile" },
  } as unknown as ExportInput;
  const solved = { target: { root: ran.id, platform: AMD, history: [] }, root: undefined } as unknown as SolvedTarget;
  const claim = provenanceOf(input, solved, { ...PLAIN, ...options }, 2000, undefined);
  assert.doesNotMatch(claim.predicate, /hidden/);
  return JSON.parse(claim.predicate);
}

test("the sources of a platform's own steps are its materials, and nothing else is", () => {
  const { buildDefinition, runDetails } = predicate({});
  assert.deepEqual(buildDefinition.resolvedDependencies, [
    { uri: "https://xxxxx@example.com/a?b", digest: { sha256: SHA } },
  ]);
  const { llbDefinition } = buildDefinition.internalParameters.buildConfig;
  assert.deepEqual(
    llbDefinition.map(({ id, inputs }: { id: string; inputs: unknown }) => [id, inputs]),
    [
      ["step0", undefined],
      ["step1", ["step0:0"]],
    ],
  );
  assert.equal(llbDefinition[1].op.proxyEnv, undefined);
  assert.equal(buildDefinition.externalParameters.configSource.path, "a/Dockerfile");
  assert.deepEqual(buildDefinition.externalParameters.request.secrets, [{ id: "token" }]);
  assert.equal(runDetails.builder.id, "me");
  assert.equal(runDetails.metadata.invocationId, "x");
  assert.equal(runDetails.metadata.startedOn, "1970-01-01T00:00:01.000Z");
  assert.equal(runDetails.metadata.buildkit_reproducible, true);
  assert.deepEqual(runDetails.metadata.buildkit_completeness, { request: true, resolvedDependencies: true });
});

test("a build is hermetic if all that went into it is known and no step has a network", () => {
  const isHermetic = (request: Partial<BuildRequest>): unknown =>
    predicate(request).runDetails.metadata.buildkit_hermetic;
  assert.equal(isHermetic({}), false);
  assert.equal(isHermetic({ network: "none" }), true);
  assert.equal(isHermetic({ network: "none", context: { type: "session", name: "context" } }), false);
});

test("of the client's options those are told that say what is built, and of which commit", () => {
  const options = {
    "build-arg:A": "1",
    "label:b": "2",
    target: "c",
    "vcs:source": "https://me:hidden@example.com/x.git",
    "vcs:revision": "abc",
    platform: "linux/amd64",
    "attest:provenance": "",
    "build-arg:BUILDKIT_ATTEST_SBOM": "",
    "gantry:explain": "true",
    filename: "Dockerfile",
  };
  const max = predicate({ options });
  assert.deepEqual(max.buildDefinition.externalParameters.request.args, {
    "build-arg:A": "1",
    "label:b": "2",
    target: "c",
  });
  assert.deepEqual(max.runDetails.metadata.buildkit_metadata.vcs, {
    revision: "abc",
    source: "https://xxxxx@example.com/x.git",
  });
  const min = predicate({ options }, { mode: "min" });
  assert.deepEqual(min.buildDefinition.externalParameters.request, {
    frontend: "dockerfile.v0",
    args: { target: "c" },
  });
  assert.equal(min.buildDefinition.internalParameters.buildConfig, undefined);
  assert.equal(min.runDetails.metadata.buildkit_completeness.request, false);
});
