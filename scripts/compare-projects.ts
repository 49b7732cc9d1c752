// Builds test/projects by Gantry and by all builders that there are, compares what they made and prints a table:
// `node scripts/compare-projects.ts [--only NAME,…] [--by BUILDER,…] [--newer-host unix:///… [--newer-client PROGRAM]]`. The
// newer one is a dockerd with a BuildKit that knows heredocs and links; dockerd 20.10 and buildah are taken from the PATH.
import { parseArgs } from "node:util";
import { baseMissing, makeBases } from "../test/base-images.ts";
import { toolMissing } from "../test/containers-tools.ts";
import { NO_DOCKERD, TestDockerd } from "../test/dockerd.ts";
import { GANTRY, startEngine } from "../test/engine.ts";
import type { KNOWN_OF_PROJECTS } from "../test/known-project-differences.ts";
import { BuildahBuilder, ClientBuilder, type ProjectBuilder } from "../test/project-builders.ts";
import { compareProjects } from "../test/project-comparison.ts";
import { PROJECTS, type Project, type ProjectReferee } from "../test/projects.ts";
import { BUILDKIT_CLIENT, type Made, tagsOf } from "../test/referees.ts";

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    by: { type: "string", default: "classic,buildkit,newer,buildah" },
    "newer-host": { type: "string" },
    "newer-client": { type: "string" },
  },
});
const by = values.by.split(",");
const only = values.only?.split(",");
const projects = PROJECTS.filter(({ bases, name }) => {
  if (only !== undefined && !only.includes(name)) return false;
  const missing = baseMissing(bases);
  if (missing !== false) console.error(`${name} is left out: ${missing}`);
  return missing === false;
});

await using ends = new AsyncDisposableStack();
const engine = ends.use(await startEngine({ image: false }));
const layout = await makeBases([...new Set(projects.flatMap(({ bases }) => bases))], engine.root);
const { root } = engine;

function client(program: string, host: string, buildkit: string): ProjectBuilder {
  const env = { ...process.env, HOME: root, DOCKER_HOST: host, GANTRY_HOST: host, DOCKER_CONFIG: `${root}/config` };
  return new ClientBuilder({ program, env: { ...env, DOCKER_BUILDKIT: buildkit }, fetchesFrontends: true }, root);
}

const builders = new Map<ProjectReferee | "gantry", ProjectBuilder>([
  ["gantry", client(GANTRY, `unix://${engine.socket}`, "1")],
]);
if (NO_DOCKERD === false)
  for (const [name, buildkit] of [["classic", "0"] as const, ["buildkit", "1"] as const]) {
    if (!by.includes(name)) continue;
    // An engine for each: what the one has built is not the other's cache.
    const docker = ends.use(await TestDockerd.start());
    builders.set(name, client(BUILDKIT_CLIENT, `unix://${docker.socket}`, buildkit));
  }
const { "newer-client": program = "docker", "newer-host": host } = values;
if (host !== undefined && by.includes("newer")) builders.set("newer", client(program, host, "1"));
if (toolMissing("buildah") === false && by.includes("buildah")) builders.set("buildah", new BuildahBuilder(root));

const seconds = new Map<string, string>();
const seen = new Set<(typeof KNOWN_OF_PROJECTS)[number]>();
let ours = new Map<string, Made>();
for (const [name, builder] of builders) {
  await builder.load(layout);
  const built: Project[] = [];
  for (const project of projects) {
    if (name !== "gantry" && !project.builders.includes(name)) continue;
    const began = performance.now();
    try {
      await builder.build(project);
      seconds.set(`${project.name} ${name}`, ((performance.now() - began) / 1000).toFixed(1));
      built.push(project);
    } catch (error) {
      fail(`${name} cannot build ${project.name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  const made = await builder.made(built.flatMap(tagsOf));
  if (name === "gantry") ours = made;
  else
    for (const line of compareProjects(built, { ours, theirs: made }, { referee: name, seen }))
      fail(`${name}: ${line}`);
  console.error(`${name}: ${built.length} projects compared`);
}

const names = [...builders.keys()];
console.log(`| project | ${names.join(" | ")} |`);
console.log(`| --- |${names.map(() => " ---: |").join("")}`);
for (const project of projects)
  console.log(
    `| \`${project.name}\` | ${names.map((name) => seconds.get(`${project.name} ${name}`) ?? "").join(" | ")} |`,
  );

function fail(what: string): void {
  console.error(what);
  process.exitCode = 1;
}
