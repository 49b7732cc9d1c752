import { hasCode } from "../../base/errors.ts";
import { linkOfAddress, linkOfRoute } from "./route.ts";
import { NetlinkSocket, PROTOCOL } from "./socket.ts";

/** RTMGRP_ of addresses and routes of both families. */
const GROUPS = 0x10 | 0x40 | 0x100 | 0x400;

/**
 * Tells whether addresses or routes of the network namespace that it was made in have changed since it was last asked.
 * The kernel notes a change before the call that makes it returns.
 */
export class AddressChanges {
  readonly #socket = new NetlinkSocket(PROTOCOL.route, GROUPS);

  /** The indices of the links concerned, 0 where there is none; undefined if it was more than the kernel remembers. */
  links(): Set<number> | undefined {
    const links = new Set<number>();
    let isWhole = true;
    for (;;) {
      try {
        const news = this.#socket.news();
        if (news === undefined) return isWhole ? links : undefined;
        for (const message of news) links.add(linkOfAddress(message) ?? linkOfRoute(message));
      } catch (error) {
        if (!hasCode(error, "ENOBUFS")) throw error;
        isWhole = false;
      }
    }
  }

  close(): void {
    this.#socket.close();
  }
}
