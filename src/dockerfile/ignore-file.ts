import { cleanPath, trimSpace } from "./go-text.ts";

/**
 * The patterns of a .dockerignore, in order: comments and empty lines are left out, paths are made relative and as
 * short as they can be, `!` stays in front. What they match is `PatternMatcher`'s.
 */
export function readIgnoreFile(text: string): string[] {
  const patterns: string[] = [];
  const body = text.startsWith("\ufeff") ? text.slice(1) : text;
  for (const line of body.split("\n")) {
    // A comment is one only from the line's very beginning.
    if (line.startsWith("#")) continue;
    const written = trimSpace(line);
    if (written === "") continue;
    const inverted = written.startsWith("!");
    let pattern = inverted ? trimSpace(written.slice(1)) : written;
    if (pattern !== "") {
      pattern = cleanPath(pattern);
      if (pattern.length > 1 && pattern.startsWith("/")) pattern = pattern.slice(1);
    }
    patterns.push(inverted ? `!${pattern}` : pattern);
  }
  return patterns;
}
