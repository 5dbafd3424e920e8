#!/bin/sh
# space.sh GIB: is there room for all that a first run writes, so many GiB?
#
# A full disk shows late, in the middle of something else. What earlier runs left here counts as room: it is not written again,
# though every run writes something.
set -eu
cd "$(dirname "$0")/.."

kib() { awk "BEGIN { printf \"%.0f\", $1 * 1024 * 1024 }"; }
gib() { awk "BEGIN { printf \"%.1f\", $1 / 1024 / 1024 }"; }

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
free=$(df -Pk "$target" | awk 'NR == 2 { print $4 }')
needed=$(kib "$1")
[ "$free" -lt "$needed" ] || exit 0
# Looked at only now: it takes a while.
there=$(du -skc "$target" "${XDG_CACHE_HOME:-$HOME/.cache}/baton" "$(go env GOCACHE)" 2>/dev/null | awk 'END { print $1 }')
missing=$((needed - there))
least=$(kib 2)
[ "$missing" -gt "$least" ] || missing=$least
[ "$free" -ge "$missing" ] || {
    echo "make: $(gib "$free") GiB are free for $target, and $(gib "$missing") are needed" \
        "($1 for everything, $(gib "$there") of them are there): free some, or set CARGO_TARGET_DIR to where there is room" >&2
    exit 1
}
