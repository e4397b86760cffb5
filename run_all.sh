#!/usr/bin/env bash
# The study, from a fresh clone to the report:
#
#   01_explore   what is in the data            02_preprocess  faces, illumination, landmarks
#   03_balance   unequal class sizes            04_train       each network, one run per seed
#   05_classical PCA, KNN, HOG, LBP, SVM        06_paper       each paper: claims, verdicts, figures
#   07_compare   all models and claims          08_errors      where and why models err
#   09_fer_net   the study's own network
#   report       results/<profile>/report.html
#
#   ./run_all.sh                                embedded synthetic faces
#   ./run_all.sh --data PATH [--profile quick]  your copy of FER2013
#   ./run_all.sh --test                         the tests
#   ./run_all.sh --lab                          JupyterLab in the same environment
#   ./run_all.sh --help                         all options
#
# It uses the active Python environment, or your own .venv, if that has the packages, else makes
# .venv from requirements.lock (with uv where it is installed, else with pip).
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # as in `sh run_all.sh`
set -Eeuo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) # paths on the command line stay as typed

ready() { # does this Python have every package of pyproject.toml, in a version that will do?
    "$1" "$root/fer_utils/study/environment.py" >/dev/null 2>&1
}

supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

make_environment() {
    local base=""
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
        if supported "$candidate"; then base=$candidate && break; fi
    done
    if [ -z "$base" ] && ! command -v uv >/dev/null; then
        echo "error: Python 3.11, 3.12 or 3.13 is needed and none was found;" \
            "install one, or name it with PYTHON=/path/to/python3.12 ./run_all.sh" >&2
        exit 2
    fi
    echo "environment  making .venv from requirements.lock (once: about 1 GB to download, some minutes)"
    cd "$root"
    if [ -e .venv ] && [ ! -e .venv/made-by-run_all ]; then
        echo "error: there is a .venv that run_all.sh did not make and that lacks packages;" \
            "install requirements.lock in it, or remove it" >&2
        exit 2
    fi
    if [ -x .venv/bin/python ]; then
        added=$(.venv/bin/python - requirements.lock <<'EOF' || true
import importlib.metadata, re, sys
lock = set(re.findall(r"^([\w.-]+)==", open(sys.argv[1]).read().lower(), re.MULTILINE))
names = {re.sub(r"[-_.]+", "-", each.name).lower() for each in importlib.metadata.distributions()}
print(*sorted(names - lock - {"pip", "setuptools", "wheel", "fer-utils"}))
EOF
)
        echo "environment  requirements.lock has changed, .venv is made again" \
            "${added:+(without what you added to it: $added)}"
    fi
    rm -rf .venv
    mkdir .venv
    touch .venv/made-by-run_all
    if command -v uv >/dev/null; then
        uv venv --quiet --allow-existing --python "${base:-3.12}" .venv
        uv pip install --quiet --python .venv/bin/python --require-hashes -r requirements.lock
        uv pip install --quiet --python .venv/bin/python --no-build-isolation --no-deps -e .
    else
        "$base" -m venv .venv
        .venv/bin/python -m pip install -qq --disable-pip-version-check \
            --require-hashes -r requirements.lock
        .venv/bin/python -m pip install -qq --disable-pip-version-check \
            --no-build-isolation --no-deps -e .
    fi
    cp requirements.lock .venv/installed.lock
    cd "$OLDPWD"
}

python=""
for candidate in python python3; do
    if [ -z "$python" ] && command -v "$candidate" >/dev/null && ready "$candidate"; then
        python=$candidate
    fi
done
if [ -z "$python" ]; then
    if [ ! -e "$root/.venv/made-by-run_all" ] && ready "$root/.venv/bin/python"; then
        : # one's own, not activated
    elif ! cmp -s "$root/requirements.lock" "$root/.venv/installed.lock"; then
        trap 'echo "error: .venv could not be made; the lines above say why" >&2' ERR
        make_environment
        trap - ERR
    fi
    python=$root/.venv/bin/python
    export PATH=$root/.venv/bin:$PATH
fi
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
# Snakemake, Matplotlib and Jupyter need a home folder that they can write to
if [ ! -w "${HOME:-/nonexistent}" ]; then
    HOME=$(mktemp -d) && export HOME
fi
# notebooks side by side share a GPU: none reserves all of its memory
export TF_FORCE_GPU_ALLOW_GROWTH=${TF_FORCE_GPU_ALLOW_GROWTH:-true}
export XLA_PYTHON_CLIENT_PREALLOCATE=${XLA_PYTHON_CLIENT_PREALLOCATE:-false}

case "${1:-}" in
    --test)
        shift && cd "$root"
        # files side by side, the long ones first: half of its time a test uses one core
        exec "$python" -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
        ;;
    --lab) shift && exec "$python" -m jupyter lab --notebook-dir="$root/notebooks" "$@" ;;
    *) exec "$python" -m fer_utils.study "$@" ;;
esac
