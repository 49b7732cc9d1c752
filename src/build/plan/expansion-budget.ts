import { invalid } from "../../dockerfile/source.ts";
import type { Expansion } from "../../dockerfile/words.ts";

/** Characters that one instruction may put in; a step can be given less in arguments and environment. */
const MOST_AT_ONCE = 8 << 20;
const MOST_IN_ALL = 64 << 20;

/** What texts may grow to by their variables, of all stages together: each may be made of others twice. */
export class ExpansionBudget {
  #all = 0;
  #now = 0;

  /** Another instruction begins. */
  begin(): void {
    this.#now = 0;
  }

  /** The expansion itself. Throws `invalid` for one too many. */
  spend(expansion: Expansion): Expansion {
    this.#now += expansion.work;
    this.#all += expansion.work;
    if (this.#now > MOST_AT_ONCE) throw invalid("the instruction's texts are too long when their variables are put in");
    if (this.#all > MOST_IN_ALL) throw invalid("the Dockerfile's texts are too long when their variables are put in");
    return expansion;
  }
}
