import type { VolumeSnapshot } from "../../api/volume.ts";
import { bytesSize } from "../../base/units.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import type { ParsedFlags } from "../flags/parse.ts";
import { boolFlag, listFlag, textFlag } from "../flags/spec.ts";
import { printListing } from "../output/format.ts";
import { printLine } from "../output/print.ts";
import { showProgress } from "../output/progress.ts";
import { agoText, FORMAT_USAGE } from "../output/text.ts";
import { checkTarget, saveBody } from "../streams/save.ts";
import { sending } from "../streams/sending.ts";
import { isTerminal } from "../streams/terminal.ts";
import { segment } from "./lifecycle.ts";

const WRITERS = [
  boolFlag("f,force", "Take the files as they are while containers write to them"),
  boolFlag("p,pause", "Pause the containers that may write to it meanwhile"),
];
const QUIET = boolFlag("q,quiet", "Suppress the progress output");
const LABEL = listFlag("label", "Set a label on the new volume");

function writersQuery(flags: ParsedFlags): { readonly force: boolean; readonly pause: boolean } {
  const [force, pause] = [flags.bool("force"), flags.bool("pause")];
  if (force && pause) throw new ExitError(1, "conflicting options: --force and --pause cannot be used together");
  return { force, pause };
}

const volumePath = (name: string | undefined): string => `/gantry/volumes/${segment(name ?? "", "volume")}`;

/** Shows how it goes on standard error, so that what is printed is the name of what was made. */
async function making(
  call: Call,
  path: string,
  query: Readonly<Record<string, string | boolean | readonly string[]>>,
): Promise<void> {
  let made: { readonly Name: string } | undefined;
  const { body } = await call.client.stream("POST", path, { query });
  const onAux = (aux: unknown) => {
    made = aux as { readonly Name: string };
  };
  await showProgress(body, 2, { quiet: call.flags.bool("quiet") || !isTerminal(2), onAux });
  if (made === undefined) throw new Error("the engine did not say what it made");
  printLine(made.Name);
}

export const renameVolume: Command = {
  usage: "VOLUME NEW_NAME",
  args: { rule: "exactly", count: 2 },
  long: "Rename a volume. The containers that have it, none of which may be running, have it under its new name then.",
  flags: [],
  async run(call) {
    const [name, to = ""] = call.args;
    await call.client.done("POST", `${volumePath(name)}/rename`, { query: { name: to } });
    return 0;
  },
};

export const cloneVolume: Command = {
  usage: "[OPTIONS] VOLUME NEW_VOLUME",
  args: { rule: "exactly", count: 2 },
  long: "Make a volume with the content of another. Where the file system can, they share what neither changes.",
  flags: [...WRITERS, LABEL, QUIET],
  async run(call) {
    const [name, to = ""] = call.args;
    const query = { to, label: call.flags.list("label"), ...writersQuery(call.flags) };
    await making(call, `${volumePath(name)}/clone`, query);
    return 0;
  },
};

export const snapshotVolume: Command = {
  usage:
    "[OPTIONS] VOLUME [NAME]\n       gantry volume snapshot ls VOLUME\n       gantry volume snapshot rm VOLUME NAME [NAME...]",
  args: { rule: "at-least", count: 1 },
  long: "Keep a volume as it is now, list what was kept of it, or remove some of that.\nA volume called ls or rm is meant by `snapshot create ls`.",
  flags: [...WRITERS, textFlag("format", `${FORMAT_USAGE} (with ls)`), QUIET],
  async run(call) {
    const [first = "", ...rest] = call.args;
    if (first === "ls") return listSnapshots(call, rest);
    if (first === "rm") return removeSnapshots(call, rest);
    const [name, snapshot = "", ...more] = first === "create" ? rest : call.args;
    if (name === undefined || more.length > 0)
      throw new ExitError(1, "snapshot takes a volume, and a name for the snapshot at most");
    await making(call, `${volumePath(name)}/snapshots`, {
      name: snapshot,
      ...writersQuery(call.flags),
    });
    return 0;
  },
};

async function listSnapshots(call: Call, names: readonly string[]): Promise<number> {
  if (names.length !== 1) throw new ExitError(1, "snapshot ls takes one volume");
  const found = await call.client.json<VolumeSnapshot[]>("GET", `${volumePath(names[0])}/snapshots`);
  await printListing({
    format: call.flags.text("format"),
    quiet: call.flags.bool("quiet"),
    raw: [
      ["name", "Name"],
      ["volume", "Volume"],
    ],
    columns: ["Name", "Created", "Size"],
    headings: { Name: "SNAPSHOT", Volume: "VOLUME", Created: "CREATED", CreatedAt: "CREATED AT", Size: "SIZE" },
    type: "*formatter.snapshotContext",
    rows: found.map(({ Name, Volume: volume, CreatedAt, Size }) => ({
      Name,
      Volume: volume,
      CreatedAt,
      Created: agoText(Date.parse(CreatedAt) / 1000),
      Size: bytesSize(Size),
    })),
  });
  return 0;
}

async function removeSnapshots(call: Call, [volume, ...names]: readonly string[]): Promise<number> {
  if (names.length === 0) throw new ExitError(1, "snapshot rm takes a volume and the names of its snapshots");
  for (const name of names) {
    await call.client.done("DELETE", `${volumePath(volume)}/snapshots/${segment(name, "snapshot")}`);
    printLine(name);
  }
  return 0;
}

export const restoreVolume: Command = {
  usage: "[OPTIONS] VOLUME SNAPSHOT",
  args: { rule: "exactly", count: 2 },
  long: "Give a volume the content that it had when the snapshot was made. What it has now is gone then;\nno container may be running with it.",
  flags: [QUIET],
  async run(call) {
    const [name, snapshot = ""] = call.args;
    const path = `${volumePath(name)}/snapshots/${segment(snapshot, "snapshot")}/restore`;
    const { body } = await call.client.stream("POST", path);
    await showProgress(body, 2, { quiet: call.flags.bool("quiet") || !isTerminal(2) });
    printLine(name ?? "");
    return 0;
  },
};

export const exportVolume: Command = {
  usage: "[OPTIONS] VOLUME",
  args: { rule: "exactly", count: 1 },
  flags: [...WRITERS, textFlag("o,output", "Write to a file, instead of STDOUT")],
  async run(call) {
    const output = call.flags.text("output");
    checkTarget(output, "export volume");
    const { body } = await call.client.stream("GET", `${volumePath(call.args[0])}/export`, {
      query: writersQuery(call.flags),
    });
    await saveBody(body, output);
    return 0;
  },
};

export const importVolume: Command = {
  usage: "[OPTIONS] VOLUME [file|-]",
  args: { rule: "between", count: 1, most: 2 },
  long: "Fill a volume from a tar archive, which may be compressed: a new volume, an empty one, or with --replace any.\nAll of the archive becomes the content, or nothing changes.",
  flags: [LABEL, boolFlag("replace", "Replace what the volume has")],
  async run(call) {
    const [name = "", source = "-"] = call.args;
    if (source === "-" && isTerminal(0)) throw new ExitError(1, "requested import from stdin, but stdin is a terminal");
    const { body } = await call.client.stream("POST", `${volumePath(name)}/import`, {
      query: { replace: call.flags.bool("replace"), label: call.flags.list("label") },
      headers: { "Content-Type": "application/x-tar" },
      upload: sending(source === "-" ? undefined : source, "Sending"),
    });
    // What it says of the volume is what its inspection says.
    for await (const _ of body);
    printLine(name);
    return 0;
  },
};
