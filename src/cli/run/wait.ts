import { messageOf } from "../../base/errors.ts";
import type { EngineClient } from "../../client/client.ts";
import { complain } from "../output/print.ts";

interface WaitAnswer {
  readonly StatusCode: number;
  readonly Error?: { readonly Message?: string } | null;
}

/** Begins to wait for a container's exit; resolves once the engine listens, to a promise of the exit code. */
export async function beginWait(
  client: EngineClient,
  id: string,
  condition: "next-exit" | "removed" | "not-running",
): Promise<{ readonly code: Promise<number>; readonly cancel: () => void }> {
  const abort = new AbortController();
  const { body } = await client.stream("POST", `/containers/${id}/wait`, {
    query: { condition },
    signal: abort.signal,
  });
  const code = body.text(1024 * 1024).then(
    (text) => {
      const answer = JSON.parse(text) as WaitAnswer;
      const message = answer.Error?.Message;
      if (message === undefined || message === "") return answer.StatusCode;
      complain(`Error waiting for container: ${message}`);
      return 125;
    },
    (error: unknown) => {
      if (!abort.signal.aborted) complain(`error waiting for container: ${messageOf(error)}`);
      return 125;
    },
  );
  return { code, cancel: () => abort.abort() };
}
