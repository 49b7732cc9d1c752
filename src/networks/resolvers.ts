import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { gatewayOf, hostAddressesOf } from "./gateway.ts";
import { HostServers, upstreamsOf } from "./host-dns.ts";
import type { Membership } from "./members.ts";
import type { Names } from "./names.ts";
import { Resolver, resolversAllowance } from "./resolver.ts";

export interface ResolversPorts {
  readonly names: Names;
  /** What the configuration says of the host's addresses; empty for the gateways'. */
  readonly hostGatewayIPs: readonly string[];
  readonly logger: Logger;
}

/** Opens the sandboxes' name servers, with what all of them share. */
export class Resolvers {
  readonly #ports: ResolversPorts;
  readonly #allowance = resolversAllowance();
  readonly #hostServers = new HostServers();

  constructor(ports: ResolversPorts) {
    this.#ports = ports;
  }

  /** Gives the member one, unless it has one or is in no sandbox of its own. */
  open(member: Membership): void {
    const { sandbox, endpoints, isInherited } = member;
    if (sandbox === undefined || member.resolver !== undefined) return;
    const { names, hostGatewayIPs, logger } = this.#ports;
    member.resolver = new Resolver({
      sandbox,
      names,
      endpoints: () => endpoints.values(),
      hostAddresses: () => hostAddressesOf(endpoints.values(), hostGatewayIPs),
      upstreams: () => {
        const gateway = gatewayOf(endpoints.values(), 4) ?? gatewayOf(endpoints.values(), 6);
        if (gateway === undefined) return [];
        const hasIPv6 = [...endpoints.values()].some(({ address }) => address.ipv6Address !== "");
        return upstreamsOf(member.dns, this.#hostServers.get(), hasIPv6);
      },
      logger,
      allowance: this.#allowance,
      isInherited,
    });
  }

  /** The container goes on without names if it can't be had again. */
  reopen(containerId: string, member: Membership): void {
    try {
      this.open(member);
    } catch (error) {
      this.#ports.logger.error("a container's name server could not be opened again", {
        container: containerId,
        cause: messageOf(error),
      });
    }
  }
}
