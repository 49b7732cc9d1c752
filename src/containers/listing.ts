import type { ContainerInspect, ContainerSummary } from "../api/container.ts";
import { isKind } from "../base/errors.ts";
import type { ContainerListOptions } from "./controller.ts";
import { containerFilter, selectRows } from "./filter.ts";
import { linkNames, shownLinks } from "./link.ts";
import type { ContainerPorts } from "./ports.ts";
import type { ContainerRecord } from "./record.ts";
import type { ContainerTable, Entry } from "./table.ts";
import { containerFolder, inspectOf, summaryOf, type ViewContext } from "./view.ts";

/** The rows of ps, newest first. */
export async function listContainers(
  ports: ContainerPorts,
  table: ContainerTable,
  options: ContainerListOptions,
): Promise<ContainerSummary[]> {
  const test = containerFilter(options.filters, {
    find: (nameOrId) => table.find(nameOrId).record,
    imageIds: (name) => imageIds(ports, name),
  });
  const rows = selectRows(table.all(), options, test);
  const networks = networkIds(ports);
  const byLinks = linkNames(table);
  const summaries = [];
  for (const { record, transient } of rows) {
    const summary = summaryOf(record, transient, viewOf(ports, table, record, networks, byLinks));
    summaries.push(options.size ? { ...summary, ...(await sizes(ports, record)) } : summary);
  }
  return summaries;
}

/** One container as inspect shows it. */
export async function inspectContainer(
  ports: ContainerPorts,
  table: ContainerTable,
  { record, transient }: Entry,
  options: { readonly size: boolean },
): Promise<ContainerInspect> {
  const view = inspectOf(record, transient, viewOf(ports, table, record, networkIds(ports)));
  return options.size ? { ...view, ...(await sizes(ports, record)) } : view;
}

function viewOf(
  ports: ContainerPorts,
  table: ContainerTable,
  record: ContainerRecord,
  networks: Readonly<Record<string, string>>,
  byLinks?: ReadonlyMap<string, string[]>,
): ViewContext {
  const { snapshots } = ports;
  return {
    folder: containerFolder(ports.settings().dataRoot, record.id),
    driver: snapshots.driver,
    graphData: snapshots.has(record.id) ? snapshots.describe(record.id) : {},
    imageNameStands: imageIds(ports, record.image).includes(record.imageId),
    networkIds: networks,
    links: shownLinks(table, record),
    linkNames: byLinks?.get(record.id) ?? [],
  };
}

function networkIds(ports: ContainerPorts): Record<string, string> {
  return Object.fromEntries(ports.networks.summaries().map(({ name, id }) => [name, id]));
}

function imageIds(ports: ContainerPorts, name: string): readonly string[] {
  try {
    const { id, others = [] } = ports.images.resolve(name);
    return [id, ...others];
  } catch (error) {
    if (isKind(error, "not-found") || isKind(error, "invalid")) return [];
    throw error;
  }
}

async function sizes(
  { snapshots, images }: ContainerPorts,
  record: ContainerRecord,
): Promise<{ SizeRw: number; SizeRootFs: number }> {
  const SizeRw = snapshots.has(record.id) ? await snapshots.usage(record.id) : 0;
  let image = 0;
  try {
    image = images.inspect(record.imageId).Size;
  } catch (error) {
    if (!isKind(error, "not-found")) throw error;
  }
  return { SizeRw, SizeRootFs: SizeRw + image };
}
