#!/usr/bin/env bash
# Make a virtual environment from envs/gpu.txt: bash envs/install-gpu.sh [FOLDER, default .venv-gpu].
# The last step is NOT RUN: it needs a GPU build of torch, which has not been installed yet. Installs more than 6 GB.
#
#   PYTHON    interpreter, 3.11 and 3.12, with its headers (default: python3)
#   PIP_ARGS  extra arguments for pip
#   CUDA_HOME toolkit of CUDA 13 with nvcc (default: /usr/local/cuda; on clusters usually `module load cuda/13...`)
#   MAX_JOBS  compiler processes at the same time; flash-attn takes up to 9 GB of memory for each
set -euo pipefail
here="$(dirname "$0")"
lock="$here/gpu.txt"
venv="${1:-.venv-gpu}"
from_source='^(flash_attn|transformer_engine_torch)=='

if ! command -v "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" >/dev/null; then
    echo "error: no nvcc in ${CUDA_HOME:-/usr/local/cuda}/bin; load a CUDA 13 toolkit and set CUDA_HOME to it" >&2
    exit 2
fi
export CUDA_HOME="${CUDA_HOME:-/usr/local/cuda}"

test -x "$venv/bin/python" || "${PYTHON:-python3}" -m venv "$venv"
pip() { "$venv/bin/python" -m pip "$@"; }
# shellcheck disable=SC2086 # PIP_ARGS is a list of words
pip install ${PIP_ARGS:-} "$(grep '^torch==' "$lock")"
# A mirror or a --find-links folder may offer the CPU build, which would fail only after minutes, inside flash-attn.
cuda="$("$venv/bin/python" -c 'import torch; print(torch.version.cuda or "no CUDA")')"
if [[ "$cuda" != 13.* ]]; then
    echo "error: pip chose a torch with $cuda, this lock needs CUDA 13; point pip at PyTorch's cu130 builds (PIP_ARGS)" >&2
    exit 2
fi
# shellcheck disable=SC2086
pip install ${PIP_ARGS:-} --requirement "$here/cpu.txt" \
    --requirement <(grep -Ev "$from_source|^-r " "$lock")
# Both ask the installed torch how to compile, hence no isolation; built here rather than downloaded from a release
# page, so that a lock and a compiler are all that decides. Architectures: A100, H100/H200, B200.
export FLASH_ATTENTION_FORCE_BUILD=TRUE FLASH_ATTN_CUDA_ARCHS="${FLASH_ATTN_CUDA_ARCHS:-80;90;100}"
export NVTE_PYTORCH_FORCE_BUILD=TRUE NVTE_FRAMEWORK=pytorch
# shellcheck disable=SC2086
pip install ${PIP_ARGS:-} --no-deps --no-build-isolation --requirement <(grep -E "$from_source" "$lock")
