export interface Page {
  readonly title: string;
  readonly lines: readonly string[];
}

export function render({ title, lines }: Page): string {
  return [`# ${title}`, ...lines].join("\n");
}
