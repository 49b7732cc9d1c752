import { GantryError } from "../base/errors.ts";
import type { Endpoint } from "./endpoint.ts";
import { Names } from "./names.ts";
import type { Publication } from "./publication.ts";
import type { Resolver } from "./resolver.ts";

/** What this engine knows of one container's networks. */
export interface Membership {
  /** Where the sandbox is bound; undefined before there is one, and in the host's own namespace. */
  sandbox: string | undefined;
  /** The sandbox was made by an earlier engine. */
  isInherited: boolean;
  /** It is about to end. */
  isWithdrawn: boolean;
  /** The name servers that the user chose. */
  dns: readonly string[];
  /** By the networks' ids. */
  readonly endpoints: Map<string, Endpoint>;
  published: Publication | undefined;
  resolver: Resolver | undefined;
}

/** Who is on which network, and found by which names: the books alone, nothing of the kernel's. */
export class Members {
  readonly names = new Names();
  readonly #byContainer = new Map<string, Membership>();
  /** Endpoints by the networks' ids. */
  readonly #joined = new Map<string, Set<Endpoint>>();

  get(containerId: string): Membership | undefined {
    return this.#byContainer.get(containerId);
  }

  /** A container's membership, a new one if need be. */
  of(containerId: string): Membership {
    const known = this.#byContainer.get(containerId);
    if (known !== undefined) return known;
    if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(containerId))
      throw new GantryError("invalid", `invalid container id: ${containerId}`);
    const member: Membership = {
      sandbox: undefined,
      isInherited: false,
      isWithdrawn: false,
      dns: [],
      endpoints: new Map(),
      published: undefined,
      resolver: undefined,
    };
    this.#byContainer.set(containerId, member);
    return member;
  }

  all(): Membership[] {
    return [...this.#byContainer.values()];
  }

  containerIds(): string[] {
    return [...this.#byContainer.keys()];
  }

  on(networkId: string): Endpoint[] {
    return [...(this.#joined.get(networkId) ?? [])];
  }

  /** From now on the endpoint is seen, and found by its names. */
  enter(member: Membership, endpoint: Endpoint): void {
    const { network } = endpoint;
    member.endpoints.set(network.id, endpoint);
    const joined = this.#joined.get(network.id) ?? new Set();
    this.#joined.set(network.id, joined.add(endpoint));
    if (!member.isWithdrawn) this.names.add(endpoint);
  }

  leave(member: Membership, endpoint: Endpoint): void {
    const { network } = endpoint;
    member.endpoints.delete(network.id);
    const joined = this.#joined.get(network.id);
    joined?.delete(endpoint);
    if (joined?.size === 0) this.#joined.delete(network.id);
    this.names.remove(endpoint);
  }

  /** It goes on to be seen on its networks, and is found no more. */
  withdraw(containerId: string): void {
    const member = this.#byContainer.get(containerId);
    if (member === undefined) return;
    member.isWithdrawn = true;
    for (const endpoint of member.endpoints.values()) this.names.remove(endpoint);
  }

  /** One that is on networks stays. */
  forget(containerId: string): void {
    if (this.#byContainer.get(containerId)?.endpoints.size === 0) this.#byContainer.delete(containerId);
  }
}
