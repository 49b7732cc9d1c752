export type EventType = "container" | "image" | "network" | "volume" | "daemon" | "builder" | "plugin";

/** One line of GET /events. The lower-case twins are what older clients read; only containers and images have them. */
export interface EventMessage {
  status?: string;
  id?: string;
  from?: string;
  Type: EventType;
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> };
  scope: "local" | "swarm";
  /** Unix seconds. */
  time: number;
  /** Unix nanoseconds: more digits than a double holds. */
  timeNano: bigint;
}

/** An event as JSON, its nanoseconds exact. */
export function eventJson({ timeNano, ...rest }: EventMessage): string {
  return `${JSON.stringify(rest).slice(0, -1)},"timeNano":${timeNano}}`;
}

function digits(source: string | undefined): string | undefined {
  return /^-?\d{1,20}$/.test(source ?? "") ? source : undefined;
}

/** What `eventJson` or another engine wrote; one that tells no nanoseconds happened at the begin of its second. */
export function parseEvent(text: string): EventMessage {
  const exact = (key: string, value: unknown, context?: { source?: string }): unknown =>
    key === "timeNano" && Number.isInteger(value) ? BigInt(digits(context?.source) ?? (value as number)) : value;
  const event = JSON.parse(text, exact) as EventMessage;
  return typeof event.timeNano === "bigint" ? event : { ...event, timeNano: BigInt(event.time) * 1_000_000_000n };
}
