import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { baseMissing, makeBases } from "../base-images.ts";
import { toolMissing } from "../containers-tools.ts";
import { GANTRY, startEngine, type TestEngine } from "../engine.ts";
import type { KnownDifference } from "../known-differences.ts";
import { KNOWN_OF_PROJECTS } from "../known-project-differences.ts";
import { installedPackages } from "../packages.ts";
import { BuildahBuilder, ClientBuilder } from "../project-builders.ts";
import { compareProjects } from "../project-comparison.ts";
import { type Answer, PROJECTS, type ProjectReferee } from "../projects.ts";
import { tagsOf } from "../referees.ts";

/** buildah builds these again; `scripts/compare-projects.ts` has it and Docker's builders build all. */
const BY_BUILDAH = ["node-onbuild", "python-mounts", "c-library", "perl-service"];

/** These take their time and say little that the others don't: only with GANTRY_TEST_REFEREES=all, and by the script. */
const AT_LEISURE = [
  "node-typescript",
  "node-workspaces",
  "python-service",
  "go-tools",
  "java-modules",
  "php-packages",
  "polyglot",
];

const ANSWER_MS = 30_000;

const installed = installedPackages();
const asked = PROJECTS.filter(({ name }) => process.env.GANTRY_TEST_REFEREES === "all" || !AT_LEISURE.includes(name));
const here = asked.filter(({ bases }) => baseMissing(bases, installed) === false);
const compared = here.filter(({ name }) => BY_BUILDAH.includes(name));

describe("twenty projects with real compilers", { timeout: 280_000, concurrency: 2 }, () => {
  let engine: TestEngine;
  let gantry: ClientBuilder;
  before(async () => {
    if (here.length === 0) return;
    engine = await startEngine({ image: false });
    const host = `unix://${engine.socket}`;
    const env = { ...process.env, HOME: engine.root, DOCKER_CONFIG: `${engine.root}/config`, GANTRY_HOST: host };
    gantry = new ClientBuilder({ program: GANTRY, env }, engine.root);
    await gantry.load(await makeBases([...new Set(here.flatMap(({ bases }) => bases))], engine.root));
  });
  after(() => engine?.[Symbol.asyncDispose]());

  for (const project of asked)
    test(`${project.name} is built and answers`, { skip: baseMissing(project.bases, installed) }, async () => {
      await gantry.build(project);
      for (const [index, tag] of tagsOf(project).entries()) await answers(engine, tag, project.answers[index]!);
    });

  const skip = toolMissing("buildah") || (compared.length === 0 && "nothing that they begin with is installed");
  test("some are by gantry what buildah makes of them", { skip }, async () => {
    const buildah = new BuildahBuilder(engine.root);
    const bases = new Set(compared.flatMap((project) => project.bases));
    await buildah.load(await makeBases([...bases], engine.root));
    for (const project of compared) await buildah.build(project);
    const tags = compared.flatMap(tagsOf);
    // Built already, but for what another test of these is at.
    for (const project of compared) await gantry.build(project);
    const made = { ours: await gantry.made(tags), theirs: await buildah.made(tags) };
    const seen = new Set<KnownDifference<ProjectReferee>>();
    assert.deepEqual(compareProjects(compared, made, { referee: "buildah", seen }), []);
    const unseen = KNOWN_OF_PROJECTS.filter(
      (known) => known.referees.includes("buildah") && tags.some((tag) => known.tag.test(tag)) && !seen.has(known),
    );
    assert.deepEqual(
      unseen.map(({ why }) => why),
      [],
    );
  });
});

/** Starts what was made, and asks it. */
async function answers(engine: TestEngine, tag: string, { path, text }: Answer): Promise<void> {
  if (path === undefined) {
    const { code, stderr, stdout } = await engine.gantry("run", "--rm", tag);
    assert.deepEqual([code, stdout], [0, text], `${tag}: ${stderr}`);
    return;
  }
  const started = await engine.gantry("run", "-d", "-p", "127.0.0.1::8080", tag);
  assert.equal(started.code, 0, `${tag}: ${started.stderr}`);
  const id = started.stdout.trim();
  const port = (await engine.gantry("port", id, "8080")).stdout.trim();
  assert.equal(await ask(`http://${port}${path}`), text, `${tag}: ${(await engine.gantry("logs", id)).stderr}`);
  await engine.gantry("rm", "-f", id);
}

/** What a server answers once it listens. */
async function ask(url: string): Promise<string> {
  const deadline = Date.now() + ANSWER_MS;
  for (;;) {
    try {
      return await (await fetch(url)).text();
    } catch (error) {
      if (Date.now() > deadline) return String(error);
      await pause(50);
    }
  }
}
