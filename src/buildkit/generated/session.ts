// Written by `npm run protos` of the protos beside this folder.

import { schema, type Schema } from "../message.ts";
import { service } from "../methods.ts";
import { PacketSchema, type Packet } from "./fsutil.ts";

export interface BytesMessage {
  data: Uint8Array;
}

export const BytesMessageSchema: Schema<BytesMessage> = schema("moby.filesync.v1.BytesMessage", [
  { name: "data", number: 1, kind: "bytes" },
]);

export interface CredentialsRequest {
  Host: string;
}

export const CredentialsRequestSchema: Schema<CredentialsRequest> = schema("moby.filesync.v1.CredentialsRequest", [
  { name: "Host", number: 1, kind: "string" },
]);

export interface CredentialsResponse {
  Username: string;
  Secret: string;
}

export const CredentialsResponseSchema: Schema<CredentialsResponse> = schema("moby.filesync.v1.CredentialsResponse", [
  { name: "Username", number: 1, kind: "string" },
  { name: "Secret", number: 2, kind: "string" },
]);

export interface FetchTokenRequest {
  ClientID: string;
  Host: string;
  Realm: string;
  Service: string;
  Scopes: string[];
}

export const FetchTokenRequestSchema: Schema<FetchTokenRequest> = schema("moby.filesync.v1.FetchTokenRequest", [
  { name: "ClientID", number: 1, kind: "string" },
  { name: "Host", number: 2, kind: "string" },
  { name: "Realm", number: 3, kind: "string" },
  { name: "Service", number: 4, kind: "string" },
  { name: "Scopes", number: 5, kind: "string", repeated: true },
]);

export interface FetchTokenResponse {
  Token: string;
  ExpiresIn: bigint;
  IssuedAt: bigint;
}

export const FetchTokenResponseSchema: Schema<FetchTokenResponse> = schema("moby.filesync.v1.FetchTokenResponse", [
  { name: "Token", number: 1, kind: "string" },
  { name: "ExpiresIn", number: 2, kind: "int64" },
  { name: "IssuedAt", number: 3, kind: "int64" },
]);

export interface GetTokenAuthorityRequest {
  Host: string;
  Salt: Uint8Array;
}

export const GetTokenAuthorityRequestSchema: Schema<GetTokenAuthorityRequest> = schema("moby.filesync.v1.GetTokenAuthorityRequest", [
  { name: "Host", number: 1, kind: "string" },
  { name: "Salt", number: 2, kind: "bytes" },
]);

export interface GetTokenAuthorityResponse {
  PublicKey: Uint8Array;
}

export const GetTokenAuthorityResponseSchema: Schema<GetTokenAuthorityResponse> = schema("moby.filesync.v1.GetTokenAuthorityResponse", [
  { name: "PublicKey", number: 1, kind: "bytes" },
]);

export interface VerifyTokenAuthorityRequest {
  Host: string;
  Payload: Uint8Array;
  Salt: Uint8Array;
}

export const VerifyTokenAuthorityRequestSchema: Schema<VerifyTokenAuthorityRequest> = schema("moby.filesync.v1.VerifyTokenAuthorityRequest", [
  { name: "Host", number: 1, kind: "string" },
  { name: "Payload", number: 2, kind: "bytes" },
  { name: "Salt", number: 3, kind: "bytes" },
]);

export interface VerifyTokenAuthorityResponse {
  Signed: Uint8Array;
}

export const VerifyTokenAuthorityResponseSchema: Schema<VerifyTokenAuthorityResponse> = schema("moby.filesync.v1.VerifyTokenAuthorityResponse", [
  { name: "Signed", number: 1, kind: "bytes" },
]);

export const FileSync = service("moby.filesync.v1.FileSync", {
  diffCopy: ["DiffCopy", PacketSchema, PacketSchema],
});

export const FileSend = service("moby.filesync.v1.FileSend", {
  diffCopy: ["DiffCopy", BytesMessageSchema, BytesMessageSchema],
});

export const Auth = service("moby.filesync.v1.Auth", {
  credentials: ["Credentials", CredentialsRequestSchema, CredentialsResponseSchema],
  fetchToken: ["FetchToken", FetchTokenRequestSchema, FetchTokenResponseSchema],
  getTokenAuthority: ["GetTokenAuthority", GetTokenAuthorityRequestSchema, GetTokenAuthorityResponseSchema],
  verifyTokenAuthority: ["VerifyTokenAuthority", VerifyTokenAuthorityRequestSchema, VerifyTokenAuthorityResponseSchema],
});
