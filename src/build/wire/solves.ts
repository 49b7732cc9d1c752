import { CONTROL, ControlBytesSchema } from "../../buildkit/control.ts";
import { create } from "../../buildkit/message.ts";
import { SESSION_HEADERS } from "../../buildkit/session-headers.ts";
import type { ServerCall } from "../../grpc/answered-call.ts";
import type { AskedSource, DescribedSource } from "../asked-source.ts";
import type {
  BuildContainer,
  Builder,
  BuildOptions,
  BuildRequest,
  BuildResult,
  ContainerRequest,
  PlannedBuild,
} from "../builder.ts";
import type { BuildEvent } from "../progress.ts";
import { sessionHello } from "../session-hello.ts";
import { attachmentsOf } from "./attached.ts";
import { connectionOf } from "./call-connection.ts";
import type { ClientSession } from "./client-session.ts";
import { Definitions } from "./definitions.ts";
import type { OwnParts } from "./gateway-containers.ts";
import type { HeldFailures } from "./held-failures.ts";
import { Job } from "./jobs.ts";
import { type Asked, buildRequest, otherSessions } from "./request.ts";
import type { Sessions } from "./sessions.ts";
import { solveError } from "./solve-error.ts";
import { statusMessages } from "./status-message.ts";

/** What is to be built, by the name of the session it is built for. */
export interface Spec extends Omit<Asked, "session" | "others"> {
  /** Empty for none. */
  readonly sessionId: string;
  readonly job: Job;
  readonly onMade?: NonNullable<BuildOptions["onMade"]>;
  /** Who takes commands that fail. */
  readonly failures?: HeldFailures;
}

/** Builds for clients of BuildKit's kind: finds their sessions, tells them what happens in their terms. */
export class Solves {
  /** Of results that clients were given, for other builds of theirs. */
  readonly definitions: Definitions = new Definitions();
  readonly #builder: Builder;
  readonly #sessions: Sessions;

  constructor(builder: Builder, sessions: Sessions) {
    this.#builder = builder;
    this.#sessions = sessions;
  }

  /** Rejects with a GrpcError that has the lines of the Dockerfile where they are known. */
  async run(spec: Spec): Promise<BuildResult> {
    let plan: PlannedBuild | undefined;
    try {
      return await this.#build(spec, (made) => {
        plan = made;
        tellVertices(spec.job, made);
      });
    } catch (error) {
      throw solveError(error, plan, (vertex) => spec.failures?.detailOf(vertex));
    }
  }

  /** The same for a client that has no other stream to follow it: what it tells, as messages, and how it ends. */
  start(spec: Omit<Spec, "job">): {
    readonly messages: AsyncIterable<Uint8Array>;
    readonly result: Promise<BuildResult>;
  } {
    const job = new Job(spec.id);
    const result = this.#build({ ...spec, job }).finally(() => job.told.end());
    // Heard when the messages have been read.
    result.catch(() => {});
    return { messages: encoded(job.told.listen(spec.signal)), result };
  }

  /** What a source is, for a client that takes part in its build. */
  async describe(spec: Spec, asked: AskedSource, signal: AbortSignal): Promise<DescribedSource> {
    const onEvent = (event: BuildEvent) => spec.job.told.add(event);
    return this.#builder.describeSource(await this.#request({ ...spec, signal }), asked, { signal, onEvent });
  }

  /** A container for a client that takes part in its build. */
  async openContainer(
    parts: Pick<ContainerRequest, OwnParts>,
    { entitlements, sessionId }: Pick<Spec, "entitlements" | "sessionId">,
    signal: AbortSignal,
  ): Promise<BuildContainer> {
    const session = sessionId === "" ? undefined : await this.#sessions.get(sessionId, signal);
    return this.#builder.openContainer({ ...parts, entitlements, session }, signal);
  }

  /** A session whose connection is a call itself. It lasts as long as the call does. */
  async session(call: ServerCall<{ readonly data: Uint8Array }, ReturnType<typeof bytesMessage>>): Promise<void> {
    const header = (name: string) => call.metadata.get(name)?.join(",") ?? "";
    const hello = sessionHello(
      header(SESSION_HEADERS.id),
      header(SESSION_HEADERS.sharedKey),
      header(SESSION_HEADERS.methods),
    );
    const ended = Promise.withResolvers<void>();
    const socket = connectionOf({
      messages: () => call.messages(),
      send: (data) => call.send(bytesMessage(data)),
      end: ended.resolve,
      close: ended.resolve,
    });
    const session = this.#sessions.add(hello, socket);
    call.signal.addEventListener("abort", () => session.close(), { once: true });
    await ended.promise;
  }

  async #build(spec: Spec, onPlan?: (plan: PlannedBuild) => void): Promise<BuildResult> {
    let plan: PlannedBuild | undefined;
    return this.#builder.build(await this.#request(spec), {
      signal: spec.signal,
      onEvent: (event) => spec.job.told.add(event),
      onPlan: (made) => {
        plan = made;
        onPlan?.(made);
      },
      ...(spec.onMade && { onMade: spec.onMade }),
      attach: (end) => attachmentsOf(end, plan),
    });
  }

  async #request(spec: Spec): Promise<BuildRequest> {
    const { sessionId, signal } = spec;
    const session = sessionId === "" ? undefined : await this.#sessions.get(sessionId, signal);
    const others = new Map<string, ClientSession>();
    for (const id of otherSessions(spec.options)) {
      if (!others.has(id)) others.set(id, await this.#sessions.get(id, signal));
    }
    const { failures } = spec;
    const request = buildRequest({ ...spec, session, others });
    return failures === undefined ? request : { ...request, onFailed: (failure) => failures.take(failure) };
  }
}

/** What may be done, so that clients can draw all of it before it is. */
function tellVertices(job: Job, { graph }: PlannedBuild): void {
  for (const { id, inputs, name } of graph.vertices) {
    void job.told.add({ type: "vertex", vertex: { digest: id, inputs, name, cached: false } });
  }
}

async function* encoded(groups: AsyncIterable<readonly BuildEvent[]>): AsyncIterable<Uint8Array> {
  for await (const group of groups) {
    for (const message of statusMessages(group)) yield CONTROL.status.response.encode(message);
  }
}

function bytesMessage(data: Uint8Array) {
  return create(ControlBytesSchema, { data });
}
