import { formatReference, isNameOnly, type Reference, repositoryOf, tagNameOnly } from "../../oci/reference.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import { withLogin } from "../credentials/ask-again.ts";
import { errorLine, printable } from "../error-line.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { complain, printLine } from "../output/print.ts";
import { showProgress } from "../output/progress.ts";
import { contentTrustFlag, refuseContentTrust } from "../run/content-trust.ts";
import { defaultPlatform } from "../run/platform.ts";
import { registryReference } from "../run/registry-name.ts";

export const pull: Command = {
  usage: "[OPTIONS] NAME[:TAG|@DIGEST] [NAME[:TAG|@DIGEST]...]",
  args: { rule: "at-least", count: 1 },
  flags: [
    boolFlag("a,all-tags", "Download all tagged images of the repository"),
    contentTrustFlag("Skip image verification"),
    boolFlag("dry-run", "Say what would be downloaded, and download nothing"),
    textFlag("platform", "Pull this platform of the image, os[/arch[/variant]]", { since: "1.32" }),
    boolFlag("q,quiet", "Only print the image's name"),
  ],
  async run(call) {
    const { flags } = call;
    const all = flags.bool("all-tags");
    if (all && flags.bool("dry-run"))
      throw new ExitError(1, "--dry-run is for images, not for all tags of a repository");
    const images = await namedImages(call, all);
    if (images.some(({ digest }) => digest === undefined)) refuseContentTrust(flags);
    const platform = flags.changed("platform") ? flags.text("platform") : defaultPlatform();
    return await eachImage(call, images, async (named) => {
      const reference = all ? named : withDefaultTag(call, named);
      const { digest, domain, tag } = reference;
      const query = { fromImage: repositoryOf(reference), tag: digest ?? tag, platform };
      if (flags.bool("dry-run")) {
        const { showPlan } = await import("../output/pull-plan.ts");
        return showPlan(call, domain, query);
      }
      await withLogin(call, domain, "pull", async (headers) => {
        const { body } = await call.client.stream("POST", "/images/create", { query, headers });
        await showProgress(body, 1, { quiet: flags.bool("quiet"), sums: true });
      });
      printLine(formatReference(reference));
    });
  },
};

/** The images of the arguments. All of them are names, before anything is asked for. */
export async function namedImages(call: Call, allTags: boolean): Promise<readonly Reference[]> {
  const images: Reference[] = [];
  for (const text of call.args) {
    const reference = await registryReference(call.client, text);
    if (allTags && !isNameOnly(reference)) throw new ExitError(1, "tag can't be used with --all-tags/-a");
    images.push(reference);
  }
  return images;
}

/** Without a tag it is the latest, which is said. */
export function withDefaultTag(call: Call, named: Reference): Reference {
  const reference = tagNameOnly(named);
  if (isNameOnly(named) && !call.flags.bool("quiet")) printLine(`Using default tag: ${reference.tag}`);
  return reference;
}

/** Does something with one image after the other: one that fails leaves the others be. Resolves to the exit code. */
export async function eachImage(
  call: Call,
  images: readonly Reference[],
  act: (reference: Reference) => Promise<void>,
): Promise<number> {
  let code = 0;
  for (const [index, reference] of images.entries()) {
    try {
      await act(reference);
    } catch (error) {
      if (images.length === 1) throw error;
      complain(`${printable(call.args[index] ?? "")}: ${errorLine(error)}`);
      code = 1;
    }
  }
  return code;
}
