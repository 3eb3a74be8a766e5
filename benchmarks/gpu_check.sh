#!/bin/sh
# Everything that needs a GPU, in one go: `make gpu-check`. Usage: gpu_check.sh BIN [BACKEND]
# The machine may be offline; BACKEND other than cupy tries the script itself without a GPU.
set -eu
BIN=$1
BACKEND=${2:-cupy}
OUT=${OUT:-benchmarks/results}

"$BIN/disinhib" backends
DEVICE=$("$BIN/python" -c "
import re, sys
from disinhib.backends import backend_class
device = backend_class(sys.argv[1]).describe().device
print(re.sub(r'[^a-z0-9]+', '-', device.lower()).strip('-'))
" "$BACKEND")
mkdir -p "$OUT"

"$BIN/disinhib" conform --backend "$BACKEND" --dtype float64 --json "$OUT/$DEVICE-conform-float64.json"
"$BIN/disinhib" conform --backend "$BACKEND" --dtype float32 --json "$OUT/$DEVICE-conform-float32.json"
"$BIN/python" -m pytest -q -p no:cacheprovider -m gpu
"$BIN/disinhib" bench --profile --backend "$BACKEND" --dtype float32
"$BIN/disinhib" bench --backend "$BACKEND" --json "$OUT/$DEVICE.json" --chart "$OUT/$DEVICE.png"
