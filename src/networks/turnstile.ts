import { closeSync } from "node:fs";
import { Readiness } from "../kernel/readiness.ts";
import type { Allowance } from "./allowance.ts";

/** What others wait for at most while some are served. */
const SLICE_MS = 0.5;
/** No descriptor is free, or the like: it is not tried again at once. */
const FAILED_MS = 1000;

/** Somebody who is served at a descriptor, a step at a time. */
export interface Visitor {
  /** Does what takes no longer than others can wait. Whether there may be more to do at once. */
  step(): boolean;
  /** What has to come to pass before there is: nothing, if it is not the descriptor's to tell. */
  readonly awaits: "reading" | "writing" | "nothing";
}

/**
 * Serves visitors in turns, for no longer at a time than others can wait and for no more than their allowance. Who has
 * to wait is not watched meanwhile, so that waiting costs nothing; the kernel keeps what comes, or loses it.
 */
export class Turnstile {
  readonly #allowance: Allowance;
  readonly #complain: (error: unknown) => void;
  readonly #queue = new Set<Gate>();
  #timer: NodeJS.Timeout | undefined;
  #turn: NodeJS.Immediate | undefined;

  constructor(allowance: Allowance, complain: (error: unknown) => void) {
    this.#allowance = allowance;
    this.#complain = complain;
  }

  /** Owns `fd` from now on. */
  admit(fd: number, visitor: Visitor): Gate {
    return new Gate(fd, visitor, this.#serve);
  }

  /** No visitor is served any more; the gates are closed by who has them. */
  close(): void {
    this.#queue.clear();
    clearTimeout(this.#timer);
    clearImmediate(this.#turn);
  }

  readonly #serve = (gate: Gate): void => {
    this.#queue.add(gate);
    if (this.#timer === undefined && this.#turn === undefined) this.#serveSome();
    // Each that comes while others wait.
    if (this.#queue.has(gate)) gate.watch("nothing");
  };

  #serveSome(): void {
    this.#timer = undefined;
    this.#turn = undefined;
    let wait = this.#allowance.waitMs();
    if (wait === 0) {
      this.#allowance.spend(() => this.#slice());
      wait = this.#allowance.waitMs();
    }
    if (this.#queue.size === 0) return;
    if (wait === 0) this.#turn = setImmediate(() => this.#serveSome());
    else this.#timer = setTimeout(() => this.#serveSome(), wait).unref();
  }

  /** Who is put at the end of the queue is met again. */
  #slice(): void {
    const end = performance.now() + SLICE_MS;
    for (const gate of this.#queue) {
      this.#queue.delete(gate);
      try {
        if (gate.step()) this.#queue.add(gate);
      } catch (error) {
        this.#complain(error);
        gate.rest(FAILED_MS);
      }
      if (performance.now() >= end) break;
    }
  }
}

/** A visitor's place at a turnstile. */
export class Gate {
  readonly #fd: number;
  readonly #visitor: Visitor;
  readonly #serve: (gate: Gate) => void;
  readonly #readiness: Readiness;
  #rest: NodeJS.Timeout | undefined;
  #isOpen = true;

  constructor(fd: number, visitor: Visitor, serve: (gate: Gate) => void) {
    this.#fd = fd;
    this.#visitor = visitor;
    this.#serve = serve;
    this.#readiness = new Readiness(fd, () => serve(this));
    this.watch(visitor.awaits);
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** The visitor has something to do that the descriptor does not tell of. */
  call(): void {
    if (this.#isOpen) this.#serve(this);
  }

  step(): boolean {
    if (!this.#isOpen || this.#rest !== undefined) return false;
    if (this.#visitor.step() && this.#isOpen) return true;
    this.watch(this.#visitor.awaits);
    return false;
  }

  rest(ms: number): void {
    if (!this.#isOpen) return;
    this.watch("nothing");
    this.#rest = setTimeout(() => {
      this.#rest = undefined;
      this.watch(this.#visitor.awaits);
    }, ms).unref();
  }

  watch(what: Visitor["awaits"]): void {
    if (!this.#isOpen) return;
    this.#readiness.watch(what === "reading", what === "writing");
    this.#readiness.unref();
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    clearTimeout(this.#rest);
    this.#readiness.close();
    closeSync(this.#fd);
  }
}
