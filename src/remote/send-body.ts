import type { ClientRequest } from "node:http";
import type { RateCeiling } from "./rate-ceiling.ts";

/** Sent at once where there is a ceiling, so that it is no burst and its time no silence. */
const PORTION = 16 << 10;

/** Opened anew at each try: after a new token, a redirect or a connection that had ended. */
export type BodySource = () => AsyncIterable<Uint8Array>;

/**
 * Writes a body as fast as the other side takes it, and ends the request. Stops, and ends its source, when the answer
 * comes before or the request has failed. Rejects with what the source throws. `onTaken` is called as bytes leave,
 * also where a ceiling holds them back.
 */
export async function sendBody(
  request: ClientRequest,
  open: BodySource,
  onTaken: () => void,
  ceiling: RateCeiling,
): Promise<void> {
  const end = new AbortController();
  let wake = (): void => {};
  const over = (): void => {
    end.abort();
    wake();
  };
  const taken = (): void => {
    onTaken();
    wake();
  };
  request.once("response", over).once("close", over).on("drain", taken);
  try {
    for await (const piece of portions(open(), ceiling)) {
      if (await ceiling.pass(piece.length, end.signal)) onTaken();
      if (end.signal.aborted) return;
      if (piece.length === 0 || request.write(piece)) continue;
      await new Promise<void>((resolve) => {
        wake = resolve;
        if (end.signal.aborted) resolve();
      });
    }
    if (!end.signal.aborted) request.end();
  } finally {
    request.off("response", over).off("close", over).off("drain", taken);
  }
}

/** A ceiling may come or go while a body is sent. */
async function* portions(source: AsyncIterable<Uint8Array>, ceiling: RateCeiling): AsyncGenerator<Uint8Array> {
  for await (const piece of source) {
    for (let at = 0, end = 0; at < piece.length; at = end) {
      end = ceiling.isSet ? at + PORTION : piece.length;
      yield piece.subarray(at, end);
    }
  }
}
