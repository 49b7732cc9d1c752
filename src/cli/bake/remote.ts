import { lstatSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BakeFile, DEFAULT_FILES } from "../../bake/bake.ts";
import { GantryError } from "../../base/errors.ts";
import { emptyAsked } from "../build/asked.ts";
import { isAddress } from "../build/contexts.ts";
import type { Input } from "../build/input.ts";
import { runBuild } from "../build/run.ts";
import type { Call } from "../command.ts";

const MOST_BYTES = 2_000_000;

/** `URL [URL] TARGET…`: where the definitions are, where `BAKE_CMD_CONTEXT` is, and what is to be built. */
export function remoteArguments(args: readonly string[]): {
  readonly url: string | undefined;
  readonly context: string | undefined;
  readonly names: readonly string[];
} {
  const [url, context, ...names] = args;
  if (url === undefined || !isAddress(url)) return { url: undefined, context: undefined, names: args };
  if (context === undefined || !isAddress(context)) return { url, context: undefined, names: args.slice(1) };
  return { url, context, names };
}

/** The definitions of a repository or an archive, which the engine fetches as it does contexts. */
export async function readRemoteFiles(
  call: Call,
  url: string,
  names: readonly string[],
  input: Input,
  signal: AbortSignal,
): Promise<readonly BakeFile[]> {
  const folder = mkdtempSync(join(tmpdir(), "gantry-bake-"));
  try {
    const wanted = names.length > 0 ? names : DEFAULT_FILES.map((name) => `${name}*`);
    const copies = wanted.map((name) => `COPY ${JSON.stringify([name, `/${names.length > 0 ? name : ""}`])}`);
    const asked = {
      ...emptyAsked(),
      context: url,
      inline: `FROM scratch\n${copies.join("\n")}\n`,
      outputs: [`type=local,dest=${folder}`],
      secrets: gitSecrets(process.env),
      ssh: process.env.BUILDX_BAKE_GIT_SSH === undefined ? [] : [`default=${process.env.BUILDX_BAKE_GIT_SSH}`],
    };
    await runBuild(call, asked, input, { progress: "none", signal, verbose: false });
    const found = names.length > 0 ? names : DEFAULT_FILES.filter((name) => readdirSync(folder).includes(name));
    if (found.length === 0) throw new GantryError("not-found", `couldn't find a bake definition in ${url}`);
    return found.map((name) => ({ name, text: readBelow(folder, name) }));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A file that lies in a folder whose contents others made: what a link leads to is this machine's. */
function readBelow(folder: string, name: string): string {
  const path = join(realpathSync(folder), name);
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found?.isFile() !== true || realpathSync(path) !== path) {
    throw new GantryError("invalid", `the definition ${name} is no file of its repository`);
  }
  if (found.size > MOST_BYTES) throw new GantryError("invalid", `the definition ${name} is larger than 2MB`);
  return readFileSync(path, "utf8");
}

/** What a private repository of definitions, or of a context, is fetched with. */
function gitSecrets(env: NodeJS.ProcessEnv): string[] {
  const rows = { GIT_AUTH_TOKEN: "BUILDX_BAKE_GIT_AUTH_TOKEN", GIT_AUTH_HEADER: "BUILDX_BAKE_GIT_AUTH_HEADER" };
  return Object.entries(rows).flatMap(([id, name]) => (env[name] === undefined ? [] : [`id=${id},env=${name}`]));
}
