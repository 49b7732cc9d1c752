# Sourced by the other scripts: a line for each step with the time it took, and failures as one sentence.

step_text=
step_began=0

now_ms() {
  # %N is GNU date's; Debian always has it.
  date +%s%3N
}

step() {
  step_text=$1
  step_began=$(now_ms)
  printf '%s ...\n' "$step_text"
}

step_done() {
  step_took=$(($(now_ms) - step_began))
  printf '%s: done in %d.%03d s\n' "$step_text" $((step_took / 1000)) $((step_took % 1000))
}

fail() {
  printf 'gantry: %s\n' "$1" >&2
  exit 1
}
