import type { PullPlan, RateLimit } from "../../api/registry.ts";
import { humanSize } from "../../base/units.ts";
import type { Call } from "../command.ts";
import { withLogin } from "../credentials/ask-again.ts";
import { printLine } from "./print.ts";
import { clean } from "./screen.ts";
import { shortId } from "./text.ts";

const UNITS = [
  [86_400, "day"],
  [3600, "hour"],
  [60, "minute"],
  [1, "second"],
] as const;

/** Asks what a pull would download, and says it in the words of a pull. */
export async function showPlan(
  call: Call,
  domain: string,
  query: Readonly<Record<string, string | undefined>>,
): Promise<void> {
  const plan = await withLogin(call, domain, "pull", (headers) =>
    call.client.json<PullPlan>("GET", "/gantry/images/pull", { query, headers }),
  );
  const { Digest, Layers, Missing, Name, Platform, RateLimit, Size } = plan;
  if (!call.flags.bool("quiet")) {
    for (const layer of Layers) printLine(`${shortId(layer.Digest)}: ${layerText(layer)}`);
    printLine(`Digest: ${Digest}`);
    if (RateLimit !== undefined) printLine(`Rate limit: ${limitText(RateLimit)}`);
  }
  const amount = Missing === 0 ? "Nothing" : Missing === Size ? size(Size) : `${size(Missing)} of ${size(Size)}`;
  printLine(`${amount} to download for ${clean(Name)} (${clean(Platform)})`);
}

function layerText({ Missing, Size }: PullPlan["Layers"][number]): string {
  if (Missing === 0) return "Already exists";
  return Missing === Size ? `${size(Size)} to download` : `${size(Missing)} of ${size(Size)} to download`;
}

function limitText({ Limit, Remaining, Seconds }: RateLimit): string {
  return `${Remaining} of ${Limit} pulls${Seconds === 0 ? "" : ` in ${period(Seconds)}`} are left`;
}

function period(seconds: number): string {
  const [size = 1, unit] = UNITS.find(([size]) => seconds % size === 0) ?? [];
  const count = seconds / size;
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

function size(bytes: number): string {
  return humanSize(bytes, 4);
}
