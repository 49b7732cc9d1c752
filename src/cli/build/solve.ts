import { CONTROL, SolveRequestSchema, StatusRequestSchema } from "../../buildkit/control.ts";
import { create } from "../../buildkit/message.ts";
import type { Caller } from "../../grpc/caller.ts";
import type { Prepared } from "./request.ts";
import { type Telling, UNREAD_STATUS } from "./telling.ts";

/** Has the engine build; rejects with a `GrpcError`. `telling` hears of everything until then. */
export async function solve(
  control: Caller,
  prepared: Prepared,
  build: { readonly ref: string; readonly session: string },
  telling: Telling,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, string>> {
  const request = create(SolveRequestSchema, {
    Ref: build.ref,
    Session: build.session,
    Frontend: "dockerfile.v0",
    FrontendAttrs: { ...prepared.options },
    Exporters: prepared.exporters.map(({ type, attributes }) => ({ Type: type, Attrs: { ...attributes } })),
    Cache: {
      Imports: prepared.cacheImports.map(({ type, attributes }) => ({ Type: type, Attrs: { ...attributes } })),
      Exports: prepared.cacheExports.map(({ type, attributes }) => ({ Type: type, Attrs: { ...attributes } })),
    },
    Entitlements: [...prepared.entitlements],
  });
  const told = follow(control, build.ref, telling, signal);
  try {
    const { ExporterResponse } = await control.unary(CONTROL.solve, request, { signal });
    await told;
    return new Map(Object.entries(ExporterResponse));
  } catch (error) {
    // What it told last says which step it was.
    await told;
    throw error;
  }
}

/** Never rejects: how the build ends is told by its own answer. */
async function follow(control: Caller, ref: string, telling: Telling, signal: AbortSignal): Promise<void> {
  try {
    const request = create(StatusRequestSchema, { Ref: ref });
    for await (const status of control.serverStream(UNREAD_STATUS, request, { signal })) telling.take(status);
  } catch {
    // As above.
  }
}
