import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type ServerOptions } from "node:https";
import type { AddressInfo } from "node:net";
import { sha256Of } from "../oci/digest.ts";
import { MEDIA_TYPE } from "../oci/image.ts";
import { Registries } from "./registry.ts";
import type { ProxySettings, RemotePorts, RemoteSettings } from "./settings.ts";

export interface TestServer extends AsyncDisposable {
  /** `127.0.0.1:port`. */
  readonly host: string;
  readonly requests: readonly IncomingMessage[];
}

/** An HTTP server on loopback that notes what it is asked. */
export async function serve(listener: RequestListener, tls?: ServerOptions): Promise<TestServer> {
  const requests: IncomingMessage[] = [];
  const noted: RequestListener = (request, response) => {
    requests.push(request);
    listener(request, response);
  };
  const server = tls === undefined ? createServer(noted) : createTlsServer(tls, noted);
  server.on("clientError", (_error, socket) => socket.destroy());
  server.on("tlsClientError", () => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    host: `127.0.0.1:${port}`,
    requests,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => void server.close(() => resolve()));
    },
  };
}

export const CONFIG: Buffer = Buffer.from(
  JSON.stringify({ architecture: "arm64", os: "linux", variant: "v8", rootfs: { type: "layers", diff_ids: [] } }),
);
export const MANIFEST: Buffer = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociManifest,
    config: { mediaType: MEDIA_TYPE.ociConfig, digest: sha256Of(CONFIG), size: CONFIG.length },
    layers: [],
  }),
);

/** Answers one image, `a/b:1`. */
export const oneImage: RequestListener = (request, response) => {
  const { url = "" } = request;
  if (url === "/v2/") answer(request, response, 200, "application/json", "{}");
  else if (url === "/v2/a/b/manifests/1" || url === `/v2/a/b/manifests/${sha256Of(MANIFEST)}`) {
    response.setHeader("Docker-Content-Digest", sha256Of(MANIFEST));
    answer(request, response, 200, MEDIA_TYPE.ociManifest, MANIFEST);
  } else if (url === `/v2/a/b/blobs/${sha256Of(CONFIG)}`) {
    answer(request, response, 200, "application/octet-stream", CONFIG);
  } else {
    const errors = [{ code: "MANIFEST_UNKNOWN", message: "manifest unknown", detail: "not here" }];
    answer(request, response, 404, "application/json", JSON.stringify({ errors }));
  }
};

export function answer(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  type: string,
  body: string | Buffer,
): void {
  response.writeHead(status, { "Content-Type": type, "Content-Length": Buffer.byteLength(body) });
  response.end(request.method === "HEAD" ? undefined : body);
}

export function registries(
  settings: Partial<RemoteSettings> = {},
  rest: Omit<RemotePorts, "settings"> = {},
): Registries & Disposable {
  const made = new Registries({ settings: () => ({ ...NO_SETTINGS, ...settings }), ...rest });
  return Object.assign(made, { [Symbol.dispose]: () => made.close() });
}

export const NO_PROXIES: ProxySettings = { http: "", https: "", exceptions: "" };
export const NO_SETTINGS: RemoteSettings = {
  insecureRegistries: [],
  mirrors: [],
  registries: {},
  certificateFolders: [],
  proxies: NO_PROXIES,
  userAgent: "test/1",
  maxConcurrentDownloads: 3,
  maxConcurrentUploads: 5,
  maxDownloadAttempts: 5,
  minTransferRate: 1024,
  maxDownloadRate: 0,
  maxUploadRate: 0,
  silence: 30_000,
};
