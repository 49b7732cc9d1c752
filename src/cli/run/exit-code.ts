/** What a failed start means for the exit code: the command wasn't found, can't be run, or the engine failed. */
export function startFailureCode(message: string): 125 | 126 | 127 {
  if (/executable file not found|no such file or directory|system cannot find the file specified/.test(message))
    return 127;
  if (/permission denied|is a directory/.test(message)) return 126;
  return 125;
}
