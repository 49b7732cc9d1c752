import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Finished, findProgram, finish, type RunOptions } from "./command.ts";

export type ContainersTool = "skopeo" | "podman" | "buildah";

/** What `test(name, { skip: toolMissing("skopeo") }, …)` takes: false, or why there is nothing to compare with. */
export function toolMissing(...tools: readonly ContainersTool[]): string | false {
  const missing = tools.filter((tool) => findProgram(tool) === undefined);
  return missing.length === 0 ? false : `${missing.join(" and ")} ${missing.length > 1 ? "are" : "is"} not installed`;
}

/** Covers what the tools keep outside of the roots they are given: caches of blobs, locks, networks. */
const ALONE = 'mount --bind "$1/var-lib" /var/lib && mount --bind "$1/run" /run && shift && exec "$@"';

/** skopeo, podman and buildah with everything they keep below one folder; the machine's own is as it was. */
export class ContainersTools {
  readonly folder: string;
  /** Where podman and buildah have their images. */
  readonly storage: string;
  readonly #driver: "vfs" | "overlay";

  constructor(folder: string, driver: "vfs" | "overlay" = "vfs") {
    this.folder = folder;
    this.#driver = driver;
    this.storage = join(folder, "storage");
    for (const name of ["var-lib", "run", "tmp", "home"]) mkdirSync(join(folder, name), { recursive: true });
  }

  run(tool: ContainersTool, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
    return this.#alone([tool, ...this.#flagsOf(tool), ...args], options);
  }

  /** Runs a shell's script where the tools run; `$TOOL` is one of them with its flags. */
  script(tool: ContainersTool, script: string, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
    const env = { ...options.env, TOOL: [tool, ...this.#flagsOf(tool)].join(" ") };
    return this.#alone(["sh", "-ec", script, "sh", ...args], { ...options, env });
  }

  #flagsOf(tool: ContainersTool): string[] {
    if (tool === "skopeo") return ["--tmpdir", join(this.folder, "tmp")];
    return ["--root", this.storage, "--runroot", join(this.folder, "run/storage"), "--storage-driver", this.#driver];
  }

  #alone(command: readonly string[], options: RunOptions): Promise<Finished> {
    const env = {
      PATH: process.env.PATH,
      HOME: join(this.folder, "home"),
      TMPDIR: join(this.folder, "tmp"),
      ...(process.env.GANTRY_TEST_RUN !== undefined && { GANTRY_TEST_RUN: process.env.GANTRY_TEST_RUN }),
      ...options.env,
    };
    const line = ["-m", "--propagation", "private", "sh", "-c", ALONE, "sh", this.folder, ...command];
    return finish("unshare", line, { ...options, env });
  }

  /** Runs what must succeed; resolves with its output, trimmed. */
  async ok(tool: ContainersTool, ...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(tool, args);
    if (code !== 0) throw new Error(`${tool} ${args.join(" ")}: exit code ${code}: ${stderr}${stdout}`);
    return stdout.trim();
  }
}
