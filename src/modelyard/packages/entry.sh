#!/bin/sh
# In the container: a project in /data, which a newer image's release is added to, served on port 8000.
# With arguments it is the command: `docker exec ID /opt/modelyard/entry.sh keys create --customer NAME --plan PLAN`.
set -e
cd /data
if [ "$#" -gt 0 ]; then
    exec python -m modelyard "$@" --project /data
fi
if [ ! -e /data/modelyard.yaml ]; then
    python -m modelyard restore /opt/modelyard/release --project /data
fi
python -m modelyard release add /opt/modelyard/release --project /data
exec python -m modelyard serve --host 0.0.0.0 --port 8000 --project /data
