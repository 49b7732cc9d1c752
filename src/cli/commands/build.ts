import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { GantryError, messageOf } from "../../base/errors.ts";
import type { Asked } from "../build/asked.ts";
import { answerText, callOf } from "../build/call.ts";
import { isRemote } from "../build/contexts.ts";
import { printExplanations } from "../build/explanations.ts";
import { toldAsBuild } from "../build/failure.ts";
import { askedByFlags, BUILD_FLAGS, progressOf } from "../build/flags.ts";
import type { Input } from "../build/input.ts";
import { untilInterrupted } from "../build/interrupt.ts";
import { imageIdOf, metadataOf } from "../build/metadata.ts";
import { BuildFailure, type Built, runBuild } from "../build/run.ts";
import { openFailedStep } from "../build/shell.ts";
import { FolderWatch, type Watched } from "../build/watch.ts";
import type { Call, Command } from "../command.ts";
import { complain, print, printLine } from "../output/print.ts";
import { isTerminal } from "../streams/terminal.ts";

export const build: Command = {
  usage: "[OPTIONS] PATH | URL | -",
  args: { rule: "exactly", count: 1 },
  flags: BUILD_FLAGS,
  run: (call) => toldAsBuild(() => (call.flags.bool("watch") ? watchAndBuild(call) : buildOnce(call))),
};

/** Standard input, for whoever asks first. */
export const STDIN: Input = {
  stream: () => process.stdin,
  get isTerminal() {
    return isTerminal(0);
  },
};

async function buildOnce(call: Call): Promise<number> {
  using interrupt = untilInterrupted();
  const { flags } = call;
  const asked = askedByFlags(call);
  const quiet = flags.bool("quiet");
  const isQuestion = asked.call !== "build";
  const progress = quiet || isQuestion ? "quiet" : progressOf(flags);
  const built = await runBuild(call, asked, STDIN, {
    progress,
    signal: interrupt.signal,
    verbose: flags.bool("debug"),
    ...(asked.keepFailed && {
      onFailure: async (failure: BuildFailure) => {
        complain(failure.message);
        await openFailedStep(call, failure.ref);
      },
    }),
  });
  if (isQuestion) {
    const { text, code } = answerText(callOf(flags.bool("check") ? "check" : flags.text("call")), built.response);
    print(text);
    return code;
  }
  writeFiles(call, built);
  if (quiet) printLine(imageIdOf(built));
  if (asked.explain) await printExplanations(call, built.ref);
  return 0;
}

function writeFiles({ flags }: Call, built: Built): void {
  const [iidFile, metadataFile] = [flags.text("iidfile"), flags.text("metadata-file")];
  if (iidFile !== "") writeFileSync(iidFile, imageIdOf(built));
  if (metadataFile !== "") writeFileSync(metadataFile, metadataOf(built));
}

/** Until Ctrl-C. A build that fails is said to have, and the next change begins another. */
async function watchAndBuild(call: Call): Promise<number> {
  using interrupt = untilInterrupted();
  const { flags } = call;
  const asked = askedByFlags(call);
  const options = { progress: progressOf(flags), signal: interrupt.signal, verbose: flags.bool("debug") };
  if (asked.context === "-" || isRemote(asked.context)) {
    throw new GantryError("invalid", "--watch needs a folder as the context, since nobody tells of changes elsewhere");
  }
  if (asked.file === "-") {
    throw new GantryError("invalid", "--watch needs a Dockerfile that can be read again, which standard input can't");
  }
  // Before the first build, so that no change is missed.
  using watch = new FolderWatch(watchedBy(asked));
  watch.leaveOut(writtenBy(asked, flags));
  let hasBuilt = false;
  try {
    for (;;) {
      try {
        const built = await runBuild(call, asked, STDIN, options);
        hasBuilt = true;
        writeFiles(call, built);
        if (asked.explain) await printExplanations(call, built.ref);
      } catch (error) {
        // What is wrong with the command line, no change of a file mends.
        const isOfFlags = !hasBuilt && !(error instanceof BuildFailure);
        if (interrupt.signal.aborted || isOfFlags || !isOfTheContext(error)) throw error;
        complain(error instanceof BuildFailure ? error.message : `ERROR: ${messageOf(error)}`);
      }
      complain("\nwatching for changes; Ctrl-C ends it");
      complain(`${await watch.change(interrupt.signal)} has changed`);
    }
  } catch (error) {
    if (interrupt.signal.aborted) return 130;
    throw error;
  }
}

/** What another try may mend: a step that fails, a Dockerfile that is away for a moment. */
function isOfTheContext(error: unknown): boolean {
  if (error instanceof BuildFailure) return true;
  return error instanceof GantryError && (error.kind === "invalid" || error.kind === "not-found");
}

function watchedBy({ context, contexts, file }: Asked): Watched {
  const named = contexts.map((given) => given.slice(given.indexOf("=") + 1)).filter((place) => existsSync(place));
  const dockerfile = file === "" ? join(context, "Dockerfile") : existsSync(file) ? file : join(context, file);
  return { folders: [context, ...named], files: [dockerfile, `${dockerfile}.dockerignore`] };
}

/** What builds write is no reason for another one. */
function writtenBy({ outputs, cacheTo }: Asked, flags: Call["flags"]): string[] {
  const places = [...outputs, ...cacheTo].flatMap((given) => {
    const [, dest] = /(?:^|,)dest=([^,]*)/.exec(given) ?? [];
    if (dest !== undefined) return [dest];
    return given.includes("=") ? [] : [given];
  });
  return [...places, flags.text("iidfile"), flags.text("metadata-file")].filter((path) => path !== "" && path !== "-");
}
