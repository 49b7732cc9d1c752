import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { lookup } from "node:dns/promises";
import { statSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { isIP } from "node:net";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import { bytesSize, ramInBytes } from "../base/units.ts";
import { bindMount, detachMount, MS, mount } from "../kernel/mount.ts";
import { hasDisks, LARGEST_DISK, SMALLEST_DISK } from "./disk.ts";

/** What is mounted at a volume's mount point while it is used. */
export interface Device {
  readonly type: string;
  readonly device: string;
  /** As mount(8) takes them behind `-o`. */
  readonly options: string;
}

const KNOWN: ReadonlySet<string> = new Set(["type", "o", "device", "size"]);
const NEEDS: readonly (readonly [string, readonly string[]])[] = [
  ["device", ["type"]],
  ["type", ["device"]],
  ["o", ["device", "type"]],
];
/** File systems of the kernel alone: mounting them waits for nobody. */
const PROMPT: ReadonlySet<string> = new Set(["tmpfs", "ramfs", "overlay"]);
/** File systems of servers, which are named by `addr=`. */
const SHARES: ReadonlySet<string> = new Set(["nfs", "nfs3", "nfs4", "cifs", "smb3"]);
/** A server that doesn't answer holds whoever mounts it. */
const PATIENCE_MS = 60_000;

const FLAGS: Readonly<Record<string, { readonly set?: number; readonly clear?: number }>> = {
  defaults: {},
  async: { clear: MS.SYNCHRONOUS },
  atime: { clear: MS.NOATIME },
  bind: { set: MS.BIND },
  dev: { clear: MS.NODEV },
  diratime: { clear: MS.NODIRATIME },
  dirsync: { set: MS.DIRSYNC },
  exec: { clear: MS.NOEXEC },
  mand: { set: MS.MANDLOCK },
  noatime: { set: MS.NOATIME },
  nodev: { set: MS.NODEV },
  nodiratime: { set: MS.NODIRATIME },
  noexec: { set: MS.NOEXEC },
  nomand: { clear: MS.MANDLOCK },
  norelatime: { clear: MS.RELATIME },
  nostrictatime: { clear: MS.STRICTATIME },
  nosuid: { set: MS.NOSUID },
  rbind: { set: MS.BIND | MS.REC },
  relatime: { set: MS.RELATIME },
  ro: { set: MS.RDONLY },
  rw: { clear: MS.RDONLY },
  strictatime: { set: MS.STRICTATIME },
  suid: { clear: MS.NOSUID },
  sync: { set: MS.SYNCHRONOUS },
};

/** Checks the options of a new volume. Throws `invalid` in Docker's words. */
export function checkDeviceOptions(name: string, options: Readonly<Record<string, string>>): void {
  const refuse = (why: string) => new GantryError("invalid", `create ${name}: ${why}`);
  for (const option of Object.keys(options)) {
    if (!KNOWN.has(option)) throw refuse(`invalid option: ${JSON.stringify(option)}`);
  }
  if (options.size !== undefined) {
    let bytes: number;
    try {
      bytes = ramInBytes(options.size);
    } catch (error) {
      throw refuse((error as Error).message);
    }
    if (bytes > 0) checkSize(bytes, options, refuse);
  }
  for (const [option, needed] of NEEDS) {
    if (options[option] === undefined) continue;
    const missing = needed.find((each) => options[each] === undefined);
    if (missing !== undefined) throw refuse(`missing required option: ${JSON.stringify(missing)}`);
  }
  for (const [option, value] of Object.entries(options)) {
    if (value.includes("\0")) throw refuse(`the option ${JSON.stringify(option)} has a NUL byte`);
  }
}

function checkSize(
  bytes: number,
  options: Readonly<Record<string, string>>,
  refuse: (why: string) => GantryError,
): void {
  if (["device", "type", "o"].some((other) => options[other])) {
    throw refuse('the option "size" is for a volume without a device; a size that the device takes goes into "o"');
  }
  if (bytes < SMALLEST_DISK || bytes > LARGEST_DISK) {
    throw refuse(`a size is from ${bytesSize(SMALLEST_DISK)} to ${bytesSize(LARGEST_DISK)}, not ${options.size}`);
  }
  if (!hasDisks()) throw refuse("quota size requested but no quota support: mkfs.ext4 (e2fsprogs) is not installed");
}

/** The device of a volume's options; undefined for a volume that is a folder and no more. */
export function deviceOf(options: Readonly<Record<string, string>> | null): Device | undefined {
  if (!options?.device) return undefined;
  return { type: options.type ?? "", device: options.device, options: options.o ?? "" };
}

/**
 * Mounts a device. Throws `internal` with Docker's sentence around the kernel's reason. Of a share the server's name in
 * `addr=` is looked up each time, since the kernel takes addresses alone.
 */
export async function mountDevice(wanted: Device, target: string, lookUp: LookUp = lookUpAddress): Promise<void> {
  const device = SHARES.has(wanted.type) ? await withAddress(wanted, target, lookUp) : wanted;
  const { flags, data } = readOptions(device.options);
  try {
    if ((flags & MS.BIND) !== 0) bindDevice(device.device, target, flags);
    else if (PROMPT.has(device.type)) mount(device.device, target, device.type, flags, data);
    else await mountSlowly(device, target);
  } catch (error) {
    const shown = `${flags === 0 ? "" : `, flags: 0x${flags.toString(16)}`}${data === "" ? "" : `, data: ${hideSecrets(data)}`}`;
    throw new GantryError(
      "internal",
      `error while mounting volume '${target}': failed to mount local volume: mount ${device.device}:${target}${shown}: ${reasonOf(error)}`,
      { cause: error },
    );
  }
}

/** An address of a name. */
export type LookUp = (name: string) => Promise<string>;

async function lookUpAddress(name: string): Promise<string> {
  return (await lookup(name)).address;
}

async function withAddress(device: Device, target: string, lookUp: LookUp): Promise<Device> {
  const words = device.options.split(",");
  const at = words.findIndex((word) => word.startsWith("addr="));
  const name = words[at]?.slice("addr=".length) ?? "";
  if (name === "" || isIP(name) !== 0) return device;
  try {
    words[at] = `addr=${await lookUp(name)}`;
  } catch (error) {
    throw new GantryError(
      "internal",
      `error while mounting volume '${target}': error resolving passed in network volume address: lookup ${name}: ${hasCode(error, "ENOTFOUND", "ENODATA") ? "no such host" : messageOf(error)}`,
      { cause: error },
    );
  }
  return { ...device, options: words.join(",") };
}

function bindDevice(source: string, target: string, flags: number): void {
  statSync(source);
  bindMount(source, target, { recursive: (flags & MS.REC) !== 0, readonly: (flags & MS.RDONLY) !== 0 });
  const others = flags & (MS.NOSUID | MS.NODEV | MS.NOEXEC | MS.NOATIME | MS.NODIRATIME);
  if (others === 0) return;
  try {
    mount("", target, "", MS.REMOUNT | MS.BIND | others | (flags & MS.RDONLY));
  } catch (error) {
    void detachMount(target);
    throw error;
  }
}

/**
 * By mount(8) without its helpers, which makes the same call: in a process of its own, as the kernel may wait for a
 * server. It is told what to mount by a file, since everybody on the machine can read a command line.
 */
async function mountSlowly({ type, device, options }: Device, target: string): Promise<void> {
  const table = join(dirname(target), `.mount-${randomBytes(8).toString("hex")}`);
  try {
    const fields = [device, target, type || "auto", options || "defaults"].map(escapeField);
    await writeFile(table, `${fields.join(" ")} 0 0\n`, { mode: 0o600, flag: "wx" });
    await promisify(execFile)("mount", ["-i", "-n", "-T", table, "--", target], {
      timeout: PATIENCE_MS,
      killSignal: "SIGKILL",
      maxBuffer: 64 << 10,
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
    });
  } finally {
    await rm(table, { force: true });
  }
}

/** For a line of fstab(5). */
function escapeField(text: string): string {
  return text.replace(/[\s\\#]/g, (letter) => `\\${letter.charCodeAt(0).toString(8).padStart(3, "0")}`);
}

function readOptions(text: string): { readonly flags: number; readonly data: string } {
  let flags = 0;
  const data: string[] = [];
  for (const word of text.split(",")) {
    const known = Object.hasOwn(FLAGS, word) ? FLAGS[word] : undefined;
    if (known !== undefined) flags = (flags | (known.set ?? 0)) & ~(known.clear ?? 0);
    else if (word !== "") data.push(word);
  }
  return { flags, data: data.join(",") };
}

/** Shares are mounted with a password among the options. */
function hideSecrets(data: string): string {
  return data.replace(/\b(password2?|pass)=[^,]*/gi, "$1=****");
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "no such file or directory",
  ENOTDIR: "not a directory",
  EPERM: "operation not permitted",
  EACCES: "permission denied",
  EINVAL: "invalid argument",
  ENODEV: "no such device",
};

function reasonOf(error: unknown): string {
  const code = Object.keys(REASONS).find((each) => hasCode(error, each));
  if (code !== undefined) return REASONS[code] ?? "";
  const { stderr, killed, message } = error as { stderr?: string; killed?: boolean; message: string };
  if (killed === true) return `no answer within ${PATIENCE_MS / 1000} seconds`;
  // Its first line is why; others advise to look elsewhere.
  const said = hideSecrets(stderr?.trim().split("\n")[0] ?? "");
  return said === "" ? message : said.replace(/^mount: /, "").replace(/\.$/, "");
}
