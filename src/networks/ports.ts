import { closeSync, readFileSync } from "node:fs";
import { isIPv4 } from "node:net";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import { bindSocket } from "../kernel/bound-socket.ts";
import type { Protocol } from "./firewall.ts";
import type { PortWish } from "./port-wish.ts";
import { proxyTcp, refuseTcp } from "./tcp-proxy.ts";
import { proxyUdp } from "./udp-proxy.ts";

const FALLBACK_RANGE = [49_153, 65_535] as const;
const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: "address already in use",
  EADDRNOTAVAIL: "cannot assign requested address",
  EACCES: "permission denied",
  EPERM: "operation not permitted",
};

/** A host port that is held by a real socket. */
export interface HeldPort {
  readonly protocol: Protocol;
  readonly hostIp: string;
  readonly hostPort: number;
  /** Serves the socket: carries to the container what the kernel does not lead there. */
  serve(containerIp: string, containerPort: number): void;
  /** From now on to another address of the container. */
  redirect(containerIp: string): void;
  /** Gives the port back. */
  close(): void;
}

/** Which host ports this engine's containers hold. */
export class HostPorts {
  readonly #held = new Set<HeldPort>();
  readonly #proxy: boolean;
  #next = 0;

  constructor(options: { userlandProxy: boolean }) {
    this.#proxy = options.userlandProxy;
  }

  /**
   * Holds one port at all addresses of a wish: the first of its range that is free at each, or any. Throws a
   * GantryError with Docker's text for the last port that was tried; nothing is held then.
   */
  hold(wish: PortWish): HeldPort[] {
    let failure: unknown;
    for (const port of wish.range === undefined ? this.#dynamicPorts() : span(...wish.range)) {
      try {
        const held = this.#holdAll(wish, port);
        if (wish.range === undefined) this.#next = port + 1;
        return held;
      } catch (error) {
        failure = error;
        if (!hasCode(causeOf(error), "EADDRINUSE", "EALREADY")) break;
      }
    }
    throw failure ?? new GantryError("internal", "all ports are allocated");
  }

  #holdAll(wish: PortWish, port: number): HeldPort[] {
    const held: HeldPort[] = [];
    try {
      for (const address of wish.hostIps) held.push(this.#holdOne(wish.protocol, address, port));
      for (const address of wish.optionalIps) {
        try {
          held.push(this.#holdOne(wish.protocol, address, port));
        } catch (error) {
          // A host without IPv6 has nothing to publish there.
          if (!hasCode(causeOf(error), "EAFNOSUPPORT", "EADDRNOTAVAIL")) throw error;
        }
      }
      return held;
    } catch (error) {
      for (const one of held) one.close();
      throw error;
    }
  }

  #holdOne(protocol: Protocol, hostIp: string, hostPort: number): HeldPort {
    const shown = isIPv4(hostIp) ? `${hostIp}:${hostPort}` : `[${hostIp}]:${hostPort}`;
    for (const other of this.#held) {
      if (other.protocol === protocol && other.hostPort === hostPort && meet(other.hostIp, hostIp)) {
        const cause = Object.assign(new Error("held by a container"), { code: "EALREADY" });
        throw new GantryError("internal", `Bind for ${shown} failed: port is already allocated`, { cause });
      }
    }
    let fd: number | undefined;
    try {
      fd = bindSocket(protocol, hostIp, hostPort);
    } catch (error) {
      // No SCTP in this kernel: no program of the host can hold the port either.
      if (!(protocol === "sctp" && hasCode(error, "EPROTONOSUPPORT")))
        throw bindFailure(protocol, hostIp, shown, error);
    }
    const held = new Held(protocol, hostIp, hostPort, fd, this.#proxy, () => this.#held.delete(held));
    this.#held.add(held);
    return held;
  }

  /** The kernel's ephemeral range as Docker uses it, going round from where the last one was found. */
  *#dynamicPorts(): Generator<number> {
    const [first, last] = dynamicRange();
    const start = this.#next >= first && this.#next <= last ? this.#next : first;
    yield* span(start, last);
    yield* span(first, start - 1);
  }
}

class Held implements HeldPort {
  readonly protocol: Protocol;
  readonly hostIp: string;
  readonly hostPort: number;
  readonly #fd: number | undefined;
  readonly #proxy: boolean;
  readonly #forget: () => void;
  #end: (() => void) | undefined;
  #closed = false;
  #containerIp = "";

  constructor(
    protocol: Protocol,
    hostIp: string,
    hostPort: number,
    fd: number | undefined,
    proxy: boolean,
    forget: () => void,
  ) {
    this.protocol = protocol;
    this.hostIp = hostIp;
    this.hostPort = hostPort;
    this.#fd = fd;
    this.#proxy = proxy;
    this.#forget = forget;
  }

  serve(containerIp: string, containerPort: number): void {
    const fd = this.#fd;
    this.#containerIp = containerIp;
    if (fd === undefined || this.#end !== undefined) return;
    const target = () => this.#containerIp;
    if (this.protocol === "tcp") this.#end = this.#proxy ? proxyTcp(fd, target, containerPort) : refuseTcp(fd);
    if (this.protocol === "udp" && this.#proxy) {
      this.#end = proxyUdp(fd, isIPv4(this.hostIp) ? "udp4" : "udp6", target, containerPort);
    }
  }

  redirect(containerIp: string): void {
    this.#containerIp = containerIp;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#forget();
    if (this.#end !== undefined) this.#end();
    else if (this.#fd !== undefined) closeSync(this.#fd);
  }
}

function bindFailure(protocol: Protocol, hostIp: string, shown: string, cause: unknown): GantryError {
  const code = (cause as { code?: string }).code ?? "";
  const network = `${protocol}${isIPv4(hostIp) ? 4 : 6}`;
  const reason = REASONS[code] ?? messageOf(cause);
  return new GantryError("internal", `Error starting userland proxy: listen ${network} ${shown}: bind: ${reason}`, {
    cause,
  });
}

function meet(a: string, b: string): boolean {
  return isIPv4(a) === isIPv4(b) && (a === b || a === "0.0.0.0" || b === "0.0.0.0" || a === "::" || b === "::");
}

function* span(first: number, last: number): Generator<number> {
  for (let port = first; port <= last; port++) yield port;
}

function dynamicRange(): readonly [number, number] {
  try {
    const [first = 0, last = 0] = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8")
      .trim()
      .split(/\s+/)
      .map(Number);
    if (first > 0 && last >= first) return [first, last];
  } catch {
    // Docker's fallback where the kernel doesn't say.
  }
  return FALLBACK_RANGE;
}

function causeOf(error: unknown): unknown {
  return error instanceof Error ? error.cause : undefined;
}
