/**
 * The shell's exit codes for a process that could not be started, by what the OCI runtime said: 127 for a command that
 * isn't there, 126 for one that can't be run, else `otherwise`.
 */
export function exitCodeOf(message: string, otherwise: number): number {
  if (/executable file .* not found|no such file or directory/i.test(message)) return 127;
  if (/permission denied|is a directory|not a directory|exec format error/i.test(message)) return 126;
  return otherwise;
}
