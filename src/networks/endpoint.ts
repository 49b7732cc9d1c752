import type { EndpointSettings } from "../api/container.ts";
import type { NetworkContainer } from "../api/network.ts";
import type { EndpointAddress } from "./driver.ts";
import type { NetworkRecord } from "./record.ts";

/** A container's membership of one network. */
export interface Endpoint {
  readonly id: string;
  readonly network: NetworkRecord;
  readonly containerName: string;
  readonly address: EndpointAddress;
}

/** Its row in the network's inspect. */
export function containerRow({ id, containerName, address }: Endpoint): NetworkContainer {
  return {
    Name: containerName,
    EndpointID: id,
    MacAddress: address.macAddress,
    IPv4Address: address.ipv4Address === "" ? "" : `${address.ipv4Address}/${address.prefix}`,
    IPv6Address: "",
  };
}

/** Its part of the container's inspect. */
export function settingsOf({ id, network, address }: Endpoint): EndpointSettings {
  return {
    IPAMConfig: null,
    Links: null,
    Aliases: null,
    MacAddress: address.macAddress,
    DriverOpts: null,
    GwPriority: 0,
    NetworkID: network.id,
    EndpointID: id,
    Gateway: address.gateway,
    IPAddress: address.ipv4Address,
    IPPrefixLen: address.prefix,
    IPv6Gateway: "",
    GlobalIPv6Address: "",
    GlobalIPv6PrefixLen: 0,
    DNSNames: null,
  };
}
