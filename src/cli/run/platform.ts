/** `os[/arch[/variant]]` as the API takes it, in JSON; "" for none. Throws for what is no platform. */
export function platformJson(text: string): string {
  if (text === "") return "";
  const parts = text.toLowerCase().split("/");
  if (parts.length > 3 || parts.some((part) => !/^[a-z0-9_.-]+$/.test(part))) {
    throw new Error(`invalid platform: ${JSON.stringify(text)}: write os[/arch[/variant]]`);
  }
  const [os, architecture, variant] = parts;
  return JSON.stringify({
    os,
    ...(architecture === undefined ? {} : { architecture }),
    ...(variant === undefined ? {} : { variant }),
  });
}

/** The platform that the environment chooses where a command names none; "" if it does not. */
export function defaultPlatform(): string {
  return process.env.GANTRY_DEFAULT_PLATFORM || process.env.DOCKER_DEFAULT_PLATFORM || "";
}
