import type { ContainerSummary } from "../../api/container.ts";
import type { BuildCacheRow, DiskUsage } from "../../api/disk-usage.ts";
import type { ImageSummary } from "../../api/image.ts";
import type { Volume } from "../../api/volume.ts";
import { humanSize } from "../../base/units.ts";
import type { Command } from "../command.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { jsonOf, printListing, type Row } from "../output/format.ts";
import { print } from "../output/print.ts";
import { agoText, FORMAT_USAGE, labelsText, shortId, sizeText, timeText } from "../output/text.ts";
import { HEADINGS as CONTAINER_HEADINGS, rowOf as containerRow } from "./ps.ts";

const HEADINGS = {
  Type: "TYPE",
  TotalCount: "TOTAL",
  Active: "ACTIVE",
  Size: "SIZE",
  Reclaimable: "RECLAIMABLE",
};

export const diskUsage: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: [textFlag("format", FORMAT_USAGE), boolFlag("v,verbose", "Show detailed information on space usage")],
  since: "1.25",
  async run(call) {
    const format = call.flags.text("format");
    const usage = await call.client.json<DiskUsage>("GET", "/system/df");
    if (call.flags.bool("verbose")) await printDetails(usage, format);
    else {
      await printListing({
        format,
        columns: ["Type", "TotalCount", "Active", "Size", "Reclaimable"],
        headings: HEADINGS,
        type: "*formatter.diskUsageImagesContext",
        rows: summaryOf(usage),
      });
    }
    return 0;
  },
};

function summaryOf(usage: DiskUsage): Row[] {
  const images = usage.Images ?? [];
  const containers = usage.Containers ?? [];
  const volumes = usage.Volumes ?? [];
  const caches = usage.BuildCache ?? [];
  const imagesUsed = sum(
    images.filter((image) => (image.Containers ?? 0) !== 0 && image.SharedSize !== -1),
    (image) => image.Size - (image.SharedSize ?? 0),
  );
  const isActive = ({ State }: ContainerSummary) => /running|paused|restarting/.test(State);
  const own = ({ SizeRw }: ContainerSummary) => SizeRw ?? 0;
  const isUsed = ({ UsageData }: Volume) => (UsageData?.RefCount ?? 0) > 0;
  const held = ({ UsageData }: Volume) => Math.max(UsageData?.Size ?? 0, 0);
  const unshared = caches.filter(({ Shared }) => !Shared);
  const cached = sum(unshared, ({ Size }) => Size);
  return [
    line("Images", images.length, images.filter(({ Containers }) => (Containers ?? 0) > 0).length, {
      size: usage.LayersSize,
      free: share(usage.LayersSize - imagesUsed, usage.LayersSize),
    }),
    line("Containers", containers.length, containers.filter(isActive).length, {
      size: sum(containers, own),
      free: share(
        sum(
          containers.filter((one) => !isActive(one)),
          own,
        ),
        sum(containers, own),
      ),
    }),
    line("Local Volumes", volumes.length, volumes.filter(isUsed).length, {
      size: sum(volumes, held),
      free: share(
        sum(
          volumes.filter((one) => !isUsed(one)),
          held,
        ),
        sum(volumes, held),
      ),
    }),
    line("Build Cache", caches.length, caches.filter(({ InUse }) => InUse).length, {
      size: cached,
      free: humanSize(
        cached -
          sum(
            unshared.filter(({ InUse }) => InUse),
            ({ Size }) => Size,
          ),
      ),
    }),
  ];
}

function line(type: string, total: number, active: number, of: { size: number; free: string }): Row {
  return {
    Type: type,
    TotalCount: String(total),
    Active: String(active),
    Size: humanSize(of.size),
    Reclaimable: of.free,
  };
}

/** A size and the whole percents that it is of another, if that is any. */
function share(part: number, whole: number): string {
  return whole > 0 ? `${humanSize(part)} (${Math.trunc((part * 100) / whole)}%)` : humanSize(part);
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}

const IMAGE_HEADINGS = {
  Repository: "REPOSITORY",
  Tag: "TAG",
  ID: "IMAGE ID",
  CreatedSince: "CREATED",
  Size: "SIZE",
  SharedSize: "SHARED SIZE",
  UniqueSize: "UNIQUE SIZE",
  Containers: "CONTAINERS",
};
const VOLUME_HEADINGS = { Name: "VOLUME NAME", Links: "LINKS", Size: "SIZE" };
const CACHE_HEADINGS = {
  ID: "CACHE ID",
  CacheType: "CACHE TYPE",
  Size: "SIZE",
  CreatedSince: "CREATED",
  LastUsedSince: "LAST USED",
  UsageCount: "USAGE",
  Shared: "SHARED",
};

/** As Docker does: what is one document, not a list of rows, ends without a newline. */
async function printDetails(usage: DiskUsage, format: string): Promise<void> {
  const isTable = format === "" || format === "table";
  const rows = {
    Images: (usage.Images ?? []).map((image) => imageRow(image, !isTable)),
    Containers: (usage.Containers ?? []).map((one) => containerRow({ ...one, SizeRootFs: 0 }, !isTable)),
    Volumes: (usage.Volumes ?? []).map(volumeRow),
    BuildCache: (usage.BuildCache ?? []).map(cacheRow),
  };
  if (format === "json") {
    const lists = Object.entries(rows).map(([name, list]) => `"${name}":[${list.map(jsonOf).join(",")}]`);
    return print(`{${lists.join(",")}}`);
  }
  if (!isTable) {
    const { compileTemplate } = await import("../../base/template/evaluate.ts");
    return print(
      `${compileTemplate(format.replace(/^table\s+/, ""), { type: "*formatter.DiskUsageContext" })(rows)}\n`,
    );
  }
  const list = (type: string, headings: Readonly<Record<string, string>>, columns: readonly string[], of: Row[]) =>
    printListing({ format: "", columns, headings, type, rows: of });
  print("Images space usage:\n\n");
  await list("*formatter.imageContext", IMAGE_HEADINGS, Object.keys(IMAGE_HEADINGS), rows.Images);
  print("\nContainers space usage:\n\n");
  await list(
    "*formatter.ContainerContext",
    CONTAINER_HEADINGS,
    ["ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"],
    rows.Containers,
  );
  print("\nLocal Volumes space usage:\n\n");
  await list("*formatter.volumeContext", VOLUME_HEADINGS, Object.keys(VOLUME_HEADINGS), rows.Volumes);
  const cached = sum(usage.BuildCache ?? [], ({ Size, Shared }) => (Shared ? 0 : Size));
  print(`\nBuild cache usage: ${humanSize(cached)}\n\n`);
  await list("*formatter.buildCacheContext", CACHE_HEADINGS, Object.keys(CACHE_HEADINGS), rows.BuildCache);
}

/** By its first name alone. */
function imageRow(image: ImageSummary, full: boolean): Row {
  const name = image.RepoTags?.[0] ?? "<none>:<none>";
  const colon = name.lastIndexOf(":");
  const shared = image.SharedSize ?? -1;
  return {
    ID: full ? image.Id : shortId(image.Id),
    Repository: name.slice(0, colon),
    Tag: name.slice(colon + 1),
    Digest: "",
    CreatedSince: agoText(image.Created),
    get CreatedAt() {
      return timeText(image.Created);
    },
    Size: sizeText(image.Size),
    VirtualSize: humanSize(image.Size),
    SharedSize: shared === -1 ? "N/A" : humanSize(shared),
    UniqueSize: shared === -1 ? "N/A" : humanSize(image.Size - shared),
    Containers: String(image.Containers ?? "N/A"),
  };
}

function volumeRow(volume: Volume): Row {
  const { UsageData: usage } = volume;
  return {
    Name: volume.Name,
    Driver: volume.Driver,
    Scope: volume.Scope,
    Mountpoint: volume.Mountpoint,
    Labels: labelsText(volume.Labels),
    Links: usage ? String(usage.RefCount) : "N/A",
    Size: usage && usage.Size >= 0 ? humanSize(usage.Size) : "N/A",
    Group: "N/A",
    Availability: "N/A",
    Status: "N/A",
  };
}

function cacheRow(cache: BuildCacheRow): Row {
  const since = (time: string | null) => (time === null ? "" : agoText(Date.parse(time) / 1000));
  return {
    ID: cache.ID.slice(0, 12) + (cache.InUse ? "*" : ""),
    CacheType: cache.Type,
    Description: cache.Description,
    Size: humanSize(cache.Size),
    CreatedSince: since(cache.CreatedAt),
    LastUsedSince: since(cache.LastUsedAt),
    UsageCount: String(cache.UsageCount),
    InUse: String(cache.InUse),
    Shared: String(cache.Shared),
  };
}
