"""Hostile values for the JSON files of records: edited by hand, incomplete or malicious."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MARK = "@hostile@"
DEEP = "[" * 200_000 + "]" * 200_000
HUGE = "9" * 5000
VALUES = {
    "null": "null",
    "5": "5",
    "-1": "-1",
    "1.5": "1.5",
    "x": '"x"',
    "list": "[]",
    "list of objects": "[{}]",
    "object": "{}",
    "true": "true",
    "NaN": "NaN",
    "Infinity": "Infinity",
    "-Infinity": "-Infinity",
    "1e999": "1e999",
    "1e300": "1e300",
    "deep": DEEP,
    "rather deep": "[" * 300 + "]" * 300,
    "huge integer": HUGE,
    "large integer": "9" * 400,
    "half a character": '"\\ud800"',
    "nested": '{"x": {"y": [5]}}',
    "missing": "",
}
BYTES = {
    "empty": b"",
    "torn": b'{"status": "runn',
    "binary": b"\xff\xfe\x00",
    "list": b"[]",
    "number": b"5",
    "null": b"null",
    "text": b'"x"',
    "deep": DEEP.encode(),
    "huge integer": HUGE.encode(),
    "deep inside": b'{"a": ' + DEEP.encode() + b"}",
}


def corruptions(value: dict[str, Any], field: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content): the record with each hostile value at `field`, as `a.b.0`."""
    *outer, last = field.split(".")
    for name, text in VALUES.items():
        copy = json.loads(json.dumps(value))
        place = copy
        for part in outer:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if name != "missing":
            place[int(last) if isinstance(place, list) else last] = MARK
        elif isinstance(place, list):
            del place[int(last)]
        else:
            place.pop(last, None)
        yield name, json.dumps(copy).replace(json.dumps(MARK), text).encode()


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file by a new one, as editors do."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)
