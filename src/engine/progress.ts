import { EventEmitter, once } from "node:events";
import type { ProgressMessage } from "../api/image.ts";
import { messageOf } from "../base/errors.ts";
import { type Answer, stream } from "./answer.ts";

/** Progress that a slow client hasn't read yet; beyond it, messages that only move a bar are left out. */
const BACKLOG = 1024;
/** Characters: a line may hold much. */
const BACKLOG_SIZE = 1 << 20;

/** Resolves when there is room for more: for who tells much. */
export type OnProgress = (message: ProgressMessage) => void | Promise<void>;

function failureMessage(error: unknown): ProgressMessage {
  return { errorDetail: { message: messageOf(error) }, error: messageOf(error) };
}

/**
 * Runs an act and answers its progress as lines of JSON. What fails before the first line is the answer's status;
 * what fails later is a last line, as clients expect.
 */
export async function progressAnswer(
  act: (onProgress: OnProgress) => Promise<void>,
  tellFailure: (error: unknown) => ProgressMessage = failureMessage,
): Promise<Answer> {
  const lines: string[] = [];
  let size = 0;
  const wake = new EventEmitter();
  const began = Promise.withResolvers<void>();
  let ended = false;
  let failure: unknown;
  let room: PromiseWithResolvers<void> | undefined;
  let isRead = true;
  const push = (message: ProgressMessage): void | Promise<void> => {
    if (lines.length >= BACKLOG && message.progressDetail?.current !== undefined) return undefined;
    // Nobody will read it.
    if (!isRead) return undefined;
    const line = `${JSON.stringify(message)}\r\n`;
    size += line.length;
    lines.push(line);
    began.resolve();
    wake.emit("line");
    if (lines.length < BACKLOG && size < BACKLOG_SIZE) return undefined;
    room ??= Promise.withResolvers<void>();
    return room.promise;
  };
  const take = (): string => {
    const batch = lines.splice(0).join("");
    size = 0;
    room?.resolve();
    room = undefined;
    return batch;
  };
  const done = act(push).finally(() => {
    ended = true;
    wake.emit("line");
  });
  await Promise.race([began.promise, done]);
  const settled = done.catch((error: unknown) => {
    failure = error;
    void push(tellFailure(error));
  });
  return { ...stream("application/json", drain()), failure: () => failure };

  async function* drain(): AsyncGenerator<string> {
    try {
      for (;;) {
        const batch = take();
        if (batch !== "") yield batch;
        else if (ended) break;
        else await once(wake, "line");
      }
      await settled;
      const last = take();
      if (last !== "") yield last;
    } finally {
      isRead = false;
      take();
    }
  }
}
