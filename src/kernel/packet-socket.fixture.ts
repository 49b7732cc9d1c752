import { closeSync } from "node:fs";
import { check, libc } from "./libc.ts";

const socket = libc("int socket(int domain, int type, int protocol)");
const bind = libc("int bind(int fd, const void *address, uint32_t length)");

const AF_PACKET = 17;
const SOCK_RAW = 3 | 0o2000000 | 0o4000;
/** In the order of the network. */
const ETH_P_ALL = 0x0300;

/**
 * Sends and receives whole frames on the interface of this index, in the network namespace that the thread is in: write to and read
 * from the descriptor, which does not block and is the caller's to close.
 */
export function openPacketSocket(index: number): number {
  const fd = check("socket", socket(AF_PACKET, SOCK_RAW, ETH_P_ALL), "packet");
  const address = Buffer.alloc(20);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16LE(ETH_P_ALL, 2);
  address.writeInt32LE(index, 4);
  try {
    check("bind", bind(fd, address, address.length), `interface ${index}`);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return fd;
}
