import { nativeBlock } from "../../kernel/descriptor.ts";
import { MAX_CHUNK } from "../log-format.ts";

/**
 * The one block through which all output passes. A read fills it from `DATA` on; whoever sends the chunk on writes his
 * header into the room before it, so that header and bytes go with one call and nothing is copied. A chunk is gone
 * with the next read: who can't send it all keeps a copy of the rest.
 */
export const DATA = 64;
export const chunk = nativeBlock(DATA + MAX_CHUNK + 64);
export const chunkAddress = chunk.address + DATA;
