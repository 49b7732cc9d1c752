import { CONTROL, SolveRequestSchema, StatusRequestSchema, type StatusResponse } from "../../buildkit/control.ts";
import { create } from "../../buildkit/message.ts";
import type { Caller } from "../../grpc/caller.ts";
import type { Prepared } from "./request.ts";

/** Has the engine build; rejects with a `GrpcError`. `onStatus` hears of everything until then. */
export async function solve(
  control: Caller,
  prepared: Prepared,
  build: { readonly ref: string; readonly session: string },
  onStatus: (status: StatusResponse) => void,
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
  const told = follow(control, build.ref, onStatus, signal);
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
async function follow(
  control: Caller,
  ref: string,
  onStatus: (status: StatusResponse) => void,
  signal: AbortSignal,
): Promise<void> {
  try {
    const request = create(StatusRequestSchema, { Ref: ref });
    for await (const status of control.serverStream(CONTROL.status, request, { signal })) onStatus(status);
  } catch {
    // As above.
  }
}
