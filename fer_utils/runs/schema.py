"""Check of records and claims against the JSON schemas beside this file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fer_utils.base import ParameterError

HERE = Path(__file__).resolve().parent


def check(content: dict[str, Any], schema: str, where: str) -> None:
    """ParameterError that names the place in `content` that <schema>.schema.json does not allow."""
    import jsonschema

    rules = json.loads((HERE / f"{schema}.schema.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(rules)
    error = jsonschema.exceptions.best_match(validator.iter_errors(content))
    if error is not None:
        key = ".".join(str(part) for part in error.absolute_path)
        raise ParameterError(f"{where}: {f'`{key}`: ' if key else ''}{error.message}")
