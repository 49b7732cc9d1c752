import type { InterfaceStats } from "../../api/stats.ts";
import { readControl } from "../../kernel/cgroup-files.ts";
import { wireNumber } from "./number.ts";

/** What went through the interfaces of a process's network namespace; undefined if it has none but its loopback. */
export function readInterfaces(pid: number): Record<string, InterfaceStats> | undefined {
  const text = readControl(`/proc/${pid}/net`, "dev");
  return text === undefined ? undefined : parseNetDev(text);
}

/** Of a `/proc/PID/net/dev`: eight columns of what was received, eight of what was sent. */
export function parseNetDev(text: string): Record<string, InterfaceStats> | undefined {
  const found: [string, InterfaceStats][] = [];
  for (const row of text.split("\n").slice(2)) {
    const colon = row.indexOf(":");
    const name = row.slice(0, Math.max(colon, 0)).trim();
    if (name === "" || name === "lo") continue;
    const numbers = row.slice(colon + 1).match(/\d+/g) ?? [];
    const at = (column: number) => wireNumber(numbers[column] ?? "0");
    found.push([
      name,
      {
        rx_bytes: at(0),
        rx_packets: at(1),
        rx_errors: at(2),
        rx_dropped: at(3),
        tx_bytes: at(8),
        tx_packets: at(9),
        tx_errors: at(10),
        tx_dropped: at(11),
      },
    ]);
  }
  return found.length === 0 ? undefined : Object.fromEntries(found);
}
