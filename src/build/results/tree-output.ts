import { closeSync, constants, openSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { throwIfAborted } from "../../base/abort.ts";
import { GantryError } from "../../base/errors.ts";
import { fstatat } from "../../kernel/path.ts";
import { formatPlatform } from "../../oci/platform.ts";
import { type TarOutput, writeTar } from "../../oci/tar/writer.ts";
import { archiveMembers } from "../../snapshots/pack-tree.ts";
import type { SolvedTarget } from "../parts.ts";
import type { BuildSession } from "../session.ts";
import type { TreeOutput } from "./attributes.ts";
import { bytesOf, type Part, sizeOf } from "./document-parts.ts";
import type { Attestation } from "./image-package.ts";

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** A platform's files, and what is attested of them. */
export interface Tree {
  readonly solved: SolvedTarget;
  readonly attestations: readonly Attestation[];
}

export interface TreeOptions {
  readonly output: TreeOutput;
  /** For empty roots and attestations; a folder of the engine's own, emptied at start. */
  readonly tempRoot: string;
  readonly signal: AbortSignal;
}

/** Sends the files of each platform to a folder of the client's. */
export async function sendFolders(
  session: BuildSession,
  id: string,
  trees: readonly Tree[],
  options: TreeOptions,
): Promise<void> {
  const { output, signal, tempRoot } = options;
  const { epoch } = output;
  if (trees.length > 1 && output.platformSplit === false) await refuseDuplicates(trees, signal);
  for (const tree of trees) {
    const under = folderOf(tree, trees, output);
    const send = {
      ...(under !== undefined && { under }),
      ...(epoch !== undefined && { modTime: epoch }),
    };
    await withRoot(tree, tempRoot, (path) => session.sendFolder(id, path, signal, send));
    const files = attestationFiles(tree, trees, output);
    if (files.length === 0) continue;
    await withTemporary(tempRoot, async (folder) => {
      for (const { name, parts } of files)
        await writeFile(join(folder, name), bytesOf(parts), { mode: 0o600, flag: "wx", signal });
      await session.sendFolder(id, folder, signal, send);
    });
  }
}

/** The files of all platforms as one archive. */
export function treeTar(trees: readonly Tree[], options: TreeOptions): AsyncGenerator<Buffer> {
  return writeTar(members(trees, options));
}

async function* members(trees: readonly Tree[], { output, signal }: TreeOptions): AsyncGenerator<TarOutput> {
  const mtime = output.epoch === undefined ? undefined : { seconds: output.epoch, nanoseconds: 0 };
  const seen = new Set<string>();
  for (const tree of trees) {
    const under = folderOf(tree, trees, output);
    const prefix = under === undefined ? "" : `${under}/`;
    if (under !== undefined) {
      yield { entry: { name: prefix, type: "directory", mode: 0o755, ...(mtime !== undefined && { mtime }) } };
    }
    for await (const { entry, body } of filesOf(tree)) {
      throwIfAborted(signal);
      // Platforms in one folder may share folders and nothing else.
      if (trees.length > 1 && under === undefined) {
        if (seen.has(entry.name) && entry.type === "directory") continue;
        if (seen.has(entry.name)) throw overwritten(entry.name);
        seen.add(entry.name);
      }
      const name = `${prefix}${entry.name}`;
      const linkName = entry.type === "hardlink" ? `${prefix}${entry.linkName ?? ""}` : entry.linkName;
      yield {
        entry: { ...entry, name, ...(linkName !== undefined && { linkName }), ...(mtime !== undefined && { mtime }) },
        ...(body !== undefined && { body }),
      };
    }
    for (const { name, parts } of attestationFiles(tree, trees, output)) {
      yield {
        entry: {
          name: `${prefix}${name}`,
          type: "file",
          mode: 0o600,
          size: sizeOf(parts),
          ...(mtime !== undefined && { mtime }),
        },
        body: bytesOf(parts),
      };
    }
  }
}

async function* filesOf({ solved: { root } }: Tree): AsyncGenerator<TarOutput> {
  if (root === undefined) return;
  await using opened = await root.open();
  const fd = openSync(opened.path, FOLDER);
  try {
    yield* archiveMembers({ dir: fd, base: ".", stat: fstatat(fd, ".") }, { name: "" });
  } finally {
    closeSync(fd);
  }
}

function folderOf({ solved }: Tree, trees: readonly Tree[], { platformSplit }: TreeOutput): string | undefined {
  if (!(platformSplit ?? trees.length > 1)) return undefined;
  return formatPlatform(solved.target.platform).replaceAll("/", "_");
}

function attestationFiles(
  tree: Tree,
  trees: readonly Tree[],
  output: TreeOutput,
): readonly { readonly name: string; readonly parts: readonly Part[] }[] {
  const isShared = trees.length > 1 && folderOf(tree, trees, output) === undefined;
  const platform = formatPlatform(tree.solved.target.platform).replaceAll("/", "_");
  const names = new Set<string>();
  return tree.attestations.map(({ fileName, parts }) => {
    const whole = `${output.attestationPrefix}${fileName}`;
    const dot = whole.lastIndexOf(".");
    const [base, end] = dot > 0 ? [whole.slice(0, dot), whole.slice(dot)] : [whole, ""];
    const name = isShared ? `${base}.${platform}${end}` : whole;
    if (name.includes("/") || names.has(name)) {
      throw new GantryError(
        "invalid",
        `cannot write the attestation ${JSON.stringify(name)}: it is no name of its own`,
      );
    }
    names.add(name);
    return { name, parts };
  });
}

/** Before anything is sent. */
async function refuseDuplicates(trees: readonly Tree[], signal: AbortSignal): Promise<void> {
  const seen = new Set<string>();
  for (const tree of trees) {
    for await (const { entry } of filesOf(tree)) {
      throwIfAborted(signal);
      if (entry.type === "directory") continue;
      if (seen.has(entry.name)) throw overwritten(entry.name);
      seen.add(entry.name);
    }
  }
}

function overwritten(name: string): GantryError {
  return new GantryError(
    "invalid",
    `cannot overwrite ${name} of one platform with that of another when platform-split=false`,
  );
}

async function withRoot({ solved: { root } }: Tree, tempRoot: string, act: (path: string) => Promise<void>) {
  if (root === undefined) return withTemporary(tempRoot, act);
  await using opened = await root.open();
  await act(opened.path);
}

/** A folder that goes when `act` has ended. */
export async function withTemporary(tempRoot: string, act: (path: string) => Promise<void>): Promise<void> {
  await mkdir(tempRoot, { recursive: true, mode: 0o700 });
  const folder = await mkdtemp(join(tempRoot, "output-"));
  try {
    await act(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
