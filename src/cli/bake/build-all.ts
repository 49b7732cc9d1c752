import { writeFileSync } from "node:fs";
import type { Bake, BakeTarget } from "../../bake/bake.ts";
import { answerText, type CallWish, callOf } from "../build/call.ts";
import type { Input } from "../build/input.ts";
import { metadataOf } from "../build/metadata.ts";
import { type Built, runBuild } from "../build/run.ts";
import { type ProgressKind, SharedView } from "../build/view.ts";
import { showWarnings } from "../build/warnings.ts";
import { type Call, ExitError } from "../command.ts";
import { print } from "../output/print.ts";
import { askedByTarget } from "./asked.ts";
import { TemporaryNames } from "./temporary.ts";

export interface BuildAllOptions {
  readonly progress: ProgressKind;
  readonly signal: AbortSignal;
  readonly verbose: boolean;
  readonly allowed: readonly string[];
  readonly remote: string | undefined;
  readonly input: Input;
  /** Empty writes none. */
  readonly metadataFile: string;
  /** What the command line asks of all targets; undefined where each says it for itself. */
  readonly wish: CallWish;
}

/** Targets that others take as a context come first; their images are that context. The rest is built side by side. */
export async function buildAll(call: Call, { targets }: Bake, options: BuildAllOptions): Promise<number> {
  const { signal, verbose, metadataFile } = options;
  const needed = new Set([...targets.values()].flatMap((one) => [...linksOf(one).values()]));
  const answers = [...targets].filter(([, one]) => !one.linked && wishOf(one, options).name !== "build");
  const isQuestion = answers.length > 0;
  const shared = new SharedView(isQuestion && options.progress === "auto" ? "quiet" : options.progress);
  const done = new Map<string, Built>();
  {
    await using temporary = new TemporaryNames(call.client, needed);
    // The first that fails ends the others.
    const others = new AbortController();
    const ends = AbortSignal.any([signal, others.signal]);
    const builds = new Map<string, Promise<Built>>();
    for (const [name, one] of targets) {
      const start = async (): Promise<Built> => {
        const images = new Map<string, string>();
        for (const [context, other] of linksOf(one)) {
          await builds.get(other);
          images.set(context, temporary.get(other)!);
        }
        const { remote, allowed, input } = options;
        const asked = askedByTarget(name, one, { images, isNeeded: needed.has(name), allowed, remote });
        const view = shared.part(targets.size === 1 ? "" : name);
        const shownBy = { progress: options.progress, signal: ends, verbose, view };
        const tag = temporary.get(name);
        if (tag === undefined) return await runBuild(call, asked, input, shownBy);
        // Of what others are built of there has to be an image, whatever is asked about it.
        const made = await runBuild(call, { ...asked, call: "build", tags: [...asked.tags, tag] }, input, shownBy);
        return asked.call === "build" || one.linked ? made : await runBuild(call, asked, input, shownBy);
      };
      const built = start();
      built.catch((error: unknown) => others.abort(error));
      builds.set(name, built);
    }
    const results = await Promise.allSettled(builds.values());
    shared.finish(results.some(({ status }) => status === "rejected"));
    if (others.signal.aborted) throw others.signal.reason;
    for (const [name, built] of builds) done.set(name, await built);
  }
  showWarnings({ kind: options.progress, model: shared.model }, verbose);
  if (metadataFile !== "") writeFileSync(metadataFile, metadataOfAll(done));
  return tellAnswers(answers, done, options);
}

function wishOf({ target: { call = "build" } }: BakeTarget, { wish }: Pick<BuildAllOptions, "wish">): CallWish {
  return { ...wish, name: callOf(call).name };
}

/** The other targets that one takes as contexts, by the contexts' names. */
function linksOf({ target: { contexts = {} } }: BakeTarget): ReadonlyMap<string, string> {
  const links = Object.entries(contexts).filter(([, place]) => place.startsWith("target:"));
  return new Map(links.map(([context, place]) => [context, place.slice("target:".length)]));
}

/** What was asked about the targets' Dockerfiles: each with its name, or all as one document. */
function tellAnswers(
  asked: readonly (readonly [string, BakeTarget])[],
  done: ReadonlyMap<string, Built>,
  options: BuildAllOptions,
): number {
  let code = 0;
  const document: Record<string, unknown> = {};
  for (const [at, [name, one]] of [...asked].sort(([a], [b]) => (a < b ? -1 : 1)).entries()) {
    const wish = wishOf(one, options);
    const { description = "" } = one.target;
    try {
      const answer = answerText(wish, done.get(name)!.response);
      code ||= answer.code;
      if (wish.format === "json") document[name] = { [wish.name]: JSON.parse(answer.text) };
      else print(`${at > 0 ? "\n" : ""}${name}\n${description === "" ? "" : `${description}\n`}\n${answer.text}`);
    } catch (error) {
      if (!(error instanceof ExitError)) throw error;
      code = 1;
      print(`${at > 0 ? "\n" : ""}${name}\n\n${error.message}\n`);
    }
  }
  if (Object.keys(document).length > 0) print(`${JSON.stringify({ target: document }, undefined, 2)}\n`);
  return code;
}

function metadataOfAll(done: ReadonlyMap<string, Built>): string {
  const rows = [...done].map(([name, built]) => [name, JSON.parse(metadataOf(built)) as unknown]);
  return `${JSON.stringify(Object.fromEntries(rows), undefined, 2)}\n`;
}
