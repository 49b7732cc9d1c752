/** A container that mounts a volume. */
export interface VolumeUser {
  readonly id: string;
  readonly name: string;
  readonly isRunning: boolean;
  readonly isPaused: boolean;
  /** False where it has the volume read-only in all places. */
  readonly isWriter: boolean;
}

/** The containers, as volumes ask for them. */
export interface VolumeUsers {
  /** Running or not. */
  of(volume: string): readonly VolumeUser[];
  /** Has these containers stand still until the result is disposed of. */
  pause(ids: readonly string[]): Promise<AsyncDisposable>;
  /**
   * Has all that refers to a volume refer to its new name and folder. Called within a transaction; the result puts
   * memory back should that fail.
   */
  renamed(from: Place, to: Place): () => void;
}

export interface Place {
  readonly name: string;
  readonly mountpoint: string;
}

/** `web (4f2c9a…)` of each, for messages. */
export function named(users: readonly Pick<VolumeUser, "id" | "name">[]): string {
  return users.map(({ id, name }) => `${name} (${id.slice(0, 12)})`).join(", ");
}

/** How the names of holders begin who only read. */
export const READER = "reading: ";
