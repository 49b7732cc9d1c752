import { randomBytes } from "node:crypto";
import { GrpcError, STATUS } from "../../grpc/status.ts";
import { type Call, ExitError } from "../command.ts";
import { Credentials } from "../credentials/credentials.ts";
import { complain, writeAll } from "../output/print.ts";
import { clean } from "../output/screen.ts";
import { Agents } from "./agents.ts";
import type { Asked } from "./asked.ts";
import { errorExcerpt, failedStep } from "./failure.ts";
import type { Input } from "./input.ts";
import { writeIndexes } from "./layout-index.ts";
import { machineName } from "./machine.ts";
import { type Prepared, prepare } from "./request.ts";
import { Secrets } from "./secrets.ts";
import { openSession, sharedKeyOf } from "./session.ts";
import { solve } from "./solve.ts";
import { Telling } from "./telling.ts";
import { openView, type ProgressKind, type View } from "./view.ts";
import { showWarnings } from "./warnings.ts";

export interface RunOptions {
  readonly progress: ProgressKind;
  /** Where it is shown among others; without one it has a view of its own. */
  readonly view?: View;
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
    sharedKey:
      prepared.folder === undefined ? "" : sharedKeyOf(prepared.folder, machineName(call.settings.configFolder)),
  });
  const view = options.view ?? openView(options.progress);
  const telling = new Telling((status) => view.show(status), view.kind !== "quiet");
  const ref = newRef();
  try {
    const build = { ref, session: session.id };
    const response = await solve(session.control, prepared, build, telling, options.signal);
    view.finish(false);
    writeIndexes(prepared, response);
    if (options.view === undefined) showWarnings(view, options.verbose);
    return { ref, response, prepared };
  } catch (error) {
    telling.read();
    view.finish(true);
    const failure = failureOf(ref, error, view, options);
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

function failureOf(ref: string, error: unknown, view: View, { signal }: RunOptions): Error {
  if (!(error instanceof GrpcError)) return error as Error;
  if (signal.aborted || error.code === STATUS.cancelled) {
    return new BuildFailure(ref, undefined, "ERROR: failed to build: failed to solve: Canceled: context canceled");
  }
  const digest = failedStep(error);
  const step = view.step(digest);
  if (step !== undefined && view.kind !== "rawjson") {
    const lines = step.log.lastTimed(10).map((line) => clean(line));
    const rule = "------";
    if (lines.length > 0) complain([rule, ` > ${clean(step.name)}:`, ...lines, rule].join("\n"));
  }
  if (view.kind !== "rawjson") writeAll(2, errorExcerpt(error));
  return new BuildFailure(ref, digest, `ERROR: failed to build: failed to solve: ${error.message}`);
}
