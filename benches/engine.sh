#!/usr/bin/env bash
# The engine beside its peers on one workload: wall seconds, the best of five, and the ratio to the peer in the same run.
#
#     cargo build --release && benches/engine.sh [FOLDER]
#
# Needs ninja; b3sum where it is at hand. FOLDER (default: a new one in /tmp) needs 1 GB. Stages are `sh` and `cksum`, so that what is
# measured is the tool. Ten thousand nodes and 171,374 files (the size of the bone marrow set) are what must stay quick.
set -euo pipefail
flow=$(cd "$(dirname "$0")/.." && pwd)/target/release/flow
root=${1:-$(mktemp -d /tmp/flow-engine.XXXX)}
mkdir -p "$root" && cd "$root"

# best COMMAND..: the least of five wall times, in seconds.
best() {
    local least=999 before after
    for _ in 1 2 3 4 5; do
        before=$EPOCHREALTIME
        "$@" > /dev/null 2>&1 || { echo "failed: $*" >&2; exit 1; }
        after=$EPOCHREALTIME
        least=$(awk -v a="$before" -v b="$after" -v c="$least" 'BEGIN { t = b - a; print (t < c ? t : c) }')
    done
    echo "$least"
}
once() {
    local before=$EPOCHREALTIME
    "$@" > /dev/null 2>&1 || { echo "failed: $*" >&2; exit 1; }
    awk -v a="$before" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }'
}
row() { awk -v what="$1" -v ours="$2" -v peer="$3" -v name="$4" 'BEGIN { printf "%-44s flow %7.3f s   %-10s %7.3f s   %5.2fx\n", what, ours, name, peer, ours / peer }'; }

# Files of 10 kB in 20 folders.
files() {
    [ -d "$1" ] || { mkdir -p "$1"; for c in $(seq 0 19); do mkdir "$1/c$c"; head -c $(($2 / 20 * 10000)) /dev/urandom | split -b 10000 -a 4 - "$1/c$c/f"; done; }
}
# Chains of trivial stages: stage i reads the output of stage i - 10.
chains() {
    printf '{ echo $1; cksum < $3; } > $2\n' > t.sh
    echo src > src.txt
    { echo 'Pipeline(name: "chains", nodes: {'
      for i in $(seq 0 $(($1 - 1))); do
          if [ "$i" -lt 10 ]; then from='files: {"script": "t.sh", "src": "src.txt"}'; else from='files: {"script": "t.sh"}, inputs: {"src": "s'$((i - 10))'.out"}'; fi
          echo "\"s$i\": Command(run: [\"sh\", \"{script}\", \"$i\", \"{out}\", \"{src}\"], $from, outputs: {\"out\": File}),"
      done
      echo '})'; } > "chains$1.ron"
    { printf 'rule c\n command = $c\n'
      for i in $(seq 0 $(($1 - 1))); do
          if [ "$i" -lt 10 ]; then from=src.txt; else from=o/$((i - 10)).txt; fi
          printf 'build o/%s.txt: c %s\n c = sh t.sh %s o/%s.txt %s\n' "$i" "$from" "$i" "$i" "$from"
      done; } > "chains$1.ninja"
}

files data 20000
node() { echo "\"$1\": Command(run: [\"sh\", \"-c\", \"find {data} -type f -printf '%P %s\\\\n' | sort | cksum > {out}; cat $3 >> {out}\"], files: {\"data\": \"data\"}, inputs: {$2}, outputs: {\"out\": File}),"; }
{ echo 'Pipeline(name: "seven", nodes: {'
  node ingest '' ''; node train '"a": "split.out"' '{a}'; node features '"a": "train.out"' '{a}'
  for pair in split:ingest transform:features sweep:transform report:sweep; do
      echo "\"${pair%:*}\": Command(run: [\"sh\", \"-c\", \"cksum < {a} > {out}\"], inputs: {\"a\": \"${pair#*:}.out\"}, outputs: {\"out\": File}),"
  done
  echo '})'; } > seven.ron
all=$(find data -type f | sort | tr '\n' ' ')
{ printf 'rule c\n command = $c\n'
  printf 'build n/ingest: c %s\n c = find data -type f -printf "%%P %%s\\n" | sort | cksum > n/ingest\n' "$all"
  printf 'build n/split: c n/ingest\n c = cksum < n/ingest > n/split\n'
  printf 'build n/train: c n/split %s\n c = find data -type f -printf "%%P %%s\\n" | sort | cksum > n/train\n' "$all"
  printf 'build n/features: c n/train %s\n c = find data -type f -printf "%%P %%s\\n" | sort | cksum > n/features\n' "$all"
  for pair in transform:features sweep:transform report:sweep; do printf 'build n/%s: c n/%s\n c = cksum < n/%s > n/%s\n' "${pair%:*}" "${pair#*:}" "${pair#*:}" "${pair%:*}"; done; } > seven.ninja

rm -rf cache n o .ninja_log .ninja_deps
first=$(once "$flow" run seven.ron --jobs 2 --cache cache)
peer=$(once ninja -j2 -f seven.ninja)
row "7 nodes over 20,000 files, first run" "$first" "$peer" ninja
sleep 1 # until the stats have settled
"$flow" run seven.ron --cache cache -q > /dev/null
ours=$(best "$flow" run seven.ron --jobs 2 --cache cache)
peer=$(best ninja -j2 -f seven.ninja)
row "7 nodes over 20,000 files, nothing changed" "$ours" "$peer" ninja
file=$(find data -type f -print -quit)
printf x | dd of="$file" bs=1 seek=100 conv=notrunc status=none
ours=$(once "$flow" run seven.ron --jobs 2 --cache cache)
peer=$(once ninja -j2 -f seven.ninja)
row "7 nodes over 20,000 files, one changed" "$ours" "$peer" ninja
if command -v b3sum > /dev/null; then
    printf 'Pipeline(name: "hash", nodes: { "a": Command(run: ["true", "{d}"], files: {"d": "data"}) })' > hash.ron
    hash() { rm -rf cache-hash; "$flow" run hash.ron --cache cache-hash; }
    ours=$(best hash)
    peer=$(best sh -c 'find data -type f -print0 | xargs -0 b3sum')
    row "20,000 files, every byte" "$ours" "$peer" b3sum
fi

chains 1000
ours=$(once "$flow" run chains1000.ron --jobs 2 --cache cache)
peer=$(once ninja -j2 -f chains1000.ninja)
row "1,000 nodes, first run" "$ours" "$peer" ninja
ours=$(best "$flow" run chains1000.ron --jobs 2 --cache cache)
peer=$(best ninja -j2 -f chains1000.ninja)
row "1,000 nodes, nothing changed" "$ours" "$peer" ninja
chains 10000
for command in check plan; do
    args=(chains10000.ron); [ "$command" = check ] || args+=(--cache cache)
    printf '%-44s flow %7.3f s\n' "10,000 nodes, $command" "$(best "$flow" "$command" "${args[@]}")"
done

if [ ! -d many ]; then mkdir many; for c in $(seq 0 20); do mkdir "many/c$c"; (cd "many/c$c" && seq -f 'f%06.0f' 1 8160 | xargs truncate -s 40000); done; fi
printf 'Pipeline(name: "many", nodes: { "a": Command(run: ["true", "{d}"], files: {"d": "many"}) })' > many.ron
"$flow" run many.ron --cache cache -q
ours=$(best "$flow" run many.ron --cache cache)
peer=$(best find many -type f -printf '%P %s %T@ %i\n')
row "171,360 files, nothing changed" "$ours" "$peer" find
