import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { GantryError, hasCode, messageOf } from "../../base/errors.ts";
import { jsonLines } from "../../client/json-lines.ts";
import { GrpcError, STATUS } from "../../grpc/status.ts";
import { type Call, ExitError } from "../command.ts";
import { Credentials } from "../credentials/credentials.ts";
import { complain, print, writeAll } from "../output/print.ts";
import { clean } from "../output/screen.ts";
import { isScreen } from "../streams/terminal.ts";
import { Agents } from "./agents.ts";
import type { Asked } from "./asked.ts";
import { errorExcerpt, excerpt, failedStep } from "./failure.ts";
import type { Display } from "./progress/display.ts";
import { BuildModel, secondsOf } from "./progress/model.ts";
import { Picture } from "./progress/picture.ts";
import { PlainDisplay } from "./progress/plain.ts";
import { RawJsonDisplay } from "./progress/raw-json.ts";
import { type Input, type Prepared, prepare } from "./request.ts";
import { Secrets } from "./secrets.ts";
import { openSession, sharedKeyOf } from "./session.ts";
import { solve } from "./solve.ts";

export type ProgressKind = "auto" | "plain" | "tty" | "rawjson" | "quiet" | "none";

export interface RunOptions {
  readonly progress: ProgressKind;
  readonly signal: AbortSignal;
  /** Warnings with the lines they are about. */
  readonly verbose: boolean;
  /** Called when a step has failed, which is kept until this resolves; it says what the failure has to say. */
  readonly onFailure?: (failure: BuildFailure) => Promise<void>;
}

/** What a build that succeeded told. */
export interface Built {
  readonly ref: string;
  readonly response: ReadonlyMap<string, string>;
  readonly prepared: Prepared;
  readonly warnings: number;
}

/** A build that failed, after what it printed; `message` is what remains to be said. */
export class BuildFailure extends ExitError {
  readonly ref: string;
  /** Undefined if it was no step that failed. */
  readonly step: string | undefined;

  constructor(ref: string, step: string | undefined, message: string) {
    super(1, message);
    this.ref = ref;
    this.step = step;
  }
}

/** Builds, and shows how it goes. Throws a `BuildFailure`. */
export async function runBuild(call: Call, asked: Asked, input: Input, options: RunOptions): Promise<Built> {
  const secrets = new Secrets(asked.secrets, process.env);
  const prepared = await prepare(asked, input, process.env);
  await using agents = await Agents.open(asked.ssh, process.env);
  using session = await openSession(call.client, {
    folders: prepared.folders,
    secrets,
    agents,
    credentials: new Credentials(call.settings),
    results: prepared.results,
    stores: prepared.stores,
    upload: prepared.upload,
    sharedKey: prepared.folder === undefined ? "" : sharedKeyOf(prepared.folder, machineOf(call)),
  });
  const model = new BuildModel();
  const display = displayOf(options.progress, model);
  const ref = newRef();
  try {
    const build = { ref, session: session.id };
    const response = await solve(session.control, prepared, build, (status) => display.show(status), options.signal);
    display.finish(false);
    writeIndexes(prepared, response);
    if (options.progress !== "quiet" && options.progress !== "rawjson") showWarnings(model, options.verbose);
    return { ref, response, prepared, warnings: model.warnings.length };
  } catch (error) {
    display.finish(true);
    const failure = failureOf(ref, error, model, options);
    if (options.onFailure === undefined || !(failure instanceof BuildFailure) || failure.step === undefined)
      throw failure;
    await options.onFailure(failure);
    throw new BuildFailure(ref, failure.step, "");
  }
}

const LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz";

/** Twenty-five letters and digits, the first a letter, as BuildKit's clients name builds. */
function newRef(): string {
  const characters = [...randomBytes(25)].map((byte, index) => LETTERS[index === 0 ? 10 + (byte % 26) : byte % 36]);
  return characters.join("");
}

/** A name of this machine: of the folder that its user has, which no other has. */
function machineOf(call: Call): string {
  const file = join(call.settings.configFolder, "gantry-machine-id");
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (!hasCode(error, "ENOENT", "ENOTDIR")) throw error;
  }
  const id = `${hostname()} ${randomBytes(16).toString("hex")}`;
  try {
    mkdirSync(call.settings.configFolder, { recursive: true });
    writeFileSync(file, id, { flag: "wx", mode: 0o600 });
    return id;
  } catch {
    // Somebody else was first, or nothing can be kept here: then all is sent anew each time.
    return hostname();
  }
}

function displayOf(kind: ProgressKind, model: BuildModel): Display {
  const silent: Display = { show: (status) => void model.apply(status), finish: () => {} };
  if (kind === "quiet" || kind === "none") return silent;
  if (kind === "rawjson") return new RawJsonDisplay((text) => writeAll(2, text));
  const onScreen = kind === "tty" || (kind === "auto" && isScreen(2));
  if (kind === "tty" && !isScreen(2))
    throw new GantryError("invalid", "failed to get console: standard error is no terminal");
  if (!onScreen) return new PlainDisplay(model, (text) => writeAll(2, text));
  const output = {
    write: (text: string) => writeAll(2, text),
    size: () => ({ columns: process.stderr.columns || 80, rows: process.stderr.rows || 24 }),
  };
  const { NO_COLOR = "", LC_ALL = "", LC_CTYPE = "", LANG = "" } = process.env;
  const unicode = /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG);
  return new Picture(model, output, { colours: NO_COLOR === "", unicode });
}

function failureOf(ref: string, error: unknown, model: BuildModel, { progress, signal }: RunOptions): Error {
  if (!(error instanceof GrpcError)) return error as Error;
  if (signal.aborted || error.code === STATUS.cancelled) {
    return new BuildFailure(ref, undefined, "ERROR: failed to solve: Canceled: context canceled");
  }
  const digest = failedStep(error);
  const step = model.all.find((one) => one.digest === digest) ?? model.all.find((one) => one.error !== "");
  if (step !== undefined && progress !== "rawjson") {
    const lines = step.log.last(progress === "plain" ? 20 : 10).map((line) => clean(line));
    const rule = "------";
    if (lines.length > 0) complain([rule, ` > ${clean(step.name)}:`, ...lines, rule].join("\n"));
  }
  if (progress !== "rawjson") writeAll(2, errorExcerpt(error));
  return new BuildFailure(ref, digest, `ERROR: failed to solve: ${error.message}`);
}

function showWarnings({ warnings }: BuildModel, verbose: boolean): void {
  if (warnings.length === 0) return;
  const head = `${warnings.length} warning${warnings.length === 1 ? "" : "s"} found`;
  complain(`\n ${head}${verbose ? "" : " (use --debug to expand)"}:`);
  for (const { text, lines, detail, url, file, source } of warnings) {
    complain(` - ${clean(text)}${lines[0] > 0 ? ` (line ${lines[0]})` : ""}`);
    if (!verbose) continue;
    for (const line of detail) complain(clean(line));
    if (url !== "") complain(`More info: ${url}`);
    if (lines[0] > 0 && source !== "") writeAll(2, excerpt(file, source, lines[0], lines[1]));
  }
}

/** What a layout on this machine needs besides its blobs: the engine says which manifest is its. */
function writeIndexes(prepared: Prepared, response: ReadonlyMap<string, string>): void {
  for (const { type, attributes } of prepared.cacheExports) {
    const manifest = response.get("cache.manifest");
    const { dest, tag } = attributes;
    if (type === "local" && manifest !== undefined && dest !== undefined) addToIndex(dest, manifest, tag ?? "latest");
  }
  for (const { type, attributes } of prepared.exporters) {
    const { dest, tar, name } = attributes;
    const encoded = response.get("containerimage.descriptor");
    if ((type !== "oci" && type !== "docker") || tar !== "false" || dest === undefined || encoded === undefined)
      continue;
    addToIndex(dest, Buffer.from(encoded, "base64").toString(), name?.split(",")[0] ?? "latest");
  }
}

function addToIndex(folder: string, descriptor: string, tag: string): void {
  const file = join(folder, "index.json");
  interface Row {
    readonly annotations?: Readonly<Record<string, string>>;
  }
  let manifests: readonly Row[] = [];
  try {
    manifests = (JSON.parse(readFileSync(file, "utf8")) as { manifests?: Row[] }).manifests ?? [];
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw new GantryError("invalid", `cannot read ${file}: ${messageOf(error)}`);
  }
  const name = "org.opencontainers.image.ref.name";
  const row = JSON.parse(descriptor) as Row;
  const others = manifests.filter(({ annotations }) => annotations?.[name] !== tag);
  const index = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: [...others, { ...row, annotations: { ...row.annotations, [name]: tag } }],
  };
  writeFileSync(`${file}.new`, JSON.stringify(index));
  renameSync(`${file}.new`, file);
}

/** `--metadata-file`: what the engine answered, JSON where it is some. */
export function metadataOf({ ref, response }: Built): string {
  const rows: Record<string, unknown> = { "buildx.build.ref": `default/default/${ref}` };
  for (const [name, value] of [...response].sort(([a], [b]) => (a < b ? -1 : 1))) rows[name] = decoded(name, value);
  return `${JSON.stringify(rows, undefined, 2)}\n`;
}

function decoded(name: string, value: string): unknown {
  if (
    name === "containerimage.descriptor" ||
    name === "containerimage.buildinfo" ||
    name.startsWith("buildx.build.provenance")
  ) {
    try {
      return JSON.parse(Buffer.from(value, "base64").toString());
    } catch {
      return value;
    }
  }
  return value;
}

/** The image's id where there is one: of its config, or of an index its own digest. */
export function imageIdOf({ response }: Built): string {
  return response.get("containerimage.config.digest") ?? response.get("containerimage.digest") ?? "";
}

/** The explanations of a build's steps, as its history has them. */
export async function printExplanations(call: Call, ref: string): Promise<void> {
  const { body } = await call.client.stream("GET", `/gantry/build/history/${ref}/events`);
  interface Event {
    readonly type: string;
    readonly vertex?: {
      readonly digest: string;
      readonly name: string;
      readonly cached: boolean;
      readonly started?: number;
      readonly completed?: number;
      readonly explanation?: { readonly reason: string; readonly text: string; readonly diff: readonly string[] };
    };
  }
  const steps = new Map<string, NonNullable<Event["vertex"]>>();
  for await (const event of jsonLines<Event>(body)) {
    if (event.type !== "vertex" || event.vertex === undefined) continue;
    steps.set(event.vertex.digest, { ...steps.get(event.vertex.digest), ...event.vertex });
  }
  let text = "\nWhy each step was done:\n";
  for (const { name, cached, explanation, completed, ...times } of steps.values()) {
    // What is only fetched has nothing to explain.
    if (completed === undefined || (explanation === undefined && !cached) || name.startsWith("[internal]")) continue;
    const seconds = secondsOf({ started: times.started, completed }, completed).toFixed(1);
    text += cached ? ` = ${clean(name)}  cached\n` : ` ✚ ${clean(name)}  ${seconds}s\n`;
    if (explanation === undefined) continue;
    text += `     ${clean(explanation.text)}\n`;
    for (const row of explanation.diff) text += `       ${clean(row)}\n`;
  }
  print(text);
}
