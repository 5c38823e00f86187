#!/usr/bin/env bash
# The command from outside: what it prints, its exit status, and how it refuses what makes no sense.
#   RETORT=build/release/retort tests/e2e/cli.sh
set -u
retort=${RETORT:-build/release/retort}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

check() { # DESCRIPTION COMMAND...: succeeds
  local what=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED $what"
    sed 's/^/       out: /' "$work/out" | head -n 5
    sed 's/^/       err: /' "$work/err" | head -n 5
  fi
}

run() { # ARGS...: fills $work/out, $work/err and $status
  timeout 120 "$retort" "$@" >"$work/out" 2>"$work/err" </dev/null
  status=$?
}

says() { grep -qF -- "$1" "$work/out"; }
silent() { [ ! -s "$work/err" ]; }
status_is() { [ "$status" = "$1" ]; }
python_says() { python3 -c "import json,sys; d = json.load(open(sys.argv[1])); sys.exit(not ($1))" "$work/out" 2>>"$work/err"; }

# A refusal: status 2, nothing on standard output, one sentence on standard error that names the culprit.
refuses() { # CULPRIT ARGS...
  local culprit=$1
  shift
  run "$@"
  check "$*: exit status 2 (is $status)" status_is 2
  check "$*: nothing on standard output" [ ! -s "$work/out" ]
  check "$*: one line on standard error" [ "$(wc -l <"$work/err")" = 1 ]
  check "$*: names $culprit" grep -qF -- "$culprit" "$work/err"
}

# ---- help ----

for args in --help -h help "doctor --help" "inspect --help" "bench --help"; do
  # shellcheck disable=SC2086 # words
  run $args
  check "$args: exit status 0 (is $status)" status_is 0
  check "$args: says something" [ -s "$work/out" ]
  check "$args: nothing on standard error" silent
done
for command in $("$retort" --help | awk '/^  [a-z]/ {print $1}'); do
  run "$command" --help
  check "$command --help: exit status 0 (is $status)" status_is 0
  check "$command --help: shows an example" says "retort $command"
done
run --version
check "--version: exit status 0" status_is 0
run
check "no command: exit status 2 (is $status)" status_is 2

# ---- doctor ----

run doctor
check "doctor: exit status 0 (is $status)" status_is 0
check "doctor: names the cpu" says cpu
run doctor --json
check "doctor --json: exit status 0 (is $status)" status_is 0
check "doctor --json: JSON with the machine" python_says 'd["threads"] >= 1 and d["isa"] and d["backend"] and isinstance(d["bf16"], bool)'

# ---- inspect ----

for pair in resnet18:11173962 resnet50:23520842; do
  run inspect "${pair%:*}" --json
  check "inspect ${pair%:*}: exit status 0 (is $status)" status_is 0
  check "inspect ${pair%:*}: ${pair#*:} parameters" python_says "d['parameters'] == ${pair#*:}"
  check "inspect ${pair%:*}: the layers add up" python_says 'sum(l["parameters"] for l in d["layers"]) == d["parameters"]'
done
run inspect resnet18
check "inspect resnet18: names layers as PyTorch does" says layer1.0.conv1
check "inspect resnet18: counts parameters" says 11173962
run inspect resnet8:width=20 --input 1x28x28
check "inspect: options behind a model's name" says "resnet8:width=20: 116790 parameters"
refuses "no model resnt8 (did you mean resnet8?)" inspect resnt8:width=20
run inspect resnet18 --json
check "inspect resnet18: 555,422,720 multiply-adds" python_says 'd["macs"] == 555422720'
run inspect resnet18 --input 3x224x224 --options "classes=1000 stem=imagenet" --json
check "inspect resnet18, ImageNet: 11,689,512 parameters" python_says 'd["parameters"] == 11689512'
check "inspect resnet18, ImageNet: 1,814,073,344 multiply-adds" python_says 'd["macs"] == 1814073344'
run inspect mlp --input 784
check "inspect mlp: exit status 0 (is $status)" status_is 0
if command -v dot >/dev/null; then
  "$retort" inspect resnet18 --dot | dot -Tsvg >"$work/out" 2>"$work/err"
  check "inspect --dot: Graphviz draws it" grep -q '<svg' "$work/out"
fi

# ---- bench ----

keys='["model", "step", "batch", "images_per_second", "step_ms", "peak_memory_bytes", "arena_bytes", "gflops", "precision", "threads"]'
for step in train infer; do
  for precision in fp32 bf16 auto; do
    run bench --step $step --model resnet18:width=16 --input 3x16x16 --batch 2 --precision $precision --seconds 0 --json
    check "bench $step $precision: exit status 0 (is $status)" status_is 0
    check "bench $step $precision: every key" python_says "all(k in d for k in $keys)"
    check "bench $step $precision: figures above 0" python_says \
      'all(v > 0 for o in (d["images_per_second"], d["step_ms"]) for v in o.values()) and d["gflops"] > 0 and d["arena_bytes"] > 0'
    check "bench $step $precision: in order" python_says \
      'd["step_ms"]["best"] <= d["step_ms"]["median"] <= d["step_ms"]["p90"] and {"best", "median"} == set(d["images_per_second"])'
  done
done
run bench --step train --model mlp --input 20 --batch 1 --seconds 0 --threads 1 --json
check "bench mlp: exit status 0 (is $status)" status_is 0
check "bench mlp: one thread" python_says 'd["threads"] == 1'
run bench --step train --model resnet18:width=16 --input 3x8x8 --batch 2 --seconds 0 --per-layer
check "bench --per-layer: a line for a layer" grep -q layer1.0.conv1 "$work/err" "$work/out"

# ---- refusals ----

refuses frobnicate frobnicate
refuses --frobnicate doctor --frobnicate
refuses extra doctor extra
refuses MODEL inspect
refuses resnet19 inspect resnet19
refuses resnet18 inspect resnet19 # the nearest name
refuses colour inspect resnet18 --options "colour=red"
refuses classes inspect resnet18 --options "classes=0"
refuses classes inspect resnet18 --options "classes=ten"
refuses stem inspect resnet18 --options "stem=moon"
refuses 3x0x32 inspect resnet18 --input 3x0x32
refuses 3x-1x32 inspect resnet18 --input 3x-1x32
refuses 3xx32 inspect resnet18 --input 3xx32
refuses 3x32x32x inspect resnet18 --input 3x32x32x
refuses resnet inspect resnet18 --input 3072
refuses resnet21 bench --model resnet21
refuses sideways bench --step sideways
refuses fp7 bench --precision fp7
refuses --batch bench --batch
refuses --batch bench --batch 0
refuses -3 bench --batch -3
refuses many bench --batch many
refuses 99999999999999999999 bench --batch 99999999999999999999
refuses -1 bench --threads -1 --batch 2 --input 3x8x8
refuses soon bench --seconds soon
refuses -1 bench --seconds -1
refuses nan bench --seconds nan --batch 2 --input 3x8x8

# A batch that can't fit is refused before anything is allocated, with the bytes needed.
refuses bytes bench --batch 50000000
check "huge batch: the sentence has a number of bytes" grep -Eq '[0-9]{9,}' "$work/err"
refuses bytes bench --batch 50000000 --step infer --precision fp32
refuses 9000000000000000000 bench --batch 9000000000000000000

# Standard output that can't be written is a failure, not a success.
"$retort" doctor >/dev/full 2>"$work/err"
status=$?
check "doctor to a full disk: exit status 1 (is $status)" status_is 1

echo "$passed passed, $failed failed"
[ $failed = 0 ]
