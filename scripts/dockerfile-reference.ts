// Records what BuildKit says of the cases in test/reference, for machines without it:
// `node scripts/dockerfile-reference.ts --buildx PROGRAM --builder NAME [--only TEXT]`. The builder has to be of the
// remote driver, and its buildkitd to be new and in a network namespace that has loopback only: no name is to be looked up.
// The script runs in that namespace (`nsenter -t PID -n`), too: it serves what cases fetch.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { tarOf } from "../test/archive.ts";
import { type Finished, finish } from "../test/command.ts";
import { startEngine } from "../test/engine.ts";
import { configOf, historyOf, linesOver, readSavedImages } from "../test/image-tree.ts";
import { contextOf, LATEST_KEPT, type ReferenceCase } from "../test/reference/case.ts";
import { REFERENCE_CASES } from "../test/reference/cases.ts";
import { linesOf, type Recorded, type Recording, sorted, withLines, withoutIds } from "../test/reference/record.ts";
import { ReferenceServer } from "../test/reference/server.ts";

const FILE = fileURLToPath(new URL("../test/reference/recorded.json", import.meta.url));
const AT_ONCE = 3;

const { values } = parseArgs({
  options: { buildx: { type: "string" }, builder: { type: "string" }, only: { type: "string" } },
});
const { buildx, builder, only = "" } = values;
if (buildx === undefined || builder === undefined) throw new Error("--buildx and --builder are needed");

await using engine = await startEngine();
const archive = join(engine.root, "busybox.tar");
await engine.ok("save", "-o", archive, "busybox");
const layout = join(engine.root, "layout");
mkdirSync(layout);
execFileSync("tar", ["-xf", archive, "-C", layout]);
const digest = JSON.parse(readFileSync(join(layout, "index.json"), "utf8")).manifests[0].digest as string;
await using server = await ReferenceServer.start(join(engine.root, "served"));
const base = (await readSavedImages(archive, LATEST_KEPT)).get("busybox:latest")!;

const before: Partial<Recording> =
  only === "" || !existsSync(FILE) ? {} : (JSON.parse(readFileSync(FILE, "utf8")) as Recording);
const cases: Record<string, Recorded> = {};
const rules: Record<string, [string, string]> = { ...(before.rules as Record<string, [string, string]>) };
const left = REFERENCE_CASES.filter(({ name }) => name.includes(only));
const made = new Map<string, Recorded>();
const work = async (): Promise<void> => {
  for (let one = left.shift(); one !== undefined; one = left.shift()) {
    try {
      const row = server.plain(await record(server.serve(one)));
      if (/\blookup \S+|\bdial tcp\b/.test(JSON.stringify(row))) throw new Error("it asks for what is elsewhere");
      made.set(one.name, row);
    } catch (error) {
      process.exitCode = 1;
      console.error(`${one.name}: ${(error as Error).stack}`);
    }
    if (made.size % 50 === 0) console.error(`${made.size} recorded`);
  }
};
await Promise.all(Array.from({ length: AT_ONCE }, work));
for (const { name } of REFERENCE_CASES) {
  const row = made.get(name) ?? before.cases?.[name];
  if (row !== undefined) cases[name] = row;
}
const rows = Object.entries(cases).map(([name, row]) => `  ${JSON.stringify(name)}: ${JSON.stringify(row)}`);
writeFileSync(
  FILE,
  `{\n "base": ${JSON.stringify(base.config)},\n "rules": ${JSON.stringify(rules)},\n "cases": {\n${rows.join(",\n")}\n }\n}\n`,
);

async function record(one: ReferenceCase): Promise<Recorded> {
  const context = mkdtempSync(join(engine.root, "case-"));
  try {
    execFileSync("tar", ["-xpf", "-", "-C", context], { input: tarOf(contextOf(one)) });
    const to = `${context}.tar`;
    const output = `type=docker,name=made,dest=${to},compression=uncompressed,force-compression=true`;
    const finished = await ask(one, context, "--progress=rawjson", "--output", output);
    const error = finished.code === 0 ? undefined : errorOf(finished.stderr);
    const [check, outline, targets] = [
      await ask(one, context, "--call=check,format=json"),
      one.isBuilt ? undefined : await ask(one, context, "--call=outline,format=json"),
      // A check's comment ends a buildkitd that is asked for targets.
      one.isBuilt || one.dockerfile.includes("# check=")
        ? undefined
        : await ask(one, context, "--call=targets,format=json"),
    ];
    const answers = {
      check: checkOf(check),
      ...(outline?.code === 0 && { outline: withoutSources(outline.stdout) }),
      ...(targets?.code === 0 && { targets: withoutSources(targets.stdout) }),
    };
    const warnings = warningsOf(finished.stderr);
    if (error !== undefined) return { error, warnings, ...answers };
    const image = [...(await readSavedImages(to, LATEST_KEPT)).values()][0]!;
    rmSync(to);
    return {
      warnings,
      ...answers,
      config: configOf(image),
      history: historyOf(image),
      ...(one.isBuilt && {
        files: linesOver(/^from busybox/im.test(one.dockerfile) ? base.tree : new Map(), image.tree),
      }),
    };
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
}

function ask(one: ReferenceCase, context: string, ...args: readonly string[]): Promise<Finished> {
  const { args: given = {}, target } = one;
  const line = [
    ...["build", "--builder", builder!, "--provenance=false", ...args],
    ...["--build-context", `busybox=oci-layout://${layout}@${digest}`],
    ...Object.entries(given).flatMap(([name, value]) => ["--build-arg", `${name}=${value}`]),
    ...(target === undefined ? [] : ["--target", target]),
    context,
  ];
  return finish(buildx!, line, { timeoutMs: 120_000 });
}

function errorOf(stderr: string): { message: string; excerpt: string } {
  const plain = stderr.split("\n").filter((line) => !line.startsWith("{"));
  const at = plain.findIndex((line) => line.startsWith("ERROR: "));
  const message = plain
    .slice(at)
    .join("\n")
    .replace("ERROR: ", "")
    .replace(/^failed to build: /, "")
    .replace(/^failed to solve: /, "");
  const shown = plain.slice(0, at);
  const from = shown.findIndex((line) => /^\S*Dockerfile:\d+$/.test(line));
  return { message: withoutIds(message), excerpt: from < 0 ? "" : `${shown.slice(from).join("\n").trimEnd()}\n` };
}

function warningsOf(stderr: string): string[] {
  const rows = stderr
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .flatMap((line) => JSON.parse(line).warnings ?? [])
    .map(({ short, range }) => `${linesOf(range)} ${text(short).replace(/ \(line \d+\)$/, "")}`);
  return sorted([...new Set(rows)]);
}

function checkOf({ code, stdout }: Finished): Recorded["check"] {
  const answer = JSON.parse(stdout === "" ? "{}" : stdout);
  const rows = (answer.warnings ?? []) as {
    ruleName: string;
    description: string;
    url: string;
    detail: string;
    location: { ranges: [] };
  }[];
  for (const { ruleName, description, url } of rows) rules[ruleName] = [description, url];
  const { buildError } = answer;
  return {
    code: code ?? -1,
    warnings: sorted(
      rows.map(({ ruleName, detail, location }) => `${linesOf(location.ranges)} ${ruleName}: ${detail}`),
    ),
    ...(buildError !== undefined && {
      error: `${linesOf(buildError.location?.ranges)} ${withoutIds(buildError.message)}`,
    }),
  };
}

function withoutSources(stdout: string): unknown {
  const { sources: _, ...rest } = withLines(JSON.parse(stdout)) as Record<string, unknown>;
  return rest;
}

function text(base64: string): string {
  return Buffer.from(base64, "base64").toString();
}
