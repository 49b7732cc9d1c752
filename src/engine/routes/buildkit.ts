import type { BuildWire } from "../../build/build-wire.ts";
import { sessionHello } from "../../build/session-hello.ts";
import { SESSION_HEADERS } from "../../buildkit/session-headers.ts";
import { HIJACKED } from "../answer.ts";
import { buildkitSpec } from "../buildkit-query.ts";
import { progressAnswer } from "../progress.ts";
import type { Handler, Handlers, RouteRequest } from "../route-request.ts";
import { Uploads } from "../uploads.ts";

type BuildkitRoutes = Pick<Handlers, "buildSession" | "buildControl" | "buildLink">;
type Wire = () => Promise<BuildWire>;

/** Connections that are taken over: a client's session, the service by which it asks for builds, and both in one. */
export function buildkitRoutes(wire: Wire): BuildkitRoutes {
  return {
    buildSession: async (request) => {
      const hello = helloOf(request);
      const opened = await wire();
      opened.checkSession(hello);
      opened.openSession(hello, taken(request));
      return HIJACKED;
    },
    buildControl: async (request) => {
      const opened = await wire();
      opened.serve(taken(request));
      return HIJACKED;
    },
    buildLink: async (request) => {
      const hello = helloOf(request);
      const opened = await wire();
      opened.checkSession(hello);
      opened.link(hello, taken(request));
      return HIJACKED;
    },
  };
}

type Opening = RouteRequest<"buildSession"> | RouteRequest<"buildControl"> | RouteRequest<"buildLink">;

function helloOf(request: Opening) {
  const header = (name: string) => request.header(name) ?? "";
  return sessionHello(header(SESSION_HEADERS.id), header(SESSION_HEADERS.sharedKey), header(SESSION_HEADERS.methods));
}

/** The connection, its answer's head written, nothing of what came lost. */
function taken({ hijack }: Opening) {
  const { head, preamble, socket } = hijack({ multiplexed: false });
  socket.write(preamble);
  if (head.length > 0) socket.unshift(head);
  return socket;
}

/** `POST /build?version=2`: a build whose client serves a session, told in BuildKit's messages. */
export function buildkitBuild(wire: Wire): Handler<"buildImage"> {
  const uploads = new Uploads();
  return (request) => {
    const { query, signal } = request;
    const upload = /^upload-request:(.*)$/s.exec(query.buildid ?? "")?.[1];
    if (upload !== undefined) {
      return progressAnswer(() => uploads.offer(upload, request.body(), signal));
    }
    return progressAnswer(async (say) => {
      const { solves } = await wire();
      const archive = query.remote === "upload-request" ? await uploads.take(query.buildid ?? "", signal) : undefined;
      const { messages, result } = solves.start({ ...buildkitSpec(request, archive?.bytes), signal });
      try {
        for await (const message of messages) {
          if (!query.q) await say({ id: "moby.buildkit.trace", aux: Buffer.from(message).toString("base64") });
        }
        const { imageId } = await result;
        if (imageId === undefined) return;
        await say({ id: "moby.image.id", aux: { ID: imageId } });
        if (query.q) await say({ stream: `${imageId}\n` });
      } finally {
        archive?.done();
      }
    });
  };
}
