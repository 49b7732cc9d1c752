import { type BakeFile, readBake, showBake } from "../../bake/bake.ts";
import { buildAll } from "../bake/build-all.ts";
import { bakeOptions, DEFINITION_FLAGS } from "../bake/definition.ts";
import { demandGrants, grantsOf, missingGrants } from "../bake/entitlements.ts";
import { namedFiles, readBakeFiles } from "../bake/files.ts";
import { listed } from "../bake/listing.ts";
import { readRemoteFiles, remoteArguments } from "../bake/remote.ts";
import { callOf } from "../build/call.ts";
import { toldAsBuild } from "../build/failure.ts";
import { PROGRESS_FLAGS, progressOf } from "../build/flags.ts";
import { untilInterrupted } from "../build/interrupt.ts";
import type { Call, Command } from "../command.ts";
import { boolFlag, listFlag, textFlag } from "../flags/spec.ts";
import { complain, print } from "../output/print.ts";
import { STDIN } from "./build.ts";

export const bake: Command = {
  usage: "[OPTIONS] [URL] [TARGET...]",
  args: { rule: "at-least", count: 0 },
  flags: [
    listFlag("allow", "Allow build to access specified resources"),
    textFlag("call", 'Set method for evaluating build ("check", "outline", "targets")', {
      initial: "build",
      check: checkCall,
    }),
    boolFlag("check", 'Shorthand for "--call=check"'),
    boolFlag("debug", "Show warnings with the lines they are about"),
    textFlag("list", "List targets or variables"),
    boolFlag("print", "Print the options without building"),
    ...DEFINITION_FLAGS,
    ...PROGRESS_FLAGS,
  ],
  run: (call) => toldAsBuild(() => runBake(call)),
};

function checkCall(text: string): string {
  callOf(text);
  return text;
}

async function runBake(call: Call): Promise<number> {
  using interrupt = untilInterrupted();
  const { flags } = call;
  const { env } = process;
  const { url, context, names } = remoteArguments(call.args);
  const files = await filesOf(call, url, interrupt.signal);
  if (flags.changed("list")) {
    print(listed(flags, files, env));
    return 0;
  }
  const read = readBake(files, bakeOptions(flags, names, env, context));
  for (const warning of read.definition.warnings) complain(`WARNING: ${warning}`);
  if (flags.bool("print")) {
    print(showBake(read, url));
    return 0;
  }
  const grants = grantsOf(flags.list("allow"), flags.list("set"));
  await demandGrants(missingGrants(read.targets, grants, url), url !== undefined, env);
  const needed = [...read.targets.values()].flatMap(({ target }) => target.entitlements ?? []);
  return await buildAll(call, read, {
    progress: progressOf(flags),
    signal: interrupt.signal,
    verbose: flags.bool("debug"),
    allowed: [...new Set(needed)],
    remote: url,
    input: STDIN,
    metadataFile: flags.text("metadata-file"),
    wish: callOf(flags.bool("check") ? "check" : flags.text("call")),
  });
}

/** `cwd://` names a file that is here, where the others are in a repository. */
async function filesOf(call: Call, url: string | undefined, signal: AbortSignal): Promise<readonly BakeFile[]> {
  const names = namedFiles(call.flags.list("file"), process.env);
  if (url === undefined) return readBakeFiles(names);
  const here = names.filter((name) => name.startsWith("cwd://"));
  const there = names.filter((name) => !name.startsWith("cwd://"));
  const remote = await readRemoteFiles(call, url, there, STDIN, signal);
  return [...remote, ...(here.length === 0 ? [] : readBakeFiles(here))];
}
