import { formatReference, isNameOnly, type Reference } from "../../oci/reference.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import { registryConfig } from "../credentials/headers.ts";
import { boolFlag, listFlag } from "../flags/spec.ts";
import { printLine } from "../output/print.ts";
import { showProgress } from "../output/progress.ts";
import { registryReference } from "../run/registry-name.ts";

export const copyImage: Command = {
  usage: "[OPTIONS] SOURCE[:TAG|@DIGEST] TARGET[:TAG]",
  args: { rule: "exactly", count: 2 },
  long: "Copy an image from one registry to another, or within one, without keeping it here.\nAll its platforms are copied, and its digest stays; the target takes the source's tag unless it has its own.",
  flags: [
    boolFlag("a,all-tags", "Copy all tags of the source's repository"),
    boolFlag("insecure", "Registries may be without TLS, or with certificates that nothing vouches for"),
    listFlag("platform", "Copy only this platform, os[/arch[/variant]]; may be given several times"),
    boolFlag("signatures", "Copy signatures and what else refers to the image, too"),
    boolFlag("q,quiet", "Only print the target's name"),
  ],
  async run(call) {
    const { flags } = call;
    const all = flags.bool("all-tags");
    const [from, to] = await Promise.all([
      registryReference(call.client, call.args[0] ?? ""),
      registryReference(call.client, call.args[1] ?? ""),
    ]);
    if (all && !(isNameOnly(from) && isNameOnly(to))) throw new ExitError(1, "tag can't be used with --all-tags/-a");
    await copy(call, from, to);
    if (flags.bool("quiet")) printLine(call.args[1] ?? "");
    return 0;
  },
};

async function copy({ client, settings, flags }: Call, from: Reference, to: Reference): Promise<void> {
  const { body } = await client.stream("POST", "/gantry/images/copy", {
    query: {
      from: formatReference(from),
      to: formatReference(to),
      all: flags.bool("all-tags"),
      insecure: flags.bool("insecure"),
      platform: flags.list("platform"),
      signatures: flags.bool("signatures"),
    },
    headers: await registryConfig({ settings }, [from.domain, to.domain]),
  });
  await showProgress(body, 1, { quiet: flags.bool("quiet"), sums: true });
}
