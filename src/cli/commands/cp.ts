import { createReadStream } from "node:fs";
import { posix } from "node:path";
import { type ContainerPathStat, PATH_STAT_HEADER } from "../../api/archive.ts";
import { GO_MODE, hasGoMode } from "../../base/go-mode.ts";
import { EngineError } from "../../client/client.ts";
import type { Call, Command } from "../command.ts";
import { packLocal } from "../copy/pack.ts";
import {
  absolutePath,
  arrange,
  baseOf,
  type CopyEnd,
  checkOutput,
  followed,
  localDestination,
  localSource,
  renamer,
  splitArgument,
  splitEntry,
} from "../copy/path.ts";
import { CopyProgress } from "../copy/progress.ts";
import { unpackLocal } from "../copy/unpack.ts";
import { boolFlag } from "../flags/spec.ts";
import { copyBody } from "../streams/copy.ts";
import { isTerminal } from "../streams/terminal.ts";
import { segment } from "./lifecycle.ts";

const PIECE = 256 * 1024;

export const cp: Command = {
  usage: "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tgantry cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
  args: { rule: "exactly", count: 2 },
  long: `Copy files/folders between a container and the local filesystem

Use '-' as the source to read a tar archive from stdin
and extract it to a directory destination in a container.
Use '-' as the destination to stream a tar archive of a
container source to stdout.`,
  flags: [
    boolFlag("a,archive", "Archive mode (copy all uid/gid information)"),
    boolFlag("L,follow-link", "Always follow symbol link in SRC_PATH"),
    boolFlag(
      "q,quiet",
      "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached",
    ),
  ],
  async run(call) {
    const [source = "", destination = ""] = call.args;
    if (source === "") throw new Error("source can not be empty");
    if (destination === "") throw new Error("destination can not be empty");
    const from = splitArgument(source);
    const to = splitArgument(destination);
    if (from.container !== "" && to.container !== "") {
      throw new Error("copying between containers is not supported");
    }
    if (from.container !== "") await copyOut(call, from.container, from.path, to.path);
    else if (to.container !== "") await copyIn(call, from.path, to.container, to.path);
    else throw new Error("must specify at least one container source");
    return 0;
  },
};

function isQuiet({ flags }: Call): boolean {
  return flags.changed("quiet") ? flags.bool("quiet") : !isTerminal(1);
}

function archiveRoute(container: string): string {
  return `/containers/${segment(container)}/archive`;
}

function readStat(headers: Readonly<Record<string, string>>): ContainerPathStat {
  const text = headers[PATH_STAT_HEADER.toLowerCase()];
  if (text === undefined) throw new Error("the engine does not say what the path is");
  return JSON.parse(Buffer.from(text, "base64").toString("utf8")) as ContainerPathStat;
}

/** undefined if the engine can't tell: the copy itself then says why. */
async function statIn(call: Call, container: string, path: string): Promise<ContainerPathStat | undefined> {
  try {
    const { headers, body } = await call.client.stream("HEAD", archiveRoute(container), { query: { path } });
    body.cancel();
    return readStat(headers);
  } catch (error) {
    if (error instanceof EngineError) return undefined;
    throw error;
  }
}

/** Where a link in a container leads. */
function targetOf(path: string, { linkTarget }: ContainerPathStat): string {
  return linkTarget.startsWith("/") ? linkTarget : posix.join(splitEntry(path).folder, linkTarget);
}

async function copyOut(call: Call, container: string, from: string, to: string): Promise<void> {
  const destination = to === "-" ? to : absolutePath(to);
  if (destination !== "-") checkOutput(destination);
  let path = from;
  let rename = "";
  if (call.flags.bool("follow-link")) {
    const stat = await statIn(call, container, from);
    if (stat !== undefined && hasGoMode(stat.mode, GO_MODE.symlink)) {
      ({ path, rename } = followed(from, targetOf(from, stat)));
    }
  }
  const { body, headers } = await call.client.stream("GET", archiveRoute(container), { query: { path } });
  if (destination === "-") {
    await copyBody(body, false);
    return;
  }
  try {
    const source: CopyEnd = { path, exists: true, isDir: hasGoMode(readStat(headers).mode, GO_MODE.dir), rename };
    const { folder, rename: arranged } = arrange(source, localDestination(destination));
    const asked = rename === "" ? undefined : renamer(splitEntry(path).base, rename);
    const progress = new CopyProgress("Copying from container - ", isQuiet(call));
    let isDone = false;
    try {
      await unpackLocal(progress.count(body), folder, together(asked, arranged));
      isDone = true;
    } finally {
      progress.end(isDone ? destination : undefined);
    }
  } finally {
    body.cancel();
  }
}

type Rename = ((name: string) => string) | undefined;

function together(first: Rename, second: Rename): Rename {
  if (first === undefined || second === undefined) return first ?? second;
  return (name) => second(first(name));
}

async function copyIn(call: Call, from: string, container: string, to: string): Promise<void> {
  const source = from === "-" ? undefined : absolutePath(from);
  let path = to;
  let stat = await statIn(call, container, to);
  if (stat !== undefined && hasGoMode(stat.mode, GO_MODE.symlink)) {
    path = targetOf(to, stat);
    stat = await statIn(call, container, path);
  }
  if (stat !== undefined && hasGoMode(stat.mode, GO_MODE.device)) {
    throw new Error(`destination "${container}:${to}" must be a directory or a regular file: got a device`);
  }
  const isDir = stat !== undefined && hasGoMode(stat.mode, GO_MODE.dir);
  const destination: CopyEnd = { path, exists: stat !== undefined, isDir, rename: "" };
  if (source === undefined) {
    if (!isDir) throw new Error(`destination "${container}:${to}" must be a directory`);
    await upload(call, container, path, createReadStream("", { fd: 0, autoClose: false, highWaterMark: PIECE }));
    return;
  }
  const end = localSource(source, call.flags.bool("follow-link"));
  const { folder, rename } = arrange(end, destination);
  const { folder: parent, base } = splitEntry(end.path);
  const progress = new CopyProgress("Copying to container - ", isQuiet(call));
  let isDone = false;
  try {
    const name = end.rename === "" ? baseOf(base) : end.rename;
    await upload(call, container, folder, progress.count(packLocal(parent, base, name, rename)));
    isDone = true;
  } finally {
    progress.end(isDone ? `${container}:${path}` : undefined);
  }
}

async function upload(call: Call, container: string, path: string, archive: AsyncIterable<Uint8Array>): Promise<void> {
  await call.client.done("PUT", archiveRoute(container), {
    query: { path, noOverwriteDirNonDir: "true", copyUIDGID: call.flags.bool("archive") ? "true" : "" },
    headers: { "Content-Type": "application/x-tar" },
    upload: archive,
  });
}
