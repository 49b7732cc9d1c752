import { CONTROL, type StatusResponse } from "../../buildkit/control.ts";
import type { Method } from "../../grpc/method.ts";

/** What is kept unread. */
const MOST = 4 << 20;

const AS_IT_CAME = { encode: (bytes: Uint8Array) => bytes, decode: (bytes: Buffer): Buffer => bytes };

/** The control service's `Status`, its answers as they come. */
export const UNREAD_STATUS: Method<ReturnType<typeof CONTROL.status.request.decode>, Buffer> = {
  ...CONTROL.status,
  response: AS_IT_CAME,
};

/** What a build tells: read when it comes, or, where nobody sees it, when it is asked for. */
export class Telling {
  readonly #show: (status: StatusResponse) => void;
  readonly #isSeen: boolean;
  #unread: Buffer[] = [];
  #bytes = 0;

  constructor(show: (status: StatusResponse) => void, isSeen: boolean) {
    this.#show = show;
    this.#isSeen = isSeen;
  }

  take(bytes: Buffer): void {
    this.#unread.push(bytes);
    this.#bytes += bytes.length;
    if (this.#isSeen || this.#bytes > MOST) this.read();
  }

  /** Shows what wasn't read yet. */
  read(): void {
    const unread = this.#unread;
    this.#unread = [];
    this.#bytes = 0;
    for (const bytes of unread) this.#show(CONTROL.status.response.decode(bytes));
  }
}
