/** GET /gantry/build/{id}/shell: the step of a build that failed and was kept. */
export interface BuildShell {
  /** `kept` for a shell to come, `open` while there is one, `ended` with it. */
  readonly Status: "kept" | "open" | "ended";
  /** The shell's; null until it has ended. */
  readonly ExitCode: number | null;
}
