#!/bin/sh
# Makes grafana.json again: the JSON Schema of dashboards and of our kinds of panel, from the types in @grafana/schema (Apache-2.0).
# Needs node and npm; works in a scratch folder. The tests need neither.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp "$here"/package.json "$here"/tsconfig.json "$here"/panels.ts "$scratch"
cd "$scratch"
npm install --silent --no-audit --no-fund
one() { npx ts-json-schema-generator --tsconfig tsconfig.json --path "$1" --type "$2" --no-type-check --out "$2.json"; }
one node_modules/@grafana/schema/dist/types/raw/dashboard/x/types.gen.d.ts Dashboard
for kind in Bargauge Heatmap Stat Table Timeseries; do one panels.ts "${kind}Panel"; done
python3 - "$here/grafana.json" <<'PYTHON'
import json, pathlib, sys

def bare(part):
    """Without the descriptions, which are most of it."""
    if isinstance(part, dict):
        return {key: bare(value) for key, value in part.items() if not (key == "description" and isinstance(value, str))}
    return [bare(value) for value in part] if isinstance(part, list) else part

kinds = ("Dashboard", "BargaugePanel", "HeatmapPanel", "StatPanel", "TablePanel", "TimeseriesPanel")
schemas = {kind: bare(json.loads(pathlib.Path(f"{kind}.json").read_text())) for kind in kinds}
version = json.loads(pathlib.Path("node_modules/@grafana/schema/package.json").read_text())["version"]
origin = f"@grafana/schema {version}, Copyright Grafana Labs, Apache-2.0; made by generate.sh"
pathlib.Path(sys.argv[1]).write_text(json.dumps({"origin": origin, **schemas}, sort_keys=True, separators=(",", ":")) + "\n")
PYTHON
