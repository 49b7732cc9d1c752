import type { ClientRequest } from "node:http";

/** Opened anew at each try: after a new token, a redirect or a connection that had ended. */
export type BodySource = () => AsyncIterable<Uint8Array>;

/**
 * Writes a body as fast as the other side takes it, and ends the request. Stops, and ends its source, when the answer
 * comes before or the request has failed. Rejects with what the source throws. `onTaken` is called as bytes leave.
 */
export async function sendBody(request: ClientRequest, open: BodySource, onTaken: () => void): Promise<void> {
  let isOver = false;
  let wake = (): void => {};
  const over = (): void => {
    isOver = true;
    wake();
  };
  const taken = (): void => {
    onTaken();
    wake();
  };
  request.once("response", over).once("close", over).on("drain", taken);
  try {
    for await (const piece of open()) {
      if (isOver) return;
      if (piece.length === 0 || request.write(piece)) continue;
      await new Promise<void>((resolve) => {
        wake = resolve;
        if (isOver) resolve();
      });
    }
    if (!isOver) request.end();
  } finally {
    request.off("response", over).off("close", over).off("drain", taken);
  }
}
