import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { GantryError, unlessCode } from "../../base/errors.ts";
import type { Platform } from "../../oci/image.ts";

const BINFMT = "/proc/sys/fs/binfmt_misc";

/** e_machine of the ELF header, and whether it is written with the high byte first. */
const MACHINES: Readonly<Record<string, { readonly machine: number; readonly big?: boolean }>> = {
  "386": { machine: 3 },
  amd64: { machine: 62 },
  arm: { machine: 40 },
  arm64: { machine: 183 },
  loong64: { machine: 258 },
  mips64le: { machine: 8 },
  ppc64le: { machine: 21 },
  riscv64: { machine: 243 },
  s390x: { machine: 22, big: true },
};
/** What a processor runs besides its own. */
const ALSO: Readonly<Record<string, readonly string[]>> = { amd64: ["386"], arm64: ["arm"] };
/** Where in the header it is, after sixteen bytes of identification and two of the type. */
const MACHINE_AT = 18;

/** Refuses with `unsupported` a step for an architecture that neither the processor nor an emulator can run. */
export function checkRunnable(platform: Platform, host: string, binfmt = BINFMT): void {
  const wanted = platform.architecture;
  if (platform.os !== "linux") {
    throw new GantryError(
      "unsupported",
      `cannot run a step for ${platform.os}/${wanted}: this engine runs Linux alone`,
    );
  }
  if (wanted === host || ALSO[host]?.includes(wanted) === true || hasEmulator(wanted, binfmt)) return;
  throw new GantryError(
    "unsupported",
    `cannot run a step for linux/${wanted} on linux/${host}: the kernel has no emulator for it in binfmt_misc; ` +
      "install one that is registered with the flag F, such as qemu-user-static",
  );
}

/** The flag F says that the kernel holds the emulator open: in a step's root it isn't there. */
function hasEmulator(architecture: string, binfmt: string): boolean {
  const known = MACHINES[architecture];
  if (known === undefined || isOff(join(binfmt, "status"))) return false;
  const header = Buffer.alloc(2);
  if (known.big === true) header.writeUInt16BE(known.machine);
  else header.writeUInt16LE(known.machine);
  const names = unlessCode(["ENOENT"], () => readdirSync(binfmt)) ?? [];
  return names
    .filter((name) => name !== "register" && name !== "status")
    .some((name) => matches(readFileSync(join(binfmt, name), "utf8"), header, known.big === true));
}

function isOff(status: string): boolean {
  return unlessCode(["ENOENT"], () => readFileSync(status, "utf8").trim()) !== "enabled";
}

function matches(entry: string, machine: Buffer, isBig: boolean): boolean {
  const rows = new Map(entry.split("\n").map((row) => [row.split(" ")[0] ?? "", row.split(" ")[1] ?? ""]));
  const flags = rows.get("flags:") ?? "";
  const magic = Buffer.from(rows.get("magic") ?? "", "hex");
  if (!rows.has("enabled") || !flags.includes("F") || rows.get("offset") !== "0") return false;
  // EI_DATA: 1 is the low byte first, 2 the high one.
  if (magic.length < MACHINE_AT + 2 || magic.toString("latin1", 0, 4) !== "\x7fELF") return false;
  return magic[5] === (isBig ? 2 : 1) && magic.subarray(MACHINE_AT, MACHINE_AT + 2).equals(machine);
}
