import { containerConfig, createBody, updateBody } from "./create-request.ts";
import { networkConnectRequest, networkCreateRequest, networkDisconnectRequest } from "./network-request.ts";
import { authConfig } from "./registry.ts";
import { execConfig, execStartRequest, volumeCreateRequest } from "./request.ts";
import type { ROUTES, RouteName } from "./routes.ts";
import type { Shape } from "./shape.ts";
import { signaturesPutRequest } from "./signature.ts";

type Rows = (typeof ROUTES)[RouteName];
type Named<R> = R extends { readonly body: { readonly json: infer N extends string } } ? N : never;

/** The shapes of JSON bodies by the names that the table of routes gives them. A missing one fails to compile. */
export const BODIES = {
  AuthConfig: authConfig,
  CommitRequest: containerConfig,
  ContainerCreateRequest: createBody,
  ContainerUpdateRequest: updateBody,
  ExecConfig: execConfig,
  ExecStartRequest: execStartRequest,
  NetworkConnectRequest: networkConnectRequest,
  NetworkCreateRequest: networkCreateRequest,
  NetworkDisconnectRequest: networkDisconnectRequest,
  SignaturesPutRequest: signaturesPutRequest,
  VolumeCreateRequest: volumeCreateRequest,
} satisfies Record<Named<Rows>, Shape<unknown>>;
