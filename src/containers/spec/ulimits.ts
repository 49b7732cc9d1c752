import type { Ulimit } from "../../api/container.ts";
import { GantryError } from "../../base/errors.ts";
import { clampRlimit } from "../../kernel/process.ts";
import type { HostFacts } from "./host.ts";

const NAMES = new Set(
  "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split(" "),
);

export interface SpecRlimit {
  type: string;
  soft: number;
  hard: number;
}

/** Refuses unknown names and a soft limit above the hard one, in Docker's words. */
export function checkUlimit({ Name, Soft, Hard }: Ulimit): void {
  if (!NAMES.has(Name)) throw new GantryError("invalid", `invalid ulimit type: ${Name}`);
  if (Hard === -1 || (Soft !== -1 && Soft <= Hard)) return;
  const found = Soft === -1 ? `soft: -1 (unlimited), hard: ${Hard}` : `${Soft} > ${Hard}`;
  throw new GantryError("invalid", `ulimit soft limit must be less than or equal to hard limit: ${found}`);
}

/** The container's limits over the engine's defaults, each no higher than the engine itself may give. */
export function buildUlimits(
  own: readonly Ulimit[],
  defaults: readonly Ulimit[],
  host: Pick<HostFacts, "maxOpenFiles">,
): { rlimits: SpecRlimit[]; warnings: string[] } {
  const byName = new Map([...defaults, ...own].map((ulimit) => [ulimit.Name, ulimit]));
  const warnings: string[] = [];
  const rlimits = [...byName.values()].map((ulimit) => {
    checkUlimit(ulimit);
    const type = `RLIMIT_${ulimit.Name.toUpperCase()}`;
    const highest = ulimit.Name === "nofile" ? host.maxOpenFiles : Infinity;
    const [soft, hard] = [unlimited(ulimit.Soft), unlimited(ulimit.Hard)];
    const given = clampRlimit(type, Math.min(soft, highest), Math.min(hard, highest));
    // Only what was asked for with --ulimit is worth a word to the user.
    if ((given.soft < soft || given.hard < hard) && own.includes(ulimit)) {
      warnings.push(
        `The ulimit ${ulimit.Name}=${ulimit.Soft}:${ulimit.Hard} is more than the engine may give; ` +
          `lowered to ${given.soft}:${given.hard}.`,
      );
    }
    return { type, soft: toSpec(given.soft), hard: toSpec(given.hard) };
  });
  return { rlimits, warnings };
}

function unlimited(value: number): number {
  return value < 0 ? Infinity : value;
}

const rawJson = (JSON as unknown as { rawJSON(text: string): number }).rawJSON;

/** RLIM_INFINITY is 2^64 - 1, which no double is: it goes into config.json as raw text. */
function toSpec(value: number): number {
  return value === Infinity ? rawJson("18446744073709551615") : value;
}

/** The largest double below RLIM_INFINITY. */
const NEARLY_INFINITE = 2 ** 64 - 2048;

/**
 * Limits read back from a config.json, to be sent on as JSON: "no limit" is then a double just above what fits into 64
 * bits, and becomes the largest that does.
 */
export function rereadUlimits(rlimits: readonly SpecRlimit[]): SpecRlimit[] {
  const fit = (value: number) => Math.min(value, NEARLY_INFINITE);
  return rlimits.map(({ type, soft, hard }) => ({ type, soft: fit(soft), hard: fit(hard) }));
}
