import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import type { TarEntry } from "../src/oci/tar/entry.ts";
import { readTar } from "../src/oci/tar/reader.ts";

/** A file as two builders must agree in it; its times are apart. */
export interface TreeFile {
  /** Type, mode, owner and what the type has: size and digest, target, device; then the attributes. */
  readonly look: string;
}

/** Files by their paths. Names of one file are one object. */
export type Tree = ReadonlyMap<string, TreeFile>;

export interface SavedImage {
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into configs whose shape is what it tests
  readonly config: any;
  readonly tree: Tree;
}

interface Row {
  readonly path: string;
  readonly entry: TarEntry;
  readonly look: string;
}

/**
 * The images of an archive of `docker save`, with their layers laid over one another, by their names. Of what changed
 * before `timesBefore`, in seconds, the time is part of how it looks.
 */
export async function readSavedImages(archive: string, timesBefore = 0): Promise<Map<string, SavedImage>> {
  const texts = new Map<string, string>();
  const layers = new Map<string, readonly Row[]>();
  const links = new Map<string, string>();
  for await (const { entry, body } of readTar(createReadStream(archive))) {
    if (entry.type === "symlink")
      links.set(entry.name, new URL(entry.linkName, `file:///${entry.name}`).pathname.slice(1));
    if (entry.type !== "file") continue;
    const bytes = body[Symbol.asyncIterator]();
    const first = await bytes.next();
    const rest = (async function* () {
      for (let next = first; next.done !== true; next = await bytes.next()) yield next.value;
    })();
    // Layers are archives, all else is JSON or a line of text.
    const isText =
      first.done === true || (/^[{["0-9]/.test(String.fromCharCode(first.value[0] ?? 0)) && entry.size < 1 << 20);
    if (isText && !entry.name.endsWith("layer.tar"))
      texts.set(entry.name, Buffer.concat(await Array.fromAsync(rest)).toString());
    else layers.set(entry.name, await readLayer(rest, timesBefore));
  }
  const images = new Map<string, SavedImage>();
  for (const { Config, Layers, RepoTags } of JSON.parse(texts.get("manifest.json") ?? "[]")) {
    const tree = new Map<string, TreeFile>();
    for (const name of (Layers ?? []) as string[]) lay(tree, layers.get(links.get(name) ?? name) ?? unknownLayer(name));
    for (const tag of RepoTags ?? []) images.set(tag, { config: JSON.parse(texts.get(Config) ?? "{}"), tree });
  }
  return images;
}

/** The files of an archive that has all of a root filesystem. */
export async function readTree(archive: string, timesBefore = 0): Promise<Tree> {
  const tree = new Map<string, TreeFile>();
  lay(tree, await readLayer(createReadStream(archive), timesBefore));
  return tree;
}

function unknownLayer(name: string): never {
  throw new Error(`the archive lacks the layer ${name}`);
}

async function readLayer(source: AsyncIterable<Uint8Array>, timesBefore: number): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const { entry, body } of readTar(source)) {
    const path = entry.name.replace(/^\.?\/+|\/+$/g, "");
    const digest = entry.type === "file" ? await digestOf(path, body) : "";
    const what = {
      file: () => `${entry.size} ${digest}`,
      symlink: () => `-> ${entry.linkName}`,
      character: () => `${entry.major}:${entry.minor}`,
      block: () => `${entry.major}:${entry.minor}`,
      directory: () => "",
      fifo: () => "",
      hardlink: () => "",
    }[entry.type]();
    // A link's own mode means nothing to Linux.
    const mode = entry.type === "symlink" ? "" : ` ${(entry.mode & 0o7777).toString(8)}`;
    const xattrs = [...entry.xattrs].map(([name, value]) => `${name}=${Buffer.from(value).toString("hex")}`).sort();
    const { seconds } = entry.mtime;
    const time = seconds < timesBefore ? [`at ${seconds}`] : [];
    rows.push({
      path,
      entry,
      look: `${[`${entry.type}${mode} ${entry.uid}:${entry.gid}`, what, ...xattrs, ...time].join(" ").trim()}`,
    });
  }
  return rows;
}

async function digestOf(path: string, body: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  if (!path.endsWith(".pyc")) {
    for await (const bytes of body) hash.update(bytes);
    return hash.digest("hex");
  }
  // The third word of what Python compiles is its source's time, which an installation makes anew.
  const bytes = Buffer.concat(await Array.fromAsync(body));
  if (bytes.length >= 16 && bytes.readUInt16BE(2) === 0x0d0a) bytes.fill(0, 8, 12);
  return hash.update(bytes).digest("hex");
}

/** Lays a layer over those below it; what it removes of them goes first, wherever in the archive that is told. */
function lay(tree: Map<string, TreeFile>, rows: readonly Row[]): void {
  for (const { path } of rows) {
    const cut = path.lastIndexOf("/") + 1;
    const name = path.slice(cut);
    if (name === ".wh..wh..opq") removeBelow(tree, path.slice(0, cut));
    else if (name.startsWith(".wh.")) {
      tree.delete(path.slice(0, cut) + name.slice(4));
      removeBelow(tree, `${path.slice(0, cut)}${name.slice(4)}/`);
    }
  }
  for (const { entry, look, path } of rows) {
    if (path === "" || /(^|\/)\.wh\./.test(path)) continue;
    if (entry.type !== "directory") removeBelow(tree, `${path}/`);
    const file = entry.type === "hardlink" ? tree.get(entry.linkName.replace(/^\.?\/+/, "")) : { look };
    if (file === undefined) throw new Error(`${path} is a link to ${entry.linkName}, which is not there`);
    tree.set(path, file);
  }
}

function removeBelow(tree: Map<string, TreeFile>, prefix: string): void {
  for (const path of tree.keys()) if (path.startsWith(prefix)) tree.delete(path);
}

/**
 * What an image has otherwise than the one it stands on, a line each, sorted. A file of contents that the base has, too,
 * says so by name, as the base is another on each machine.
 */
export function linesOver(base: Tree, tree: Tree): string[] {
  const contents = new Map([...base].map(([path, { look }]) => [contentOf(look), path]));
  const below = new Set(linesOf(base, contents));
  const removed = [...base.keys()].filter((path) => !tree.has(path)).map((path) => `${JSON.stringify(path)} removed`);
  return [...linesOf(tree, contents).filter((line) => !below.has(line)), ...removed].sort();
}

function linesOf(tree: Tree, contents: ReadonlyMap<string | undefined, string>): string[] {
  const names = new Map<TreeFile, string>();
  return [...tree.keys()].sort().map((path) => {
    const file = tree.get(path)!;
    const first = names.get(file);
    if (first === undefined) names.set(file, path);
    const content = contentOf(file.look);
    const known = content === undefined ? undefined : contents.get(content);
    const look = known === undefined || content === undefined ? file.look : file.look.replace(content, `as /${known}`);
    return `${JSON.stringify(path)} ${look}${first === undefined ? "" : ` = ${JSON.stringify(first)}`}`;
  });
}

function contentOf(look: string): string | undefined {
  return /^file \d+ \d+:\d+ ([1-9]\d* [0-9a-f]{64})/.exec(look)?.[1];
}

/** The fields of a config that say how a container of it runs, those that say nothing left out. */
export function configOf({ config: image }: SavedImage): Record<string, unknown> {
  const { config, author, os } = image;
  const names = [
    ...["User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "ArgsEscaped", "Volumes", "WorkingDir", "Labels"],
    ...["OnBuild", "Healthcheck", "Shell", "StopSignal"],
  ];
  const fields = names.map((name) => [name, config?.[name]] as const);
  const said = fields.filter(([, value]) => value != null && value !== "" && value !== false && !isEmpty(value));
  return { ...Object.fromEntries(said), os, ...(author && { author }) };
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

/** The rows of a history, and which of them have no layer. */
export function historyOf({ config }: SavedImage): string[] {
  const rows = (config.history ?? []) as { created_by?: string; empty_layer?: boolean }[];
  return rows.map((row) => `${row.empty_layer === true ? "(empty) " : ""}${row.created_by ?? ""}`);
}
