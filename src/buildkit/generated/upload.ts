// Written by `npm run protos` of the protos beside this folder.

import { schema, type Schema } from "../message.ts";
import { service } from "../methods.ts";

export interface BytesMessage {
  data: Uint8Array;
}

export const BytesMessageSchema: Schema<BytesMessage> = schema("moby.upload.v1.BytesMessage", [
  { name: "data", number: 1, kind: "bytes" },
]);

export const Upload = service("moby.upload.v1.Upload", {
  pull: ["Pull", BytesMessageSchema, BytesMessageSchema],
});
