import type { PortSummary } from "../../api/container.ts";

/** A container's ports as `ps` shows them; neighbours that are published alike are joined to a range. */
export function portsText(ports: readonly PortSummary[]): string {
  const sorted = [...ports].sort(
    (a, b) =>
      a.PrivatePort - b.PrivatePort ||
      compare(a.IP ?? "", b.IP ?? "") ||
      (a.PublicPort ?? 0) - (b.PublicPort ?? 0) ||
      compare(a.Type, b.Type),
  );
  const groups = new Map<string, { first: number; last: number }>();
  const done: string[] = [];
  const mapped: string[] = [];
  for (const port of sorted) {
    const ip = port.IP ?? "";
    let current = port.PrivatePort;
    let key = port.Type;
    if (ip !== "") {
      if (port.PublicPort !== current) {
        mapped.push(`${hostText(ip)}:${port.PublicPort}->${port.PrivatePort}/${port.Type}`);
        continue;
      }
      current = port.PublicPort;
      key = `${ip}/${port.Type}`;
    }
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { first: current, last: current });
    else if (current === group.last + 1) group.last = current;
    else {
      done.push(groupText(key, group.first, group.last));
      groups.set(key, { first: current, last: current });
    }
  }
  const rest = [...groups].map(([key, group]) => groupText(key, group.first, group.last));
  return [...done, ...rest, ...mapped].join(", ");
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function hostText(ip: string): string {
  return ip.includes(":") ? `[${ip}]` : ip;
}

function groupText(key: string, first: number, last: number): string {
  const slash = key.lastIndexOf("/");
  const range = first === last ? String(first) : `${first}-${last}`;
  const shown = slash === -1 ? range : `${hostText(key.slice(0, slash))}:${range}->${range}`;
  return `${shown}/${key.slice(slash + 1)}`;
}
