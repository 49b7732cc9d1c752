import { GantryError } from "../../base/errors.ts";
import { create } from "../../buildkit/message.ts";
import { CONTENT, InfoResponseSchema, ReadContentResponseSchema } from "../../buildkit/session.ts";
import type { GrpcServer } from "../../grpc/server.ts";
import type { HistoryDocuments } from "./history-documents.ts";

/** Bytes of a message; clients take 4 MiB. */
const PIECE = 1 << 20;

/** Adds the service by which clients read the history's documents. Nothing can be written by it. */
export function addContent(server: GrpcServer, documents: HistoryDocuments): void {
  server
    .unary(CONTENT.info, async ({ digest }) => {
      const { size } = await documents.find(digest);
      return create(InfoResponseSchema, { info: { digest, size: BigInt(size) } });
    })
    .serverStream(CONTENT.read, async ({ digest, offset, size }, call) => {
      const document = await documents.find(digest);
      const start = Number(offset);
      if (start < 0 || start > document.size) {
        throw new GantryError("invalid", `read past object length ${document.size} bytes`);
      }
      let left = size > 0n ? Math.min(Number(size), document.size - start) : document.size - start;
      let at = start;
      for await (const bytes of document.read(start)) {
        for (let from = 0; from < bytes.length && left > 0; from += PIECE) {
          const data = bytes.subarray(from, Math.min(from + PIECE, from + left));
          await call.send(create(ReadContentResponseSchema, { offset: BigInt(at), data }));
          at += data.length;
          left -= data.length;
        }
        if (left <= 0) return;
        call.signal.throwIfAborted();
      }
    });
}
