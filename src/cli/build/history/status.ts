import type { BuildHistoryEvent } from "../../../api/build-history.ts";
import {
  type StatusResponse,
  StatusResponseSchema,
  VertexLogSchema,
  VertexSchema,
  VertexStatusSchema,
  VertexWarningSchema,
} from "../../../buildkit/control.ts";
import { create, timestampFromMs } from "../../../buildkit/message.ts";

/** What the history kept of a build, as the engine told it while it ran. */
export function statusOfEvent({ vertex, status, log, warning }: BuildHistoryEvent): StatusResponse {
  return create(StatusResponseSchema, {
    vertexes:
      vertex === undefined
        ? []
        : [
            create(VertexSchema, {
              digest: vertex.digest,
              inputs: vertex.inputs,
              name: vertex.name,
              cached: vertex.cached,
              error: vertex.error ?? "",
              ...(vertex.started !== undefined && { started: timestampFromMs(vertex.started) }),
              ...(vertex.completed !== undefined && { completed: timestampFromMs(vertex.completed) }),
            }),
          ],
    statuses:
      status === undefined
        ? []
        : [
            create(VertexStatusSchema, {
              ID: status.id,
              vertex: status.vertex,
              name: status.name,
              current: BigInt(status.current),
              total: BigInt(status.total),
              timestamp: timestampFromMs(status.timestamp),
              completed: timestampFromMs(status.timestamp),
            }),
          ],
    logs:
      log === undefined
        ? []
        : [
            create(VertexLogSchema, {
              vertex: log.vertex,
              stream: BigInt(log.stream),
              timestamp: timestampFromMs(log.timestamp),
              msg: log.text === undefined ? Buffer.from(log.base64 ?? "", "base64") : Buffer.from(log.text),
            }),
          ],
    warnings:
      warning === undefined
        ? []
        : [
            create(VertexWarningSchema, {
              vertex: warning.vertex,
              level: BigInt(warning.level),
              short: Buffer.from(warning.short),
              detail: warning.detail.map((line) => Buffer.from(line)),
              url: warning.url,
            }),
          ],
  });
}
