import type { PullPlan, RateLimit } from "../../api/registry.ts";
import { humanSize } from "../../base/units.ts";
import type { Call } from "../command.ts";
import { withLogin } from "../credentials/ask-again.ts";
import { printLine } from "./print.ts";
import { clean } from "./screen.ts";
import { shortId } from "./text.ts";

/** Asks what a pull would download, and says it in the words of a pull. */
export async function showPlan(
  call: Call,
  domain: string,
  query: Readonly<Record<string, string | undefined>>,
): Promise<void> {
  let plan: PullPlan | undefined;
  await withLogin(call, domain, "pull", async (headers) => {
    plan = await call.client.json<PullPlan>("GET", "/gantry/images/pull", { query, headers });
  });
  if (plan === undefined) return;
  const { Digest, Layers, Missing, Name, Platform, RateLimit: limit, Size } = plan;
  if (!call.flags.bool("quiet")) {
    for (const layer of Layers) printLine(`${shortId(layer.Digest)}: ${layerText(layer)}`);
    printLine(`Digest: ${Digest}`);
    if (limit !== undefined) printLine(`Rate limit: ${limitText(limit)}`);
  }
  const amount = Missing === 0 ? "Nothing" : Missing === Size ? size(Size) : `${size(Missing)} of ${size(Size)}`;
  printLine(`${amount} to download for ${clean(Name)} (${clean(Platform)})`);
}

function layerText({ Missing, Size }: PullPlan["Layers"][number]): string {
  if (Missing === 0) return "Already exists";
  return Missing === Size ? `${size(Size)} to download` : `${size(Missing)} of ${size(Size)} to download`;
}

function limitText({ Limit, Remaining, Seconds }: RateLimit): string {
  return `${Remaining} of ${Limit} pulls are left${Seconds === 0 ? "" : `, in any ${period(Seconds)}`}`;
}

function period(seconds: number): string {
  const [count, unit] =
    seconds % 3600 === 0
      ? [seconds / 3600, "hour"]
      : seconds % 60 === 0
        ? [seconds / 60, "minute"]
        : [seconds, "second"];
  return count === 1 ? String(unit) : `${count} ${unit}s`;
}

function size(bytes: number): string {
  return humanSize(bytes, 4);
}
