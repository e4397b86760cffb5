"""Check of records and claims against the JSON schemas beside this file."""

from __future__ import annotations

import difflib
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
        raise ParameterError(f"{where}: {_explain(error)}")


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error.absolute_path)
    value = error.instance
    if error.validator == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))
        unknown = sorted(set(value) - set(known))[0]
        near = difflib.get_close_matches(unknown, known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
        return f"unknown parameter `{'.'.join(filter(None, [key, str(unknown)]))}`; {hint}"
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in value]
        return f"`{'.'.join(filter(None, [key, missing[0]]))}` is missing"
    if error.validator == "type":
        wanted = error.validator_value
        wanted = wanted if isinstance(wanted, str) else " or ".join(wanted)
        if isinstance(value, str) and ("number" in wanted or "integer" in wanted):
            remedy = _as_number(value, wanted)
            return f"`{key}` is the text {value!r} but must be of type {wanted}; {remedy}"
        return f"`{key}` is {value!r} but must be of type {wanted}"
    if error.validator == "enum":
        return f"`{key}` is {value!r}; valid are {', '.join(map(str, error.validator_value))}"
    bounds = {
        "minimum": "at least",
        "exclusiveMinimum": "greater than",
        "maximum": "at most",
        "exclusiveMaximum": "less than",
    }
    if error.validator in bounds:
        return f"`{key}` is {value} but must be {bounds[error.validator]} {error.validator_value}"
    return f"`{key}`: {error.message}"


def _as_number(text: str, wanted: str) -> str:
    try:
        number = float(text)
    except ValueError:
        return "write a number without quotes"
    if "integer" in wanted or number >= 1 or number == 0:
        return f"write it without quotes, {number:g}"
    mantissa, _, exponent = f"{number:e}".partition("e")
    mantissa = mantissa.rstrip("0")
    mantissa += "0" if mantissa.endswith(".") else ""
    return f"write it without quotes and with a decimal point, {mantissa}e{int(exponent)}"
