import { GantryError } from "../base/errors.ts";

const PROTOCOLS = new Set(["tcp", "udp", "sctp"]);

/**
 * The container's ports of one word of EXPOSE, as keys of a config: `8000-8001/udp` is `8000/udp` and `8001/udp`.
 * A host's address and ports in front, as `-p` takes them, are checked and left out. Throws `invalid`.
 */
export function exposedPorts(spec: string): string[] {
  const slash = spec.indexOf("/");
  const protocol = slash < 0 ? "tcp" : spec.slice(slash + 1);
  const parts = (slash < 0 ? spec : spec.slice(0, slash)).split(":");
  const container = parts.at(-1) ?? "";
  if (container === "") throw new GantryError("invalid", `no port specified: ${spec}<empty>`);
  const range = portRange(container);
  if (range === undefined) throw new GantryError("invalid", `invalid containerPort: ${container}`);
  const hostPorts = parts.length > 1 ? (parts.at(-2) ?? "") : "";
  const hostRange = hostPorts === "" ? undefined : portRange(hostPorts);
  if (hostPorts !== "" && hostRange === undefined) {
    throw new GantryError("invalid", `invalid hostPort: ${hostPorts}`);
  }
  const [first, last] = range;
  if (hostRange !== undefined && hostRange[1] - hostRange[0] !== last - first && last !== first) {
    throw new GantryError(
      "invalid",
      `invalid ranges specified for container and host Ports: ${container} and ${hostPorts}`,
    );
  }
  const name = protocol === "" ? "tcp" : protocol.toLowerCase();
  if (!PROTOCOLS.has(name)) throw new GantryError("invalid", `invalid proto: ${protocol}`);
  return Array.from({ length: last - first + 1 }, (_, index) => `${first + index}/${name}`);
}

function portRange(text: string): [first: number, last: number] | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  if (match === null) return undefined;
  const first = Number(match[1]);
  const last = Number(match[2] ?? first);
  return last < first || last > 65_535 ? undefined : [first, last];
}
