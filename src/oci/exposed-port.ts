import { GantryError } from "../base/errors.ts";

const PROTOCOLS = new Set(["tcp", "udp", "sctp"]);
const HIGHEST = 65_535;

/** A word of EXPOSE, not checked whole. */
export interface ExposedSpec {
  /** As it is written; "tcp" if it isn't. */
  readonly protocol: string;
  /** It says something of the host, which EXPOSE has no use for. */
  readonly isMapped: boolean;
  readonly address: string;
  readonly hostPorts: string;
  readonly ports: string;
}

/** `[address:][host ports:]ports[/protocol]` taken apart. Throws `invalid` in BuildKit's words. */
export function readExposed(spec: string): ExposedSpec {
  const parts = spec.split(":");
  const [address, hostPorts, container = ""] = [parts.slice(0, -2).join(":"), parts.at(-2) ?? "", parts.at(-1)];
  const slash = container.indexOf("/");
  const ports = slash < 0 ? container : container.slice(0, slash);
  const protocol = (slash < 0 ? "" : container.slice(slash + 1)) || "tcp";
  if (ports === "") throw invalid(`invalid port: ${JSON.stringify(spec)}: no port specified`);
  if (!PROTOCOLS.has(protocol.toLowerCase())) {
    throw invalid(`invalid port: ${JSON.stringify(spec)}: invalid proto: ${protocol}`);
  }
  return { protocol, isMapped: address !== "" || hostPorts !== "", address, hostPorts, ports };
}

/**
 * The container's ports of one word of EXPOSE, as keys of a config: `8000-8001/udp` is `8000/udp` and `8001/udp`.
 * A host's address and ports in front, as `-p` takes them, are checked and left out. Throws `invalid`.
 */
export function exposedPorts(spec: string): string[] {
  const { address, hostPorts, ports, protocol } = readExposed(spec);
  const bare = /^\[(.*)\]$/.exec(address)?.[1] ?? address;
  if (address !== "" && !isAddress(bare)) throw invalid(`invalid IP address: ${bare}`);
  const range = portRange(ports);
  if (range === undefined) throw invalid(`invalid containerPort: ${ports}`);
  const hostRange = hostPorts === "" ? undefined : portRange(hostPorts);
  if (hostPorts !== "" && hostRange === undefined) throw invalid(`invalid hostPort: ${hostPorts}`);
  const [first, last] = range;
  if (hostRange !== undefined && hostRange[1] - hostRange[0] !== last - first && last !== first) {
    throw invalid(`invalid ranges specified for container and host Ports: ${ports} and ${hostPorts}`);
  }
  return Array.from({ length: last - first + 1 }, (_, index) => `${first + index}/${protocol.toLowerCase()}`);
}

function portRange(text: string): [first: number, last: number] | undefined {
  const match = /^(\+?\d{1,20})(?:-(\+?\d{1,20}))?$/.exec(text);
  if (match === null) return undefined;
  const first = Number(match[1]);
  const last = Number(match[2] ?? first);
  return last < first || last > HIGHEST ? undefined : [first, last];
}

/** IPv4 with dots, or IPv6 without a zone. */
function isAddress(text: string): boolean {
  if (!text.includes(":")) return isFour(text);
  const four = text.lastIndexOf(":") + 1;
  const isMixed = text.includes(".");
  if (isMixed && !isFour(text.slice(four))) return false;
  const whole = isMixed ? `${text.slice(0, four)}0:0` : text;
  const halves = whole.split("::");
  const groups = halves.flatMap((half) => (half === "" ? [] : half.split(":")));
  if (halves.length > 2 || !groups.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return false;
  return halves.length === 2 ? groups.length < 8 : groups.length === 8;
}

function isFour(text: string): boolean {
  return /^(?:(?:0|[1-9]\d{0,2})(?:\.(?!$)|$)){4}$/.test(text) && text.split(".").every((part) => Number(part) < 256);
}

function invalid(message: string): GantryError {
  return new GantryError("invalid", message);
}
