import { mkdirSync, mkdtempSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { RunOptions } from "./command.ts";
import { finish } from "./command.ts";
import { ContainersTools } from "./containers-tools.ts";
import { prepareCase } from "./dockerfiles.ts";
import { readTree } from "./image-tree.ts";
import type { Project } from "./projects.ts";
import { allOf, type Builder, buildAll, flagsOf, type Made, madeFrom, tagsOf } from "./referees.ts";

/** Someone who builds projects. */
export interface ProjectBuilder {
  /** Takes the images of `makeBases`. */
  load(layout: string): Promise<void>;
  /** Rejects with what the build said if it fails. */
  build(project: Project): Promise<void>;
  /** What was made under these names. */
  made(tags: readonly string[]): Promise<Map<string, Made>>;
}

/** By a client of Docker's: Gantry's own or a stock one, at any engine. */
export class ClientBuilder implements ProjectBuilder {
  readonly #builder: Builder;
  readonly #root: string;

  constructor(builder: Builder, root: string) {
    this.#builder = builder;
    this.#root = root;
  }

  async load(layout: string): Promise<void> {
    const { env, program } = this.#builder;
    const script = 'tar -chf - -C "$1" . | "$2" load';
    const { code, stderr } = await finish("sh", ["-c", script, "sh", layout, program], { env, timeoutMs: 240_000 });
    if (code !== 0) throw new Error(`cannot load the bases: ${stderr}`);
  }

  async build(project: Project): Promise<void> {
    const failed = await buildAll(this.#builder, [project], this.#root);
    if (failed.length > 0) throw new Error(failed.join("\n"));
  }

  made(tags: readonly string[]): Promise<Map<string, Made>> {
    return allOf(this.#builder, tags, this.#root);
  }
}

/** Packs all files of an image. */
const TREE = `
container=$($TOOL from --pull-never "$1")
tar -cf "$2" --format=posix --xattrs --xattrs-include='*' --numeric-owner -C "$($TOOL mount "$container")" .
$TOOL rm "$container" >/dev/null
`;

/** By buildah, with all that it keeps below a folder. */
export class BuildahBuilder implements ProjectBuilder {
  readonly #tools: ContainersTools;
  readonly #root: string;

  constructor(root: string) {
    this.#root = join(root, "buildah");
    mkdirSync(this.#root, { recursive: true });
    this.#tools = new ContainersTools(this.#root, "overlay");
  }

  async load(layout: string): Promise<void> {
    const { manifests } = JSON.parse(readFileSync(join(layout, "index.json"), "utf8")) as {
      manifests: { annotations: Record<string, string> }[];
    };
    // It takes the path for a name, which has no capital letters; /run is a folder of its own here.
    symlinkSync(layout, join(this.#root, "run/bases"));
    for (const { annotations } of manifests) {
      const name = annotations["org.opencontainers.image.ref.name"] ?? "";
      const id = await this.#ok(["pull", "--quiet", "--policy", "always", `oci:/run/bases:${name}`]);
      await this.#ok(["tag", id.trim(), name]);
    }
  }

  async build(project: Project): Promise<void> {
    const context = prepareCase(project, join(mkdtempSync(join(this.#root, "case-")), project.name));
    for (const [index, tag] of tagsOf(project).entries()) {
      const target = project.targets?.[index];
      await this.#ok([
        ...["build", "--isolation", "chroot", "--format", "docker", "--pull=false", "--identity-label=false"],
        ...["--quiet", "--tag", `localhost/${tag}`, ...(target === undefined ? [] : ["--target", target])],
        ...[...flagsOf(project, context), context],
      ]);
    }
  }

  async made(tags: readonly string[]): Promise<Map<string, Made>> {
    const made = new Map<string, Made>();
    const archive = join(this.#root, "tree.tar");
    for (const tag of tags) {
      const said = await this.#tools.script("buildah", TREE, [`localhost/${tag}`, archive], { timeoutMs: 120_000 });
      if (said.code !== 0) throw new Error(`cannot read ${tag}: ${said.stderr}`);
      const tree = await readTree(archive);
      const { Docker } = JSON.parse(await this.#ok(["inspect", "--type", "image", `localhost/${tag}`]));
      made.set(tag, madeFrom({ config: Docker, tree }, new Map()));
    }
    return made;
  }

  async #ok(args: readonly string[], options: RunOptions = { timeoutMs: 240_000 }): Promise<string> {
    const { code, stderr, stdout } = await this.#tools.run("buildah", args, options);
    if (code !== 0) throw new Error(`buildah ${args.join(" ")}: ${code}: ${`${stdout}${stderr}`.slice(-3000)}`);
    return stdout;
  }
}
