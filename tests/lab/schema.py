# SPDX-License-Identifier: ISC
"""What --json prints, against docs/schema: schema("status") holds(...)."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import jsonschema

ROOT = Path(__file__).resolve().parents[2]


def schema(name: str) -> dict:
    whole = json.loads((ROOT / "docs/schema/encsync.schema.json").read_text())
    return {"$defs": whole["$defs"], "$ref": f"#/$defs/{name}"}


def required(rule: dict, rules: dict, value) -> list[tuple]:
    """The paths of all members of the value that must be there."""
    rule = rules[rule["$ref"].rpartition("/")[2]] if "$ref" in rule else rule
    if isinstance(value, list):
        return [(0, *rest) for rest in required(rule["items"], rules, value[0])] if value else []
    if not isinstance(value, dict):
        return []
    members = rule.get("properties", {})
    return ([(name,) for name in rule.get("required", ())]
            + [(name, *rest) for name in members if name in value
               for rest in required(members[name], rules, value[name])])


def holds(rule: dict, printed) -> None:
    check = jsonschema.Draft202012Validator(rule)
    check.check_schema(rule)
    check.validate(printed)
    assert printed
    # Without a member that is promised, or with one of another type, it does not.
    paths = required(rule, rule["$defs"], printed)
    assert paths
    for *way, last in paths:
        changed = json.loads(json.dumps(printed))
        place = functools.reduce(lambda inside, step: inside[step], way, changed)
        place[last] = {"of another": "type"} if not isinstance(place[last], dict) else 7
        assert not check.is_valid(changed), (*way, last)
        del place[last]
        assert not check.is_valid(changed), (*way, last)
