import type { ClientHttp2Session, Http2Session, ServerHttp2Session } from "node:http2";
import type { Duplex } from "node:stream";

/** node:http2, loaded by who speaks it: most runs of the command and most engines never do. */
const http2 = (): typeof import("node:http2") => process.getBuiltinModule("node:http2");

/** A stream's and a connection's bytes on their way: enough for a local socket, and for a network with some delay. */
const STREAM_WINDOW = 1 << 20;
const CONNECTION_WINDOW = 16 << 20;
/** Metadata of a file sync has a header for each pattern. */
const HEADER_BYTES = 1 << 20;
const HEADERS = 20_000;
const STREAMS = 1000;
const MEMORY_MB = 64;

export interface KeepAlive {
  /** So often the other side is asked whether it is there. */
  readonly everyMs: number;
  /** For so long it may be silent. */
  readonly withinMs: number;
}

const SETTINGS = {
  settings: {
    initialWindowSize: STREAM_WINDOW,
    maxConcurrentStreams: STREAMS,
    maxHeaderListSize: HEADER_BYTES,
    enablePush: false,
  },
  maxHeaderListPairs: HEADERS,
  maxSendHeaderBlockLength: HEADER_BYTES,
  maxSessionMemory: MEMORY_MB,
} as const;

/** The called side over a connection that is there already, whoever opened it. */
export function acceptHttp2(socket: Duplex): ServerHttp2Session {
  const session = http2().performServerHandshake(socket, SETTINGS);
  return prepared(session, socket);
}

/** The calling side over a connection that is there already, whoever opened it. */
export function openHttp2(socket: Duplex): ClientHttp2Session {
  const session = http2().connect("http://localhost", {
    ...SETTINGS,
    createConnection: () => socket,
  });
  return prepared(session, socket);
}

function prepared<S extends Http2Session>(session: S, socket: Duplex): S {
  session.on("error", ignore);
  socket.on("error", ignore);
  // A connection that HTTP handed over stays half open: its other half would be kept for ever.
  socket.once("end", () => socket.destroy());
  // Under Bun a connection whose window was widened stands still after the first 64 KB.
  if (process.versions.bun === undefined) {
    const widen = () => {
      if (!session.destroyed) session.setLocalWindowSize(CONNECTION_WINDOW);
    };
    if (session.connecting) session.once("connect", widen);
    else widen();
  }
  return session;
}

/** Ends the session where the other side doesn't answer in time. Stops with the session. */
export function keepAlive(session: Http2Session, { everyMs, withinMs }: KeepAlive): void {
  let overdue: NodeJS.Timeout | undefined;
  const timer = setInterval(() => {
    if (overdue !== undefined || session.destroyed || session.connecting) return;
    overdue = setTimeout(() => session.destroy(), withinMs);
    overdue.unref();
    session.ping(() => {
      clearTimeout(overdue);
      overdue = undefined;
    });
  }, everyMs);
  timer.unref();
  session.once("close", () => {
    clearInterval(timer);
    clearTimeout(overdue);
  });
}

/** Closing the connection says that something went wrong with it. */
function ignore(): void {}
