import { messageOf } from "../../base/errors.ts";
import { formatReference, parseNormalized, type Reference, repositoryOf, tagNameOnly } from "../../oci/reference.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import { boolFlag, listFlag, textFlag } from "../flags/spec.ts";
import { entryText, ManifestDrafts, type ManifestEntry, ordered } from "../manifests/drafts.ts";
import { isKnownPlatform } from "../manifests/platforms.ts";
import { ManifestRegistry, type RemoteManifest } from "../manifests/registry.ts";
import { indentJson } from "../output/indent.ts";
import { escapedJson } from "../output/json.ts";
import { printLine } from "../output/print.ts";
import { registryReference } from "../run/registry-name.ts";

const DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const INSECURE = "Allow registries without TLS, or with certificates that nothing vouches for";

export const createManifest: Command = {
  usage: "MANIFEST_LIST MANIFEST [MANIFEST...]",
  args: { rule: "at-least", count: 2 },
  flags: [boolFlag("a,amend", "Amend a manifest list that was begun already"), boolFlag("insecure", INSECURE)],
  async run(call) {
    const drafts = new ManifestDrafts(call.settings.configFolder);
    const registry = new ManifestRegistry(call, call.flags.bool("insecure"));
    const [name = "", ...images] = call.args;
    const list = await listNamed(call, name);
    if (drafts.has(list) && !call.flags.bool("amend")) {
      throw new ExitError(1, "refusing to amend an existing manifest list with no --amend flag");
    }
    // Nothing is begun unless all is there.
    const entries: (readonly [Reference, ManifestEntry])[] = [];
    for (const image of images) {
      const reference = tagNameOnly(await registryReference(call.client, image));
      entries.push([reference, drafts.entry(list, reference) ?? (await registry.entryOf(reference))]);
    }
    for (const [reference, entry] of entries) drafts.write(list, reference, entry);
    printLine(`Created manifest list ${formatReference(list)}`);
    return 0;
  },
};

async function listNamed(call: Call, name: string, before = ""): Promise<Reference> {
  try {
    return tagNameOnly(await registryReference(call.client, name));
  } catch (error) {
    throw new Error(`${before}error parsing name for manifest list ${name}: ${messageOf(error)}`, { cause: error });
  }
}

export const annotateManifest: Command = {
  usage: "[OPTIONS] MANIFEST_LIST MANIFEST",
  args: { rule: "exactly", count: 2 },
  flags: [
    textFlag("arch", "Set the architecture"),
    textFlag("os", "Set the operating system"),
    listFlag("os-features", "Add features of the operating system, separated by commas"),
    textFlag("os-version", "Set the version of the operating system"),
    textFlag("variant", "Set the architecture's variant"),
  ],
  async run(call) {
    const { flags } = call;
    const [name = "", image = ""] = call.args;
    const drafts = new ManifestDrafts(call.settings.configFolder);
    const list = await listNamed(call, name, "annotate: ");
    const reference = await imageNamed(call, image);
    const entry = drafts.entry(list, reference);
    if (entry === undefined) throw new ExitError(1, `manifest for image ${image} does not exist in ${name}`);
    const features = flags.list("os-features").flatMap((text) => text.split(","));
    const platform = ordered({
      architecture: flags.text("arch") || entry.platform.architecture,
      os: flags.text("os") || entry.platform.os,
      variant: flags.text("variant") || (entry.platform.variant ?? ""),
      "os.version": flags.text("os-version") || (entry.platform["os.version"] ?? ""),
      "os.features": [...new Set([...(entry.platform["os.features"] ?? []), ...features.filter(Boolean)])],
    });
    if (!isKnownPlatform(platform.os, platform.architecture)) {
      const given = `${platform.os}/${platform.architecture}`;
      throw new ExitError(1, `manifest entry for image has unsupported os/arch combination: ${given}`);
    }
    drafts.write(list, reference, { ...entry, platform });
    return 0;
  },
};

async function imageNamed(call: Call, name: string): Promise<Reference> {
  try {
    return tagNameOnly(await registryReference(call.client, name));
  } catch (error) {
    throw new Error(`annotate: error parsing name for manifest ${name}: ${messageOf(error)}`, { cause: error });
  }
}

export const inspectManifest: Command = {
  usage: "[OPTIONS] [MANIFEST_LIST] MANIFEST",
  args: { rule: "between", count: 1, most: 2 },
  flags: [
    boolFlag("insecure", INSECURE),
    boolFlag("v,verbose", "Show name, platform and the manifest itself of each image"),
  ],
  async run(call) {
    const drafts = new ManifestDrafts(call.settings.configFolder);
    const registry = new ManifestRegistry(call, call.flags.bool("insecure"));
    const verbose = call.flags.bool("verbose");
    const [first = "", second] = call.args;
    const reference = tagNameOnly(await registryReference(call.client, second ?? first));
    if (second !== undefined) {
      const entry = drafts.entry(tagNameOnly(await registryReference(call.client, first)), reference);
      if (entry === undefined) throw new ExitError(1, `No such manifest: ${formatReference(reference)}`);
      printEntry(entry, verbose);
      return 0;
    }
    const own = drafts.list(reference);
    if (own !== undefined) {
      printList(own, verbose);
      return 0;
    }
    const found = await registry.fetch(reference);
    if (found.isList) await printRemoteList(registry, reference, found, verbose);
    else if (verbose) printEntry(await registry.entryOf(reference), true);
    else printLine(indentJson(found.raw.toString("utf8"), "\t"));
    return 0;
  },
};

function printEntry(entry: ManifestEntry, verbose: boolean): void {
  printLine(indentJson(verbose ? entryText(entry) : entry.raw.toString("utf8"), "\t"));
}

function printList(entries: readonly ManifestEntry[], verbose: boolean): void {
  if (verbose) printLine(indentJson(`[${entries.map(entryText).join(",")}]`, "\t"));
  else printLine(listText(entries));
}

async function printRemoteList(
  registry: ManifestRegistry,
  reference: Reference,
  found: RemoteManifest,
  verbose: boolean,
): Promise<void> {
  const rows = rowsOf(found);
  if (!verbose) {
    printLine(escapedJson({ schemaVersion: 2, mediaType: found.mediaType, manifests: rows }, 3));
    return;
  }
  const { domain, path } = reference;
  const entries: ManifestEntry[] = [];
  for (const { digest, mediaType, size, platform } of rows) {
    const { raw } = await registry.fetch({ domain, path, digest });
    entries.push({ ref: `${formatReference(reference)}@${digest}`, mediaType, digest, size, platform, raw });
  }
  printList(entries, true);
}

type ListRow = Omit<ManifestEntry, "ref" | "raw">;

/** What a list says of its images, as docker shows it. */
function rowsOf({ raw, digest }: RemoteManifest): readonly ListRow[] {
  const { manifests } = JSON.parse(raw.toString("utf8")) as { readonly manifests?: readonly Partial<ListRow>[] };
  if (!Array.isArray(manifests)) throw new Error(`cannot read ${digest}: it is no manifest list`);
  return manifests.map((row: Partial<ListRow>) => ({
    mediaType: row.mediaType ?? "",
    size: row.size ?? 0,
    digest: row.digest ?? "",
    platform: ordered({ ...row.platform, architecture: row.platform?.architecture ?? "", os: row.platform?.os ?? "" }),
  }));
}

/** A manifest list, byte by byte as docker pushes it: of OCI's type where its first image is. */
function listText(entries: readonly ManifestEntry[]): string {
  const mediaType = entries[0]?.mediaType === OCI_MANIFEST ? OCI_INDEX : DOCKER_LIST;
  const manifests = entries.map(({ mediaType, size, digest, platform }) => ({
    mediaType,
    size,
    digest,
    platform: ordered(platform),
  }));
  return escapedJson({ schemaVersion: 2, mediaType, manifests }, 3);
}

export const pushManifest: Command = {
  usage: "[OPTIONS] MANIFEST_LIST",
  args: { rule: "exactly", count: 1 },
  flags: [boolFlag("insecure", INSECURE), boolFlag("p,purge", "Remove the list here once it is pushed")],
  async run(call) {
    const drafts = new ManifestDrafts(call.settings.configFolder);
    const registry = new ManifestRegistry(call, call.flags.bool("insecure"));
    const list = await listOf(call);
    const entries = drafts.list(list);
    if (entries === undefined) throw new ExitError(1, `No such manifest: ${formatReference(list)}`);
    if (entries.length === 0) throw new ExitError(1, `${formatReference(list)} not found`);
    const { domain, path } = list;
    const named = entries.map((entry) => ({ entry, image: parseNormalized(entry.ref) }));
    for (const { entry, image } of named) checkPushable(entry, image, list);
    for (const { entry, image } of named) {
      if (repositoryOf(image) === repositoryOf(list)) continue;
      const target = { domain, path, digest: entry.digest };
      const digest = await registry.put(target, entry, [image]);
      printLine(`Pushed ref ${formatReference(target)} with digest: ${digest}`);
    }
    const text = listText(entries);
    const { mediaType } = JSON.parse(text) as { readonly mediaType: string };
    printLine(await registry.put(list, { mediaType, raw: Buffer.from(text) }, []));
    if (call.flags.bool("purge")) drafts.remove(list);
    return 0;
  },
};

async function listOf(call: Call): Promise<Reference> {
  return tagNameOnly(await registryReference(call.client, call.args[0] ?? ""));
}

function checkPushable({ platform, ref }: ManifestEntry, image: Reference, list: Reference): void {
  if (image.domain !== list.domain) {
    const why = `cannot use source images from a different registry than the target image: ${image.domain} != ${list.domain}`;
    throw new ExitError(1, why);
  }
  if (platform.architecture === "" || platform.os === "") {
    throw new ExitError(1, `manifest ${ref} must have an OS and Architecture to be pushed to a registry`);
  }
}

export const removeManifests: Command = {
  usage: "MANIFEST_LIST [MANIFEST_LIST...]",
  args: { rule: "at-least", count: 1 },
  flags: [],
  async run(call) {
    const drafts = new ManifestDrafts(call.settings.configFolder);
    const complaints: string[] = [];
    for (const name of call.args) {
      try {
        const list = tagNameOnly(await registryReference(call.client, name));
        if (!drafts.remove(list)) complaints.push(`No such manifest: ${formatReference(list)}`);
      } catch (error) {
        complaints.push(messageOf(error));
      }
    }
    if (complaints.length > 0) throw new ExitError(1, complaints.join("\n"));
    return 0;
  },
};
