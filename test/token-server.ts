import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { type Certified, selfSigned, signedToken } from "./certificates.ts";

/** Distribution's registry takes a token for a minute longer than it says. */
const LEEWAY_S = 60;

export interface TokenServerOptions {
  /** Passwords by name; default joe with `secret`. */
  readonly users?: Readonly<Record<string, string>>;
  /** Who (undefined: nobody in particular) may do what; default: whoever logged in may do everything. */
  readonly grants?: (user: string | undefined, repository: string, action: string) => boolean;
  /** Seconds until the registry refuses a token, its minute of leeway taken off; default 300. */
  readonly lifeS?: number;
  /** What the answer says of that; default the truth. */
  readonly toldLifeS?: number;
}

/** What a token server was asked. */
export interface TokenWish {
  readonly method: string;
  readonly user: string | undefined;
  readonly scopes: readonly string[];
  readonly grant: "password" | "refresh_token" | "anonymous";
  readonly status: number;
}

/** Gives tokens as the distribution project's token protocol and OAuth 2 have it: scopes are checked, never assumed. */
export class TestTokenServer implements AsyncDisposable {
  readonly signer: Certified;
  readonly issuer = "a test's token server";
  readonly service = "a test's registry";
  readonly wishes: TokenWish[] = [];
  /** May be changed at any time. */
  lifeS: number;
  #url = "";
  readonly #options: TokenServerOptions;
  readonly #users: ReadonlyMap<string, string>;
  readonly #refreshTokens = new Map<string, string>();
  readonly #server: ReturnType<typeof createServer> | ReturnType<typeof createTlsServer>;

  private constructor(options: TokenServerOptions, certificate: Certified | undefined) {
    this.#options = options;
    this.#users = new Map(Object.entries(options.users ?? { joe: "secret" }));
    this.lifeS = options.lifeS ?? 300;
    this.signer = selfSigned({ isRsa: true, commonName: this.issuer });
    const listener = (request: IncomingMessage, response: ServerResponse) => void this.#serve(request, response);
    this.#server = certificate === undefined ? createServer(listener) : createTlsServer({ ...certificate }, listener);
    this.#server.on("tlsClientError", () => {});
  }

  static async start(
    options: TokenServerOptions = {},
    certificate?: Certified,
    address = "127.0.0.1",
  ): Promise<TestTokenServer> {
    const server = new TestTokenServer(options, certificate);
    await new Promise<void>((resolve, reject) => {
      server.#server.once("error", reject);
      server.#server.listen(0, address, resolve);
    });
    const { port } = server.#server.address() as AddressInfo;
    server.#url = `${certificate === undefined ? "http" : "https"}://${address}:${port}/token`;
    return server;
  }

  /** The realm. */
  get url(): string {
    return this.#url;
  }

  /** A token as a client with these rights would get it. */
  token(user: string | undefined, scopes: readonly string[]): string {
    const now = Math.floor(Date.now() / 1000);
    return signedToken(
      {
        iss: this.issuer,
        aud: this.service,
        sub: user ?? "",
        jti: randomBytes(8).toString("hex"),
        iat: now,
        nbf: now - LEEWAY_S,
        exp: now + this.lifeS - LEEWAY_S,
        access: scopes.map((scope) => this.#accessOf(user, scope)).filter((access) => access !== undefined),
      },
      this.signer,
    );
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "", "http://here");
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const isForm = request.method === "POST";
    const form = isForm ? new URLSearchParams(Buffer.concat(pieces).toString()) : url.searchParams;
    // Several scopes come as several parameters or, in a form, with blanks between them.
    const scopes = form.getAll("scope").flatMap((scope) => scope.split(" ").filter(Boolean));
    const who = isForm ? this.#byForm(form) : this.#byHeader(request.headers.authorization);
    const note = (status: number) =>
      this.wishes.push({
        method: request.method ?? "",
        user: who?.user,
        scopes,
        grant: who?.grant ?? "password",
        status,
      });
    if (url.pathname !== "/token" || who === undefined) {
      note(401);
      response.writeHead(401, { "Content-Type": "application/json" });
      response.end(JSON.stringify({ errors: [{ code: "UNAUTHORIZED", message: "incorrect username or password" }] }));
      return;
    }
    note(200);
    const token = this.token(who.user, scopes);
    const wantsRefresh = isForm ? form.get("access_type") === "offline" : form.get("offline_token") === "true";
    const answer = {
      token,
      access_token: token,
      expires_in: this.#options.toldLifeS ?? this.lifeS,
      issued_at: new Date().toISOString(),
      ...(wantsRefresh && who.user !== undefined && { refresh_token: this.#refreshToken(who.user) }),
    };
    response.writeHead(200, { "Content-Type": "application/json" });
    response.end(JSON.stringify(answer));
  }

  #byHeader(header: string | undefined): { user: string | undefined; grant: TokenWish["grant"] } | undefined {
    if (header === undefined) return { user: undefined, grant: "anonymous" };
    const [user = "", ...password] = Buffer.from(header.replace(/^Basic /i, ""), "base64")
      .toString()
      .split(":");
    return this.#users.get(user) === password.join(":") ? { user, grant: "password" } : undefined;
  }

  #byForm(form: URLSearchParams): { user: string; grant: TokenWish["grant"] } | undefined {
    if (form.get("grant_type") === "refresh_token") {
      const user = this.#refreshTokens.get(form.get("refresh_token") ?? "");
      return user === undefined ? undefined : { user, grant: "refresh_token" };
    }
    const user = form.get("username") ?? "";
    const isRight = form.get("grant_type") === "password" && this.#users.get(user) === form.get("password");
    return isRight ? { user, grant: "password" } : undefined;
  }

  #refreshToken(user: string): string {
    const token = `refresh-${randomBytes(12).toString("hex")}`;
    this.#refreshTokens.set(token, user);
    return token;
  }

  #accessOf(user: string | undefined, scope: string): object | undefined {
    const [, type = "", name = "", wanted = ""] = /^([a-z]+):(.+):([^:]*)$/.exec(scope) ?? [];
    const grants = this.#options.grants ?? ((who) => who !== undefined);
    const actions = wanted.split(",").filter((action) => grants(user, name, action));
    return actions.length === 0 ? undefined : { type, name, actions };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => void this.#server.close(() => resolve()));
  }
}
