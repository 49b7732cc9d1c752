import type { ImageSummary } from "../../api/image.ts";
import { humanSize } from "../../base/units.ts";
import { type Call, ExitError } from "../command.ts";
import { filtersOf } from "../output/filters.ts";
import { print } from "../output/print.ts";
import { styled } from "../output/style.ts";
import { shortId } from "../output/text.ts";

/** What engines that keep several platforms of an image say of each. */
interface Manifest {
  readonly Descriptor: { readonly digest: string };
  readonly Available: boolean;
  readonly Kind: string;
  readonly Size: { readonly Total: number; readonly Content: number };
  readonly ImageData?: {
    readonly Platform: { readonly os: string; readonly architecture: string; readonly variant?: string };
    readonly Containers?: readonly string[] | null;
  };
}

/** A line of the tree; its names are lines of their own above it. */
interface Branch {
  readonly names: readonly string[];
  readonly id: string;
  readonly usage: string;
  readonly content: string;
  readonly used: boolean;
  readonly leaves: readonly Branch[];
}

const GAP = 3;
const COLUMNS = [
  ["ID", 12],
  ["DISK USAGE", 10],
  ["CONTENT SIZE", 12],
  ["EXTRA", 5],
] as const;

/** `images --tree`: each image with its names, the sizes of it, and of its platforms where there are several. */
export async function showTree(call: Call): Promise<number> {
  for (const flag of ["quiet", "no-trunc", "digests", "format"]) {
    const given = flag === "format" ? call.flags.text(flag) !== "" : call.flags.bool(flag);
    const name = flag === "digests" ? "show-digest" : flag;
    if (given) throw new ExitError(1, `--${name} is not yet supported with --tree`);
  }
  const reference = call.args[0];
  const images = await call.client.json<(ImageSummary & { readonly Manifests?: readonly Manifest[] | null })[]>(
    "GET",
    "/images/json",
    {
      query: {
        all: call.flags.bool("all"),
        manifests: true,
        filters: filtersOf(call.flags.list("filter"), reference === undefined ? {} : { reference }),
      },
    },
  );
  const warning = "WARNING: This is an experimental feature. The output may change and shouldn't be depended on.";
  print(`${styled(93, warning, 1)}\n`);
  print(treeText(images.map(branchOf)));
  return 0;
}

function branchOf(image: ImageSummary & { readonly Manifests?: readonly Manifest[] | null }): Branch {
  const tags = (image.RepoTags ?? []).filter((tag) => tag !== "<none>:<none>");
  const leaves = (image.Manifests ?? [])
    .filter((manifest) => manifest.Kind === "image")
    .map((manifest): Branch => {
      const { os = "", architecture = "", variant = "" } = manifest.ImageData?.Platform ?? {};
      return {
        names: [[os, architecture, variant].filter((part) => part !== "").join("/")],
        id: shortId(manifest.Descriptor.digest),
        usage: humanSize(manifest.Size.Total, 3),
        content: humanSize(manifest.Size.Content, 3),
        used: (manifest.ImageData?.Containers ?? []).length > 0,
        leaves: [],
      };
    });
  const content = (image.Manifests ?? []).reduce((sum, manifest) => sum + manifest.Size.Content, 0);
  return {
    names: tags.length === 0 ? ["<untagged>"] : tags,
    id: shortId(image.Id),
    usage: humanSize(image.Size, 3),
    content: humanSize(content, 3),
    used: (image.Containers ?? 0) > 0 || leaves.some((leaf) => leaf.used),
    leaves,
  };
}

function treeText(branches: readonly Branch[]): string {
  const names = branches.flatMap((branch) => [
    ...branch.names,
    ...branch.leaves.map((leaf) => `├─ ${leaf.names[0] ?? ""}`),
  ]);
  const width = Math.max("IMAGE".length, ...names.map((name) => [...name].length));
  const total = process.stdout.columns ?? 80;
  const legend = `${styled(96, "Info ->", 1)}  U In Use `;
  const head = [
    "IMAGE".padEnd(width),
    ...COLUMNS.map(([title, columns], at) => (at === COLUMNS.length - 1 ? title : title.padEnd(columns))),
  ].map((title) => title.replace(/\S+(?: \S+)*/, (word) => styled(1, word, 1)));
  const lines = [
    `${" ".repeat(Math.max(0, total - "Info ->  U In Use ".length))}${legend}`,
    "",
    head.join(" ".repeat(GAP)),
  ];
  for (const branch of branches) {
    if (branch.leaves.length > 0) lines.push("");
    const last = branch.names.at(-1) ?? "";
    lines.push(...branch.names.slice(0, -1).map((name) => styled(34, name, 1)), lineOf(branch, last, width, true));
    branch.leaves.forEach((leaf, at) => {
      const twig = at === branch.leaves.length - 1 ? "└─" : "├─";
      lines.push(lineOf(leaf, `${twig} ${leaf.names[0] ?? ""}`, width, false));
    });
    if (branch.leaves.length > 0) lines.push("");
  }
  return `${lines.join("\n").replace(/\n{3,}/g, "\n\n")}\n`;
}

function lineOf(branch: Branch, name: string, width: number, isName: boolean): string {
  const gap = " ".repeat(GAP);
  const padding = " ".repeat(Math.max(0, width - [...name].length));
  return [
    `${isName ? styled(34, name, 1) : name}${padding}`,
    branch.id.padEnd(12),
    branch.usage.padStart(10),
    branch.content.padStart(12),
    branch.used ? "  U  " : "     ",
  ].join(gap);
}
