import { readFileSync, writeFileSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";
import type { ContainerConfig, EndpointSettings, HostConfig } from "../api/container.ts";
import { GantryError } from "../base/errors.ts";
import { hostResolvConf, isHostsOwn } from "../networks/host-dns.ts";
import { HOST_NAME, RESOLVER_ADDRESS } from "../networks/resolver.ts";
import type { ResolvedLink } from "./link.ts";

/** The files that the engine writes for a container and binds over the image's own. */
export interface EtcFiles {
  readonly hostname: string;
  readonly hosts: string;
  readonly resolvConf: string;
}

export function etcFilesIn(folder: string): EtcFiles {
  return {
    hostname: join(folder, "hostname"),
    hosts: join(folder, "hosts"),
    resolvConf: join(folder, "resolv.conf"),
  };
}

export interface EtcInput {
  readonly config: ContainerConfig;
  readonly hostConfig: HostConfig;
  readonly networks: Readonly<Record<string, EndpointSettings>>;
  /** The engine answers for names, at 127.0.0.11. */
  readonly hasResolver: boolean;
  readonly links: readonly ResolvedLink[];
  readonly engineDns: EngineDns;
  /** The addresses that `host-gateway` stands for in --add-host. */
  readonly hostGateways: readonly string[];
}

export interface EngineDns {
  readonly servers: readonly string[];
  readonly search: readonly string[];
  readonly options: readonly string[];
}

/** Writes them anew: addresses change from start to start. On the host's network they start from the host's own. */
export function writeEtcFiles(files: EtcFiles, input: EtcInput): void {
  writeFileSync(files.hostname, `${input.config.Hostname}\n`, { mode: 0o644 });
  writeFileSync(files.hosts, hostsText(input), { mode: 0o644 });
  writeFileSync(files.resolvConf, resolvText(input), { mode: 0o644 });
}

const LOCAL_HOSTS = [
  "127.0.0.1\tlocalhost",
  "::1\tlocalhost ip6-localhost ip6-loopback",
  "fe00::\tip6-localnet",
  "ff00::\tip6-mcastprefix",
  "ff02::1\tip6-allnodes",
  "ff02::2\tip6-allrouters",
];

function hostsText(input: EtcInput): string {
  const { config } = input;
  const lines = input.hostConfig.NetworkMode === "host" ? [readIfThere("/etc/hosts").trimEnd()] : [...LOCAL_HOSTS];
  for (const entry of input.hostConfig.ExtraHosts ?? []) {
    const { name, address } = parseExtraHost(entry);
    const resolved = address === "host-gateway" ? input.hostGateways : [address];
    if (resolved.length === 0) {
      throw new GantryError("invalid", "unable to derive the IP value for host-gateway");
    }
    for (const each of resolved) lines.push(`${each}\t${name}`);
  }
  lines.push(...hostLines(input, lines));
  for (const { hostNames, addresses } of input.links) {
    for (const address of addresses) lines.push(`${address}\t${hostNames}`);
  }
  const names = hostNames(config);
  for (const endpoint of Object.values(input.networks)) {
    if (endpoint.IPAddress !== "") lines.push(`${endpoint.IPAddress}\t${names}`);
    if (endpoint.GlobalIPv6Address !== "") lines.push(`${endpoint.GlobalIPv6Address}\t${names}`);
  }
  return `${lines.join("\n")}\n`;
}

/** The host's own name, unless it was given by the user or the name server answers for it. */
function hostLines({ hostConfig, hasResolver, hostGateways, networks }: EtcInput, others: readonly string[]): string[] {
  if (hasResolver || others.some((text) => text.split(/\s+/).includes(HOST_NAME))) return [];
  const onBridge = Object.hasOwn(networks, "bridge");
  const addresses = hostConfig.NetworkMode === "host" ? ["127.0.0.1"] : onBridge ? hostGateways : [];
  return addresses.map((address) => `${address}\t${HOST_NAME}`);
}

/** The full name and its first part, however the two were given: `-h web.example` or `-h web --domainname example`. */
export function hostNames({ Hostname, Domainname }: ContainerConfig): string {
  const full = Domainname === "" ? Hostname : `${Hostname}.${Domainname}`;
  const [first = ""] = full.split(".", 1);
  return first === full ? full : `${full} ${first}`;
}

/** `name:address` or `name=address`; the address may be in brackets. */
export function parseExtraHost(entry: string): { readonly name: string; readonly address: string } {
  const at = entry.search(/[:=]/);
  const name = at < 0 ? "" : entry.slice(0, at);
  const address = at < 0 ? "" : entry.slice(at + 1).replace(/^\[(.*)\]$/, "$1");
  if (name === "" || address === "") throw new GantryError("invalid", `bad format for add-host: "${entry}"`);
  if (address !== "host-gateway" && isIP(address) === 0) {
    throw new GantryError("invalid", `invalid IP address in add-host: "${address}"`);
  }
  return { name, address };
}

/**
 * The container's own --dns, else the engine's, else the host's servers. On a bridge a host's resolver on loopback
 * (systemd-resolved) cannot be reached: then what stands behind it is used, and public servers as a last resort.
 */
export function resolvText(input: Pick<EtcInput, "hostConfig" | "hasResolver" | "engineDns">): string {
  const { hostConfig, engineDns } = input;
  const onHost = hostConfig.NetworkMode === "host";
  const host = hostResolvConf();
  let servers = hostConfig.Dns ?? [];
  if (servers.length === 0) servers = [...engineDns.servers];
  if (servers.length === 0) servers = onHost ? [...host.servers] : reachable(host.servers);
  if (input.hasResolver) servers = [RESOLVER_ADDRESS];
  const search = nonEmpty(hostConfig.DnsSearch, engineDns.search, host.search).filter((domain) => domain !== ".");
  const given = nonEmpty(hostConfig.DnsOptions, engineDns.options, host.options);
  // A name without a dot is a container's before it is one of a search domain.
  const isSettled = !input.hasResolver || given.some((option) => option.startsWith("ndots:"));
  const options = isSettled ? given : [...given, "ndots:0"];
  const lines = servers.map((server) => `nameserver ${server}`);
  if (search.length > 0) lines.push(`search ${search.join(" ")}`);
  if (options.length > 0) lines.push(`options ${options.join(" ")}`);
  return `${lines.join("\n")}\n`;
}

function reachable(servers: readonly string[]): string[] {
  const direct = servers.filter((server) => !isHostsOwn(server));
  if (direct.length > 0) return direct;
  const behind = hostResolvConf("/run/systemd/resolve/resolv.conf").servers.filter((server) => !isHostsOwn(server));
  return behind.length > 0 ? behind : ["8.8.8.8", "8.8.4.4"];
}

function nonEmpty(...lists: readonly (readonly string[] | null)[]): readonly string[] {
  return lists.find((list) => list !== null && list.length > 0) ?? [];
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
