import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Bake, readBake, readDefinition, showBake } from "./bake.ts";
import type { Target } from "./target.ts";

interface Asked {
  readonly names?: readonly string[];
  readonly overrides?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly file?: string;
}

function bake(text: string, { names = [], overrides = [], env = {}, file = "docker-bake.hcl" }: Asked = {}): Bake {
  return readBake([{ name: file, text }], { names, overrides, env, localPlatform: "linux/amd64" });
}

function target(text: string, asked: Asked & { name?: string } = {}): Target {
  const found = bake(text, { names: [asked.name ?? "a"], ...asked }).targets.get(asked.name ?? "a");
  assert.ok(found);
  return found.target;
}

/** The value of an expression, as an argument of a target. */
function value(expression: string, before = ""): string | undefined {
  return target(`${before}\ntarget "a" {\n  args = { X = ${expression} }\n}\n`).args?.X;
}

const CASES: readonly (readonly [expression: string, value: string])[] = [
  ["1 + 2 * 3", "7"],
  ["(1 + 2) * 3", "9"],
  ["7 / 2", "3.5"],
  ["-2 + 5 % 3", "0"],
  ["1 < 2 && !(3 <= 2) || false", "true"],
  ['"a" == "b" ? "same" : "other"', "other"],
  ['true ? 1 : "x"', "1"],
  ['"${1 + 1} and ${"nested ${true}"}"', "2 and nested true"],
  ['"$${kept} %%{kept}"', "${kept} %{kept}"],
  ['"tab\\tquote\\"\\u00e9"', 'tab\tquote"é'],
  ['"%{ if 1 > 2 }yes%{ else }no%{ endif }"', "no"],
  ['"%{ for i, x in ["a", "b"] }${i}${x} %{ endfor }"', "0a 1b "],
  ['"a   ${~ "b" ~}   c"', "abc"],
  ["<<EOT\n  kept\n${1}\nEOT\n", "  kept\n1\n"],
  ["<<-EOT\n    one\n      two ${2}\n    EOT\n", "one\n  two 2\n"],
  ['join(",", [for x in [3, 1, 2] : x * 2 if x > 1])', "6,4"],
  ["jsonencode({for k, v in { b = 1, a = 2 } : upper(k) => v})", '{"A":2,"B":1}'],
  ['jsonencode({for w in ["ab", "ac", "b"] : substr(w, 0, 1) => w...})', '{"a":["ab","ac"],"b":["b"]}'],
  ['join("", [{ n = "x" }, { n = "y" }][*].n)', "xy"],
  ['join("", [{ n = ["x"] }, { n = ["y"] }].*.n[0])', "x"],
  ["{ a = { b = [10, 20] } }.a.b[1]", "20"],
  ['["a", "b"].1', "b"],
  ["try(nothing.at.all, 5)", "5"],
  ['can(regex("^a", "b"))', "false"],
  ['convert("5", number) + 1', "6"],
  ["max([1, 7, 3]...)", "7"],
  ['format("%s-%03d-%v", "x", 7, true)', "x-007-true"],
  ['join(",", formatlist("%s!", ["a", "b"]))', "a!,b!"],
  ['regex_replace("hello world", "o(.)", "<$1>")', "hell< >w<r>ld"],
  ['regex("(?P<y>[0-9]+)-(?P<m>[0-9]+)", "2026-11").m', "11"],
  ['jsonencode(chunklist(["a", "b", "c"], 2))', '[["a","b"],["c"]]'],
  ['jsonencode(setproduct(["a", "b"], [1, 2]))', '[["a",1],["a",2],["b",1],["b",2]]'],
  ['jsonencode(setunion(["b", "a"], ["c", "a"]))', '["a","b","c"]'],
  ['lookup({ a = 1 }, "b", "none")', "none"],
  ["jsonencode(range(1, 8, 3))", "[1,4,7]"],
  ['jsonencode(csvdecode("a,b\\n1,\\"x,y\\"\\n"))', '[{"a":"1","b":"x,y"}]'],
  ['urlencode("a b/ü")', "a+b%2F%C3%BC"],
  ['base64decode(base64encode("ü"))', "ü"],
  ['sha256("x")', "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"],
  ['uuidv5("dns", "example.com")', "cfbff0d1-9375-5685-968c-48ce8b15ae17"],
  ['timeadd("2026-11-22T10:00:00Z", "90m")', "2026-11-22T11:30:00Z"],
  ['formatdate("DD MMM YYYY hh:mm \'at\' Z", "2026-01-02T03:04:05Z")', "02 Jan 2026 03:04 at Z"],
  ['formattimestamp("X", "2026-01-02T03:04:05Z")', "1767323045"],
  ['semvercmp("1.4.0", ">= 1.2, < 2")', "true"],
  ['cidrhost("10.12.0.0/16", 258)', "10.12.1.2"],
  ['cidrsubnet("10.0.0.0/8", 8, 2)', "10.2.0.0/16"],
  ['jsonencode(cidrsubnets("10.1.0.0/16", 4, 4, 8))', '["10.1.0.0/20","10.1.16.0/20","10.1.32.0/24"]'],
  ['cidrhost("2001:db8::/64", 5)', "2001:db8::5"],
  ['sanitize("a/b:c-1")', "a_b_c-1"],
  ['title("hello big world")', "Hello Big World"],
  ['indexof(["a", "b"], "b")', "1"],
  ["int(-3.7)", "-3"],
];

describe("expressions of Bake files", () => {
  for (const [expression, expected] of CASES) {
    test(`${JSON.stringify(expression)} is ${JSON.stringify(expected)}`, () => {
      assert.equal(value(expression), expected);
    });
  }

  test("a file's own functions may call each other, and take what is left over", () => {
    const functions = `
      function "twice" {
        params = [x]
        result = x * 2
      }
      function "all" {
        params = [first]
        variadic_params = rest
        result = "\${twice(first)}+\${length(rest)}"
      }`;
    assert.equal(value("all(4, 1, 1)", functions), "8+2");
  });

  const REFUSED: readonly (readonly [text: string, message: string])[] = [
    [
      'target "a" {\n  args = { X = nothing }\n}',
      'docker-bake.hcl:2,16-23: Unknown variable; There is no variable named "nothing".',
    ],
    [
      'target "a" {\n  tags = "x"\n}',
      "docker-bake.hcl:2,11-12: Unsuitable value type; Unsuitable value: list of string required",
    ],
    [
      'target "a" {\n  tags = [missing("x")]\n}',
      'docker-bake.hcl:2,11-18: Call to unknown function; There is no function named "missing".',
    ],
    [
      'target "a" {\n  context = "open\n}',
      'docker-bake.hcl:2,18-3,1: Invalid multi-line string; Quoted strings may not be split over multiple lines. To produce a multi-line string, either use the \\n escape to represent a newline character or use the "heredoc" multi-line template syntax.',
    ],
    [
      'target "a" {\n  context = 1 1\n}',
      "docker-bake.hcl:2,15-16: Missing newline after argument; An argument definition must end with a newline.",
    ],
    ['target "a b" {\n}', 'docker-bake.hcl:1,8-13: Invalid name; only "[a-zA-Z0-9_-]+" are allowed'],
    [
      'variable "A" {\n  default = B\n}\nvariable "B" {\n  default = A\n}\ntarget "a" {\n}',
      "docker-bake.hcl:5,13-14: Invalid expression; variable cycle not allowed for A",
    ],
    [
      'function "f" {\n  params = []\n  result = f()\n}\ntarget "a" {\n  context = f()\n}',
      'docker-bake.hcl:3,12-13: Error in function call; Function "f" calls itself without an end.',
    ],
    [
      `target "a" {\n  context = ${"(".repeat(300)}1${")".repeat(300)}\n}`,
      "docker-bake.hcl:2,212-213: Invalid expression; It is nested deeper than 200 levels.",
    ],
    [
      'variable "V" {\n  default = "x"\n  validation {\n    condition = V == "y"\n    error_message = "V has to be y"\n  }\n}\ntarget "a" {\n}',
      "docker-bake.hcl:4,17-25: Validation failed; V has to be y",
    ],
  ];
  test("blocks and fields that nobody knows are passed over, and named", () => {
    const { definition, targets } = bake('thing {\n}\ntarget "a" {\n  nonsense = 1\n  tags = ["x"]\n}', {
      names: ["a"],
    });
    assert.deepEqual(targets.get("a")?.target.tags, ["x"]);
    assert.deepEqual(definition.warnings, [
      'docker-bake.hcl:1,1-6: Unknown; there are no blocks of type "thing": it is passed over.',
      'docker-bake.hcl:4,3-11: Unknown; a target has no "nonsense": it is passed over.',
    ]);
  });

  for (const [text, message] of REFUSED) {
    test(`refused: ${message.slice(0, 90)}`, () => {
      assert.throws(() => bake(text, { names: ["a"] }), { kind: "invalid", message });
    });
  }
});

const FILE = `
variable "TAG" {
  default = "dev"
}
variable "DEBUG" {
  default = false
}
variable "PLATFORMS" {
  type = list(string)
  default = ["linux/amd64"]
}
group "default" {
  targets = ["app", "db"]
}
group "more" {
  targets = ["default", "lint"]
}
target "_common" {
  args = {
    A = "common"
    NONE = null
  }
  labels = { who = "common" }
  cache-from = ["me/app:cache"]
  tags = ["common"]
}
target "app" {
  inherits = ["_common"]
  args = {
    A = DEBUG ? "debug" : "release"
    B = "own"
  }
  tags = ["me/app:\${TAG}"]
  platforms = PLATFORMS
  contexts = { lint = "target:lint" }
  cache-from = ["type=local,src=c", "me/app:cache"]
}
target "db" {
  dockerfile-inline = "FROM x"
}
target "lint" {
  target = "lint"
}
`;

describe("targets of Bake files", () => {
  test("are known by name without one of them being asked for", () => {
    const text = 'target "a" {\n  description = "first"\n}\ngroup "g" {\n  targets = ["a"]\n}\n';
    const { targets, groups } = readDefinition([{ name: "docker-bake.hcl", text }], { env: {}, localPlatform: "x/y" });
    assert.equal(targets.get("a")?.own.description, "first");
    assert.deepEqual([...groups.keys()], ["g"]);
    assert.throws(() => bake(text), { message: "failed to find target default: there are g, a" });
  });

  test("the group default is built where nothing is named, contexts of others before it", () => {
    const { groups, targets } = bake(FILE);
    assert.deepEqual([...groups], [["default", { targets: ["app", "db"] }]]);
    assert.deepEqual([...targets.keys()], ["lint", "app", "db"]);
    assert.deepEqual(
      [...targets].map(([, { linked }]) => linked),
      [true, false, false],
    );
  });

  test("a group's groups are their targets, each once", () => {
    const { groups, targets } = bake(FILE, { names: ["more", "app"] });
    assert.deepEqual(groups.get("more"), { targets: ["default", "lint"] });
    assert.equal(targets.get("lint")?.linked, false);
  });

  test("what is inherited is below what a target says: maps by key, lists as each field has it", () => {
    assert.deepEqual(target(FILE, { name: "app" }), {
      context: ".",
      dockerfile: "Dockerfile",
      args: { A: "release", B: "own" },
      labels: { who: "common" },
      "cache-from": [
        { type: "registry", ref: "me/app:cache" },
        { type: "local", src: "c" },
      ],
      tags: ["me/app:dev"],
      platforms: ["linux/amd64"],
      contexts: { lint: "target:lint" },
    });
  });

  test("variables are the environment's where it has them, as values of their types", () => {
    const env = { TAG: "v2", DEBUG: "1", PLATFORMS: "linux/arm64,linux/amd64" };
    const { tags, args, platforms } = target(FILE, { name: "app", env });
    assert.deepEqual([tags, args?.A, platforms], [["me/app:v2"], "debug", ["linux/arm64", "linux/amd64"]]);
    assert.throws(() => bake(FILE, { env: { DEBUG: "perhaps" } }), {
      message:
        'docker-bake.hcl:5,18-18: Invalid value; failed to parse DEBUG as bool: strconv.ParseBool: parsing "perhaps": invalid syntax',
    });
  });

  test("a matrix makes a target of each combination, and a group of them", () => {
    const text = `target "t" {
      name = "t-\${os}-\${size.name}"
      matrix = {
        os = ["a", "b"]
        size = [{ name = "s", n = 1 }, { name = "l", n = 2 }]
      }
      args = { N = size.n, OS = os }
    }`;
    const { groups, targets } = bake(text, { names: ["t"] });
    assert.deepEqual(groups.get("t")?.targets, ["t-a-s", "t-a-l", "t-b-s", "t-b-l"]);
    assert.deepEqual(targets.get("t-b-l")?.target.args, { N: "2", OS: "b" });
  });

  test("a later file is laid over an earlier one", () => {
    const files = [
      { name: "docker-bake.hcl", text: FILE },
      {
        name: "docker-bake.override.json",
        text: '{"variable": {"TAG": {"default": "over"}}, "target": {"app": {"args": {"B": "${TAG}!"}}}}',
      },
    ];
    const { targets } = readBake(files, { names: ["app"], overrides: [], env: {}, localPlatform: "" });
    const { args, tags } = targets.get("app")!.target;
    assert.deepEqual([args, tags], [{ A: "release", B: "over!" }, ["me/app:over"]]);
  });

  test("--set changes fields of the targets that its pattern means", () => {
    const overrides = [
      "app.args.B=set",
      "*.platform=linux/s390x",
      "*.platform=linux/386",
      "app.tags+=more",
      "d*.no-cache=true",
      "app.output=type=oci,dest=x.tar",
      "app.push=true",
      "app.args.HOME",
    ];
    const { targets } = bake(FILE, { overrides, env: { HOME: "/root" } });
    const app = targets.get("app")!.target;
    assert.deepEqual(app.args, { A: "release", B: "set", HOME: "/root" });
    assert.deepEqual(app.platforms, ["linux/s390x", "linux/386"]);
    assert.deepEqual(app.tags, ["me/app:dev", "more"]);
    // What makes other things than images is not pushed.
    assert.deepEqual(app.output, [{ type: "oci", dest: "x.tar" }]);
    assert.equal(targets.get("db")!.target["no-cache"], true);
  });

  for (const [text, message] of [
    ["app", "invalid override key app, expected target.name"],
    ["app.tags", "invalid override app.tags, expected target.name=value"],
    ["app.args=x", "invalid key app.args, args requires name"],
    ["app.nothing=x", "unknown key: nothing"],
    ["app.pull=perhaps", "invalid value perhaps for boolean key pull"],
    ["none.pull=true", "could not find any target matching 'none'"],
  ]) {
    test(`--set ${text} is refused`, () => {
      assert.throws(() => bake(FILE, { overrides: [text!] }), { message });
    });
  }

  test("what --print shows is a Bake file that says the same", () => {
    const text = 'target "a" {\n  args = { X = "$${b} %%{c}" }\n  secret = ["id=s,source=f"]\n}';
    const shown = showBake(bake(text, { names: ["a"] }));
    const again = bake(shown, { names: ["a"], file: "again.json" });
    assert.deepEqual(again.targets.get("a"), bake(text, { names: ["a"] }).targets.get("a"));
    assert.equal(showBake(again), shown);
  });

  test("targets that take each other as contexts are refused, and a ring of those that inherit says nothing more", () => {
    const circle = 'target "a" {\n  contexts = { x = "target:b" }\n}\ntarget "b" {\n  contexts = { x = "target:a" }\n}';
    assert.throws(() => bake(circle, { names: ["a"] }), { message: "infinite loop from b to a" });
    assert.deepEqual(target('target "a" {\n  inherits = ["a"]\n  tags = ["x"]\n}').tags, ["x"]);
  });

  test("a target of another's field is known by its name", () => {
    const text = 'target "a" {\n  tags = ["x:1"]\n}\ntarget "b" {\n  args = { OF = target.a.tags[0] }\n}';
    assert.deepEqual(target(text, { name: "b" }).args, { OF: "x:1" });
  });
});

describe("Compose files as Bake files", () => {
  const COMPOSE = `
services:
  web:
    image: me/web:\${TAG:-latest}
    build:
      context: ./web
      args: [A=1, HOME, "MONEY=$$5"]
      additional_contexts: { base: "service:base.one", src: ../src }
      secrets: [token, { source: key }]
      ssh: [default]
      extra_hosts: ["one:10.0.0.1", "six=::1"]
      provenance: mode=max
      x-bake: { platforms: linux/arm64, tags: [x, y] }
  base.one:
    build: .
  cache:
    image: redis
secrets:
  token: { environment: TOKEN }
  key: { file: ./key }
`;
  const asked = { file: "compose.yaml", env: { HOME: "/root" } };

  test("services with a build section are the targets of the group default", () => {
    const { groups, targets } = bake(COMPOSE, asked);
    assert.deepEqual(groups.get("default")?.targets, ["base_one", "web"]);
    assert.deepEqual(targets.get("web")?.target, {
      context: "./web",
      dockerfile: "Dockerfile",
      args: { A: "1", HOME: "/root", MONEY: "$5" },
      contexts: { base: "target:base_one", src: "../src" },
      secret: [
        { id: "token", env: "TOKEN" },
        { id: "key", src: "key" },
      ],
      ssh: [{ id: "default" }],
      "extra-hosts": { one: "10.0.0.1", six: "::1" },
      attest: [{ type: "provenance", mode: "max" }],
      platforms: ["linux/arm64"],
      tags: ["x", "y"],
    });
  });

  test("an image's name is the target's tag", () => {
    const text = "services: { a: { image: 'me/a:${T:-l}', build: . } }";
    assert.deepEqual(target(text, asked).tags, ["me/a:l"]);
    assert.deepEqual(target(text, { ...asked, env: { T: "9" } }).tags, ["me/a:9"]);
  });

  for (const [text, message] of [
    [
      "services: { a: { build: { context: '${NEEDED:?say it}' } } }",
      "cannot read compose.yaml: required variable NEEDED is missing a value: say it",
    ],
    [
      "services: { a: { build: { context: '${' } } }",
      'cannot read compose.yaml: invalid interpolation format: "${". You may need to escape any $ with another $',
    ],
    ["services: [a]", "cannot read compose.yaml: services has to be a mapping"],
    [
      "services: { a: { build: { secrets: [s] } } }",
      "cannot read compose.yaml: service a takes the secret s, which the file does not define",
    ],
  ]) {
    test(`refused: ${message}`, () => {
      assert.throws(() => bake(text!, asked), { message });
    });
  }
});
