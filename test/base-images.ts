import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  createWriteStream,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { finished } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { sha256, type TarEntry, tarOf } from "./archive.ts";
import { BASES, type Base, NEVER, type Recipe, ROOT, SKELETON, WITHOUT } from "./base-recipes.ts";
import { closureOf, filesOf, findPackage, type InstalledPackage, installedPackages } from "./packages.ts";

/**
 * Images of languages, made of the Debian packages that this machine has installed: real compilers and interpreters,
 * without a network. They are kept below dist/ and made anew when a package or a recipe has changed.
 */

const KEPT = fileURLToPath(new URL("../dist/test-bases", import.meta.url));
const CPU = process.arch === "arm64" ? "arm64" : "amd64";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
/** The sources that say how layers are made. */
const SOURCES = ["base-images.ts", "base-recipes.ts", "packages.ts"].map((name) => new URL(name, import.meta.url));

type Installed = ReadonlyMap<string, InstalledPackage>;

interface Layer {
  readonly file: string;
  /** Without `sha256:`. */
  readonly digest: string;
}

/** Why images can't be made here, as tests say it that they skip; false if they can. */
export function baseMissing(names: readonly Base[], installed: Installed = installedPackages()): string | false {
  const missing = [...new Set<Base>([ROOT, ...names])].flatMap((name) =>
    recipeOf(name)
      .packages.filter((one) => packageOf(installed, one) === undefined)
      .map((one) => (typeof one === "string" ? one : one.source)),
  );
  return missing.length === 0 ? false : `these packages are not installed: ${[...new Set(missing)].join(", ")}`;
}

/**
 * Makes images that are not there yet; returns a folder in `folder` that is an OCI layout of them and, with its
 * `manifest.json`, what `docker load` takes if it is packed.
 */
export async function makeBases(names: readonly Base[], folder: string): Promise<string> {
  const layout = mkdtempSync(join(folder, "bases-"));
  const blobs = join(layout, "blobs/sha256");
  mkdirSync(blobs, { recursive: true });
  const put = (value: object): { digest: string; size: number } => {
    const bytes = Buffer.from(JSON.stringify(value));
    writeFileSync(join(blobs, sha256(bytes)), bytes);
    return { digest: `sha256:${sha256(bytes)}`, size: bytes.length };
  };
  const installed = installedPackages();
  const root = await layerOf(installed, ROOT);
  const manifests: object[] = [];
  const images: object[] = [];
  for (const name of new Set<Base>([ROOT, ...names])) {
    const layers = name === ROOT ? [root] : [root, await layerOf(installed, name)];
    for (const { digest, file } of layers) place(file, join(blobs, digest));
    const created = "2024-01-02T03:04:05Z";
    const config = put({
      architecture: CPU,
      os: "linux",
      created,
      config: recipeOf(name).config,
      rootfs: { type: "layers", diff_ids: layers.map(({ digest }) => `sha256:${digest}`) },
      history: layers.map(() => ({ created, created_by: "packages" })),
    });
    const manifest = put({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: { mediaType: "application/vnd.oci.image.config.v1+json", ...config },
      layers: layers.map(({ digest, file }) => ({
        mediaType: "application/vnd.oci.image.layer.v1.tar",
        digest: `sha256:${digest}`,
        size: statSync(file).size,
      })),
    });
    const annotations = { "org.opencontainers.image.ref.name": `docker.io/library/${name}` };
    manifests.push({ mediaType: MANIFEST, ...manifest, annotations });
    images.push({
      Config: `blobs/sha256/${config.digest.slice(7)}`,
      RepoTags: [name],
      Layers: layers.map(({ digest }) => `blobs/sha256/${digest}`),
    });
  }
  writeFileSync(join(layout, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  writeFileSync(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
  writeFileSync(join(layout, "manifest.json"), JSON.stringify(images));
  return layout;
}

function recipeOf(name: Base): Recipe {
  return BASES[name];
}

function packageOf(installed: Installed, wanted: string | RegExp): string | undefined {
  if (typeof wanted !== "string") return findPackage(installed, wanted);
  return installed.has(wanted) ? wanted : undefined;
}

/** A link costs nothing; where the folder lies on another disk, a name will do. */
function place(file: string, target: string): void {
  if (existsSync(target)) return;
  try {
    linkSync(file, target);
  } catch {
    symlinkSync(file, target);
  }
}

async function layerOf(installed: Installed, name: Base): Promise<Layer> {
  const packagesOf = (one: Base, without: ReadonlySet<string>): InstalledPackage[] =>
    closureOf(
      installed,
      recipeOf(one).packages.flatMap((wanted) => packageOf(installed, wanted) ?? []),
      without,
    );
  const below = name === ROOT ? [] : packagesOf(ROOT, WITHOUT);
  // What is asked for by name is not left out for being needed by others only.
  const asked = new Set(recipeOf(name).packages.filter((one) => typeof one === "string"));
  const without = new Set([...[...WITHOUT].filter((one) => !asked.has(one)), ...below.map((one) => one.name)]);
  const packages = packagesOf(name, without);
  const sources = SOURCES.map((source) => readFileSync(source, "utf8"));
  const more = Object.values(recipeOf(name).more ?? {}).map(
    (file) => `${statSync(file).size} ${statSync(file).mtimeMs}`,
  );
  for (const folder of recipeOf(name).whole ?? []) more.push(filesBelow(folder).join());
  const key = sha256(Buffer.from(JSON.stringify([packages, more, sources])));
  const slug = name.replace(":", "-");
  const kept = join(KEPT, `${slug}-${key.slice(0, 32)}`);
  const found = (existsSync(kept) ? readdirSync(kept) : []).find((file) => /^[0-9a-f]{64}$/.test(file));
  if (found !== undefined) return { file: join(kept, found), digest: found };
  mkdirSync(KEPT, { recursive: true });
  for (const old of readdirSync(KEPT))
    if (old.startsWith(`${slug}-`)) rmSync(join(KEPT, old), { recursive: true, force: true });
  const draft = mkdtempSync(join(KEPT, `${slug}-draft-`));
  const digest = await pack(name, packages, join(draft, "layer"));
  renameSync(join(draft, "layer"), join(draft, digest));
  renameSync(draft, kept);
  return { file: join(kept, digest), digest };
}

/** Writes the files of packages as an archive that is the same each time. */
async function pack(name: Base, packages: readonly InstalledPackage[], target: string): Promise<string> {
  const { entries = [], leaveOut, links = {}, more = {}, whole = [] } = recipeOf(name);
  const all = filesOf(packages, CPU);
  const listed = all.filter((path) => !whole.some((folder) => path.startsWith(`${folder}/`)));
  const files = [...listed, ...whole.flatMap(filesBelow), ...cachesOf(listed)]
    .sort()
    .filter((path) => !NEVER.test(path) && leaveOut?.test(path) !== true);
  const linked = Object.entries(links).flatMap(([command, pattern]): TarEntry[] => {
    const path = all.findLast((one) => pattern.test(one));
    if (path === undefined)
      throw new Error(`no ${command} for ${name} in ${packages.map((one) => one.name).join(" ")}`);
    return all.includes(`usr/bin/${command}`)
      ? []
      : [{ name: `usr/bin/${command}`, type: "symlink", link: `/${path}`, mode: 0o777 }];
  });
  const own = new Map(
    [...foldersOf(files), ...(name === ROOT ? SKELETON : []), ...entries, ...linked].map((entry) => [
      entry.name,
      entry,
    ]),
  );
  const first = tarOf([...own.values()]);
  const hash = createHash("sha256");
  const out = createWriteStream(target);
  const write = async (bytes: Buffer): Promise<void> => {
    hash.update(bytes);
    if (!out.write(bytes)) await new Promise<void>((resolve) => out.once("drain", () => resolve()));
  };
  // Archives follow each other once the end mark of the earlier is taken off.
  await write(first.subarray(0, -1024));
  for (const [path, file] of Object.entries(more)) {
    const entry = { name: path, body: readFileSync(file), mode: 0o755 };
    await write(tarOf([entry]).subarray(0, -1024));
  }
  const flags = ["--format=gnu", "--numeric-owner", "--no-recursion", "--null", "--verbatim-files-from"];
  const tar = spawn("tar", ["-cf", "-", ...flags, "-C", "/", "-T", "-"], { stdio: ["pipe", "pipe", "inherit"] });
  const end = new Promise<number | null>((resolve) => tar.once("close", resolve));
  tar.stdin.end(files.flatMap((path) => (own.has(path) ? [] : `${path}\0`)).join(""));
  for await (const bytes of tar.stdout) await write(bytes as Buffer);
  const code = await end;
  if (code !== 0) throw new Error(`tar of ${name} ended with ${code}`);
  out.end();
  await finished(out);
  return hash.digest("hex");
}

function filesBelow(folder: string): string[] {
  if (!existsSync(`/${folder}`)) return [];
  return readdirSync(`/${folder}`, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(1));
}

/** What Python made of its modules when they were installed: without it the first to use them would. */
function cachesOf(files: readonly string[]): string[] {
  const modules = new Set(files.filter((path) => path.endsWith(".py")));
  return [...new Set([...modules].map((path) => dirname(path)))].flatMap((folder) =>
    (existsSync(`/${folder}/__pycache__`) ? readdirSync(`/${folder}/__pycache__`) : [])
      .filter((name) => modules.has(`${folder}/${name.split(".")[0]}.py`))
      .map((name) => `${folder}/__pycache__/${name}`),
  );
}

/** All folders that files lie in, parents first. */
function foldersOf(files: readonly string[]): TarEntry[] {
  const folders = new Set<string>();
  for (const file of files) {
    const parts = file.split("/");
    for (let depth = 1; depth < parts.length; depth++) folders.add(parts.slice(0, depth).join("/"));
  }
  return [...folders].sort().map((path) => ({ name: path, type: "directory", mode: 0o755 }));
}
