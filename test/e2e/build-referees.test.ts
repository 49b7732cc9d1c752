import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { findProgram, finish } from "../command.ts";
import { NO_DOCKERD, TestDockerd } from "../dockerd.ts";
import expected from "../dockerfiles/expected.json" with { type: "json" };
import { DOCKERFILES, type DockerfileCase, type Referee } from "../dockerfiles.ts";
import { GANTRY, NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { differences, KNOWN, type KnownDifference } from "../known-differences.ts";
import {
  BUILDKIT_CLIENT,
  type Builder,
  buildAll,
  type Made,
  madeOf,
  makeToolchains,
  tagsOf,
  withoutHistory,
} from "../referees.ts";

/** Docker's builders are asked again for these; for all of them with GANTRY_TEST_REFEREES=all. */
const ASKED: Readonly<Record<"classic" | "buildkit", readonly string[]>> = {
  classic: ["links-and-kinds", "ignore-rules"],
  buildkit: ["links-and-kinds", "node-service", "go-tools", "php-service", "static-site", "c-service", "arguments"],
};

const RECORDED = expected as unknown as Readonly<Record<Referee, Readonly<Record<string, Made>>>>;

describe("twenty Dockerfiles", { timeout: 300_000 }, () => {
  let engine: TestEngine;
  let toolchains: string;
  const seen = new Set<KnownDifference>();
  before(async () => {
    engine = await startEngine();
    toolchains = await makeToolchains(engine);
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const builder = (program: string, socket: string, buildkit: string): Builder => ({
    program,
    env: {
      ...process.env,
      HOME: engine.root,
      DOCKER_CONFIG: `${engine.root}/config`,
      DOCKER_HOST: `unix://${socket}`,
      GANTRY_HOST: `unix://${socket}`,
      DOCKER_BUILDKIT: buildkit,
    },
  });
  const compare = (made: ReadonlyMap<string, Made>, referees: readonly Referee[], cases: readonly DockerfileCase[]) => {
    const found = referees.flatMap((referee) =>
      cases
        .filter((one) => one.referees.includes(referee))
        .flatMap(tagsOf)
        .flatMap((tag) => {
          const [ours, theirs] = [made.get(tag), RECORDED[referee][tag]];
          assert.ok(ours !== undefined && theirs !== undefined, tag);
          const histories = referee !== "classic";
          return differences({ ours, theirs }, { histories, known: KNOWN, referee, seen, tag });
        }),
    );
    assert.deepEqual(found, []);
  };

  test("are by gantry what Docker's classic builder and BuildKit make of them", async () => {
    const own = builder(GANTRY, engine.socket, "1");
    assert.deepEqual(await buildAll(own, DOCKERFILES, engine.root), []);
    const made = await madeOf(own, DOCKERFILES, engine.root);
    compare(made, ["buildkit", "buildkitd", "classic"], DOCKERFILES);
  });

  test("are the same by a client of the classic protocol", { skip: NO_DOCKER }, async () => {
    const cases = DOCKERFILES.filter(({ referees }) => referees.includes("classic"));
    const classic = builder(findProgram("docker") ?? "docker", engine.socket, "0");
    assert.deepEqual(await buildAll(classic, cases, engine.root), []);
    compare(await madeOf(classic, cases, engine.root), ["classic"], cases);
  });

  test("are the same by a client of BuildKit's protocol", { skip: NO_DOCKER || noClient() }, async () => {
    // The client knows no named contexts.
    const cases = DOCKERFILES.filter(({ contexts }) => contexts === undefined);
    const buildkit = builder(BUILDKIT_CLIENT, engine.socket, "1");
    assert.deepEqual(await buildAll(buildkit, cases, engine.root), []);
    compare(await madeOf(buildkit, cases, engine.root), ["buildkit", "buildkitd"], cases);
  });

  test("have each difference that is said to be meant", { skip: NO_DOCKER || noClient() }, () => {
    const unseen = KNOWN.filter((known) => !seen.has(known)).map(({ why }) => why);
    assert.deepEqual(unseen, []);
  });

  test("are still what was recorded of Docker's builders", { skip: NO_DOCKERD || noClient() }, async () => {
    await using docker = await TestDockerd.start();
    for (const referee of ["classic", "buildkit"] as const) {
      const cases = DOCKERFILES.filter(
        ({ name, referees }) =>
          referees.includes(referee) && (process.env.GANTRY_TEST_REFEREES === "all" || ASKED[referee].includes(name)),
      );
      const protocol = referee === "classic" ? "0" : "1";
      const asked = { ...builder(BUILDKIT_CLIENT, docker.socket, protocol), fetchesFrontends: true };
      const loaded = await finish(BUILDKIT_CLIENT, ["load", "-i", toolchains], { env: asked.env });
      assert.equal(loaded.code, 0, loaded.stderr);
      assert.deepEqual(await buildAll(asked, cases, engine.root), []);
      for (const [tag, made] of await madeOf(asked, cases, engine.root))
        assert.deepEqual(referee === "classic" ? withoutHistory(made) : made, RECORDED[referee][tag], tag);
    }
  });
});

function noClient(): string | false {
  return existsSync(BUILDKIT_CLIENT) ? false : `${BUILDKIT_CLIENT} is not installed`;
}
