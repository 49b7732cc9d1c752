// Builds published Dockerfiles by Gantry and by a dockerd with BuildKit, and compares what they say and make:
// `node scripts/compare-corpus.ts FILE --host unix:///… [--client PROGRAM] [--only N,…]`. FILE has a line of JSON for each, with
// its `text`. As nobody has their contexts and images, files of the names that they copy are made up, and all images are one
// whose shells do nothing and succeed: steps, stages, files copied, configs and histories are real, commands are not.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { parseArgs } from "node:util";
import { imageArchive, type TarEntry, tarOf } from "../test/archive.ts";
import { finish } from "../test/command.ts";
import { GANTRY, startEngine } from "../test/engine.ts";
import { differences, type KnownDifference } from "../test/known-differences.ts";
import { allOf, type Builder, type Made } from "../test/referees.ts";

/** Exits with 0 whatever it is asked. */
const NOTHING = "__attribute__((noreturn)) void _start(void){__builtin_trap();}";
const SHELLS = ["bin/sh", "bin/bash", "bin/ash", "usr/bin/bash", "usr/bin/pwsh", "bin/zsh"];

/** Steps that change nothing have no layer of ours; BuildKit gives them one. */
const EMPTY_STEPS: readonly KnownDifference<"other">[] = [
  { referees: ["other"], tag: /./, line: /^\d+ (\(empty\) )?RUN /, why: "no layer for what changes nothing" },
];

const AT_ONCE = 4;

interface Published {
  readonly index: number;
  readonly text: string;
  readonly images: readonly string[];
  readonly sources: readonly string[];
  /** What is copied from images and stages. */
  readonly made: readonly string[];
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    host: { type: "string", default: "unix:///var/run/docker.sock" },
    client: { type: "string", default: "docker" },
    only: { type: "string" },
  },
});
const only = values.only?.split(",").map(Number);
const rows = readFileSync(positionals[0] ?? "", "utf8")
  .trim()
  .split("\n");
const published = rows
  .map((row, index) => understand(index, (JSON.parse(row) as { text: string }).text))
  .filter(({ index }) => only?.includes(index) ?? true);
/** An image by digest or of no name that is known can't be made up, and what is fetched is not there. */
const left = published.filter(
  ({ images, text }) =>
    images.some((name) => !/^[a-z0-9]+([._/:-]+[a-z0-9]+)*(:[\w.-]+)?$/.test(name)) ||
    /^\s*ADD\s.*https?:|^\s*ADD\s.*git@/im.test(text),
);
const tried = published.filter((one) => !left.includes(one));

await using engine = await startEngine({ image: false });
const users = new Set(["node", "nginx", "www-data", "nobody", "daemon"]);
for (const { text } of tried)
  for (const [, name = "", group] of text.matchAll(/(?:^\s*USER\s+|--chown=)"?([a-z_][\w-]*)(?::([a-z_][\w-]*))?/gim))
    for (const one of [name, group ?? name]) users.add(one);
const archive = join(engine.root, "published.tar");
writeFileSync(
  archive,
  everyImage(
    [...new Set(tried.flatMap(({ images }) => images))],
    [...users],
    [...new Set(tried.flatMap(({ made }) => made))],
  ),
);

const environment = (host: string) => ({
  ...process.env,
  HOME: engine.root,
  DOCKER_CONFIG: `${engine.root}/config`,
  DOCKER_HOST: host,
  GANTRY_HOST: host,
  DOCKER_BUILDKIT: "1",
});
const ours: Builder = { program: GANTRY, env: environment(`unix://${engine.socket}`) };
const theirs: Builder = { program: values.client, env: environment(values.host) };
for (const { env, program } of [ours, theirs]) {
  const { code, stderr } = await finish(program, ["load", "-i", archive], { env, timeoutMs: 120_000 });
  if (code !== 0) throw new Error(stderr);
}

const counts = { same: 0, refused: 0, differing: 0 };
const todo = [...tried];
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    for (let one = todo.shift(); one !== undefined; one = todo.shift()) {
      const found = await compare(one);
      for (const line of found) console.log(line);
    }
  }),
);
console.log(
  `${rows.length} Dockerfiles: ${counts.same} the same, ${counts.refused} refused by both in the same words, ` +
    `${counts.differing} otherwise, ${left.length} left out`,
);

/** Has both build one, and counts it; returns what is otherwise. */
async function compare({ index, sources, text }: Published): Promise<string[]> {
  const context = mkdtempSync(join(engine.root, "context-"));
  writeFileSync(join(context, "Dockerfile"), text);
  for (const source of sources) makeUp(context, source);
  const tag = `published:${index}`;
  const args = ["build", "--network", "none", "--progress", "plain", "-t", tag, context];
  const both = [ours, theirs] as const;
  const ends = await Promise.all(both.map(({ env, program }) => finish(program, args, { env, timeoutMs: 120_000 })));
  const said = ends.map(({ code, stderr }) => (code === 0 ? "" : errorOf(stderr)));
  if (said[0] !== said[1]) {
    counts.differing++;
    return [`${index}: Gantry: ${said[0]}`, `${index}: other:  ${said[1]}`];
  }
  if (said[0] !== "") {
    counts.refused++;
    return [];
  }
  try {
    const [mine, other] = await Promise.all(both.map((builder) => allOf(builder, [tag], engine.root)));
    const pair = { ours: mine?.get(tag) as Made, theirs: other?.get(tag) as Made };
    const seen = new Set<KnownDifference<"other">>();
    const found = differences(pair, { histories: true, known: EMPTY_STEPS, referee: "other", seen, tag });
    if (found.length === 0) counts.same++;
    else counts.differing++;
    return found;
  } catch (error) {
    // dockerd can't save an image without layers.
    counts.differing++;
    return [`${index}: ${String(error)}`];
  }
}

/** Finds what a Dockerfile begins with and copies, by its words: names with variables are taken with their defaults. */
function understand(index: number, given: string): Published {
  const text = given.replace(/^#\s*(syntax|check)\s*=.*/gim, "#");
  const plain = text.replace(/[\\`]\r?\n(\s*#.*\n)*/g, " ");
  const values = new Map<string, string>([
    ["BUILDPLATFORM", "linux"],
    ["TARGETARCH", "amd64"],
    ["TARGETOS", "linux"],
  ]);
  for (const [, words = ""] of plain.matchAll(/^\s*(?:ARG|ENV)\s+(.*)$/gim))
    for (const [, name = "", value = ""] of words.matchAll(/(\w+)[= ]\s*("[^"]*"|'[^']*'|\S+)/g))
      if (!values.has(name)) values.set(name, expand(value.replace(/^["']|["']$/g, "")));
  function expand(word: string): string {
    return word.replace(/\$\{(\w+)(?::?-([^}]*))?\}|\$(\w+)/g, (_, a, preset, b) => values.get(a ?? b) ?? preset ?? "");
  }
  const stages = new Set(["scratch"]);
  const images = new Set<string>();
  const note = (name: string): void => {
    if (name !== "" && !stages.has(name.toLowerCase()) && !/^\d+$/.test(name)) images.add(name);
  };
  const sources = new Set<string>();
  const made = new Set<string>();
  for (const line of plain.split("\n")) {
    const from = /^\s*FROM\s+(?:--platform=\S+\s+)?(\S+)(?:\s+AS\s+(\S+))?/i.exec(line);
    if (from !== null) {
      note(expand((from[1] ?? "").replace(/^["']|["']$/g, "")));
      stages.add((from[2] ?? "").toLowerCase());
    }
    for (const [, name = ""] of line.matchAll(/(?:--from=|[,=]from=)([^\s,]+)/g)) note(expand(name));
    const copy = /^\s*(?:COPY|ADD|ONBUILD\s+COPY|ONBUILD\s+ADD)\s+((?:--\S+\s+)*)(.*)$/i.exec(line);
    if (copy === null || /<</.test(copy[2] ?? "")) continue;
    const words = (copy[2] ?? "").trim().startsWith("[")
      ? [...(copy[2] ?? "").matchAll(/"([^"]*)"/g)].map(([, word = ""]) => word)
      : (copy[2] ?? "").trim().split(/\s+/);
    const to = /--from=/.test(copy[1] ?? "") ? made : sources;
    for (const word of words.slice(0, -1)) to.add(expand(word.replace(/^["']|["']$/g, "")));
  }
  for (const [, mount = ""] of plain.matchAll(/--mount=(\S+)/g))
    if (/type=bind/.test(mount) && !/from=/.test(mount))
      sources.add(/(?:source|src)=([^,\s]+)/.exec(mount)?.[1] ?? ".");
  return { index, text, images: [...images], sources: [...sources], made: [...made] };
}

/** A file or a folder with one, as the name looks. */
function makeUp(context: string, source: string): void {
  const name = normalize(`/${source}`)
    .replaceAll("?", "q")
    .replaceAll(/\[.*?\]|\*+/g, "any")
    .slice(1);
  if (name === "" || /:\/\//.test(source)) return;
  const isFile =
    /\.[A-Za-z]\w*$|(^|\/)(Makefile|Gemfile|LICENSE|Procfile|Cargo|Rakefile|gradlew|mvnw)[^/]*$/.test(name) &&
    !source.endsWith("/");
  const file = join(context, isFile ? name : join(name, "made-up"));
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${name}\n`);
  } catch {
    // Another line takes the name for a folder: it is one.
  }
}

function everyImage(names: readonly string[], users: readonly string[], made: readonly string[]): Buffer {
  const root = mkdtempSync(join(engine.root, "nothing-"));
  const exit = process.arch === "arm64" ? "mov x8, 93; mov x0, 0; svc 0" : "mov $60, %eax; xor %edi, %edi; syscall";
  writeFileSync(
    join(root, "nothing.c"),
    NOTHING.replace("__builtin_trap();", `__asm__("${exit}");__builtin_unreachable();`),
  );
  execFileSync("gcc", ["-static", "-nostdlib", "-O1", "-o", join(root, "nothing"), join(root, "nothing.c")]);
  const body = readFileSync(join(root, "nothing"));
  const skeleton: TarEntry[] = [
    ...["bin", "dev", "etc", "proc", "sys", "tmp", "usr", "usr/bin"].map((name) => ({
      name,
      type: "directory" as const,
    })),
    ...SHELLS.map((name) => ({ name, body, mode: 0o755 })),
    { name: "etc/passwd", body: ["root", ...users].map((name, id) => `${name}:x:${id}:${id}::/:/bin/sh\n`).join("") },
    { name: "etc/group", body: ["root", ...users].map((name, id) => `${name}:x:${id}:\n`).join("") },
  ];
  const folder = join(root, "root");
  mkdirSync(folder);
  for (const path of [...made].sort()) makeUp(folder, path);
  const more = readdirSync(folder, { recursive: true, withFileTypes: true }).map((entry): TarEntry => {
    const name = join(entry.parentPath, entry.name).slice(folder.length + 1);
    return entry.isDirectory() ? { name, type: "directory" } : { name, body: `${name}\n` };
  });
  const given = new Set(skeleton.map(({ name }) => name));
  const layer = tarOf([...skeleton, ...more.filter(({ name }) => !given.has(name))]);
  const tagged = names.map((name) => (/:[^/]*$/.test(name) ? name : `${name}:latest`));
  const image = imageArchive("", [layer]).toString("latin1");
  // The archive's list names one image by one name: it gets all of them.
  const at = image.indexOf('[{"Config"');
  const manifest = JSON.parse(image.slice(at, image.indexOf("\0", at))) as { Config: string; Layers: string[] }[];
  const [one] = manifest;
  const config = /"architecture"[^\0]*/.exec(image)?.[0] ?? "";
  return tarOf([
    { name: one?.Config ?? "", body: `{${config}` },
    { name: one?.Layers[0] ?? "", body: layer },
    { name: "manifest.json", body: JSON.stringify([{ ...one, RepoTags: tagged }]) },
  ]);
}

/** The sentence that a person sees last, without what is another each time. */
function errorOf(text: string): string {
  const last =
    text.split("\n").findLast((line) => /^(ERROR|error): /i.test(line)) ?? text.trim().split("\n").at(-1) ?? "";
  return last
    .replace(/^error: /i, "")
    .replace(/^failed to build: /, "")
    .replace(/of ref \S+/, "of ref");
}
