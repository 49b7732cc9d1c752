/** A row of GET /gantry/build/history: one build. */
export interface BuildHistoryRow {
  /** Its ref, or what its client chose. */
  Id: string;
  Name: string;
  CreatedAt: string;
  /** null while it runs. */
  CompletedAt: string | null;
  /** Empty if all went well so far. */
  Error: string;
  Target: string;
  Platforms: string[];
  /** Steps that it needed, and those of them that were in the cache. */
  Steps: number;
  CachedSteps: number;
  Warnings: number;
  /** What was asked for, by BuildKit's names. Secrets have their names alone. */
  Attributes: Record<string, string>;
  /** What became of it, as a metadata file has it. */
  Metadata: Record<string, string>;
}

/** A line of GET /gantry/build/history/{id}/events: what a build told, in BuildKit's terms; one of these fields by its type. */
export interface BuildHistoryEvent {
  type: "vertex" | "status" | "log" | "warning";
  /** A step's state, whole, told again with each change. */
  vertex?: {
    digest: string;
    inputs: string[];
    name: string;
    cached: boolean;
    /** Unix milliseconds. */
    started?: number;
    completed?: number;
    error?: string;
    /** Why it was not in the cache, where the build was to explain itself. */
    explanation?: { reason: string; text: string; diff: string[] };
  };
  /** A transfer that was done. */
  status?: { vertex: string; id: string; name: string; current: number; total: number; timestamp: number };
  log?: {
    vertex: string;
    /** 1 is the standard output, 2 the standard error. */
    stream: number;
    timestamp: number;
    text?: string;
    /** In its place where the bytes are no text. */
    base64?: string;
  };
  warning?: { vertex: string; level: number; short: string; detail: string[]; url: string };
}
