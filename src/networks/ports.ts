import { closeSync, readFileSync } from "node:fs";
import { isIPv4 } from "node:net";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import { bindSocket } from "../kernel/bound-socket.ts";
import { DescriptorSet } from "../kernel/descriptor-set.ts";
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
/** A family or an address that the host doesn't have. */
const MISSING = ["EAFNOSUPPORT", "EADDRNOTAVAIL"] as const;

/** A host port at one address, or at all addresses of both families, that is held by a real socket. */
export interface HeldPort {
  readonly protocol: Protocol;
  /** One, or 0.0.0.0 and ::. */
  readonly hostIps: readonly string[];
  readonly hostPort: number;
  /** Serves the socket: carries to the container what the kernel does not lead there. */
  serve(containerIp: string, containerPort: number): void;
  /** From now on to another address of the container. */
  redirect(containerIp: string): void;
  /** Gives the port back. */
  close(): void;
}

/** Why a port can't be had. */
export interface PortTaken {
  readonly protocol: Protocol;
  readonly hostIp: string;
  readonly hostPort: number;
  /** The container of this engine that holds it; undefined if another program does. */
  readonly container: string | undefined;
}

/** Which host ports this engine's containers hold. */
export class HostPorts {
  /** By protocol and number. */
  readonly #held = new Map<string, Set<Held>>();
  readonly #idle = new DescriptorSet();
  readonly #proxy: boolean;
  #next = 0;

  constructor(options: { userlandProxy: boolean }) {
    this.#proxy = options.userlandProxy;
  }

  /**
   * Holds one port at all addresses of a wish: the first of its range that is free at each, or any. Throws a
   * GantryError with Docker's text for the last port that was tried; nothing is held then. `owner` says which
   * container it is held for.
   */
  hold(wish: PortWish, owner: () => string): HeldPort[] {
    let failure: unknown;
    for (const port of wish.range === undefined ? this.#dynamicPorts() : span(...wish.range)) {
      try {
        const held = this.#holdAll(wish, port, owner);
        if (wish.range === undefined) this.#next = port + 1;
        return held;
      } catch (error) {
        failure = error;
        if (takenOf(error) === undefined) break;
      }
    }
    throw failure ?? new GantryError("internal", "all ports are allocated");
  }

  #holdAll(wish: PortWish, port: number, owner: () => string): HeldPort[] {
    const all = [...wish.hostIps, ...wish.optionalIps];
    if (all.length === 2 && all.includes("0.0.0.0") && all.includes("::")) {
      const both = this.#holdBoth(wish.protocol, port, owner);
      if (both !== undefined) return [both];
    }
    const held: HeldPort[] = [];
    try {
      for (const address of wish.hostIps) held.push(this.#holdOne(wish.protocol, address, port, owner));
      for (const address of wish.optionalIps) {
        try {
          held.push(this.#holdOne(wish.protocol, address, port, owner));
        } catch (error) {
          // A host without IPv6 has nothing to publish there.
          if (!hasCode(systemError(error), ...MISSING)) throw error;
        }
      }
      return held;
    } catch (error) {
      for (const one of held) one.close();
      throw error;
    }
  }

  /** One socket for both families; undefined if it can't be had, for reasons that each family may tell by itself. */
  #holdBoth(protocol: Protocol, hostPort: number, owner: () => string): HeldPort | undefined {
    if (this.#held.has(keyOf(protocol, hostPort))) return undefined;
    try {
      return this.#keep(
        protocol,
        ["0.0.0.0", "::"],
        hostPort,
        bindSocket(protocol, "::", hostPort, { both: true }),
        owner,
      );
    } catch (error) {
      if (hasCode(error, "EADDRINUSE", "EPROTONOSUPPORT", ...MISSING)) return undefined;
      throw bindFailure({ protocol, hostIp: "0.0.0.0", hostPort, container: undefined }, error);
    }
  }

  #holdOne(protocol: Protocol, hostIp: string, hostPort: number, owner: () => string): HeldPort {
    for (const other of this.#held.get(keyOf(protocol, hostPort)) ?? []) {
      if (!other.hostIps.some((each) => meet(each, hostIp))) continue;
      throw taken({ protocol, hostIp, hostPort, container: other.owner() });
    }
    let fd: number | undefined;
    try {
      fd = bindSocket(protocol, hostIp, hostPort);
    } catch (error) {
      // No SCTP in this kernel: no program of the host can hold the port either.
      if (!(protocol === "sctp" && hasCode(error, "EPROTONOSUPPORT")))
        throw bindFailure({ protocol, hostIp, hostPort, container: undefined }, error);
    }
    return this.#keep(protocol, [hostIp], hostPort, fd, owner);
  }

  #keep(
    protocol: Protocol,
    hostIps: readonly string[],
    hostPort: number,
    fd: number | undefined,
    owner: () => string,
  ): Held {
    const key = keyOf(protocol, hostPort);
    const all = this.#held.get(key) ?? new Set();
    this.#held.set(key, all);
    const forget = () => {
      all.delete(held);
      if (all.size === 0) this.#held.delete(key);
    };
    const held = new Held({ protocol, hostIps, hostPort, fd, owner, forget, idle: this.#idle, proxy: this.#proxy });
    all.add(held);
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

interface HeldPorts {
  readonly protocol: Protocol;
  readonly hostIps: readonly string[];
  readonly hostPort: number;
  readonly fd: number | undefined;
  readonly owner: () => string;
  readonly forget: () => void;
  readonly idle: DescriptorSet;
  readonly proxy: boolean;
}

/** Costs a socket and no more until somebody calls it whom the kernel does not lead to the container. */
class Held implements HeldPort {
  readonly #ports: HeldPorts;
  #end: (() => void) | undefined;
  #isClosed = false;
  #containerIp = "";
  #containerPort = 0;

  constructor(ports: HeldPorts) {
    this.#ports = ports;
  }

  get protocol(): Protocol {
    return this.#ports.protocol;
  }

  get hostIps(): readonly string[] {
    return this.#ports.hostIps;
  }

  get hostPort(): number {
    return this.#ports.hostPort;
  }

  owner(): string {
    return this.#ports.owner();
  }

  serve(containerIp: string, containerPort: number): void {
    const { fd, protocol, idle, proxy } = this.#ports;
    const isNew = this.#containerPort === 0;
    this.#containerIp = containerIp;
    this.#containerPort = containerPort;
    if (!isNew || fd === undefined || protocol === "sctp" || (protocol === "udp" && !proxy)) return;
    idle.add(fd, () => {
      idle.remove(fd);
      this.#end = this.#open(fd);
    });
  }

  redirect(containerIp: string): void {
    this.#containerIp = containerIp;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const { fd, idle, forget } = this.#ports;
    forget();
    if (this.#end !== undefined) this.#end();
    else if (fd !== undefined) {
      idle.remove(fd);
      closeSync(fd);
    }
  }

  #open(fd: number): () => void {
    const { protocol, hostIps, proxy } = this.#ports;
    const target = () => this.#containerIp;
    if (protocol === "udp") {
      return proxyUdp(fd, hostIps.every((address) => isIPv4(address)) ? "udp4" : "udp6", target, this.#containerPort);
    }
    return proxy ? proxyTcp(fd, target, this.#containerPort) : refuseTcp(fd);
  }
}

/** Which port the error is about, if it says that one is taken. */
export function takenOf(error: unknown): PortTaken | undefined {
  return error instanceof GantryError && error.cause instanceof TakenCause ? error.cause.port : undefined;
}

class TakenCause extends Error {
  readonly port: PortTaken;

  constructor(port: PortTaken, cause?: unknown) {
    super("the port is taken", { cause });
    this.port = port;
  }
}

function taken(port: PortTaken): GantryError {
  const whose = port.container ? `: the container ${port.container} has it` : "";
  const text = `Bind for ${shown(port)} failed: port is already allocated${whose}`;
  return new GantryError("internal", text, { cause: new TakenCause(port) });
}

function bindFailure(port: PortTaken, error: unknown): GantryError {
  const code = (error as { code?: string }).code ?? "";
  const network = `${port.protocol}${isIPv4(port.hostIp) ? 4 : 6}`;
  const reason = REASONS[code] ?? messageOf(error);
  const text = `Error starting userland proxy: listen ${network} ${shown(port)}: bind: ${reason}`;
  return new GantryError("internal", text, { cause: code === "EADDRINUSE" ? new TakenCause(port, error) : error });
}

function shown({ hostIp, hostPort }: PortTaken): string {
  return isIPv4(hostIp) ? `${hostIp}:${hostPort}` : `[${hostIp}]:${hostPort}`;
}

function keyOf(protocol: Protocol, port: number): string {
  return `${protocol} ${port}`;
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

function systemError(error: unknown): unknown {
  return error instanceof Error ? error.cause : undefined;
}
