import { readFileSync } from "node:fs";

const MOST = 8_192;
/** Of the descriptors that the engine may have, connections that it carries take a quarter at most. */
const SHARE = 8;

/**
 * How many connections and flows of datagrams are carried at once, of all published ports together: a connection costs
 * two descriptors, and whoever reaches a port from outside can open as many as he likes.
 */
export class ProxyRoom {
  #free: number;

  constructor(most: number) {
    this.#free = most;
  }

  /** False if there is none left; what was taken is to be given back. */
  take(): boolean {
    if (this.#free === 0) return false;
    this.#free--;
    return true;
  }

  give(): void {
    this.#free++;
  }
}

let ofEngine: ProxyRoom | undefined;

/** The one of this process. */
export function engineRoom(): ProxyRoom {
  ofEngine ??= new ProxyRoom(Math.min(MOST, Math.floor(descriptorLimit() / SHARE)));
  return ofEngine;
}

function descriptorLimit(): number {
  const [, soft = ""] = /^Max open files\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
  return soft === "unlimited" ? Number.POSITIVE_INFINITY : Number(soft) || 1024;
}
