import type { ImageDeleteRow } from "../../api/image.ts";
import type { RepositoryTags } from "../../api/registry.ts";
import { formatReference, isNameOnly, type Reference } from "../../oci/reference.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import { withLogin } from "../credentials/ask-again.ts";
import { boolFlag, filterFlag, textFlag } from "../flags/spec.ts";
import { printListing } from "../output/format.ts";
import { printLine } from "../output/print.ts";
import { FORMAT_USAGE } from "../output/text.ts";
import { registryReference } from "../run/registry-name.ts";
import { segment } from "./lifecycle.ts";
import { eachImage } from "./pull.ts";

const INSECURE = boolFlag(
  "insecure",
  "The registry may be without TLS, or with a certificate that nothing vouches for",
);

export const tags: Command = {
  usage: "[OPTIONS] NAME",
  args: { rule: "exactly", count: 1 },
  long: "List the tags that a repository has at its registry, in their natural order (v2 before v10).",
  flags: [
    filterFlag('Show only tags that match a pattern (e.g. "tag=1.2*")'),
    textFlag("format", FORMAT_USAGE),
    INSECURE,
    boolFlag("q,quiet", "Only print tags, without the repository"),
  ],
  async run(call) {
    const { flags } = call;
    const passes = tagFilter(flags.list("filter"));
    const reference = await registryReference(call.client, call.args[0] ?? "");
    if (!isNameOnly(reference)) throw new ExitError(1, "a repository has tags: give a name without tag and digest");
    const found = await listed(call, reference);
    const order = new Intl.Collator("en", { numeric: true });
    await printListing({
      format: flags.text("format"),
      quiet: flags.bool("quiet"),
      raw: [["tag", "Tag"]],
      columns: ["Repository", "Tag"],
      headings: { Repository: "REPOSITORY", Tag: "TAG" },
      type: "*formatter.tagContext",
      rows: found.Tags.filter(passes)
        .sort(order.compare)
        .map((tag) => ({ Repository: found.Name, Tag: tag })),
    });
    return 0;
  },
};

export const unpush: Command = {
  usage: "[OPTIONS] NAME:TAG|NAME@DIGEST [NAME:TAG|NAME@DIGEST...]",
  args: { rule: "at-least", count: 1 },
  long: "Remove tags from their registry, or by digest images with all tags that they have there.\nWhat is here stays. Many registries have to be told first to let anything be removed.",
  flags: [INSECURE],
  async run(call) {
    const images: Reference[] = [];
    for (const text of call.args) {
      const reference = await registryReference(call.client, text);
      if (isNameOnly(reference)) throw new ExitError(1, `${text} is a whole repository: name a tag or a digest of it`);
      images.push(reference);
    }
    return await eachImage(call, images, (reference) => removeOne(call, reference));
  },
};

function listed(call: Call, reference: Reference): Promise<RepositoryTags> {
  const path = `/gantry/distribution/${segment(formatReference(reference), "image")}/tags`;
  const query = { insecure: call.flags.bool("insecure") };
  return withLogin(call, reference.domain, "list", (headers) =>
    call.client.json<RepositoryTags>("GET", path, { query, headers }),
  );
}

async function removeOne(call: Call, reference: Reference): Promise<void> {
  const path = `/gantry/distribution/${segment(formatReference(reference), "image")}/manifest`;
  const query = { insecure: call.flags.bool("insecure") };
  const rows = await withLogin(call, reference.domain, "remove", (headers) =>
    call.client.json<ImageDeleteRow[]>("DELETE", path, { query, headers }),
  );
  for (const row of rows) printLine("Deleted" in row ? `Deleted: ${row.Deleted}` : `Untagged: ${row.Untagged}`);
}

/** True for tags that any of the patterns fits; `*` is anything, `?` one character. */
function tagFilter(filters: readonly string[]): (tag: string) => boolean {
  const patterns = filters.map((filter) => {
    const [, pattern] = /^tag=(.*)$/s.exec(filter) ?? [];
    if (pattern === undefined) throw new ExitError(1, `invalid filter ${JSON.stringify(filter)}: there is tag=PATTERN`);
    return pattern;
  });
  return (tag) => patterns.length === 0 || patterns.some((pattern) => fits(pattern, tag));
}

/** Without regular expressions: a pattern of many stars must not take for ever. */
function fits(pattern: string, text: string): boolean {
  let [at, inText, star, retry] = [0, 0, -1, 0];
  while (inText < text.length) {
    if (pattern[at] === "*") {
      star = at++;
      retry = inText;
    } else if (pattern[at] === "?" || pattern[at] === text[inText]) {
      at++;
      inText++;
    } else if (star >= 0) {
      at = star + 1;
      inText = ++retry;
    } else return false;
  }
  while (pattern[at] === "*") at++;
  return at === pattern.length;
}
