/**
 * node:http without what importing it loads besides: the module's exports include a WebSocket client that is made when
 * it is looked at, and an import looks at all. That takes 40 ms of each start and 14 MB.
 */
const http = process.getBuiltinModule("node:http");

export const { createServer, request, STATUS_CODES } = http;

export const Agent = http.Agent;
export type Agent = import("node:http").Agent;

export const IncomingMessage = http.IncomingMessage;
export type IncomingMessage = import("node:http").IncomingMessage;

export const ServerResponse = http.ServerResponse;
export type ServerResponse = import("node:http").ServerResponse;

/** Loaded by who talks TLS: most engines never do. */
export const https = (): typeof import("node:https") => process.getBuiltinModule("node:https");
