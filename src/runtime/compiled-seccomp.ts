import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { RuntimeSpec } from "../oci/runtime-spec.ts";
import type { OciRuntime } from "./process.ts";
import { runtimeStateRoot } from "./state-root.ts";

/** crun's annotation for a filter that is compiled already; it is taken in place of `linux.seccomp`. */
const ANNOTATION = "run.oci.seccomp_bpf_data";
/** Profiles differ by what a container may do: a handful on most hosts. */
const KEPT = 64;

/**
 * Compiling the distribution's seccomp profile is more than half of what `crun create` does (14 of 24 ms), and the
 * result is the same for the same profile. crun leaves what it compiled in its state folder: it is kept here by the
 * profile's text, and given back to crun with the next container of that profile.
 */
export class CompiledSeccomp {
  readonly #execRoot: string;
  readonly #programs = new Map<string, string>();

  constructor(execRoot: string) {
    this.#execRoot = execRoot;
  }

  /** The spec with its compiled filter if there is one; else the spec as it is. */
  use(spec: RuntimeSpec, runtime: OciRuntime): RuntimeSpec {
    const key = keyOf(spec, runtime);
    const program = key === undefined ? undefined : this.#programs.get(key);
    if (program === undefined) return spec;
    return { ...spec, annotations: { ...spec.annotations, [ANNOTATION]: program } };
  }

  /** To be called with the same spec after its jail was made: keeps the filter that crun compiled for it. */
  learn(spec: RuntimeSpec, runtime: OciRuntime, id: string): void {
    const key = keyOf(spec, runtime);
    if (key === undefined || this.#programs.has(key)) return;
    let program: Buffer;
    try {
      program = readFileSync(join(runtimeStateRoot(this.#execRoot, runtime), id, "seccomp.bpf"));
    } catch {
      // Another runtime than crun behind that name, or a process that has ended already: the next one may tell.
      return;
    }
    // A filter is a list of eight-byte instructions; an empty one would let everything through.
    if (program.length === 0 || program.length % 8 !== 0) return;
    if (this.#programs.size >= KEPT) this.#programs.clear();
    this.#programs.set(key, program.toString("base64"));
  }
}

/** undefined where nothing is to be gained: no profile, a runtime that isn't crun, or a filter of the user's own. */
function keyOf(spec: RuntimeSpec, runtime: OciRuntime): string | undefined {
  if (spec.linux.seccomp === undefined || basename(runtime.path) !== "crun") return undefined;
  if (spec.annotations?.[ANNOTATION] !== undefined) return undefined;
  return `${runtime.path} ${JSON.stringify(spec.linux.seccomp)}`;
}
