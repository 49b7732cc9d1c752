import type { PortBinding } from "../../api/container.ts";
import { isAddress } from "./address.ts";
import { cutAt } from "./cut-at.ts";

export interface PublishedPorts {
  readonly exposed: Record<string, Record<string, never>>;
  readonly bindings: Record<string, PortBinding[]>;
}

/** Turns the values of `--publish` and `--expose` into what the create request holds. */
export function parsePorts(publish: readonly string[], expose: readonly string[]): PublishedPorts {
  const exposed: Record<string, Record<string, never>> = {};
  const bindings: Record<string, PortBinding[]> = {};
  for (const spec of publish.map(longPublish)) {
    for (const [port, binding] of parsePublish(spec)) {
      exposed[port] = {};
      const list = bindings[port] ?? [];
      list.push(binding);
      bindings[port] = list;
    }
  }
  for (const spec of expose) {
    if (spec.includes(":")) throw new Error(`invalid port format for --expose: ${spec}`);
    const [ports, protocol] = splitProtocol(spec);
    let range: readonly [number, number];
    try {
      range = parseRange(ports);
    } catch (error) {
      throw new Error(`invalid range format for --expose: ${spec}, error: ${(error as Error).message}`);
    }
    for (let port = range[0]; port <= range[1]; port++) exposed[`${port}/${protocol}`] ??= {};
  }
  return { exposed, bindings };
}

/** `published=80,target=8080,protocol=udp` in the short form. */
function longPublish(spec: string): string {
  if (!spec.includes("=")) return spec;
  const params: Record<string, string> = { published: "", target: "", protocol: "tcp" };
  for (const param of spec.split(",")) {
    const [key, value] = cutAt(param, "=");
    if (value === undefined || key === "") {
      throw new Error(`invalid publish opts format (should be name=value but got '${param}')`);
    }
    params[key] = value;
  }
  return `${params.published}:${params.target}/${params.protocol}`;
}

function parsePublish(spec: string): readonly (readonly [string, PortBinding])[] {
  const parts = spec.split(":");
  const [containerPort, protocol] = splitProtocol(parts.at(-1) ?? "");
  const hostPort = parts.at(-2) ?? "";
  let ip = parts.slice(0, -2).join(":");
  if (ip.startsWith("[")) {
    if (!ip.endsWith("]")) throw new Error(`invalid IP address ${ip}: address ${ip}:: missing ']' in address`);
    ip = ip.slice(1, -1);
  }
  if (ip !== "" && !isAddress(ip)) throw new Error(`invalid IP address: ${ip}`);
  if (containerPort === "") throw new Error(`no port specified: ${spec}<empty>`);
  const container = named(containerPort, "containerPort");
  const host = hostPort === "" ? undefined : named(hostPort, "hostPort");
  const count = container[1] - container[0];
  if (host !== undefined && count !== host[1] - host[0] && count !== 0) {
    throw new Error(`invalid ranges specified for container and host Ports: ${containerPort} and ${hostPort}`);
  }
  const lower = protocol.toLowerCase();
  if (!["tcp", "udp", "sctp"].includes(lower)) throw new Error(`invalid proto: ${protocol}`);
  const rows: [string, PortBinding][] = [];
  for (let at = 0; at <= count; at++) {
    let shown = host === undefined ? "" : String(host[0] + at);
    // One container port on a range of the host's: the engine picks a free one of them.
    if (host !== undefined && count === 0 && host[0] !== host[1]) shown = `${host[0]}-${host[1]}`;
    rows.push([`${container[0] + at}/${lower}`, { HostIp: ip, HostPort: shown }]);
  }
  return rows;
}

function named(text: string, name: string): readonly [number, number] {
  try {
    return parseRange(text);
  } catch {
    throw new Error(`invalid ${name}: ${text}`);
  }
}

function splitProtocol(text: string): readonly [string, string] {
  const [port = "", protocol = ""] = text.split("/");
  return [port, protocol === "" ? "tcp" : protocol];
}

function parseRange(text: string): readonly [number, number] {
  if (text === "") throw new Error("empty string specified for ports");
  const [first, last] = cutAt(text, "-");
  const start = parsePort(first);
  const end = last === undefined ? start : parsePort(last);
  if (end < start) throw new Error(`invalid range specified for port: ${text}`);
  return [start, end];
}

function parsePort(text: string): number {
  const quoted = JSON.stringify(text);
  if (!/^\d+$/.test(text)) throw new Error(`strconv.ParseUint: parsing ${quoted}: invalid syntax`);
  if (Number(text) > 65535) throw new Error(`strconv.ParseUint: parsing ${quoted}: value out of range`);
  return Number(text);
}
