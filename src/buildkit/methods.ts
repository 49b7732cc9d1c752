import type { DescMessage, DescMethod, MessageShape } from "@bufbuild/protobuf";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import type { Codec, Method } from "../grpc/method.ts";

type Methods<T extends GenServiceMethods> = {
  readonly [K in keyof T]: Method<MessageShape<T[K]["input"]>, MessageShape<T[K]["output"]>>;
};

/** What a service can be asked, by the names that the generated code has for it. */
export function methodsOf<T extends GenServiceMethods>(service: GenService<T>): Methods<T> {
  const methods = Object.entries(service.method as Readonly<Record<string, DescMethod>>).map(([name, method]) => [
    name,
    {
      path: `/${service.typeName}/${method.name}`,
      request: codecOf(method.input),
      response: codecOf(method.output),
    },
  ]);
  return Object.fromEntries(methods) as Methods<T>;
}

function codecOf<D extends DescMessage>(message: D): Codec<MessageShape<D>> {
  return {
    encode: (value) => toBinary(message, value),
    // Fields that are newer than this would be kept for nobody.
    decode: (bytes) => fromBinary(message, bytes, { readUnknownFields: false }),
  };
}
