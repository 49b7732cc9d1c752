/** The names and values of a row's labels. Values must come from a closed set: each new one is kept for ever. */
export type Labels = Readonly<Record<string, string>>;

/** What a metric says when it is asked: one value, or one for each set of labels. */
export type Reading = number | readonly { readonly labels: Labels; readonly value: number }[];

/** Prometheus's default buckets, in seconds. */
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** Only goes up. */
export class Counter {
  readonly #values = new Map<string, number>();

  /** With `labels` given, those rows are shown as 0 from the start. */
  constructor(labels: readonly Labels[] = [{}]) {
    for (const each of labels) this.#values.set(labelText(each), 0);
  }

  add(labels: Labels = {}, by = 1): void {
    const key = labelText(labels);
    this.#values.set(key, (this.#values.get(key) ?? 0) + by);
  }

  lines(name: string): string[] {
    return Array.from(this.#values, ([labels, value]) => `${name}${braced(labels)} ${value}`);
  }
}

/** How often something took how long. */
export class Histogram {
  readonly #rows = new Map<string, { readonly counts: number[]; sum: number; count: number }>();
  readonly #bounds: readonly number[];

  constructor(labels: readonly Labels[] = [], bounds: readonly number[] = SECONDS) {
    this.#bounds = bounds;
    for (const each of labels) this.#row(each);
  }

  observe(value: number, labels: Labels = {}): void {
    const row = this.#row(labels);
    row.sum += value;
    row.count++;
    const at = this.#bounds.findIndex((bound) => value <= bound);
    if (at >= 0) row.counts[at] = (row.counts[at] ?? 0) + 1;
  }

  lines(name: string): string[] {
    const lines: string[] = [];
    for (const [labels, { counts, sum, count }] of this.#rows) {
      const prefix = labels === "" ? "" : `${labels},`;
      let below = 0;
      this.#bounds.forEach((bound, at) => {
        below += counts[at] ?? 0;
        lines.push(`${name}_bucket{${prefix}le="${bound}"} ${below}`);
      });
      lines.push(`${name}_bucket{${prefix}le="+Inf"} ${count}`);
      lines.push(`${name}_sum${braced(labels)} ${sum}`, `${name}_count${braced(labels)} ${count}`);
    }
    return lines;
  }

  #row(labels: Labels): { readonly counts: number[]; sum: number; count: number } {
    const key = labelText(labels);
    let row = this.#rows.get(key);
    if (row === undefined) {
      row = { counts: [], sum: 0, count: 0 };
      this.#rows.set(key, row);
    }
    return row;
  }
}

interface Metric {
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly lines: (name: string) => string[] | Promise<string[]>;
}

/**
 * What a process counts, and its text in Prometheus's format. Each name is registered once, before it is counted.
 * Counting costs a look into a map; what can be asked for is asked only when the text is.
 */
export class Metrics {
  readonly #metrics = new Map<string, Metric>();

  counter(name: string, help: string, labels?: readonly Labels[]): Counter {
    const counter = new Counter(labels);
    this.#register(name, { help, type: "counter", lines: (as) => counter.lines(as) });
    return counter;
  }

  histogram(name: string, help: string, labels?: readonly Labels[], bounds?: readonly number[]): Histogram {
    const histogram = new Histogram(labels, bounds);
    this.#register(name, { help, type: "histogram", lines: (as) => histogram.lines(as) });
    return histogram;
  }

  /** A value that something else keeps. */
  read(type: "counter" | "gauge", name: string, help: string, read: () => Reading | Promise<Reading>): void {
    this.#register(name, {
      help,
      type,
      lines: async (as) => {
        const reading = await read();
        if (typeof reading === "number") return [`${as} ${reading}`];
        return reading.map(({ labels, value }) => `${as}${braced(labelText(labels))} ${value}`);
      },
    });
  }

  async text(): Promise<string> {
    const names = [...this.#metrics.keys()].sort();
    const blocks = await Promise.all(
      names.map(async (name) => {
        const { help, type, lines } = this.#metrics.get(name)!;
        return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...(await lines(name)), ""].join("\n");
      }),
    );
    return blocks.join("");
  }

  #register(name: string, metric: Metric): void {
    if (this.#metrics.has(name)) throw new Error(`the metric ${name} is registered already`);
    this.#metrics.set(name, metric);
  }
}

function labelText(labels: Labels): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${value.replace(/[\\"\n]/g, (sign) => (sign === "\n" ? "\\n" : `\\${sign}`))}"`)
    .join(",");
}

function braced(labels: string): string {
  return labels === "" ? "" : `{${labels}}`;
}
