import type { ImageSummary } from "../../api/image.ts";
import { humanSize } from "../../base/units.ts";
import type { Command } from "../command.ts";
import { boolFlag, filterFlag, textFlag } from "../flags/spec.ts";
import { filtersOf } from "../output/filters.ts";
import { printListing, type Row } from "../output/format.ts";
import { agoText, FORMAT_USAGE, shortId, sizeText, timeText } from "../output/text.ts";

const HEADINGS = {
  ID: "IMAGE ID",
  Repository: "REPOSITORY",
  Tag: "TAG",
  Digest: "DIGEST",
  CreatedSince: "CREATED",
  CreatedAt: "CREATED AT",
  Size: "SIZE",
  Containers: "CONTAINERS",
  VirtualSize: "SIZE",
  SharedSize: "SHARED SIZE",
  UniqueSize: "UNIQUE SIZE",
};

const RAW = [
  ["repository", "Repository"],
  ["tag", "Tag"],
  ["digest", "Digest"],
  ["image_id", "ID"],
  ["created_at", "CreatedAt"],
  ["virtual_size", "Size"],
] as const;

export const images: Command = {
  usage: "[OPTIONS] [REPOSITORY[:TAG]]",
  args: { rule: "at-most", count: 1 },
  flags: [
    boolFlag("a,all", "Show all images (default hides intermediate ones)"),
    boolFlag("digests", "Show digests"),
    filterFlag(),
    textFlag("format", FORMAT_USAGE),
    boolFlag("no-trunc", "Don't truncate output"),
    boolFlag("q,quiet", "Only show image IDs"),
    boolFlag("tree", "Show images as a tree of platforms (experimental)", { since: "1.47" }),
  ],
  async run(call) {
    const { flags } = call;
    const reference = call.args[0];
    if (flags.bool("tree")) {
      const { showTree } = await import("./image-tree.ts");
      return await showTree(call);
    }
    const summaries = await call.client.json<ImageSummary[]>("GET", "/images/json", {
      query: {
        all: flags.bool("all"),
        filters: filtersOf(flags.list("filter"), reference === undefined ? {} : { reference }),
      },
    });
    const full = flags.bool("no-trunc");
    const format = flags.text("format") || (flags.bool("quiet") ? "" : (call.settings.config().imagesFormat ?? ""));
    const rows = summaries.flatMap((image) => rowsOf(image, full, flags.bool("digests") || format.includes(".Digest")));
    await printListing({
      format,
      quiet: flags.bool("quiet"),
      raw: flags.bool("quiet") ? RAW.slice(3) : RAW.filter(([label]) => label !== "digest" || flags.bool("digests")),
      columns: ["Repository", "Tag", ...(flags.bool("digests") ? ["Digest"] : []), "ID", "CreatedSince", "Size"],
      headings: HEADINGS,
      type: "*formatter.imageContext",
      rows,
    });
    return 0;
  },
};

const NONE = "<none>";

/** One row a name; with digests one for each digest of the name, too. */
function rowsOf(image: ImageSummary, full: boolean, digests: boolean): readonly Row[] {
  const tags = (image.RepoTags ?? []).filter((tag) => tag !== `${NONE}:${NONE}`);
  const known = (image.RepoDigests ?? []).filter((digest) => digest !== `${NONE}@${NONE}`);
  const found: { repository: string; tag: string; digest: string }[] = [];
  const named = new Set<string>();
  for (const reference of tags) {
    const colon = reference.lastIndexOf(":");
    const repository = reference.slice(0, colon);
    named.add(repository);
    const own = known
      .filter((digest) => digest.startsWith(`${repository}@`))
      .map((digest) => digest.slice(repository.length + 1));
    const shown = digests && own.length > 0 ? own : [NONE];
    for (const digest of shown) found.push({ repository, tag: reference.slice(colon + 1), digest });
  }
  for (const reference of known) {
    const [repository = NONE, digest = NONE] = reference.split("@");
    if (!named.has(repository)) found.push({ repository, tag: NONE, digest });
  }
  if (found.length === 0) found.push({ repository: NONE, tag: NONE, digest: NONE });
  const unique = found.filter(
    (row, at) =>
      digests || found.findIndex((other) => other.repository === row.repository && other.tag === row.tag) === at,
  );
  return unique.map(({ repository, tag, digest }) => ({
    ID: full ? image.Id : shortId(image.Id),
    Repository: repository,
    Tag: tag,
    Digest: digest,
    // Worked out only where they are shown: a list may be long, and this process runs for milliseconds.
    get CreatedSince() {
      return agoText(image.Created);
    },
    get CreatedAt() {
      return timeText(image.Created);
    },
    get Size() {
      return sizeText(image.Size);
    },
    get VirtualSize() {
      return humanSize(image.Size);
    },
    Containers: image.Containers === -1 || image.Containers === undefined ? "N/A" : String(image.Containers),
    get SharedSize() {
      return image.SharedSize === -1 || image.SharedSize === undefined ? "N/A" : sizeText(image.SharedSize);
    },
    get UniqueSize() {
      const { SharedSize, Size } = image;
      return SharedSize === -1 || SharedSize === undefined ? "N/A" : sizeText(Size - SharedSize);
    },
  }));
}
