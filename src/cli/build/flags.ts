import { parseUlimit, ramInBytes } from "../../base/units.ts";
import type { Call } from "../command.ts";
import type { ParsedFlags } from "../flags/parse.ts";
import { boolFlag, bytesFlag, type FlagSpec, intFlag, listFlag, textFlag } from "../flags/spec.ts";
import { defaultPlatform } from "../run/platform.ts";
import type { Asked } from "./asked.ts";
import { callOf } from "./call.ts";
import type { ProgressKind } from "./view.ts";

const PROGRESS: readonly ProgressKind[] = ["auto", "plain", "tty", "rawjson", "quiet", "none"];

function oneOf(known: readonly string[], what: string): (value: string) => string {
  return (value) => {
    if (known.includes(value)) return value;
    throw new Error(`${what} has to be one of ${known.join(", ")}`);
  };
}

function checkUlimit(value: string): string {
  parseUlimit(value);
  return value;
}

/** How it is shown; of `build` and `bake`. */
export const PROGRESS_FLAGS: readonly FlagSpec[] = [
  textFlag("progress", "Set type of progress output (auto, plain, tty, rawjson, quiet, none)", {
    initial: "auto",
    check: oneOf(PROGRESS, "progress"),
  }),
  textFlag("metadata-file", "Write build result metadata to a file"),
];

/** docker's and buildx's flags of `build`, and Gantry's own at the end. */
export const BUILD_FLAGS: readonly FlagSpec[] = [
  listFlag("add-host", "Add a custom host-to-IP mapping (host:ip)"),
  listFlag("allow", 'Allow extra privileged entitlement ("network.host", "security.insecure")'),
  listFlag("annotation", "Add annotation to the image"),
  listFlag("attest", "Attestation parameters (type=sbom, type=provenance,mode=max)"),
  listFlag("build-arg", "Set build-time variables"),
  listFlag("build-context", "Additional build contexts (name=path)"),
  listFlag("cache-from", "External cache sources (user/app:cache, type=local,src=path/to/dir)"),
  listFlag("cache-to", "Cache export destinations (user/app:cache, type=local,dest=path/to/dir)"),
  textFlag("call", 'Set method for evaluating build ("check", "outline", "targets")', {
    initial: "build",
    check: (value) => {
      callOf(value);
      return value;
    },
  }),
  textFlag("cgroup-parent", "Set the parent cgroup for the RUN instructions during build"),
  boolFlag("check", "Shorthand for --call=check"),
  boolFlag("compress", "Compress the build context using gzip", { hidden: true }),
  intFlag("cpu-period", "Limit the CPU CFS (Completely Fair Scheduler) period"),
  intFlag("cpu-quota", "Limit the CPU CFS (Completely Fair Scheduler) quota"),
  intFlag("c,cpu-shares", "CPU shares (relative weight)"),
  textFlag("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
  textFlag("cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)"),
  boolFlag("debug", "Show warnings with the lines they are about"),
  textFlag("f,file", 'Name of the Dockerfile (default: "PATH/Dockerfile")'),
  boolFlag("force-rm", "Always remove intermediate containers", { hidden: true }),
  textFlag("iidfile", "Write the image ID to a file"),
  listFlag("label", "Set metadata for an image"),
  boolFlag("load", "Shorthand for --output=type=docker"),
  textFlag("m,memory", "Memory limit", { type: "bytes", check: (value) => String(ramInBytes(value)) }),
  textFlag("memory-swap", "Swap limit equal to memory plus swap: -1 to enable unlimited swap", {
    type: "bytes",
    check: (value) => (value === "-1" ? value : String(ramInBytes(value))),
  }),
  textFlag("network", "Set the networking mode for the RUN instructions during build", { initial: "default" }),
  boolFlag("no-cache", "Do not use cache when building the image"),
  listFlag("no-cache-filter", "Do not cache specified stages"),
  listFlag("o,output", "Output destination (type=local,dest=path)"),
  listFlag("platform", "Set target platform for build"),
  textFlag("provenance", `Shorthand for "--attest=type=provenance"`),
  boolFlag("pull", "Always attempt to pull all referenced images"),
  boolFlag("push", "Shorthand for --output=type=registry"),
  boolFlag("q,quiet", "Suppress the build output and print image ID on success"),
  boolFlag("rm", "Remove intermediate containers after a successful build", { initial: "true", hidden: true }),
  textFlag("sbom", `Shorthand for "--attest=type=sbom"`),
  listFlag("secret", "Secret to expose to the build (id=mysecret[,src=/local/secret])"),
  bytesFlag("shm-size", "Shared memory size for build containers"),
  boolFlag("squash", "Squash newly built layers into a single new layer"),
  listFlag("ssh", "SSH agent socket or keys to expose to the build (default|<id>[=<socket>|<key>[,<key>]])"),
  listFlag("t,tag", "Image identifier ([registry/]repository[:tag])"),
  textFlag("target", "Set the target build stage to build"),
  listFlag("ulimit", "Ulimit options", { type: "ulimit", check: checkUlimit }),
  ...PROGRESS_FLAGS,
  listFlag("deny", 'Refuse what ADD and contexts fetch from these address ranges ("private", 10.0.0.0/8)'),
  boolFlag("explain", "Say of each step which input made it be done anew"),
  textFlag("on-failure", "What to do when a step fails: shell opens a terminal in it", {
    check: oneOf(["shell", ""], "on-failure"),
  }),
  boolFlag("watch", "Build again whenever a file of the context changes"),
];

/** What the flags of `build` ask for. */
export function askedByFlags({ flags, args }: Pick<Call, "flags" | "args">): Asked {
  const platforms = flags.list("platform");
  const byDefault = defaultPlatform();
  return {
    context: args[0] ?? ".",
    file: flags.text("file"),
    target: flags.text("target"),
    tags: flags.list("tag"),
    platforms: platforms.length === 0 && byDefault !== "" ? [byDefault] : platforms,
    buildArgs: flags.list("build-arg"),
    labels: flags.list("label"),
    annotations: flags.list("annotation"),
    contexts: flags.list("build-context"),
    outputs: flags.list("output"),
    cacheFrom: flags.list("cache-from"),
    cacheTo: flags.list("cache-to"),
    secrets: flags.list("secret"),
    ssh: flags.list("ssh"),
    attest: [...flags.list("attest"), ...shorthand(flags, "provenance"), ...shorthand(flags, "sbom")],
    hosts: flags.list("add-host"),
    ulimits: flags.list("ulimit"),
    allow: flags.list("allow"),
    noCache: flags.bool("no-cache"),
    noCacheFilter: flags.list("no-cache-filter").flatMap((names) => names.split(",")),
    pull: flags.bool("pull"),
    push: flags.bool("push"),
    load: flags.bool("load"),
    network: flags.text("network"),
    shmSize: flags.int("shm-size"),
    cgroupParent: flags.text("cgroup-parent"),
    call: flags.bool("check") ? "check" : callOf(flags.text("call")).name,
    explain: flags.bool("explain"),
    keepFailed: flags.text("on-failure") === "shell",
    squash: flags.bool("squash"),
    deny: flags.list("deny"),
    limits: limitsOf(flags),
  };
}

/** `--sbom`, `--provenance=mode=max`, `--provenance=false`. */
function shorthand(flags: ParsedFlags, type: "provenance" | "sbom"): string[] {
  if (!flags.changed(type)) return [];
  const value = flags.text(type);
  if (/^(1|t|true)$/i.test(value)) return [`type=${type}`];
  if (/^(0|f|false)$/i.test(value)) return [`type=${type},disabled=true`];
  return [`type=${type},${value}`];
}

const LIMITS: Readonly<Record<string, string>> = {
  memory: "memory",
  "memory-swap": "memswap",
  "cpu-shares": "cpushares",
  "cpu-period": "cpuperiod",
  "cpu-quota": "cpuquota",
  "cpuset-cpus": "cpusetcpus",
  "cpuset-mems": "cpusetmems",
};

function limitsOf(flags: ParsedFlags): ReadonlyMap<string, string> {
  const rows = Object.entries(LIMITS).filter(([flag]) => flags.changed(flag));
  return new Map(rows.map(([flag, option]) => [option, flags.text(flag)]));
}

export function progressOf(flags: ParsedFlags): ProgressKind {
  if (flags.changed("progress")) return flags.text("progress") as ProgressKind;
  return (process.env.BUILDKIT_PROGRESS as ProgressKind | undefined) || "auto";
}
