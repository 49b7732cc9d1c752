// Starts the engine for this machine unless it runs, sees to an image to begin with and runs a first container.
import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readFileSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { answers, ask, CHECKOUT, fail, LOG, SOCKET } from "./lifecycle/host-engine.ts";
import { launchEngine } from "./lifecycle/launch.ts";
import { whyNotPulled } from "./lifecycle/pull-answer.ts";

const CLI = join(CHECKOUT, "dist/gantry");
const LINKS = { "/usr/local/bin/gantry": CLI, "/usr/local/bin/gantryd": join(CHECKOUT, "bin/gantryd") };

if (process.getuid?.() !== 0) fail("starting the engine needs root: run this as root.");

for (const [path, target] of Object.entries(LINKS)) link(path, target);

const ran = await answers();
if (!ran) {
  const began = Date.now();
  await launchEngine();
  say(`start: engine ready after ${((Date.now() - began) / 1000).toFixed(2)} s, logging to ${LOG}`);
}

const { image, made } = await firstImage();
const isDebian = image.startsWith("debian:");
if (ran && !made) say(`start: the engine runs already and has ${image}: nothing to do`);
else if (isDebian) runFirst(image);

say(`
The engine answers on ${SOCKET}. Try next:
  gantry run -it --rm ${image} ${isDebian ? "bash" : "sh"}
  gantry run -d --init --name sleeper ${image} sleep infinity
  gantry ps
  gantry --help
Docker's own tools work with it too: export DOCKER_HOST=unix://${SOCKET}
Stop it with: npm stop`);

/** Proves that the engine can do what it is for. */
function runFirst(image: string): void {
  say(`start: gantry run --rm ${image} cat /etc/os-release`);
  const run = gantry("run", "--rm", image, "cat", "/etc/os-release");
  if (run.status !== 0)
    fail(`the first container did not run: its exit code was ${run.status}; the engine's log is ${LOG}.`);
}

/** Puts our name on the PATH, but never in the place of something else. */
function link(path: string, target: string): void {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there !== undefined) {
    const now = there.isSymbolicLink() ? readlinkSync(path) : undefined;
    if (now === target) return;
    // A link that leads to a gantry (or, once the checkout has moved, nowhere) is ours to set right.
    if (now === undefined || (existsSync(path) && !/\/(dist|bin)\/gantryd?$/.test(now))) {
      say(`start: ${path} is something else's and stays as it is; use ${target}`);
      return;
    }
    rmSync(path);
  }
  mkdirSync("/usr/local/bin", { recursive: true });
  symlinkSync(target, path);
  say(`start: linked ${path}`);
}

/** The image that the first container is made of; obtained if there is none at all. */
async function firstImage(): Promise<{ readonly image: string; readonly made: boolean }> {
  const tags = (JSON.parse((await ask("GET", "/images/json")).text) as { RepoTags: string[] | null }[]).flatMap(
    ({ RepoTags }) => RepoTags ?? [],
  );
  const wanted = `debian:${suite()}`;
  const have = tags.includes(wanted) ? wanted : tags.find((tag) => tag.startsWith("debian:"));
  if (have !== undefined) return { image: have, made: false };
  // Whoever has other images, and so has removed this one, is not made to wait for it.
  if (tags[0] !== undefined) return { image: tags[0], made: false };
  // A pull is the image that everybody else has too; without a registry the machine's own packages make one.
  const pull = await ask("POST", `/images/create?fromImage=${encodeURIComponent(wanted)}`);
  const why = whyNotPulled(pull);
  if (why === undefined) {
    say(`start: pulled ${wanted}`);
    return { image: wanted, made: true };
  }
  say(`start: no pull: ${why}`);
  say(`start: gantry image bootstrap ${wanted}, from this machine's package sources`);
  if (gantry("image", "bootstrap", wanted).status === 0) return { image: wanted, made: true };
  return fail(
    `could not get ${wanted}: check the network, then run 'gantry image bootstrap ${wanted}'. ` +
      "The engine runs; 'gantry image bootstrap busybox' makes an image without any network.",
  );
}

/** The machine's own suite: its packages are the ones that can be had here. */
function suite(): string {
  const release = readFileSync("/etc/os-release", "utf8");
  return (/^ID=debian$/m.test(release) && /^VERSION_CODENAME="?([a-z]+)/m.exec(release)?.[1]) || "bookworm";
}

function gantry(...args: readonly string[]): { readonly status: number | null } {
  return spawnSync(CLI, ["-H", `unix://${SOCKET}`, ...args], { stdio: ["ignore", "inherit", "inherit"] });
}

function say(text: string): void {
  console.log(text);
}
