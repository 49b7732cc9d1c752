import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { finish } from "./command.ts";
import { type DockerfileCase, prepareCase, TOOLCHAINS } from "./dockerfiles.ts";
import type { TestEngine } from "./engine.ts";
import { configOf, historyOf, linesOver, readSavedImages, type SavedImage, type Tree } from "./image-tree.ts";

/** A client that has BuildKit's protocol of its own: Debian's. */
export const BUILDKIT_CLIENT = "/usr/bin/docker";

/** Who builds: a program, what it is told, and by which protocol. */
export interface Builder {
  readonly program: string;
  readonly env: NodeJS.ProcessEnv;
  /** It would fetch the frontend that a Dockerfile asks for: the line is taken out. */
  readonly fetchesFrontends?: boolean;
}

/** What one builder made of a case. */
export interface Made {
  readonly config: Record<string, unknown>;
  readonly history: readonly string[];
  /** What is otherwise than in busybox. */
  readonly files: readonly string[];
}

/** Has Gantry make what the Dockerfiles begin with; resolves with the archive for the others to load. */
export async function makeToolchains(engine: TestEngine): Promise<string> {
  const context = prepareCase({ name: "toolchains" }, mkdtempSync(join(engine.root, "toolchains-")));
  for (const [target, name] of Object.entries(TOOLCHAINS)) {
    const { code, stderr } = await engine.gantry("build", "--network", "none", "--target", target, "-t", name, context);
    if (code !== 0) throw new Error(`cannot make ${name}: ${stderr}`);
  }
  const archive = join(engine.root, "toolchains.tar");
  await engine.ok("save", "-o", archive, "busybox", ...Object.values(TOOLCHAINS));
  return archive;
}

/** Names of the images that a case makes. */
export function tagsOf({ name, targets }: DockerfileCase): string[] {
  return targets?.map((target) => `refereed:${name}-${target}`) ?? [`refereed:${name}`];
}

/** Builds cases, some at once; resolves with what failed. */
export async function buildAll(builder: Builder, cases: readonly DockerfileCase[], root: string): Promise<string[]> {
  const failed: string[] = [];
  const left = [...cases];
  const work = async (): Promise<void> => {
    for (let one = left.shift(); one !== undefined; one = left.shift()) {
      const context = prepareCase(one, join(mkdtempSync(join(root, "case-")), one.name));
      if (builder.fetchesFrontends === true) dropDirective(join(context, one.context ?? ""));
      for (const [index, tag] of tagsOf(one).entries()) {
        const target = one.targets?.[index];
        const args = [
          "build",
          "--network",
          "none",
          "-t",
          tag,
          ...flagsOf(one, context),
          join(context, one.context ?? ""),
        ];
        if (target !== undefined) args.splice(1, 0, "--target", target);
        const { code, stdout, stderr } = await finish(builder.program, args, { env: builder.env, timeoutMs: 120_000 });
        if (code !== 0) failed.push(`${tag}: ${code}: ${`${stdout}${stderr}`.slice(-2000)}`);
      }
    }
  };
  await Promise.all([work(), work(), work()]);
  return failed;
}

function dropDirective(context: string): void {
  const dockerfile = join(context, "Dockerfile");
  writeFileSync(dockerfile, readFileSync(dockerfile, "utf8").replace(/^# syntax=.*/, "#"));
}

/** What a client is told of a case. */
export function flagsOf({ buildArgs = [], contexts = {}, secrets = {} }: DockerfileCase, context: string): string[] {
  const place = (value: string): string => (value.includes("://") ? value : join(context, value));
  return [
    ...buildArgs.flatMap((value) => ["--build-arg", value]),
    ...Object.entries(contexts).flatMap(([name, value]) => ["--build-context", `${name}=${place(value)}`]),
    ...Object.entries(secrets).flatMap(([id, file]) => ["--secret", `id=${id},src=${place(file)}`]),
  ];
}

/** What an engine keeps under the names of cases, as its `save` has it. */
export async function madeOf(
  builder: Builder,
  cases: readonly DockerfileCase[],
  root: string,
): Promise<Map<string, Made>> {
  const archive = join(mkdtempSync(join(root, "saved-")), "images.tar");
  const args = ["save", "-o", archive, "busybox:latest", ...cases.flatMap(tagsOf)];
  const { code, stderr } = await finish(builder.program, args, { env: builder.env });
  if (code !== 0) throw new Error(stderr);
  const images = await readSavedImages(archive);
  const base = images.get("busybox:latest")!.tree;
  return new Map(cases.flatMap(tagsOf).map((tag) => [tag, madeFrom(images.get(tag)!, base)]));
}

/** What an engine keeps under names, all files of each told. */
export async function allOf(builder: Builder, tags: readonly string[], root: string): Promise<Map<string, Made>> {
  const folder = mkdtempSync(join(root, "saved-"));
  const archive = join(folder, "images.tar");
  const { code, stderr } = await finish(builder.program, ["save", "-o", archive, ...tags], {
    env: builder.env,
    timeoutMs: 120_000,
  });
  if (code !== 0) throw new Error(stderr);
  const images = await readSavedImages(archive);
  rmSync(folder, { recursive: true });
  return new Map(tags.map((tag) => [tag, madeFrom(images.get(tag)!, new Map())]));
}

/** Without the history: the classic builder's has digests of its own making in it. */
export function withoutHistory(made: Made): Made {
  return { ...made, history: [] };
}

/** An image's config, history and files, those of a base left out. */
export function madeFrom(image: SavedImage, base: Tree): Made {
  return { config: configOf(image), history: historyOf(image), files: linesOver(base, image.tree) };
}

export interface BuildctlOptions {
  readonly buildctl: string;
  readonly address: string;
  /** Of `makeToolchains`. */
  readonly toolchains: string;
}

/** The same by buildkitd, which has no images of its own: what cases begin with is given to it as a layout. */
export async function madeByBuildctl(
  options: BuildctlOptions,
  cases: readonly DockerfileCase[],
  root: string,
): Promise<Map<string, Made>> {
  const layout = mkdtempSync(join(root, "layout-"));
  execFileSync("tar", ["-xf", options.toolchains, "-C", layout]);
  const { manifests } = JSON.parse(readFileSync(join(layout, "index.json"), "utf8")) as {
    manifests: { digest: string; annotations: Record<string, string> }[];
  };
  const images = ["busybox:latest", ...Object.values(TOOLCHAINS)].flatMap((name) => {
    const found = manifests.find(({ annotations }) => Object.values(annotations).some((value) => value.endsWith(name)));
    if (found === undefined) throw new Error(`no ${name} in ${JSON.stringify(manifests)}`);
    const names = [name, ...(name.endsWith(":latest") ? [name.slice(0, -7)] : [])];
    return names.flatMap((one) => ["--opt", `context:${one}=oci-layout://layout@${found.digest}`]);
  });
  const base = (await readSavedImages(options.toolchains)).get("busybox:latest")!.tree;
  const made = new Map<string, Made>();
  for (const one of cases) {
    const context = prepareCase(one, join(mkdtempSync(join(root, "case-")), one.name));
    for (const [index, tag] of tagsOf(one).entries()) {
      const to = join(mkdtempSync(join(root, "out-")), "image.tar");
      const main = join(context, one.context ?? "");
      dropDirective(main);
      const contexts = Object.entries(one.contexts ?? {}).flatMap(([name, value]) => {
        const image = /^docker-image:\/\/(.*)$/.exec(value)?.[1];
        const layoutOf = images[images.findIndex((word) => word.startsWith(`context:${image}=`))];
        return image === undefined
          ? ["--local", `${name}=${join(context, value)}`, "--opt", `context:${name}=local:${name}`]
          : ["--opt", `context:${name}=${layoutOf?.slice(`context:${image}=`.length)}`];
      });
      const args = [
        ...["--addr", options.address, "build", "--frontend", "dockerfile.v0", "--opt", "force-network-mode=none"],
        ...[
          "--local",
          `context=${main}`,
          "--local",
          `dockerfile=${main}`,
          "--oci-layout",
          `layout=${layout}`,
          ...images,
        ],
        ...(one.buildArgs ?? []).flatMap((value) => ["--opt", `build-arg:${value}`]),
        ...Object.entries(one.secrets ?? {}).flatMap(([id, file]) => [
          "--secret",
          `id=${id},src=${join(context, file)}`,
        ]),
        ...contexts,
        ...(one.targets?.[index] === undefined ? [] : ["--opt", `target=${one.targets[index]}`]),
        ...["--output", `type=docker,name=${tag},dest=${to},compression=uncompressed,force-compression=true`],
      ];
      const { code, stderr } = await finish(options.buildctl, args, { timeoutMs: 120_000 });
      if (code !== 0) throw new Error(`${tag}: ${stderr.slice(-3000)}`);
      const image =
        (await readSavedImages(to)).get(`docker.io/library/${tag}`) ??
        (await readSavedImages(to)).values().next().value;
      made.set(tag, madeFrom(image!, base));
    }
  }
  return made;
}

/** Keeps what was made as a document that a person can read differences of. */
export function writeMade(file: string, made: ReadonlyMap<string, unknown>): void {
  mkdirSync(join(file, ".."), { recursive: true });
  writeFileSync(file, `${JSON.stringify(Object.fromEntries(made), null, 1)}\n`);
}
