import { execFileSync, spawn } from "node:child_process";
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

/** Where git keeps its own programs; undefined where there is no git, or none that serves. */
export function gitPrograms(): string | undefined {
  try {
    const folder = execFileSync("git", ["--exec-path"], { encoding: "utf8" }).trim();
    execFileSync("test", ["-x", join(folder, "git-http-backend")]);
    return folder;
  } catch {
    return undefined;
  }
}

/** Serves the repositories below a folder by HTTP, as hosts of repositories do. */
export class GitServer implements AsyncDisposable {
  readonly asked: IncomingMessage[] = [];
  /** Answers a request in git's place if it returns true. */
  instead: (...args: Parameters<RequestListener>) => boolean = () => false;
  readonly #server: Server;
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
    this.#server = createServer((request, response) => {
      this.asked.push(request);
      if (!this.instead(request, response)) this.#serve(request, response);
    });
  }

  static async start(folder: string): Promise<GitServer> {
    const server = new GitServer(folder);
    await new Promise<void>((resolve) => server.#server.listen(0, "127.0.0.1", resolve));
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** CGI (RFC 3875), as far as git's own program needs it. */
  #serve(...[request, response]: Parameters<RequestListener>): void {
    const { pathname, search } = new URL(request.url ?? "/", this.url);
    const child = spawn(join(gitPrograms() ?? "", "git-http-backend"), {
      env: {
        PATH: process.env.PATH,
        GIT_PROJECT_ROOT: this.#folder,
        GIT_HTTP_EXPORT_ALL: "1",
        GIT_CONFIG_NOSYSTEM: "1",
        GIT_CONFIG_COUNT: "1",
        GIT_CONFIG_KEY_0: "safe.directory",
        GIT_CONFIG_VALUE_0: "*",
        REQUEST_METHOD: request.method,
        PATH_INFO: decodeURIComponent(pathname),
        QUERY_STRING: search.slice(1),
        CONTENT_TYPE: request.headers["content-type"] ?? "",
        HTTP_CONTENT_ENCODING: request.headers["content-encoding"] ?? "",
        GIT_PROTOCOL: String(request.headers["git-protocol"] ?? ""),
      },
      stdio: ["pipe", "pipe", "ignore"],
    });
    request.pipe(child.stdin).on("error", () => {});
    const pieces: Buffer[] = [];
    child.stdout.on("data", (piece: Buffer) => pieces.push(piece));
    child.once("close", () => {
      const all = Buffer.concat(pieces);
      const end = all.indexOf("\r\n\r\n");
      let status = 200;
      for (const line of all.toString("latin1", 0, Math.max(end, 0)).split("\r\n")) {
        const [name = "", value = ""] = line.split(/: (.*)/s);
        if (name === "Status") status = Number.parseInt(value, 10);
        else if (name !== "") response.setHeader(name, value);
      }
      response.writeHead(status).end(all.subarray(end + 4));
    });
  }
}

/** A repository with a work tree, to commit to and be served from. */
export class GitRepository {
  readonly folder: string;
  readonly #date: Readonly<Record<string, string>>;

  /** With a `date`, in seconds, commits are equal wherever they are made. */
  constructor(folder: string, date?: number) {
    this.folder = folder;
    this.#date = date === undefined ? {} : { GIT_AUTHOR_DATE: `${date} +0000`, GIT_COMMITTER_DATE: `${date} +0000` };
    execFileSync("git", ["init", "--quiet", "--initial-branch=main", folder], { env: this.#env() });
  }

  run(...args: readonly string[]): string {
    return execFileSync("git", ["-c", "protocol.file.allow=always", ...args], {
      cwd: this.folder,
      env: this.#env(),
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  }

  /** Commits all there is; returns the commit. */
  commit(message: string): string {
    this.run("add", "--all");
    this.run("commit", "--quiet", "--allow-empty", "-m", message);
    return this.run("rev-parse", "HEAD");
  }

  #env(): NodeJS.ProcessEnv {
    return {
      PATH: process.env.PATH,
      GIT_CONFIG_NOSYSTEM: "1",
      GIT_CONFIG_GLOBAL: "/dev/null",
      GIT_AUTHOR_NAME: "a",
      GIT_AUTHOR_EMAIL: "a@example.invalid",
      GIT_COMMITTER_NAME: "a",
      GIT_COMMITTER_EMAIL: "a@example.invalid",
      ...this.#date,
    };
  }
}
