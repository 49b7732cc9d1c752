import type { Packet } from "./packet.ts";

/** A call in which files are synced, on whichever side of it: the caller's can be ended and cancelled. */
export interface PacketStream {
  send(packet: Packet): Promise<void> | undefined;
  batches(): AsyncIterable<readonly Packet[]>;
  end?(): void;
  cancel?(): void;
}
