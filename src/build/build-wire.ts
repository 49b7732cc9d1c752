import type { Duplex } from "node:stream";
import type { Logger } from "../base/log.ts";
import { addHealth } from "../grpc/health.ts";
import { Link } from "../grpc/link.ts";
import { GrpcServer } from "../grpc/server.ts";
import { GrpcError, STATUS } from "../grpc/status.ts";
import type { Builder } from "./builder.ts";
import type { SessionHello } from "./session-hello.ts";
import { addBridge } from "./wire/bridge-service.ts";
import { addContent } from "./wire/content-service.ts";
import { addControl, type WorkerFacts } from "./wire/control-service.ts";
import { HistoryDocuments } from "./wire/history-documents.ts";
import { Jobs } from "./wire/jobs.ts";
import { Sessions } from "./wire/sessions.ts";
import { Solves } from "./wire/solves.ts";
import { runnablePlatforms } from "./wire/worker-platforms.ts";

export interface WirePorts {
  readonly builder: Builder;
  readonly engineId: string;
  readonly engineVersion: string;
  /** Addresses by which steps reach the host. */
  readonly hostGateways: () => readonly string[];
  readonly log: Logger;
}

const KEEP_ALIVE = { everyMs: 30_000, withinMs: 60_000 };

/** BuildKit's protocols, over connections of the engine's that were taken over. */
export class BuildWire {
  readonly jobs: Jobs = new Jobs();
  readonly solves: Solves;
  readonly #sessions: Sessions = new Sessions();
  readonly #server: GrpcServer;

  constructor({ builder, engineId, engineVersion, hostGateways, log }: WirePorts) {
    const { jobs } = this;
    const worker: WorkerFacts = {
      id: engineId,
      version: engineVersion,
      platforms: runnablePlatforms,
      gcRules: () => builder.gcRules(),
      hostGateway: () => hostGateways()[0] ?? "",
    };
    this.solves = new Solves(builder, this.#sessions);
    this.#server = new GrpcServer({
      keepAlive: KEEP_ALIVE,
      onError: (path, error) => {
        // What a build fails with is its client's to know.
        if (error instanceof GrpcError && error.code !== STATUS.internal) return;
        log.debug("a call failed", { path, error: (error as Error).message });
      },
    });
    const documents = new HistoryDocuments(builder.history);
    addControl(this.#server, { builder, jobs, solves: this.solves, worker, documents });
    addContent(this.#server, documents);
    addBridge(this.#server, jobs, worker);
    addHealth(this.#server);
  }

  /** Throws for a session that can't be opened; before its connection is taken over. */
  checkSession(hello: SessionHello): void {
    this.#sessions.check(hello);
  }

  /** Takes a connection on which a client serves its session. */
  openSession(hello: SessionHello, socket: Duplex): void {
    this.#sessions.add(hello, socket);
  }

  /** Takes a connection on which a client both serves its session and asks for builds. */
  link(hello: SessionHello, socket: Duplex): void {
    const link = new Link(socket, { dialled: false, server: this.#server, keepAlive: KEEP_ALIVE });
    this.#sessions.addCaller(hello, link);
  }

  /** Takes a connection on which a client asks for builds. */
  serve(socket: Duplex): void {
    this.#server.serve(socket);
  }

  /** Ends the sessions. */
  close(): void {
    this.#sessions.close();
  }
}

/** What is to be built for a client without a control service. */
export type { Spec as BuildSpec } from "./wire/solves.ts";
