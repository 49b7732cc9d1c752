export const greet = (): string => "hello\n";
