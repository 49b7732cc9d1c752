import { execFile } from "node:child_process";
import { createReadStream } from "node:fs";
import { open, stat } from "node:fs/promises";
import { promisify } from "node:util";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import { type TarOutput, writeTar } from "../oci/tar/writer.ts";
import type { Progress } from "./image.ts";
import { importImage } from "./import.ts";
import type { ImageContext } from "./ports.ts";

const FOLDERS: readonly (readonly [path: string, mode: number])[] = [
  ["bin", 0o755],
  ["dev", 0o755],
  ["etc", 0o755],
  ["home", 0o755],
  ["proc", 0o755],
  ["root", 0o700],
  ["run", 0o755],
  ["sbin", 0o755],
  ["sys", 0o755],
  ["tmp", 0o1777],
  ["usr", 0o755],
  ["usr/bin", 0o755],
  ["usr/sbin", 0o755],
  ["var", 0o755],
  ["var/spool", 0o755],
  ["var/spool/mail", 0o755],
  ["var/www", 0o755],
];
const USERS: readonly (readonly [name: string, uid: number, gid: number, home: string, shell: string])[] = [
  ["root", 0, 0, "/root", "/bin/sh"],
  ["daemon", 1, 1, "/usr/sbin", "/bin/false"],
  ["bin", 2, 2, "/bin", "/bin/false"],
  ["sys", 3, 3, "/dev", "/bin/false"],
  ["mail", 8, 8, "/var/spool/mail", "/bin/false"],
  ["www-data", 33, 33, "/var/www", "/bin/false"],
  ["nobody", 65_534, 65_534, "/home", "/bin/false"],
];
const GROUPS: readonly (readonly [name: string, gid: number])[] = [
  ["root", 0],
  ["daemon", 1],
  ["bin", 2],
  ["sys", 3],
  ["adm", 4],
  ["tty", 5],
  ["disk", 6],
  ["mail", 8],
  ["wheel", 10],
  ["www-data", 33],
  ["utmp", 43],
  ["users", 100],
  ["nogroup", 65_534],
];

const PT_INTERP = 3;

/**
 * Makes `busybox:latest` of the machine's static busybox, with a hard link for each of its applets. The same busybox
 * gives the same image: times are SOURCE_DATE_EPOCH's, else those of the executable.
 */
export async function bootstrapBusybox(context: ImageContext, progress: Progress): Promise<string> {
  const { busybox } = context.bootstrap;
  const { size, mtimeMs } = await stat(busybox).catch((error: unknown) => {
    if (!hasCode(error, "ENOENT")) throw error;
    throw new GantryError("unavailable", `cannot make busybox: there is no ${busybox}; install busybox-static`);
  });
  if (!(await isStatic(busybox))) {
    throw new GantryError(
      "unavailable",
      `cannot make busybox: ${busybox} needs shared libraries that the image will not have; install busybox-static`,
    );
  }
  const epoch = Number(process.env.SOURCE_DATE_EPOCH ?? Math.trunc(mtimeMs / 1000));
  const applets = await appletsOf(busybox);
  progress.onProgress?.({ id: "busybox:latest", status: `${applets.length} applets` });
  const tar = writeTar(members(busybox, size, applets, { seconds: epoch, nanoseconds: 0 }));
  const options = {
    changes: ['CMD ["sh"]', "LABEL org.opencontainers.image.title=busybox"],
    message: "BusyBox, static",
    reference: "busybox:latest",
  };
  const origin = { created: new Date(epoch * 1000).toISOString(), createdBy: "busybox --list-full" };
  return importImage(context, tar, options, progress, origin);
}

/** False for an ELF executable that names a dynamic linker (elf(5), PT_INTERP); true for any other file. */
async function isStatic(path: string): Promise<boolean> {
  await using file = await open(path, "r");
  const { buffer, bytesRead } = await file.read(Buffer.alloc(1 << 16), 0, 1 << 16, 0);
  const head = buffer.subarray(0, bytesRead);
  if (bytesRead < 64 || head.readUInt32BE(0) !== 0x7f454c46) return true;
  const is64 = head[4] === 2;
  const isLittle = head[5] === 1;
  const short = (at: number): number => (isLittle ? head.readUInt16LE(at) : head.readUInt16BE(at));
  const long = (at: number): number => (isLittle ? head.readUInt32LE(at) : head.readUInt32BE(at));
  // Of a 64-bit offset the low half is enough: program headers follow the file's header.
  const table = is64 ? long(isLittle ? 32 : 36) : long(28);
  const entrySize = short(is64 ? 54 : 42);
  const count = short(is64 ? 56 : 44);
  for (let at = table; at < table + count * entrySize && at + 4 <= bytesRead; at += entrySize) {
    if (long(at) === PT_INTERP) return false;
  }
  return true;
}

async function appletsOf(busybox: string): Promise<string[]> {
  try {
    const { stdout } = await promisify(execFile)(busybox, ["--list-full"], { env: {}, timeout: 10_000 });
    const paths = stdout.split("\n").filter((path) => /^(?:usr\/)?s?bin\/[^/]+$/.test(path) || /^linuxrc$/.test(path));
    return paths.filter((path) => path !== "bin/busybox").sort();
  } catch (error) {
    throw new GantryError(
      "unavailable",
      `cannot make busybox: ${busybox} does not list its applets: ${messageOf(error)}`,
      {
        cause: error,
      },
    );
  }
}

async function* members(
  busybox: string,
  size: number,
  applets: readonly string[],
  mtime: { readonly seconds: number; readonly nanoseconds: number },
): AsyncGenerator<TarOutput> {
  for (const [name, mode] of FOLDERS) yield { entry: { name, type: "directory", mode, mtime } };
  const executable = { name: "bin/busybox", type: "file", mode: 0o755, size, mtime } as const;
  yield { entry: executable, body: createReadStream(busybox) as AsyncIterable<Uint8Array> };
  for (const name of applets) yield { entry: { name, type: "hardlink", linkName: "bin/busybox", mode: 0o755, mtime } };
  for (const [name, text] of Object.entries(FILES)) {
    const bytes = Buffer.from(text);
    yield {
      entry: { name, type: "file", mode: name.endsWith("shadow") ? 0o600 : 0o644, size: bytes.length, mtime },
      body: [bytes],
    };
  }
}

const FILES: Readonly<Record<string, string>> = {
  "etc/group": GROUPS.map(([name, gid]) => `${name}:x:${gid}:\n`).join(""),
  "etc/passwd": USERS.map(([name, uid, gid, home, shell]) => `${name}:x:${uid}:${gid}:${name}:${home}:${shell}\n`).join(
    "",
  ),
  "etc/shadow": USERS.map(([name]) => `${name}:*:19000:0:99999:7:::\n`).join(""),
};
