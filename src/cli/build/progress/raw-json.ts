import type { StatusResponse } from "../../../buildkit/control.ts";
import type { Display } from "./display.ts";

/** A line of JSON for each message, with the names of BuildKit's own client. */
export class RawJsonDisplay implements Display {
  readonly #write: (text: string) => void;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  show({ vertexes, statuses, logs, warnings }: StatusResponse): void {
    const message = {
      ...(vertexes.length > 0 && {
        vertexes: vertexes.map(({ digest, inputs, name, started, completed, cached, error }) => ({
          digest,
          ...(inputs.length > 0 && { inputs }),
          name,
          ...times({ started, completed }),
          ...(cached && { cached }),
          ...(error !== "" && { error }),
        })),
      }),
      ...(statuses.length > 0 && {
        statuses: statuses.map(({ ID, vertex, name, total, current, timestamp, started, completed }) => ({
          id: ID,
          vertex,
          ...(name !== "" && { name }),
          ...(total !== 0n && { total: Number(total) }),
          current: Number(current),
          ...times({ timestamp, started, completed }),
        })),
      }),
      ...(logs.length > 0 && {
        logs: logs.map(({ vertex, stream, msg, timestamp }) => ({
          vertex,
          stream: Number(stream),
          data: Buffer.from(msg).toString("base64"),
          ...times({ timestamp }),
        })),
      }),
      ...(warnings.length > 0 && {
        warnings: warnings.map(({ vertex, level, short, detail, url, info, ranges }) => ({
          vertex,
          level: Number(level),
          short: Buffer.from(short).toString("base64"),
          detail: detail.map((line) => Buffer.from(line).toString("base64")),
          ...(url !== "" && { url }),
          ...(info !== undefined && {
            sourceInfo: { filename: info.filename, data: Buffer.from(info.data).toString("base64") },
          }),
          range: ranges.map(({ start, end }) => ({ start: { line: start?.line ?? 0 }, end: { line: end?.line ?? 0 } })),
        })),
      }),
    };
    if (Object.keys(message).length > 0) this.#write(`${JSON.stringify(message)}\n`);
  }

  finish(): void {}
}

type Time = { readonly seconds: bigint; readonly nanos: number } | undefined;

function times(fields: Readonly<Record<string, Time>>): Record<string, string> {
  const rows = Object.entries(fields).flatMap(([name, time]) => (time === undefined ? [] : [[name, rfc3339(time)]]));
  return Object.fromEntries(rows) as Record<string, string>;
}

function rfc3339({ seconds, nanos }: NonNullable<Time>): string {
  const whole = new Date(Number(seconds) * 1000).toISOString().slice(0, 19);
  const fraction = String(nanos).padStart(9, "0").replace(/0+$/, "");
  return `${whole}${fraction === "" ? "" : `.${fraction}`}Z`;
}
