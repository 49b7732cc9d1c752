import { posix } from "node:path";
import type { ExecOp, Mount } from "../../buildkit/operations.ts";
import type { ExecMount, ExecOperation } from "../graph.ts";
import type { DraftVertex } from "../plan/draft-graph.ts";
import { kindOf, MOUNT_TYPES, NETWORKS, SECURITIES, SHARINGS } from "./exec-kinds.ts";
import { changedRoot, emptyRoot, type PlannedRoot, type Surroundings, standing } from "./planned-root.ts";
import { invalid, unsupported } from "./refuse.ts";

const NO_OUTPUT = -1n;

/** What a command makes: its root, and what it only mounts, by the numbers that others know them by. */
export function execRoots(
  op: ExecOp,
  inputs: readonly PlannedRoot[],
  { ignoreCache, name, platform }: Surroundings,
): ReadonlyMap<number, PlannedRoot> {
  refuseUnknown(op);
  const { args, cwd, env, hostname, user } = op.meta!;
  const top = rootMount(op.mounts);
  const base = standing(inputOf(top, inputs) ?? emptyRoot(platform));
  const drafts: DraftVertex[] = [];
  const add = (vertex: DraftVertex | undefined) => (vertex === undefined ? -1 : drafts.push(vertex) - 1);
  const root = add(base.vertex);
  const mounts = op.mounts.flatMap((mount) =>
    mount === top ? [] : [mountOf(mount, (one) => add(inputOf(one, inputs)?.vertex))],
  );
  const operation: ExecOperation = {
    kind: "exec",
    root,
    args,
    env,
    cwd: cwd || "/",
    user,
    ...(hostname !== "" && { hostname }),
    network: kindOf(NETWORKS, op.network, "network"),
    security: kindOf(SECURITIES, op.security, "security mode"),
    mounts,
    ...proxies(op),
    secretEnv: op.secretenv.map(({ ID, name: variable, optional }) => ({
      id: ID,
      name: variable,
      required: !optional,
    })),
    platform,
  };
  const title = name || args.join(" ").slice(0, 500);
  const vertex: DraftVertex = {
    ...{ operation, inputs: drafts, name: title, stage: "", site: `definition/${title}` },
    ...(ignoreCache && { ignoreCache }),
  };
  const made = new Map<number, PlannedRoot>();
  for (const mount of op.mounts) {
    if (mount.output === NO_OUTPUT) continue;
    const input = inputOf(mount, inputs) ?? emptyRoot(platform);
    if (mount === top) made.set(Number(mount.output), changedRoot({ ...base, platform }, vertex));
    // What can't be written to stays what it is.
    else if (mount.readonly && mountType(mount) === "bind") made.set(Number(mount.output), input);
  }
  return made;
}

/** The mount that a command's root is. */
function rootMount(mounts: readonly Mount[]): Mount {
  const top = mounts.find((mount) => isRoot(mount));
  if (top === undefined) throw invalid("a command has no root filesystem");
  if (mountType(top) !== "bind") throw invalid("a command's root is no plain mount");
  if (posix.resolve("/", top.selector) !== "/") throw unsupported("a folder of a root as a root");
  if (top.readonly) throw unsupported("a command on a root that is read-only");
  return top;
}

/** What of a command's surroundings there is no means for. */
function refuseUnknown({ cdiDevices, meta }: ExecOp): void {
  if (meta === undefined || meta.args.length === 0) throw invalid("a command is empty");
  if (cdiDevices.length > 0) throw unsupported("CDI devices of a command");
  if (meta.ulimit.length > 0) throw unsupported("ulimits of a command");
  if (meta.cgroupParent !== "") throw unsupported("the cgroup of a command");
  if (meta.extraHosts.length > 0) throw unsupported("extra hosts of a command");
  if (meta.validExitCodes.some((code) => code !== 0)) throw unsupported("commands that may fail");
}

/** A mount beside the root; `add` gives the number of what it shows. */
export function mountOf(mount: Mount, add: (mount: Mount) => number): ExecMount {
  const { cacheOpt, dest: target, readonly, secretOpt, selector, SSHOpt, TmpfsOpt } = mount;
  const source = posix.resolve("/", selector);
  switch (mountType(mount)) {
    case "bind":
      return { type: "bind", target, input: add(mount), source, writable: !readonly };
    case "tmpfs":
      return { type: "tmpfs", target, size: Number(TmpfsOpt?.size ?? 0n) };
    case "cache":
      return {
        ...{ type: "cache", target, id: cacheOpt?.ID || target, readonly, input: add(mount), source },
        ...{ sharing: kindOf(SHARINGS, cacheOpt?.sharing ?? 0, "way to share a cache"), mode: 0o755, uid: 0, gid: 0 },
      };
    case "secret":
      return { type: "secret", target, ...needed(secretOpt, 0o400) };
    case "ssh":
      return { type: "ssh", target, ...needed({ ...SSHOpt!, ID: SSHOpt?.ID || "default" }, 0o600) };
  }
}

export function mountType({ mountType: type }: Mount): (typeof MOUNT_TYPES)[number] {
  return kindOf(MOUNT_TYPES, type, "kind of mount");
}

/** Whether a mount is the root itself. */
export function isRoot({ dest }: Mount): boolean {
  return posix.resolve("/", dest) === "/";
}

type Needed = Pick<NonNullable<Mount["secretOpt"]>, "ID" | "gid" | "mode" | "optional" | "uid">;

function needed(wish: Needed | undefined, ownMode: number) {
  const { ID: id = "", gid = 0, mode = 0, optional = false, uid = 0 } = wish ?? {};
  return { id, required: !optional, mode: mode === 0 ? ownMode : mode & 0o777, uid, gid };
}

function inputOf({ input }: Mount, inputs: readonly PlannedRoot[]): PlannedRoot | undefined {
  if (input < 0n) return undefined;
  const found = inputs[Number(input)];
  if (found === undefined) throw invalid(`a command has no input ${input}`);
  return found;
}

function proxies({ meta }: ExecOp): Pick<ExecOperation, "proxyEnv"> {
  const { allProxy = "", ftpProxy = "", httpProxy = "", httpsProxy = "", noProxy = "" } = meta?.proxyEnv ?? {};
  const named = {
    http_proxy: httpProxy,
    https_proxy: httpsProxy,
    ftp_proxy: ftpProxy,
    no_proxy: noProxy,
    all_proxy: allProxy,
  };
  const rows = Object.entries(named).flatMap(([name, value]) =>
    value === "" ? [] : [`${name.toUpperCase()}=${value}`, `${name}=${value}`],
  );
  return rows.length === 0 ? {} : { proxyEnv: rows };
}
