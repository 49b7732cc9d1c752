import { GantryError, isKind, messageOf } from "../base/errors.ts";
import type { ContainerLink } from "../networks/network.ts";
import type { ContainerRecord } from "./record.ts";
import type { ContainerTable, Entry } from "./table.ts";

/** One `--link` of the default bridge, read. */
export interface Link {
  /** The other container, as the user named it or as it was found. */
  readonly target: string;
  readonly alias: string;
}

/** What a started container gets of the one that it is linked to. */
export interface ResolvedLink {
  /** The names of the line in the hosts file. */
  readonly hostNames: string;
  readonly addresses: readonly string[];
  readonly environment: readonly string[];
}

/** `container`, `container:alias`, or `/container:/parent/alias` as inspect shows it. Throws invalid. */
export function parseLink(text: string): Link {
  const parts = text.split(":");
  const [target = "", alias = target] = parts.map((part) => part.replace(/^\//, ""));
  if (parts.length > 2 || target === "" || alias === "") {
    throw new GantryError(
      "invalid",
      text === "" ? "empty string specified for links" : `bad format for links: ${text}`,
    );
  }
  return { target, alias: alias.slice(alias.lastIndexOf("/") + 1) };
}

/** Only on the default bridge are links what makes containers known to each other by file and environment. */
function usesLegacyLinks({ hostConfig }: Pick<ContainerRecord, "hostConfig">): boolean {
  return hostConfig.NetworkMode === "bridge" && (hostConfig.Links ?? []).length > 0;
}

/** The links of a create request with the ids of who is meant, so that a later change of name changes nothing. */
export function settleLinks(table: ContainerTable, record: Pick<ContainerRecord, "hostConfig">): string[] | null {
  const { Links } = record.hostConfig;
  if (!usesLegacyLinks(record) || Links === null) return Links;
  return Links.map((text) => {
    const { target, alias } = parseLink(text);
    try {
      return `${table.find(target).record.id}:${alias}`;
    } catch (error) {
      const kind = isKind(error, "not-found") ? "invalid" : "internal";
      throw new GantryError(kind, `could not get container for ${target}: ${messageOf(error)}`);
    }
  });
}

/** As Docker shows them: `/container:/parent/alias`. */
export function shownLinks(table: ContainerTable, record: ContainerRecord): string[] | null {
  const { Links } = record.hostConfig;
  if (!usesLegacyLinks(record) || Links === null) return Links;
  return Links.map((text) => {
    const { target, alias } = parseLink(text);
    const name = table.get(target)?.record.name ?? target.slice(0, 12);
    return `/${name}:/${record.name}/${alias}`;
  });
}

/** Containers by the further names that links give them: `parent/alias`. */
export function linkNames(table: ContainerTable): Map<string, string[]> {
  const names = new Map<string, string[]>();
  for (const { record } of table.all()) {
    if (!usesLegacyLinks(record)) continue;
    for (const text of record.hostConfig.Links ?? []) {
      const { target, alias } = parseLink(text);
      names.set(target, [...(names.get(target) ?? []), `${record.name}/${alias}`]);
    }
  }
  return names;
}

/** The link that `parent/alias` names: who has it, and the id of whom it leads to. */
function findLink(table: ContainerTable, name: string): { readonly parent: Entry; readonly child: string } | undefined {
  const [, parentName = "", alias = ""] = /^\/?([^/]+)\/([^/]+)$/.exec(name) ?? [];
  const parent = table.named(parentName);
  if (parent === undefined || !usesLegacyLinks(parent.record)) return undefined;
  const link = (parent.record.hostConfig.Links ?? []).map(parseLink).find((each) => each.alias === alias);
  return link === undefined ? undefined : { parent, child: link.target };
}

/** As `table.find`; a link's name leads to its container. */
export function findLinked(table: ContainerTable, nameOrId: string): Entry {
  const link = nameOrId.includes("/", 1) ? findLink(table, nameOrId) : undefined;
  return (link && table.get(link.child)) ?? table.find(nameOrId);
}

/**
 * Takes the link `parent/alias` away; the containers stay. Returns who had it, and what their hosts file has of it:
 * nothing if the other container is gone.
 * Throws not-found if there is neither such a link nor such a container, and Docker's refusal for a container's own name.
 */
export function removeLink(
  table: ContainerTable,
  name: string,
): { readonly parent: ContainerRecord; readonly hostNames: string | undefined } {
  const link = findLink(table, name);
  if (link === undefined) {
    table.find(name);
    throw new GantryError("internal", "Conflict, cannot remove the default link name of the container");
  }
  const { parent, child } = link;
  const { hostConfig } = parent.record;
  const alias = name.slice(name.lastIndexOf("/") + 1);
  const Links = (hostConfig.Links ?? []).filter((text) => parseLink(text).alias !== alias);
  table.update(parent, { hostConfig: { ...hostConfig, Links } });
  const other = table.get(child)?.record;
  return { parent: parent.record, hostNames: other && linkHostNames(other, alias) };
}

/** What the links of a container that starts come to now. Throws where one of the others does not run. */
export function resolveLinks(table: ContainerTable, record: ContainerRecord): ResolvedLink[] {
  if (!usesLegacyLinks(record)) return [];
  return (record.hostConfig.Links ?? []).map((text) => {
    const { target, alias } = parseLink(text);
    const other = table.get(target)?.record;
    const shown = `${other === undefined ? target.slice(0, 12) : `/${other.name}`} AS /${record.name}/${alias}`;
    const endpoint = other?.state.status === "running" ? other.state.networks.bridge : undefined;
    if (other === undefined || endpoint === undefined) {
      throw new GantryError("conflict", `Cannot link to a non running container: ${shown}`);
    }
    return {
      hostNames: linkHostNames(other, alias),
      addresses: [endpoint.IPAddress, endpoint.GlobalIPv6Address].filter((address) => address !== ""),
      environment: linkEnvironment(record.name, alias, other, endpoint.IPAddress),
    };
  });
}

/** What the links of a container let it call: ports that the others expose. */
export function linkedPorts(table: ContainerTable, record: ContainerRecord): ContainerLink[] {
  if (!usesLegacyLinks(record)) return [];
  return (record.hostConfig.Links ?? []).flatMap((text) => {
    const other = table.get(parseLink(text).target)?.record;
    if (other === undefined) return [];
    return { to: other.id, ports: exposedPorts(other).map(({ port, protocol }) => `${port}/${protocol}`) };
  });
}

/** The running containers that are linked to this one, and by what names they know it. */
export function linkedFrom(
  table: ContainerTable,
  record: ContainerRecord,
): { readonly parent: ContainerRecord; readonly hostNames: string }[] {
  const found = [];
  for (const { record: parent } of table.all()) {
    if (parent.state.status !== "running" || !usesLegacyLinks(parent)) continue;
    for (const text of parent.hostConfig.Links ?? []) {
      const { target, alias } = parseLink(text);
      if (target === record.id) found.push({ parent, hostNames: linkHostNames(record, alias) });
    }
  }
  return found;
}

function linkHostNames({ name, config }: ContainerRecord, alias: string): string {
  return [alias, config.Hostname, ...(alias === name ? [] : [name])].join(" ");
}

/** Variables of the other's ports, name and environment, each beginning with the alias. */
export function linkEnvironment(parentName: string, alias: string, other: ContainerRecord, address: string): string[] {
  const prefix = alias.toUpperCase().replaceAll("-", "_");
  const ports = exposedPorts(other);
  const lines: string[] = [];
  const [first] = ports;
  if (first !== undefined) lines.push(`${prefix}_PORT=${first.protocol}://${address}:${first.port}`);
  for (const [from, to] of runsOf(ports)) {
    const key = `${prefix}_PORT_${from.port}_${from.protocol.toUpperCase()}`;
    lines.push(
      `${key}_START=${from.protocol}://${address}:${from.port}`,
      `${key}_PORT_START=${from.port}`,
      `${key}_END=${to.protocol}://${address}:${to.port}`,
      `${key}_PORT_END=${to.port}`,
    );
  }
  for (const { port, protocol } of ports) {
    const key = `${prefix}_PORT_${port}_${protocol.toUpperCase()}`;
    lines.push(
      `${key}=${protocol}://${address}:${port}`,
      `${key}_ADDR=${address}`,
      `${key}_PORT=${port}`,
      `${key}_PROTO=${protocol}`,
    );
  }
  lines.push(`${prefix}_NAME=/${parentName}/${alias}`);
  for (const entry of other.config.Env ?? []) {
    if (entry.includes("=") && !/^(HOME|PATH)=/.test(entry)) lines.push(`${prefix}_ENV_${entry}`);
  }
  return lines;
}

interface ExposedPort {
  readonly port: number;
  readonly protocol: string;
}

function exposedPorts({ config }: ContainerRecord): ExposedPort[] {
  return Object.keys(config.ExposedPorts ?? {})
    .map((key) => {
      const [port = "", protocol = "tcp"] = key.split("/");
      return { port: Number(port), protocol };
    })
    .sort((a, b) => a.port - b.port || (a.protocol === "tcp" ? -1 : 1));
}

/** First and last of each run of more than one port without a gap. */
function runsOf(ports: readonly ExposedPort[]): (readonly [ExposedPort, ExposedPort])[] {
  const runs: [ExposedPort, ExposedPort][] = [];
  for (const port of ports) {
    const run = runs.find(([, last]) => last.protocol === port.protocol && last.port + 1 === port.port);
    if (run === undefined) runs.push([port, port]);
    else run[1] = port;
  }
  return runs.filter(([from, to]) => from !== to);
}
