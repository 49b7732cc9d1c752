import { createHash } from "node:crypto";
import { Breath } from "../../base/breath.ts";
import type { BuildRecord } from "../builder.ts";
import type { BuildEvent, VertexState, VertexStatus } from "../progress.ts";

/** More than anybody looks at; the steps go before what happened in them. */
const MOST_SPANS = 10_000;
const INTERNAL = 1;
const FAILED = 1;
const NO_PARENT = { ...contextOf("0".repeat(32), "0".repeat(16)), TraceFlags: "00" };

interface Attribute {
  readonly Key: string;
  readonly Value: { readonly Type: "STRING" | "BOOL"; readonly Value: string | boolean };
}

interface Span {
  readonly id: string;
  readonly parent: string | undefined;
  readonly name: string;
  readonly start: number;
  readonly end: number;
  readonly error: string | undefined;
  readonly attributes: readonly Attribute[];
}

/**
 * When the steps of a build ran, as BuildKit's clients read traces: spans of OpenTelemetry, as Go writes them, a line each.
 * Equal events make equal bytes.
 */
export class HistoryTrace {
  /** By the vertex and when it began: some begin more than once. */
  readonly #vertices = new Map<string, VertexState>();
  readonly #statuses = new Map<string, VertexStatus>();

  add(event: BuildEvent): void {
    if (event.type === "vertex" && event.vertex.started !== undefined) {
      keep(this.#vertices, `${event.vertex.digest} ${event.vertex.started}`, event.vertex);
    }
    if (event.type === "status" && event.status.started !== undefined && event.status.completed !== undefined) {
      keep(this.#statuses, `${event.status.vertex} ${event.status.id} ${event.status.started}`, event.status);
    }
  }

  /** All of it, for a build that has ended, in turns: some have thousands of steps. */
  async document(record: BuildRecord): Promise<Buffer> {
    const { createdAt, id } = record;
    const trace = digest(`${id} ${createdAt}`, 16);
    const count = 1 + this.#vertices.size + this.#statuses.size;
    const lines: Buffer[] = [];
    const breath = new Breath();
    for (const span of this.#spans(record, trace)) {
      if (lines.length === MOST_SPANS) break;
      if (breath.isDue) await breath.take();
      lines.push(Buffer.from(lineOf(trace, span, count)));
    }
    return Buffer.concat(lines);
  }

  *#spans({ completedAt = 0, createdAt, error, id, name }: BuildRecord, trace: string): Generator<Span> {
    const top: Span = {
      ...{ id: digest(trace, 8), parent: undefined, name: `build ${name}`.trim(), error },
      ...{ start: createdAt, end: completedAt, attributes: [text("ref", id)] },
    };
    yield top;
    const last = new Map<string, string>();
    for (const [key, vertex] of this.#vertices) {
      const span = digest(key, 8);
      last.set(vertex.digest, span);
      yield {
        ...{ id: span, parent: top.id, name: vertex.name, error: vertex.error },
        ...{ start: vertex.started!, end: vertex.completed ?? completedAt },
        attributes: [text("vertex", vertex.digest), { Key: "cached", Value: { Type: "BOOL", Value: vertex.cached } }],
      };
    }
    for (const [key, status] of this.#statuses) {
      const parent = last.get(status.vertex) ?? top.id;
      yield {
        ...{ id: digest(key, 8), parent, name: status.name || status.id, error: undefined },
        ...{ start: status.started!, end: status.completed!, attributes: [] },
      };
    }
  }
}

function keep<T>(rows: Map<string, T>, key: string, row: T): void {
  if (rows.has(key) || rows.size < MOST_SPANS) rows.set(key, row);
}

function lineOf(trace: string, { attributes, end, error, id, name, parent, start }: Span, count: number): string {
  const span = {
    Name: name,
    SpanContext: contextOf(trace, id),
    Parent: parent === undefined ? NO_PARENT : contextOf(trace, parent),
    SpanKind: INTERNAL,
    StartTime: timeOf(start),
    EndTime: timeOf(Math.max(start, end)),
    Attributes: attributes,
    Events: null,
    Links: null,
    Status: { Code: error === undefined ? 0 : FAILED, Description: error ?? "" },
    ...{ DroppedAttributes: 0, DroppedEvents: 0, DroppedLinks: 0 },
    ChildSpanCount: parent === undefined ? count - 1 : 0,
    Resource: [text("service.name", "gantry")],
    InstrumentationLibrary: { Name: "gantry", Version: "", SchemaURL: "" },
  };
  return `${JSON.stringify(span)}\n`;
}

function contextOf(TraceID: string, SpanID: string) {
  return { TraceID, SpanID, TraceFlags: "01", TraceState: "", Remote: false };
}

function text(key: string, value: string): Attribute {
  return { Key: key, Value: { Type: "STRING", Value: value } };
}

function digest(of: string, bytes: number): string {
  return createHash("sha256")
    .update(of)
    .digest("hex")
    .slice(0, 2 * bytes);
}

/** Records have fractions of a millisecond. */
function timeOf(milliseconds: number): string {
  const whole = Math.floor(milliseconds);
  const rest = Math.floor((milliseconds - whole) * 1e6);
  return new Date(whole).toISOString().replace("Z", `${String(rest).padStart(6, "0")}Z`);
}
