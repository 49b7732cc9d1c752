import { setTimeout as after } from "node:timers/promises";
import { hasCode } from "../base/errors.ts";
import { Netlink } from "../kernel/netlink.ts";

/** By then a namespace that nothing holds any more is gone, and all its links with it. */
const SOON_MS = 1000;
/** How often it is looked meanwhile by who waits. */
const LOOK_MS = 20;

/**
 * Near ends of the links of containers that have left. A link goes with its namespace, without anyone waiting for it.
 * But connections that were cut off keep a namespace for minutes: until the kernel has sent in vain what they had left
 * to send. What is still there after a while is deleted.
 */
export class DepartedPorts {
  readonly #netlink: Netlink;
  readonly #names = new Set<string>();
  readonly #onError: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(netlink: Netlink, onError: (error: unknown) => void) {
    this.#netlink = netlink;
    this.#onError = onError;
  }

  /** The link with this name belongs to a namespace that nobody needs any more. */
  add(name: string): void {
    this.#names.add(name);
    this.#timer ??= setTimeout(() => void this.#deleteAll().catch(this.#onError), SOON_MS).unref();
  }

  /** Resolves when none of them is there any more. */
  async gone(): Promise<void> {
    const deadline = Date.now() + SOON_MS;
    while (this.#remaining().length > 0 && Date.now() < deadline) await after(LOOK_MS);
    await this.#deleteAll();
  }

  /** Whoever comes next finds those that are left on their bridges. */
  forget(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#names.clear();
  }

  async #deleteAll(): Promise<void> {
    const remaining = this.#remaining();
    this.forget();
    await Promise.all(remaining.map(deleteAside));
  }

  #remaining(): string[] {
    return [...this.#names].filter((name) => this.#netlink.link(name) !== undefined);
  }
}

/** Deletes a link, be it that it goes by itself meanwhile. */
export async function deleteAside(name: string): Promise<void> {
  try {
    await Netlink.deleteLinkAside(name);
  } catch (error) {
    if (!hasCode(error, "ENODEV", "EINVAL")) throw error;
  }
}
