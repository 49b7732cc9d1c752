import { check, libc } from "./libc.ts";
import { unshareMounts } from "./namespace.ts";
import { Netlink } from "./netlink.ts";

const CLONE_NEWNET = 0x40000000;

/**
 * Moves this test's process to a network namespace and a mount namespace of its own: what it makes there goes with
 * it, also when it is killed. Call it once, before anything opens a socket.
 */
export function enterPrivateHost(): void {
  unshareMounts();
  check("unshare", libc("int unshare(int flags)")(CLONE_NEWNET), "network namespace");
  using netlink = new Netlink();
  netlink.setLinkUp("lo");
}
