import type { EndpointSettings } from "./container.ts";
import { endpointSettings } from "./create-request.ts";
import type { IpamConfig } from "./network.ts";
import * as go from "./shape.ts";

/** Body of POST /networks/create. */
export interface NetworkCreateRequest {
  Name: string;
  Driver: string;
  Scope: string;
  /** null leaves it to the engine. */
  EnableIPv4: boolean | null;
  EnableIPv6: boolean | null;
  IPAM: { Driver: string; Options: Record<string, string> | null; Config: IpamConfig[] | null } | null;
  Internal: boolean;
  Attachable: boolean;
  Ingress: boolean;
  ConfigOnly: boolean;
  ConfigFrom: { Network: string } | null;
  Options: Record<string, string> | null;
  Labels: Record<string, string> | null;
}

const ipam = go.struct<NonNullable<NetworkCreateRequest["IPAM"]>>("network.IPAM", {
  Driver: go.text,
  Options: go.map(go.text),
  Config: go.list(
    go.struct<IpamConfig>("network.IPAMConfig", {
      Subnet: go.optional(go.text) as go.Shape<string>,
      IPRange: go.optional(go.text),
      Gateway: go.optional(go.text),
      AuxiliaryAddresses: go.optional(go.map(go.text)),
    }),
  ),
});

export const networkCreateRequest = go.struct<NetworkCreateRequest>("network.CreateRequest", {
  Name: go.text,
  Driver: go.text,
  Scope: go.text,
  EnableIPv4: go.pointer(go.flag),
  EnableIPv6: go.pointer(go.flag),
  IPAM: go.pointer(ipam),
  Internal: go.flag,
  Attachable: go.flag,
  Ingress: go.flag,
  ConfigOnly: go.flag,
  ConfigFrom: go.pointer(go.struct<{ Network: string }>("network.ConfigReference", { Network: go.text })),
  Options: go.map(go.text),
  Labels: go.map(go.text),
});

/** Body of POST /networks/{id}/connect. */
export interface NetworkConnectRequest {
  Container: string;
  EndpointConfig: EndpointSettings | null;
}

export const networkConnectRequest = go.struct<NetworkConnectRequest>("network.ConnectOptions", {
  Container: go.text,
  EndpointConfig: go.pointer(endpointSettings),
});

/** Body of POST /networks/{id}/disconnect. */
export interface NetworkDisconnectRequest {
  Container: string;
  Force: boolean;
}

export const networkDisconnectRequest = go.struct<NetworkDisconnectRequest>("network.DisconnectOptions", {
  Container: go.text,
  Force: go.flag,
});
