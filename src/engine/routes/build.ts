import type { ProgressMessage } from "../../api/image.ts";
import { GantryError, messageOf } from "../../base/errors.ts";
import type { Builder, BuildRequest } from "../../build/builder.ts";
import { classicFailure } from "../../build/classic-failure.ts";
import { ClassicOutput, shortImageId } from "../../build/classic-output.ts";
import { familiarString, parseNormalized } from "../../oci/reference.ts";
import type { Answer } from "../answer.ts";
import { classicBuildRequest } from "../build-query.ts";
import { progressAnswer } from "../progress.ts";
import type { Handler, Handlers, RouteRequest } from "../route-request.ts";

/** Of a quiet build's output so many characters are told if it fails. */
const MOST_QUIET = 1 << 20;

type Say = (message: ProgressMessage) => void | Promise<void>;

/** Protocols of `POST /build` other than the classic one, by their `version`. */
export interface BuildProtocols {
  readonly buildkit: Handler<"buildImage"> | undefined;
}

export function buildRoutes(
  builder: Pick<Builder, "build">,
  { buildkit }: BuildProtocols,
): Pick<Handlers, "buildImage"> {
  return {
    buildImage: (request) => {
      const version = request.query.version ?? "";
      if (version === "2" && buildkit !== undefined) return buildkit(request);
      if (version !== "" && version !== "1") {
        throw new GantryError("invalid", `invalid version ${JSON.stringify(version.slice(0, 100))}`);
      }
      return build(builder, request);
    },
  };
}

function build(builder: Pick<Builder, "build">, request: RouteRequest<"buildImage">): Promise<Answer> {
  const asked = classicBuildRequest(request);
  const { query, signal } = request;
  const act = (say: Say) =>
    buildTelling(builder, asked, signal, query.q ? new QuietSayer(say) : { say, end: () => {}, fail: () => {} }, {
      keepsContainers: !query.rm && !query.forcerm,
      forceRemove: query.forcerm,
    });
  return progressAnswer(act, tellFailure);
}

/** Who is told of a build, and of its end: that it is done, or that it has failed. */
interface Sayer {
  readonly say: Say;
  end(imageId: string): void;
  fail(): void;
}

/** Keeps what is told until a build fails. Of much only the last. */
class QuietSayer implements Sayer {
  readonly #say: Say;
  #kept: ProgressMessage[] = [];
  #size = 0;

  constructor(say: Say) {
    this.#say = say;
  }

  readonly say = (message: ProgressMessage): void => {
    if (message.stream === undefined) return;
    this.#kept.push(message);
    this.#size += message.stream.length;
    if (this.#size < 2 * MOST_QUIET) return;
    while (this.#size > MOST_QUIET) this.#size -= this.#kept.shift()?.stream?.length ?? 0;
  };

  end(imageId: string): void {
    void this.#say({ stream: `${imageId}\n` });
  }

  fail(): void {
    for (const message of this.#kept) void this.#say(message);
  }
}

async function buildTelling(
  builder: Pick<Builder, "build">,
  asked: BuildRequest,
  signal: AbortSignal,
  sayer: Sayer,
  { forceRemove, keepsContainers }: { readonly forceRemove: boolean; readonly keepsContainers: boolean },
): Promise<void> {
  const { say } = sayer;
  const output = new ClassicOutput(say, { keepsContainers });
  let imageId: string;
  try {
    const built = await builder.build(asked, {
      signal,
      onEvent: (event) => output.event(event),
      onPlan: (plan) => output.plan(plan),
    });
    imageId = idOf(built);
  } catch (error) {
    output.fail(forceRemove);
    sayer.fail();
    throw classicError(error);
  }
  output.end(imageId);
  void say({ aux: { ID: imageId } });
  void say({ stream: `Successfully built ${shortImageId(imageId)}\n` });
  for (const name of namesOf(asked)) void say({ stream: `Successfully tagged ${name}\n` });
  sayer.end(imageId);
}

function idOf({ imageId }: { readonly imageId: string | undefined }): string {
  if (imageId === undefined) throw new GantryError("internal", "the build has made no image");
  return imageId;
}

function namesOf({ outputs }: BuildRequest): string[] {
  const names = outputs[0]?.attributes.get("name") ?? "";
  return names === "" ? [] : names.split(",").map((name) => familiarString(parseNormalized(name)));
}

/** The failure of a command, which the last line tells with its exit code. */
class CommandError extends GantryError {
  readonly exitCode: number;

  constructor(message: string, exitCode: number, cause: unknown) {
    super("invalid", message, { cause });
    this.exitCode = exitCode;
  }
}

/** What went wrong, as the classic builder says it. */
function classicError(error: unknown): unknown {
  const { code, message } = classicFailure(error);
  if (code !== undefined) return new CommandError(message, code, error);
  if (!(error instanceof GantryError) || message === error.message) return error;
  return new GantryError(error.kind, message, { cause: error });
}

function tellFailure(error: unknown): ProgressMessage {
  const message = messageOf(error);
  const errorDetail = error instanceof CommandError ? { code: error.exitCode, message } : { message };
  return { errorDetail, error: message };
}
