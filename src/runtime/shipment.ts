import type { LogTarget } from "./process.ts";

/** The log of one container on its way to a log service. */
export interface Shipment {
  /** The container's full id. */
  readonly id: string;
  /** The local copy that is read. */
  readonly target: LogTarget;
  /** File that keeps how far it was read; beside the log, so that it goes with it. */
  readonly cursor: string;
  readonly service: LogService;
  readonly patience: Patience;
}

/** What a user sets of how lines wait for a service that is away or slow; without it they wait in the local copy. */
export interface Patience {
  /** Before the second try; doubled at each, up to `lastPauseMs`. */
  readonly firstPauseMs?: number;
  readonly lastPauseMs?: number;
  /** Tries after the first until lines are dropped; without it none are. */
  readonly mostRetries?: number;
  /** What may wait: of more, the oldest is dropped. */
  readonly mostBytes?: number;
  readonly mostLines?: number;
}

export type LogService = SyslogService | GelfService | FluentdService | JournaldService;

/** Where a stream or datagram service listens. */
export type ServiceAddress =
  | { readonly network: "tcp" | "udp"; readonly host: string; readonly port: number; readonly tls?: TlsFiles }
  | { readonly network: "unix" | "unixgram"; readonly path: string };

/** Paths of PEM files; empty for none. */
export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly skipVerify: boolean;
}

export interface SyslogService {
  readonly driver: "syslog";
  /** Tried in order: without an address, the places where the host's own syslog may be. */
  readonly addresses: readonly ServiceAddress[];
  /** 0 to 23. */
  readonly facility: number;
  readonly format: "" | "rfc3164" | "rfc5424" | "rfc5424micro";
  readonly hostname: string;
  readonly tag: string;
}

export interface GelfService {
  readonly driver: "gelf";
  readonly address: ServiceAddress;
  readonly compression: "gzip" | "zlib" | "none";
  /** -1 to 9. */
  readonly level: number;
  readonly hostname: string;
  /** Fields of every message, with their underscore. */
  readonly extra: Readonly<Record<string, string>>;
}

export interface FluentdService {
  readonly driver: "fluentd";
  readonly address: ServiceAddress;
  readonly tag: string;
  /** Fields of every record. */
  readonly extra: Readonly<Record<string, string>>;
  /** Times as EventTime instead of whole seconds. */
  readonly subSecond: boolean;
  readonly requestAck: boolean;
  /** Begin without the service being there. */
  readonly isAsync: boolean;
  /** Connect anew after so long; 0 for never. */
  readonly reconnectMs: number;
  readonly writeTimeoutMs: number;
}

export interface JournaldService {
  readonly driver: "journald";
  /** Path of the journal's socket. */
  readonly path: string;
  readonly fields: Readonly<Record<string, string>>;
}

/** What is told of a shipment without being asked. */
export type ShipmentEvent =
  /** Everything is shipped of a log that will not grow. */
  | { readonly event: "done"; readonly id: string }
  /** The service can't be reached, or is again (`why` is empty then). */
  | { readonly event: "trouble"; readonly id: string; readonly why: string }
  /** So many lines, or at least so many, were given up: rotated away unsent, or beyond the patience set for them. */
  | { readonly event: "dropped"; readonly id: string; readonly lines: number; readonly isExact: boolean }
  /** So much was sent since the last time. */
  | { readonly event: "shipped"; readonly id: string; readonly bytes: number };

/** The port to the shipper. `LogShipper` is the engine's side of the process that does it. */
export interface LogShipping {
  /**
   * Begins to ship, from where it was left. `check` has the service reached first: rejects with the reason if it can't
   * be. Of a container that is shipped already it only takes the new service.
   */
  ship(shipment: Shipment, options: { readonly check: boolean }): Promise<void>;
  /** The log will not grow: what is left is shipped, then `done` comes. */
  finish(id: string): void;
  /** Stops shipping; what was not sent is not. Resolves when nothing of the container is held open. */
  forget(id: string): Promise<void>;
}
