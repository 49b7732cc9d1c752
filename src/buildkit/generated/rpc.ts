// Written by `npm run protos` of the protos beside this folder.

import { AnySchema, schema, type Any, type Schema } from "../message.ts";

export interface Status {
  code: number;
  message: string;
  details: Any[];
}

export const StatusSchema: Schema<Status> = schema("google.rpc.Status", [
  { name: "code", number: 1, kind: "int32" },
  { name: "message", number: 2, kind: "string" },
  { name: "details", number: 3, kind: () => AnySchema, repeated: true },
]);
