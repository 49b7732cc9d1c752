// Records what Docker's builders make of test/dockerfiles, for machines without them:
// `node scripts/referees.ts [--buildctl PROGRAM --address unix:///…]`. Without a buildkitd its cases stay as they are.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { finish } from "../test/command.ts";
import { NO_DOCKERD, TestDockerd } from "../test/dockerd.ts";
import { DOCKERFILES } from "../test/dockerfiles.ts";
import { startEngine } from "../test/engine.ts";
import {
  BUILDKIT_CLIENT,
  buildAll,
  madeByBuildctl,
  madeOf,
  makeToolchains,
  withoutHistory,
  writeMade,
} from "../test/referees.ts";

const FILE = fileURLToPath(new URL("../test/dockerfiles/expected.json", import.meta.url));

const { values } = parseArgs({ options: { buildctl: { type: "string" }, address: { type: "string" } } });
if (NO_DOCKERD !== false) throw new Error(NO_DOCKERD);
const recorded = new Map<string, unknown>(Object.entries(JSON.parse(readFileSync(FILE, "utf8"))));
await using engine = await startEngine();
await using docker = await TestDockerd.start();
const toolchains = await makeToolchains(engine);
for (const referee of ["classic", "buildkit"] as const) {
  const cases = DOCKERFILES.filter(({ referees }) => referees.includes(referee));
  const DOCKER_BUILDKIT = referee === "classic" ? "0" : "1";
  const env = { ...process.env, HOME: docker.root, DOCKER_HOST: `unix://${docker.socket}`, DOCKER_BUILDKIT };
  const builder = { program: BUILDKIT_CLIENT, env, fetchesFrontends: true };
  const { code, stderr } = await finish(BUILDKIT_CLIENT, ["load", "-i", toolchains], { env });
  if (code !== 0) throw new Error(stderr);
  const failed = await buildAll(builder, cases, docker.root);
  if (failed.length > 0) throw new Error(failed.join("\n"));
  const made = [...(await madeOf(builder, cases, docker.root))];
  recorded.set(
    referee,
    Object.fromEntries(made.map(([tag, one]) => [tag, referee === "classic" ? withoutHistory(one) : one])),
  );
}
const { address, buildctl } = values;
if (address !== undefined && buildctl !== undefined) {
  const cases = DOCKERFILES.filter(({ referees }) => referees.includes("buildkitd"));
  const made = await madeByBuildctl({ address, buildctl, toolchains }, cases, join(docker.root));
  recorded.set("buildkitd", Object.fromEntries(made));
}
writeMade(FILE, recorded);
