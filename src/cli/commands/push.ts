import { formatReference, repositoryOf } from "../../oci/reference.ts";
import { type Command, ExitError } from "../command.ts";
import { withLogin } from "../credentials/ask-again.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { note } from "../output/note.ts";
import { printLine } from "../output/print.ts";
import { showProgress } from "../output/progress.ts";
import { contentTrustFlag, refuseContentTrust } from "../run/content-trust.ts";
import { platformJson } from "../run/platform.ts";
import { segment } from "./lifecycle.ts";
import { eachImage, namedImages, withDefaultTag } from "./pull.ts";

export const push: Command = {
  usage: "[OPTIONS] NAME[:TAG] [NAME[:TAG]...]",
  args: { rule: "at-least", count: 1 },
  flags: [
    boolFlag("a,all-tags", "Push all tags of the image's repository"),
    contentTrustFlag("Skip image signing"),
    textFlag("platform", "Push only this platform of the image, os[/arch[/variant]]", { since: "1.46" }),
    boolFlag("q,quiet", "Only print the image's name"),
  ],
  async run(call) {
    const quiet = call.flags.bool("quiet");
    const platform = platformJson(call.flags.text("platform"));
    if (platform !== "" && !quiet) {
      note(
        1,
        "Using --platform pushes only the specified platform manifest of a multi-platform image index.",
        "Other components, like attestations, will not be included.",
        "To push the complete multi-platform image, remove the --platform flag.",
        "",
      );
    }
    const all = call.flags.bool("all-tags");
    const images = await namedImages(call, all);
    if (images.some(({ digest }) => digest !== undefined)) throw new ExitError(1, "cannot push a digest reference");
    refuseContentTrust(call.flags);
    return await eachImage(call, images, async (named) => {
      const reference = all ? named : withDefaultTag(call, named);
      const path = `/images/${segment(repositoryOf(reference), "image")}/push`;
      const after: (() => void)[] = [];
      await withLogin(call, reference.domain, "push", async (headers) => {
        const { body } = await call.client.stream("POST", path, { query: { tag: reference.tag, platform }, headers });
        await showProgress(body, 1, { quiet, sums: true, onAux: (aux) => after.push(() => tellOfRest(aux)) });
      });
      if (quiet) printLine(formatReference(reference));
      for (const tell of after) tell();
    });
  },
};

/** What an engine that keeps several platforms of an image says of those that it did not push. */
function tellOfRest(aux: unknown): void {
  const { manifestPushedInsteadOfIndex, originalIndex, selectedManifest, contentMissing } = (aux ?? {}) as {
    readonly manifestPushedInsteadOfIndex?: unknown;
    readonly originalIndex?: { readonly digest?: unknown };
    readonly selectedManifest?: { readonly digest?: unknown };
    readonly contentMissing?: unknown;
  };
  if (manifestPushedInsteadOfIndex === true) {
    note(
      1,
      "Not all multiplatform-content is present and only the available single-platform image was pushed",
      `${String(originalIndex?.digest)} -> ${String(selectedManifest?.digest)}`,
    );
  }
  if (contentMissing === true) {
    note(
      1,
      "The image is of several platforms, and not all that it names is here or at the registry.",
      "Pull what is missing, or push one platform by --platform.",
    );
  }
}
