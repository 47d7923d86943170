#!/usr/bin/env bash
# Builds wheel and sdist, and tries the wheel as a stranger would: in an empty environment, outside of the repository.
#
#   bash experiments/release.sh [tested|oldest|newest]
#
# Versions of what it depends on: those of constraints.txt, the lower bounds of pyproject.toml, or the newest that the
# upper bounds admit. With oldest and newest the sdist's tests that are not slow run on them, too. Needs .venv
# (make setup).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
versions=${1:-tested}
root=$PWD uv=$PWD/.venv/bin/uv
case $versions in
  tested) extra='' ;;
  oldest) extra='[dev]' resolution=lowest-direct ;;
  newest) extra='[dev]' resolution=highest ;;
  *) echo "release.sh: '$versions' is none of tested, oldest, newest" >&2; exit 2 ;;
esac

rm -rf dist
"$uv" build --quiet --out-dir dist
ls -l dist

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
pins=$root/constraints.txt
if [ "$versions" != tested ]; then
  # Of a wheel that is installed, what it depends on is not direct any more, and lowest-direct takes the highest of it.
  pins=$folder/pins.txt
  "$uv" pip compile --quiet --resolution "$resolution" --extra dev --output-file "$pins" pyproject.toml
  grep -E '^[a-z]' "$pins"
fi
"$root/.venv/bin/python" -m venv "$folder/venv"
"$uv" pip install --quiet --python "$folder/venv/bin/python" -c "$pins" "$(ls "$root"/dist/*.whl)$extra"

cd "$folder"
python=$folder/venv/bin/python
"$python" -m tte_tee --help > /dev/null
"$python" -m tte_tee data phantom --domain tee --patients 10 --out tee.h5
"$python" -m tte_tee fit --model TEEAdapter --model.base shipped --model.scope '[cross_attention]' --data EchoDataModule --data.store tee.h5 \
  --data.batch_size 4 --trainer.max_steps 4 --trainer.logger TensorBoardLogger --trainer.logger.save_dir runs \
  --trainer.logger.name wheel
"$python" -m tte_tee synthesize --adapter runs/wheel/version_0/adapter --masks tee.h5 --split val --steps 2 --out s.h5
"$python" -m tte_tee data verify s.h5
if [ "$versions" != tested ]; then
  mkdir sdist
  tar xzf "$root"/dist/*.tar.gz -C sdist --strip-components 1
  cd sdist
  "$python" -m pytest -q -m 'not slow' -p no:cacheprovider
fi
echo "the wheel works, with $versions versions"
