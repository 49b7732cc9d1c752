import {
  SourceInfoSchema,
  type StatusResponse,
  StatusResponseSchema,
  VertexLogSchema,
  VertexSchema,
  VertexStatusSchema,
  VertexWarningSchema,
} from "../../buildkit/control.ts";
import { create, type Timestamp, timestampFromMs } from "../../buildkit/message.ts";
import type { SourceRange } from "../graph.ts";
import type { BuildEvent, BuildWarning } from "../progress.ts";

/** Bytes of log lines in a message; clients take 16 MiB. */
const MESSAGE_BYTES = 1 << 20;

/** As many messages as the lines need. */
export function* statusMessages(events: readonly BuildEvent[]): Iterable<StatusResponse> {
  let from = 0;
  let bytes = 0;
  for (let at = 0; at < events.length; at++) {
    const event = events[at]!;
    bytes += event.type === "log" ? event.log.data.length : 500;
    if (bytes < MESSAGE_BYTES) continue;
    yield statusMessage(events.slice(from, at + 1));
    from = at + 1;
    bytes = 0;
  }
  if (from < events.length) yield statusMessage(events.slice(from));
}

/** What a build tells, as its clients are told: any number of events in one message. */
function statusMessage(events: readonly BuildEvent[]): StatusResponse {
  const message = create(StatusResponseSchema);
  for (const event of events) {
    switch (event.type) {
      case "vertex": {
        const { digest, inputs, name, cached, started, completed, error = "", explanation } = event.vertex;
        message.vertexes.push(
          create(VertexSchema, {
            digest,
            inputs: [...inputs],
            name,
            cached,
            started: timestamp(started),
            completed: timestamp(completed),
            error,
            ...(explanation && { explanation: { ...explanation, diff: [...explanation.diff] } }),
          }),
        );
        break;
      }
      case "status": {
        const { vertex, id, name, current, total, started, completed, timestamp: at } = event.status;
        message.statuses.push(
          create(VertexStatusSchema, {
            vertex,
            ID: id,
            name,
            current: BigInt(Math.trunc(current)),
            total: BigInt(Math.trunc(total)),
            timestamp: timestamp(at),
            started: timestamp(started),
            completed: timestamp(completed),
          }),
        );
        break;
      }
      case "log": {
        const { vertex, stream, data, timestamp: at } = event.log;
        message.logs.push(
          create(VertexLogSchema, { vertex, stream: BigInt(stream), msg: data, timestamp: timestamp(at) }),
        );
        break;
      }
      case "warning":
        message.warnings.push(warningMessage(event.warning));
    }
  }
  return message;
}

function warningMessage({ vertex, level, short, detail, url, source, text }: BuildWarning) {
  return create(VertexWarningSchema, {
    vertex,
    level: BigInt(level),
    short: Buffer.from(short),
    detail: detail.map((line) => Buffer.from(line)),
    url,
    ...(source && {
      info: create(SourceInfoSchema, {
        filename: source.file,
        data: Buffer.from(text ?? ""),
        language: "Dockerfile",
      }),
      ranges: [rangeMessage(source)],
    }),
  });
}

function rangeMessage({ start, end }: SourceRange) {
  return { start: { line: start, character: 0 }, end: { line: end, character: 0 } };
}

function timestamp(milliseconds: number | undefined): Timestamp | undefined {
  return milliseconds === undefined ? undefined : timestampFromMs(Math.floor(milliseconds));
}
