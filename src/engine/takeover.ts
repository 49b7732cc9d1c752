import type { Socket } from "node:net";
import { compareVersions, MULTIPLEXED_STREAM, RAW_STREAM } from "../api/version.ts";
import { IncomingMessage } from "../base/http.ts";
import type { Hijack, HijackedConnection } from "../containers/controller.ts";

/**
 * Taking a connection from the HTTP server. The parser must stop right behind the request's head: what follows may be
 * input of a session, which it would take for a further request or for garbage. It does so for an upgrade; clients of
 * old don't ask for one but just send the request and then talk. So the server is made to see an upgrade in both.
 */
export function messageClass(isTaken: (method: string, url: string) => boolean): typeof IncomingMessage {
  return class EngineMessage extends IncomingMessage {
    #asked = false;

    get upgrade(): boolean {
      return this.#asked || isTaken(this.method ?? "", this.url ?? "");
    }

    set upgrade(asked: boolean | null) {
      // The parent's constructor sets null before there are fields.
      if (asked === true) this.#asked = true;
    }
  };
}

/** What a hijack needs to know of its request. */
export interface Taking {
  readonly socket: Socket;
  /** What the client sent after its request and was read already. */
  readonly rest: Buffer;
  /** The protocol that the client asked to upgrade to: it is answered 101, else 200. */
  readonly upgraded: "tcp" | "h2c" | undefined;
  readonly version: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Called before the connection is handed out. */
  readonly onTaken: () => void;
}

export function streamHijack({ socket, rest, upgraded, version, headers, onTaken }: Taking): Hijack {
  return ({ multiplexed }): HijackedConnection => {
    onTaken();
    const named = upgraded !== undefined && multiplexed && compareVersions(version, "1.42") >= 0;
    const lines = [
      upgraded === undefined ? "HTTP/1.1 200 OK" : "HTTP/1.1 101 UPGRADED",
      ...(upgraded === "h2c" ? [] : [`Content-Type: ${named ? MULTIPLEXED_STREAM : RAW_STREAM}`]),
      ...(upgraded === undefined ? [] : ["Connection: Upgrade", `Upgrade: ${upgraded}`]),
      ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ];
    return {
      socket,
      head: Buffer.concat([rest, drain(socket)]),
      preamble: Buffer.from(`${lines.join("\r\n")}\r\n\r\n`),
    };
  };
}

function drain(socket: Socket): Buffer {
  const pieces: Buffer[] = [];
  for (;;) {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return Buffer.concat(pieces);
    pieces.push(chunk);
  }
}
