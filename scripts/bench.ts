// Measures Gantry and Docker in turns and writes docs/performance.md. `--only networks` measures networks and writes their
// section, `--only TEXT` what has TEXT in its name, and writes nothing; `--rounds N` fewer times; `--no-write` leaves the
// page as it is.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { finish } from "../test/command.ts";
import { IMAGE, type Measure } from "./benchmark/measure.ts";
import { MEASURES } from "./benchmark/measures.ts";
import { partsTable } from "./benchmark/parts.ts";
import { dockerKind, gantryKind, Peer } from "./benchmark/peer.ts";
import { load, median, page, type Row, tableOf, withTable } from "./benchmark/report.ts";
import { machineAtRest } from "./benchmark/rest.ts";

const { values } = parseArgs({
  options: {
    "install-peers": { type: "boolean", default: false },
    "no-write": { type: "boolean", default: false },
    only: { type: "string" },
    rounds: { type: "string" },
  },
});

const checkout = fileURLToPath(new URL("..", import.meta.url));
if (process.getuid?.() !== 0) throw new Error("the bench starts container engines: run it as root");
const loadBefore = load();
const kinds = [gantryKind(checkout), dockerKind()].filter((kind) => kind !== undefined);
if (kinds.length === 1)
  console.log("bench: Docker is not installed (--install-peers installs it): measuring Gantry alone");

await using stack = new AsyncDisposableStack();
// A bench that is interrupted must not leave two engines behind.
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void stack.disposeAsync().finally(() => process.exit(1)));
}
const peers: Peer[] = [];
for (const kind of kinds) {
  const peer = stack.use(new Peer(kind));
  await peer.ready();
  peers.push(peer);
}
await shareImage(peers);

const rows: Row[] = [];
for (const measure of MEASURES.filter(isWanted)) {
  if (measure.skip) {
    console.log(`bench: ${measure.name}: left out: ${measure.skip}`);
    continue;
  }
  const row = await measured(measure);
  rows.push(row);
  const figures = Object.entries(row.medians).map(([name, value]) => `${name} ${value.toFixed(2)} ${row.unit}`);
  console.log(`bench: ${measure.name}: ${figures.join(", ")}`);
  if (row.parts !== undefined) console.log(`\n${partsTable(row.parts)}\n`);
}

const names = peers.map(({ name }) => name);
console.log(`\n${tableOf(rows, names)}`);
/** Groups of measures have sections of their own. */
const SECTIONS = { networks: "Networks", builds: "Builds" } as const;
const chosen = Object.keys(SECTIONS).filter((group) => values.only === undefined || values.only === group);
if (!values["no-write"] && chosen.length > 0) {
  const path = join(checkout, "docs/performance.md");
  let text = existsSync(path) ? readFileSync(path, "utf8") : "";
  if (values.only === undefined) {
    // What people wrote about the figures, from its heading on, stays.
    const notes = /^## [\s\S]*/m.exec(text)?.[0] ?? "";
    const ungrouped = rows.filter(({ group }) => group === undefined);
    text = `${page(ungrouped, names, await versions(), loadBefore)}\n${notes}`;
  }
  for (const { name, parts } of rows) {
    if (parts !== undefined) text = withTable(text, `Where the time of a ${name} goes`, partsTable(parts));
  }
  for (const [group, heading] of Object.entries(SECTIONS)) {
    if (chosen.includes(group))
      text = withTable(
        text,
        heading,
        tableOf(
          rows.filter((row) => row.group === group),
          names,
        ),
      );
  }
  writeFileSync(path, text);
  console.log("\nbench: wrote docs/performance.md");
}

function isWanted({ name, group }: Measure): boolean {
  return values.only === undefined || group === values.only || name.includes(values.only);
}

/** The peers take turns round by round, so that whatever else the machine does falls on each alike. */
async function measured(measure: Measure): Promise<Row> {
  const rounds = values.rounds === undefined ? measure.rounds : Math.min(measure.rounds, Number(values.rounds));
  const samples = new Map<string, number[]>(peers.map(({ name }) => [name, []]));
  for (const peer of peers) await measure.before?.(peer);
  for (let round = -measure.warmUp; round < rounds; round++) {
    for (const peer of peers) {
      await machineAtRest();
      const value = await measure.once(peer);
      if (round >= 0) samples.get(peer.name)?.push(value);
    }
  }
  for (const peer of peers) await measure.after?.(peer);
  const medians = Object.fromEntries([...samples].map(([name, list]) => [name, median(list)]));
  return { name: measure.name, unit: measure.unit, group: measure.group, medians, parts: measure.parts?.() };
}

/** Gantry makes the image of the machine's own busybox, the other loads the very same archive. */
async function shareImage([gantry, ...others]: readonly Peer[]): Promise<void> {
  if (gantry === undefined) return;
  await gantry.output("image", "bootstrap", "busybox");
  const archive = join(gantry.root, "busybox.tar");
  await gantry.output("save", "-o", archive, IMAGE);
  for (const peer of others) await peer.output("load", "-i", archive);
}

async function versions(): Promise<string[]> {
  const lines: string[] = [];
  for (const peer of peers) {
    const format = "{{.Client.Version}} with engine {{.Server.Version}}";
    lines.push(`${peer.name}: ${await peer.output("version", "--format", format)}.`);
  }
  for (const runtime of ["crun", "runc"]) {
    const end = await finish(runtime, ["--version"]).catch(() => undefined);
    if (end?.code === 0) lines.push(`${end.stdout.split("\n")[0]?.trim()}.`);
  }
  return lines;
}
