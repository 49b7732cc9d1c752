import { realpathSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import type { BakeTarget } from "../../bake/bake.ts";
import { type Entry, placeOf, type Target } from "../../bake/target.ts";
import { GantryError } from "../../base/errors.ts";
import { parseBool } from "../../base/parse-bool.ts";
import { complain } from "../output/print.ts";
import { isTerminal } from "../streams/terminal.ts";
import { isPath } from "./asked.ts";

/** What a definition may use of this machine: its writer is not always whoever runs it. */
export interface Grants {
  readonly networkHost: boolean;
  readonly securityInsecure: boolean;
  readonly ssh: boolean;
  /** Folders, each with all that is in it. */
  readonly read: readonly string[];
  readonly write: readonly string[];
}

/** `--allow network.host`, `fs.read=..`, …, and what `--set` itself named. Throws invalid for what nobody knows. */
export function grantsOf(allowed: readonly string[], overrides: readonly string[]): Grants {
  const read = [process.cwd()];
  const write = [process.cwd()];
  const words = new Set<string>();
  for (const given of allowed) {
    const [key = "", value = ""] = given.split(/=(.*)/s, 2);
    if (key === "fs" || key === "fs.read") read.push(value);
    if (key === "fs" || key === "fs.write") write.push(value);
    if (!KNOWN.has(key)) throw new GantryError("invalid", `unknown entitlement key ${JSON.stringify(key)}`);
    words.add(key);
  }
  for (const text of overrides) {
    const [, key, value = ""] = /^[^.=]*\.([^.=+]+)[^=]*=(.*)$/s.exec(text) ?? [];
    if (key === "entitlements") words.add(value);
    const [, path] = /(?:^|,)(?:src|source|dest|paths)=([^,]*)/.exec(value) ?? [];
    if (key === "ssh") read.push(...value.split("=").slice(1));
    if ((key === "cache-from" || key === "secrets") && path !== undefined) read.push(path);
    if (key === "cache-to" && path !== undefined) write.push(path);
    if (key === "output") write.push(path ?? value);
  }
  return {
    networkHost: words.has("network.host"),
    securityInsecure: words.has("security.insecure"),
    ssh: words.has("ssh"),
    read,
    write,
  };
}

const KNOWN: ReadonlySet<string> = new Set([
  "network.host",
  "security.insecure",
  "ssh",
  "device",
  "fs",
  "fs.read",
  "fs.write",
  "image",
  "image.load",
  "image.push",
]);

/** Of what the targets ask for, what nobody granted. */
export function missingGrants(
  targets: ReadonlyMap<string, BakeTarget>,
  grants: Grants,
  remote: string | undefined,
): Grants {
  const all = [...targets.values()].map(({ target }) => target);
  const asks = (what: string): boolean => all.some(({ entitlements }) => entitlements?.includes(what) ?? false);
  const agents = all.flatMap(({ ssh }) => ssh ?? []);
  return {
    networkHost: !grants.networkHost && asks("network.host"),
    securityInsecure: !grants.securityInsecure && asks("security.insecure"),
    ssh: !grants.ssh && agents.some(({ paths = "" }) => paths === ""),
    read: outside(
      all.flatMap((target) => pathsRead(target, remote)),
      grants.read,
    ),
    write: outside(all.flatMap(pathsWritten), grants.write),
  };
}

function pathsRead(target: Target, remote: string | undefined): string[] {
  const { context = ".", contexts = {}, dockerfile = "Dockerfile", secret = [], ssh = [] } = target;
  const isHere = (place: string): boolean => isPath(place) && (remote === undefined || place.startsWith("cwd://"));
  const places = [context, ...Object.values(contexts)].filter(isHere).map(placeOf);
  const file = isHere(context) && target["dockerfile-inline"] === undefined ? [join(placeOf(context), dockerfile)] : [];
  return [
    ...places,
    ...(dockerfile.startsWith("/") ? [dockerfile] : dockerfile.startsWith("cwd://") ? [placeOf(dockerfile)] : file),
    ...of(target["cache-from"], "src"),
    ...secret.flatMap(({ src }) => (src === undefined ? [] : [src])),
    ...ssh.flatMap(({ paths = "" }) => paths.split(",").filter((path) => path !== "")),
  ];
}

function pathsWritten(target: Target): string[] {
  const outputs = (target.output ?? []).flatMap(({ dest = "" }) => (dest === "" || dest === "-" ? [] : [dest]));
  return [...outputs, ...of(target["cache-to"], "dest")];
}

function of(caches: readonly Entry[] | undefined, field: "src" | "dest"): string[] {
  return (caches ?? []).flatMap(({ type, [field]: path }) => (type === "local" && path !== undefined ? [path] : []));
}

/** Paths that are in none of the folders, links followed. What is in another one of them is not said, too. */
function outside(paths: readonly string[], folders: readonly string[]): string[] {
  if (folders.includes("*")) return [];
  const allowed = folders.map(real);
  const left = [...new Set(paths.map(real))].filter((path) => !allowed.some((folder) => isIn(path, folder))).sort();
  return left.filter((path) => !left.some((other) => other !== path && isIn(path, other)));
}

function isIn(path: string, folder: string): boolean {
  return path === folder || folder === "/" || path.startsWith(`${folder}/`);
}

/** Where a path leads to; of what is not there yet, where it would be. */
function real(path: string): string {
  const full = resolve(path);
  try {
    return realpathSync(full);
  } catch {
    return full === "/" ? full : join(real(dirname(full)), basename(full));
  }
}

/** Says what is not granted, and asks on a terminal. Throws where the answer is no. */
export async function demandGrants(missing: Grants, isRemote: boolean, env: NodeJS.ProcessEnv): Promise<void> {
  const rows = [
    ...(missing.networkHost ? [["Running build containers that can access host network", "network.host"]] : []),
    ...(missing.securityInsecure
      ? [["Running privileged containers that can make system changes", "security.insecure"]]
      : []),
  ];
  const files = fileRows(missing);
  if (rows.length + files.length === 0) return;
  const areFilesChecked = checksFiles(isRemote, env);
  if (!areFilesChecked && rows.length === 0) return;
  const all = [...rows, ...files];
  const flags = all.map(([, flag]) => `--allow=${flag}`).join(" ");
  const asks = isTerminal(0);
  complain("Your build is requesting privileges for following possibly insecure capabilities:\n");
  for (const [text] of all) complain(` - ${text}`);
  complain(
    asks
      ? `\nIn order to not see this message in the future pass ${JSON.stringify(flags)} to grant requested privileges.`
      : `\nPass ${JSON.stringify(flags)} to grant requested privileges.`,
  );
  if (areFilesChecked && env.BUILDX_BAKE_ENTITLEMENTS_FS === undefined && files.length > 0) {
    complain("\nTo disable filesystem entitlements checks, you can set BUILDX_BAKE_ENTITLEMENTS_FS=0 .");
  }
  if (asks && (await isGranted())) return;
  throw new GantryError("forbidden", "additional privileges requested");
}

function fileRows({ ssh, read, write }: Grants): string[][] {
  const both = read.filter((path) => write.includes(path));
  const others = (paths: readonly string[]): readonly string[] => paths.filter((path) => !both.includes(path));
  const shown = (path: string): string => {
    const short = relative(process.cwd(), path);
    return short.length < path.length ? short : path;
  };
  return [
    ...(ssh ? [["Forwarding default SSH agent socket", "ssh"]] : []),
    ...both.map((path) => [`Read and write access to path ${shown(path)}`, `fs=${shown(path)}`]),
    ...others(read).map((path) => [`Read access to path ${shown(path)}`, `fs.read=${shown(path)}`]),
    ...others(write).map((path) => [`Write access to path ${shown(path)}`, `fs.write=${shown(path)}`]),
  ];
}

function checksFiles(isRemote: boolean, env: NodeJS.ProcessEnv): boolean {
  const said = (name: string): boolean | undefined => {
    const text = env[name];
    if (text === undefined) return undefined;
    const value = parseBool(text);
    if (value === undefined) throw new GantryError("invalid", `failed to parse ${name} value ${JSON.stringify(text)}`);
    return value;
  };
  const own = said("BUILDX_BAKE_ENTITLEMENTS_FS");
  return own ?? !(isRemote && said("BAKE_ALLOW_REMOTE_FS_ACCESS") === true);
}

async function isGranted(): Promise<boolean> {
  const { createInterface } = process.getBuiltinModule("node:readline");
  process.stderr.write("Do you want to grant requested privileges and continue? [y/N] ");
  const lines = createInterface({ input: process.stdin, terminal: false });
  for await (const line of lines) {
    lines.close();
    return line.trim().toLowerCase() === "y";
  }
  return false;
}
