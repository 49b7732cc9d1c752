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
  timeNano: number;
}
