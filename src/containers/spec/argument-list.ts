import { readFileSync } from "node:fs";
import { GantryError } from "../../base/errors.ts";
import type { SpecProcess } from "../../oci/runtime-spec.ts";

/** execve(2), "Limits on size of arguments and environment": MAX_ARG_STRLEN, and of all together. */
const LONGEST = 128 << 10;
const LEAST = 128 << 10;
const MOST = 6 << 20;
const POINTER = 8;

/**
 * Refuses what the kernel would refuse to execute. The runtime would notice only after the container was told as
 * started, and takes time by the square of the number of variables to come so far.
 */
export function checkArgumentList(
  process: Pick<SpecProcess, "args" | "env" | "rlimits">,
  what: "create" | "exec" = "create",
): void {
  const strings = [...process.args, ...process.env].map((text) => Buffer.byteLength(text) + 1);
  const given = process.rlimits?.find(({ type }) => type === "RLIMIT_STACK")?.soft;
  const stack = typeof given === "number" ? given : ownStackLimit();
  const most = Math.min(MOST, Math.max(LEAST, stack / 4));
  const total = strings.reduce((sum, size) => sum + size + POINTER, 0);
  // The kernel would take what is before a NUL for all of it, and do something else than was asked for.
  const isCut = [...process.args, ...process.env].some((text) => text.includes("\0"));
  if (!isCut && total <= most && strings.every((size) => size <= LONGEST)) return;
  const name = (process.args[0] ?? "").slice(0, 200);
  const why = isCut ? "invalid argument" : "argument list too long";
  throw new GantryError(
    "invalid",
    `OCI runtime ${what} failed: unable to start container process: exec: ${JSON.stringify(name)}: ${why}`,
  );
}

function ownStackLimit(): number {
  const soft = /^Max stack size\s+(\d+|unlimited)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
  return soft === undefined || soft === "unlimited" ? Number.POSITIVE_INFINITY : Number(soft);
}
