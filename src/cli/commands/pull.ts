import { formatReference, type Reference, repositoryOf, tagNameOnly } from "../../oci/reference.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import { withLogin } from "../credentials/ask-again.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { printLine } from "../output/print.ts";
import { showProgress } from "../output/progress.ts";
import { contentTrustFlag, refuseContentTrust } from "../run/content-trust.ts";
import { defaultPlatform } from "../run/platform.ts";
import { registryReference } from "../run/registry-name.ts";

export const pull: Command = {
  usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
  args: { rule: "exactly", count: 1 },
  flags: [
    boolFlag("a,all-tags", "Download all tagged images of the repository"),
    contentTrustFlag("Skip image verification"),
    textFlag("platform", "Pull this platform of the image, os[/arch[/variant]]", { since: "1.32" }),
    boolFlag("q,quiet", "Only print the image's name"),
  ],
  async run(call) {
    const quiet = call.flags.bool("quiet");
    const all = call.flags.bool("all-tags");
    const reference = await namedImage(call, all);
    if (reference.digest === undefined) refuseContentTrust(call.flags);
    const query = {
      fromImage: repositoryOf(reference),
      tag: reference.digest ?? reference.tag,
      platform: call.flags.changed("platform") ? call.flags.text("platform") : defaultPlatform(),
    };
    await withLogin(call, reference.domain, "pull", async (headers) => {
      const { body } = await call.client.stream("POST", "/images/create", { query, headers });
      await showProgress(body, 1, { quiet, sums: true });
    });
    printLine(formatReference(reference));
    return 0;
  },
};

/** The image of the first argument; without a tag it is the latest, which is said, unless all are meant. */
export async function namedImage(call: Call, allTags: boolean): Promise<Reference> {
  const reference = await registryReference(call.client, call.args[0] ?? "");
  const isNameOnly = reference.tag === undefined && reference.digest === undefined;
  if (allTags && !isNameOnly) throw new ExitError(1, "tag can't be used with --all-tags/-a");
  if (allTags || !isNameOnly) return reference;
  const tagged = tagNameOnly(reference);
  if (!call.flags.bool("quiet")) printLine(`Using default tag: ${tagged.tag}`);
  return tagged;
}
