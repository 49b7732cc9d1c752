import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import type { Method } from "./method.ts";
import type { GrpcServer } from "./server.ts";
import { GrpcError, STATUS } from "./status.ts";

/** The service by which one side asks whether the other is well: `grpc.health.v1`. */
export const HEALTH_CHECK: Method<{ readonly service: string }, { readonly status: number }> = {
  path: "/grpc.health.v1.Health/Check",
  request: {
    encode: ({ service }) => new BinaryWriter().uint32(10).string(service).finish(),
    decode: (bytes) => {
      let service = "";
      const reader = new BinaryReader(bytes);
      while (reader.pos < reader.len) {
        const [field, type] = reader.tag();
        if (field === 1 && type === 2) service = reader.string();
        else reader.skip(type);
      }
      return { service };
    },
  },
  response: {
    encode: ({ status }) => new BinaryWriter().uint32(8).int32(status).finish(),
    decode: (bytes) => {
      let status = 0;
      const reader = new BinaryReader(bytes);
      while (reader.pos < reader.len) {
        const [field, type] = reader.tag();
        if (field === 1 && type === 0) status = reader.int32();
        else reader.skip(type);
      }
      return { status };
    },
  },
};

export const SERVING = 1;

/** Answers for the whole server (the empty name) and for each service that it has. */
export function addHealth(server: GrpcServer): void {
  server.unary(HEALTH_CHECK, ({ service }) => {
    if (service === "" || server.methods.some((path) => path.startsWith(`/${service}/`))) return { status: SERVING };
    throw new GrpcError(STATUS.notFound, "unknown service");
  });
}
