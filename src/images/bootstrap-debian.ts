import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { throwIfAborted } from "../base/abort.ts";
import { GantryError, messageOf } from "../base/errors.ts";
import type { Progress } from "./image.ts";
import { importImage } from "./import.ts";
import { type PackageSource, readPackageSources, sourcesForSuite } from "./package-source.ts";
import type { BootstrapConfig, ImageContext } from "./ports.ts";

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const KEPT_WORDS = 8192;
/** How long mmdebstrap may take to clean up after it was told to stop. */
const GRACE_MS = 10_000;

/**
 * Makes `debian:SUITE` by mmdebstrap of the machine's own package sources. Its tar goes straight into the import; its
 * temporary folder is under the data root and gone afterwards.
 */
export async function bootstrapDebian(context: ImageContext, suite: string, progress: Progress): Promise<string> {
  if (!/^[a-z][a-z0-9.-]{0,63}$/.test(suite)) {
    throw new GantryError("invalid", `cannot make debian:${suite}: the tag must be a suite, such as debian:bookworm`);
  }
  const { bootstrap } = context;
  const sources = sourcesForSuite(readPackageSources(bootstrap.aptRoot), ownSuite(), suite);
  if (sources.length === 0) {
    throw new GantryError(
      "unavailable",
      `cannot make debian:${suite}: ${bootstrap.aptRoot} names no Debian archive to take its packages from`,
    );
  }
  await mkdir(bootstrap.tempRoot, { recursive: true, mode: 0o700 });
  const temp = await mkdtemp(join(bootstrap.tempRoot, "debian-"));
  try {
    const tar = debootstrap(bootstrap, suite, await mirrorArguments(sources, temp), temp, progress);
    const changes = [
      'CMD ["bash"]',
      `ENV PATH=${PATH}`,
      `LABEL org.opencontainers.image.title=debian org.opencontainers.image.version=${suite}`,
    ];
    const options = { changes, message: `Debian ${suite}, minimal`, reference: `debian:${suite}` };
    return await importImage(context, tar, options, progress, { createdBy: `mmdebstrap --variant=minbase ${suite}` });
  } finally {
    await rm(temp, { recursive: true, force: true });
  }
}

/** mmdebstrap's tar as it comes; throws with its last words if it fails, also after the last byte. */
async function* debootstrap(
  config: BootstrapConfig,
  suite: string,
  mirrors: readonly string[],
  temp: string,
  progress: Progress,
): AsyncGenerator<Uint8Array> {
  const flags = ["--mode=root", "--variant=minbase", "--format=tar", "--components=main"];
  const child = spawn(config.mmdebstrap, [...flags, suite, "-", ...mirrors], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH, TMPDIR: temp, LC_ALL: "C.UTF-8", DEBIAN_FRONTEND: "noninteractive" },
    // A group of its own, so that what it started ends with it.
    detached: true,
  });
  const exit = once(child, "close") as Promise<[code: number | null]>;
  // Heard below; it may come before anybody waits for it.
  exit.catch(() => {});
  const stop = (): void => signalGroup(child.pid, "SIGTERM");
  progress.signal?.addEventListener("abort", stop, { once: true });
  let words = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    words = (words + text).slice(-KEPT_WORDS);
    for (const line of text.split("\n")) {
      const [, step] = /^I: ((?!.*tempdir).+)$/.exec(line) ?? [];
      if (step !== undefined) progress.onProgress?.({ id: `debian:${suite}`, status: step });
    }
  });
  let isDone = false;
  try {
    if (progress.signal?.aborted === true) stop();
    yield* child.stdout as AsyncIterable<Uint8Array>;
    const [code] = await exit.catch((error: unknown) => {
      throw new GantryError("unavailable", `cannot make debian:${suite}: ${messageOf(error)}`, { cause: error });
    });
    isDone = true;
    throwIfAborted(progress.signal);
    if (code !== 0)
      throw new GantryError("unavailable", `cannot make debian:${suite}: mmdebstrap: ${lastWords(words)}`);
  } finally {
    progress.signal?.removeEventListener("abort", stop);
    if (!isDone) await ended(child.pid, exit);
  }
}

async function ended(pid: number | undefined, exit: Promise<unknown>): Promise<void> {
  signalGroup(pid, "SIGTERM");
  const timer = setTimeout(() => signalGroup(pid, "SIGKILL"), GRACE_MS);
  await exit.catch(() => {});
  clearTimeout(timer);
}

function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // Gone already.
  }
}

/** The complaint in what mmdebstrap printed last, in one line. */
function lastWords(text: string): string {
  const lines = text.split("\n").map((line) => line.trim());
  const complaints = lines.filter(
    (line) => /^(E|Err|W): /.test(line) && !/^E: (run_|mmdebstrap failed|setup failed)/.test(line),
  );
  const line = complaints.findLast((one) => one.startsWith("E: ")) ?? complaints.at(-1);
  return (line ?? lines.findLast((one) => one !== "") ?? "it failed without a word").replace(/^(E|Err|W): /, "");
}

async function mirrorArguments(sources: readonly PackageSource[], temp: string): Promise<string[]> {
  const keyrings: string[] = [];
  const mirrors: string[] = [];
  for (const [index, source] of sources.entries()) {
    const options = source.trusted ? ["trusted=yes"] : [];
    const key = source.signedBy?.trim() ?? "";
    if (key.includes("BEGIN PGP")) {
      // Said apart from the source, which the image keeps: this file's path means nothing inside of it.
      const path = join(temp, `${index}.asc`);
      await writeFile(path, `${key}\n`, { mode: 0o644 });
      keyrings.push(`--keyring=${path}`);
    } else if (key !== "") options.push(`signed-by=${key}`);
    const bracket = options.length === 0 ? "" : `[${options.join(" ")}] `;
    mirrors.push(`deb ${bracket}${source.uri} ${source.suite} ${source.components.join(" ")}`);
  }
  return [...mirrors, ...keyrings];
}

function ownSuite(): string {
  const text = readFileSync("/etc/os-release", "utf8");
  return /^VERSION_CODENAME="?([a-z]+)"?$/m.exec(text)?.[1] ?? "stable";
}
