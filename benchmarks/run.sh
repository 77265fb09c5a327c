#!/bin/bash
# Barque beside dockerd, and barque-runtime beside runc and crun, in one run: `make bench`.
#   benchmarks/run.sh [bench.py ARGS]        results: $BENCH_DIR/{engines,oci}.{txt,json}
#
# Everything lives in one network namespace, and on a journaled ext4 of its own in a file (this matters:
# see "Pitfalls" in README.md). Needs root, docker.io, runc, crun, the docker CLI, gcc, busybox-static.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ -n "${BENCH_INSIDE:-}" ] || BENCH_INSIDE=1 exec "$here/peers/lab.sh" "$here/run.sh" "$@"
unset PYTHONDONTWRITEBYTECODE # every start of an interpreter would compile its modules again
out=${BENCH_DIR:-/tmp/barque-bench}
venv=${BENCH_VENV:-$here/../.venv}
disk=$out/disk
mkdir -p "$disk"
[ -e "$out/disk.img" ] || { truncate -s 16G "$out/disk.img"; mkfs.ext4 -qF "$out/disk.img"; }
mountpoint -q "$disk" || mount -o loop "$out/disk.img" "$disk"

answers() { for _ in $(seq 300); do curl -fsS --unix-socket "$1" http://x/_ping >/dev/null 2>&1 && return; sleep 0.1; done
	echo "$1 does not answer" >&2; exit 1; }
owner() { python3 - "$1" <<'PY'
import socket, struct, sys
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1])
except OSError:
    sys.exit(0)
print(struct.unpack("3i", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
PY
}
stop() {
	for s in "$disk/dockerd/docker.sock" "$disk/barque/barque.sock"; do
		pid=$(owner "$s"); if [ -n "$pid" ]; then kill "$pid"; fi; done
	for _ in $(seq 50); do umount "$disk" 2>/dev/null && return; sleep 0.2; done
	umount -l "$disk"
}
trap stop EXIT

barqued="$venv/bin/barqued --root $disk/barque/root --run-dir $disk/barque/run --host unix://$disk/barque/barque.sock"
mkdir -p "$disk/barque"
setsid "$here/peers/dockerd.sh" "$disk/dockerd" >"$out/dockerd.log" 2>&1 </dev/null &
setsid $barqued >"$out/barqued.log" 2>&1 </dev/null &
answers "$disk/dockerd/docker.sock"
answers "$disk/barque/barque.sock"
python3 "$here/bench.py" --work "$disk/work" --json "$out/engines.json" --skip oci --skip limit \
	--engine "dockerd=unix://$disk/dockerd/docker.sock" --restart "dockerd=$here/peers/dockerd.sh $disk/dockerd" \
	--engine "barque=unix://$disk/barque/barque.sock" --restart "barque=$barqued" --own-cli "barque=$venv/bin/barque" \
	"$@" | tee "$out/engines.txt"
"$here/peers/no-unified.sh" "$venv/bin/python" "$here/bench.py" --work "$disk/work" --json "$out/oci.json" --only oci --only limit --warm \
	--runtime runc="$(command -v runc)" --runtime crun="$(command -v crun)" \
	--runtime barque-runtime="$venv/bin/barque-runtime" | tee "$out/oci.txt"
