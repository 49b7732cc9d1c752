import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sha256 } from "./archive.ts";
import { type Finished, findProgram, finish } from "./command.ts";
import { ContainersTools } from "./containers-tools.ts";
import type { TestDockerd } from "./dockerd.ts";
import type { TestEngine } from "./engine.ts";
import type { TestRegistry } from "./registry.ts";

const LIST_TREE = fileURLToPath(new URL("list-tree.ts", import.meta.url));
const DOCKER = findProgram("docker") ?? "docker";

export interface PulledImage {
  /** Of the config. */
  readonly id: string;
  /** Of what the name points to, as the client tells it. */
  readonly digest: string;
}

/** Whoever pushes to and pulls from registries, ours and others. Registries with users know joe and `secret`. */
export interface RegistryClient {
  readonly name: string;
  /** `host/name:tag`. */
  pull(registry: TestRegistry, name: string): Promise<PulledImage>;
  /** Gives an image that it pulled another name and pushes that. */
  push(
    registry: TestRegistry,
    pulled: { readonly registry: TestRegistry; readonly name: string },
    name: string,
  ): Promise<void>;
  /** What lies below a folder of a pulled image; undefined for a client that unpacks nothing. */
  tree(registry: TestRegistry, name: string, folder: string): Promise<string | undefined>;
  /** Removes a pulled image, so that the next pull of its layers brings them again. */
  remove(registry: TestRegistry, name: string): Promise<void>;
}

/** The docker CLI, or ours, at an engine. */
export class EngineClient implements RegistryClient {
  readonly name: string;
  readonly #folder: string;
  readonly #run: (args: readonly string[]) => Promise<Finished>;
  #containers = 0;

  private constructor(name: string, folder: string, run: (args: readonly string[]) => Promise<Finished>) {
    this.name = name;
    this.#folder = folder;
    this.#run = run;
  }

  /** `registries` are those that it logs in to. */
  static ofGantry(engine: TestEngine, tool: "docker" | "gantry", registries: readonly TestRegistry[]): EngineClient {
    logIn(join(engine.root, "config"), registries);
    return new EngineClient(tool === "docker" ? "gantryd" : "gantry", engine.root, (args) => engine.tool(tool, args));
  }

  static ofDockerd(dockerd: TestDockerd, registries: readonly TestRegistry[]): EngineClient {
    const config = join(dockerd.root, "config");
    logIn(config, registries);
    const env = { ...process.env, DOCKER_HOST: `unix://${dockerd.socket}`, DOCKER_CONFIG: config, HOME: dockerd.root };
    return new EngineClient("dockerd", dockerd.root, (args) => finish(DOCKER, args, { env }));
  }

  async pull(registry: TestRegistry, name: string): Promise<PulledImage> {
    const full = `${registry.host}/${name}`;
    const told = await this.#ok("pull", full);
    const digest = /^Digest: (sha256:[0-9a-f]{64})$/m.exec(told)?.[1] ?? "";
    const shown = JSON.parse(await this.#ok("image", "inspect", full))[0];
    const known: string[] = shown.RepoDigests ?? [];
    if (!known.some((row) => row.endsWith(`@${digest}`))) throw new Error(`${digest} is not among ${known.join(" ")}`);
    return { id: shown.Id, digest };
  }

  async push(
    registry: TestRegistry,
    pulled: { readonly registry: TestRegistry; readonly name: string },
    name: string,
  ): Promise<void> {
    await this.#ok("tag", `${pulled.registry.host}/${pulled.name}`, `${registry.host}/${name}`);
    await this.#ok("push", `${registry.host}/${name}`);
  }

  async tree(registry: TestRegistry, name: string, folder: string): Promise<string> {
    const container = `${this.name}-${this.#containers++}`;
    await this.#ok("create", "--name", container, "--network", "none", `${registry.host}/${name}`, "nothing");
    const data = JSON.parse(await this.#ok("inspect", container))[0].GraphDriver.Data;
    const target = join(this.#folder, "mounted");
    mkdirSync(target, { recursive: true });
    // A layer of its own is empty or the engine's: what the image has lies below it. Two are what overlayfs asks for.
    const lower = [...data.LowerDir.split(":"), target].join(":");
    const script = `mount -t overlay overlay -o "ro,lowerdir=$1" "$2" && exec "$3" "$4" "$2/$5"`;
    const tree = await listed("unshare", [
      ...["-m", "--propagation", "private", "sh", "-c", script],
      ...["sh", lower, target, process.execPath, LIST_TREE, folder],
    ]);
    await this.#ok("rm", container);
    return tree;
  }

  async remove(registry: TestRegistry, name: string): Promise<void> {
    await this.#ok("rmi", `${registry.host}/${name}`);
  }

  async #ok(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.#run(args);
    if (code !== 0) throw new Error(`${this.name}: ${args.join(" ")}: exit code ${code}: ${stderr}${stdout}`);
    return stdout.trim();
  }
}

/** podman or buildah, which have the same storage and other words. */
export class StorageClient implements RegistryClient {
  readonly name: "podman" | "buildah";
  readonly #tools: ContainersTools;

  constructor(name: "podman" | "buildah", folder: string) {
    this.name = name;
    this.#tools = new ContainersTools(folder);
  }

  async pull(registry: TestRegistry, name: string): Promise<PulledImage> {
    const full = `${registry.host}/${name}`;
    await this.#tools.ok(this.name, "pull", "--quiet", ...accessTo(registry), full);
    if (this.name === "buildah") {
      const shown = JSON.parse(await this.#tools.ok("buildah", "inspect", "--type", "image", full));
      return { id: `sha256:${shown.FromImageID}`, digest: shown.FromImageDigest };
    }
    const shown = JSON.parse(await this.#tools.ok("podman", "image", "inspect", full))[0];
    return { id: `sha256:${shown.Id}`, digest: shown.Digest };
  }

  async push(
    registry: TestRegistry,
    pulled: { readonly registry: TestRegistry; readonly name: string },
    name: string,
  ): Promise<void> {
    const [from, to] = [`${pulled.registry.host}/${pulled.name}`, `docker://${registry.host}/${name}`];
    await this.#tools.ok(this.name, "push", ...accessTo(registry), from, to);
  }

  async remove(registry: TestRegistry, name: string): Promise<void> {
    await this.#tools.ok(this.name, "rmi", "--force", `${registry.host}/${name}`);
  }

  async tree(registry: TestRegistry, name: string, folder: string): Promise<string> {
    const full = `${registry.host}/${name}`;
    const path =
      this.name === "podman"
        ? await this.#tools.ok("podman", "image", "mount", full)
        : await this.#tools.ok("buildah", "mount", await this.#tools.ok("buildah", "from", full));
    return listed(process.execPath, [LIST_TREE, join(path, folder)]);
  }
}

/** skopeo, whose images are folders of blobs. It takes and brings whole indexes. */
export class SkopeoClient implements RegistryClient {
  readonly name = "skopeo";
  readonly #tools: ContainersTools;

  constructor(folder: string) {
    this.#tools = new ContainersTools(folder);
  }

  async pull(registry: TestRegistry, name: string): Promise<PulledImage> {
    const folder = this.#folderOf(registry, name);
    await this.#tools.ok(
      "skopeo",
      "copy",
      "--all",
      ...accessTo(registry, "src-"),
      `docker://${registry.host}/${name}`,
      `dir:${folder}`,
    );
    const bytes = readFileSync(join(folder, "manifest.json"));
    return { id: JSON.parse(bytes.toString()).config?.digest ?? "", digest: `sha256:${sha256(bytes)}` };
  }

  async push(
    registry: TestRegistry,
    pulled: { readonly registry: TestRegistry; readonly name: string },
    name: string,
  ): Promise<void> {
    const from = `dir:${this.#folderOf(pulled.registry, pulled.name)}`;
    await this.#tools.ok(
      "skopeo",
      "copy",
      "--all",
      ...accessTo(registry, "dest-"),
      from,
      `docker://${registry.host}/${name}`,
    );
  }

  async tree(): Promise<undefined> {
    return undefined;
  }

  async remove(registry: TestRegistry, name: string): Promise<void> {
    rmSync(this.#folderOf(registry, name), { recursive: true, force: true });
  }

  #folderOf(registry: TestRegistry, name: string): string {
    return join(this.#tools.folder, `${registry.host}-${name}`.replaceAll(/[/:]/g, "-"));
  }
}

/** The flags of skopeo, podman and buildah for a registry. */
function accessTo(registry: TestRegistry, prefix: "" | "src-" | "dest-" = ""): string[] {
  return [
    ...(registry.tls === undefined
      ? [`--${prefix}tls-verify=false`]
      : [`--${prefix}cert-dir=${join(registry.certsFolder, registry.host)}`]),
    ...(registry.hasUsers ? [`--${prefix}creds=joe:secret`] : []),
  ];
}

function logIn(folder: string, registries: readonly TestRegistry[]): void {
  const auth = Buffer.from("joe:secret").toString("base64");
  const users = registries.filter(({ hasUsers }) => hasUsers);
  mkdirSync(folder, { recursive: true });
  const auths = Object.fromEntries(users.map(({ host }) => [host, { auth }]));
  writeFileSync(join(folder, "config.json"), JSON.stringify({ auths }), { mode: 0o600 });
}

async function listed(program: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await finish(program, args);
  if (code !== 0) throw new Error(`cannot list an image's files: ${stderr}`);
  return stdout;
}
