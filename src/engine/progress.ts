import { EventEmitter, once } from "node:events";
import type { ProgressMessage } from "../api/image.ts";
import { messageOf } from "../base/errors.ts";
import { type Answer, stream } from "./answer.ts";

/** Progress that a slow client hasn't read yet; beyond it, messages that only move a bar are left out. */
const BACKLOG = 1024;

/**
 * Runs an act and answers its progress as lines of JSON. What fails before the first line is the answer's status;
 * what fails later is a last line, as clients expect.
 */
export async function progressAnswer(
  act: (onProgress: (message: ProgressMessage) => void) => Promise<void>,
): Promise<Answer> {
  const lines: string[] = [];
  const wake = new EventEmitter();
  const began = Promise.withResolvers<void>();
  let ended = false;
  let failure: unknown;
  const push = (message: ProgressMessage) => {
    if (lines.length >= BACKLOG && message.progressDetail?.current !== undefined) return;
    lines.push(`${JSON.stringify(message)}\r\n`);
    began.resolve();
    wake.emit("line");
  };
  const done = act(push).finally(() => {
    ended = true;
    wake.emit("line");
  });
  await Promise.race([began.promise, done]);
  const settled = done.catch((error: unknown) => {
    failure = error;
    push({ errorDetail: { message: messageOf(error) }, error: messageOf(error) });
  });
  return { ...stream("application/json", drain()), failure: () => failure };

  async function* drain(): AsyncGenerator<string> {
    for (;;) {
      const batch = lines.splice(0).join("");
      if (batch !== "") yield batch;
      else if (ended) break;
      else await once(wake, "line");
    }
    await settled;
    const last = lines.splice(0).join("");
    if (last !== "") yield last;
  }
}
