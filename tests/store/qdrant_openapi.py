"""Qdrant's OpenAPI as JSON Schema, as far as docrag sends requests: `python -m tests.store.qdrant_openapi`.

It needs npm. Qdrant publishes its OpenAPI inside its JavaScript client, as TypeScript; that is turned into
JSON Schema in which an object has no keys but those that are named, and null is only null. (In the OpenAPI
itself "T or null" has a second branch that accepts anything.) One file is written for each version.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FOLDER = Path(__file__).parent
VERSIONS = ("1.16.2", "1.19.0")
"""Of Qdrant: the oldest that docrag talks to, and the newest whose client was published."""

ENDPOINTS = (
    "GET /",
    "GET /aliases",
    "GET /collections",
    "POST /collections/aliases",
    "GET /collections/{collection_name}",
    "GET /collections/{collection_name}/cluster",
    "PUT /collections/{collection_name}",
    "PATCH /collections/{collection_name}",
    "DELETE /collections/{collection_name}",
    "PUT /collections/{collection_name}/index",
    "PUT /collections/{collection_name}/points",
    "POST /collections/{collection_name}/points",
    "POST /collections/{collection_name}/points/scroll",
    "POST /collections/{collection_name}/points/count",
    "POST /collections/{collection_name}/points/batch",
    "POST /collections/{collection_name}/points/payload",
    "POST /collections/{collection_name}/points/delete",
    "POST /collections/{collection_name}/points/query/batch",
    "POST /collections/{collection_name}/facet",
)
"""What docrag uses, and nothing else."""

DASHBOARD_ENDPOINTS = (
    "POST /collections/{collection_name}/points/query",
    "POST /collections/{collection_name}/points/search/matrix/pairs",
)
"""What a person uses beyond that, with the requests of docs/qdrant-dashboard.md."""

INTEGERS = {"uint": 2**64 - 1, "uint64": 2**64 - 1, "uint32": 2**32 - 1, "uint8": 2**8 - 1}
"""The largest number of a format, which TypeScript knows only as a comment."""
PROSE = ("description", "default", "examples", "example", "format", "title", "deprecated")
"""Keys of a schema that refuse nothing."""


def file_for(version: str) -> Path:
    """Where the schema of a version is kept."""
    return FOLDER / f"qdrant_openapi_{version}.json"


def make(version: str, folder: Path) -> dict[str, Any]:
    """The schema of a version of Qdrant; node's packages are installed into the folder."""
    packages = ("ts-json-schema-generator@2", f"@qdrant/js-client-rest@{version}")
    run(folder, "npm", "install", "--no-save", "--ignore-scripts", "--prefix", ".", *packages)
    source = "node_modules/@qdrant/js-client-rest/dist/types/openapi/generated_schema.d.ts"
    (folder / "requests.ts").write_text(typescript((folder / source).read_text()))
    (folder / "tsconfig.json").write_text('{"compilerOptions": {"strict": true}, "files": ["requests.ts"]}')
    options = ("--path", "requests.ts", "--type", "Requests", "--jsDoc", "extended", "--no-type-check")
    told = json.loads(
        run(folder, "node_modules/.bin/ts-json-schema-generator", "--tsconfig", "tsconfig.json", *options)
    )
    definitions = {name: bare(schema) for name, schema in told["definitions"].items()}
    endpoints = definitions.pop("Requests")["properties"]
    return {
        "$comment": f"Requests of Qdrant {version}, from the npm package @qdrant/js-client-rest {version} "
        "(Apache-2.0); made by tests/store/qdrant_openapi.py",
        "endpoints": {name: endpoint["properties"] for name, endpoint in endpoints.items()},
        "definitions": dict(sorted(definitions.items())),
    }


def run(folder: Path, *command: str) -> str:
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def typescript(source: str) -> str:
    """The client's types, each with a name of its own, and the type `Requests` of all that docrag sends."""
    source = source.replace("(Record<string, unknown> | null)", "null").replace(" | undefined", "")
    for name in INTEGERS:
        source = re.sub(rf"(Format: {name}\b[^/]*\*/\s*\w+\??: )number\b", rf"\1{name}", source)
    integers = "".join(
        f"/**\n * @asType integer\n * @minimum 0\n * @maximum {most}\n */\nexport type {name} = number;\n"
        for name, most in INTEGERS.items()
    )
    source = re.sub(r'components\["schemas"\]\["(\w+)"\]', r"\1", source)
    head, _, rest = source.partition("export interface paths {")
    schemas = block(rest, "    schemas: {", "    };")
    types = re.sub(r"^        (\w+): ", r"export type \1 = ", schemas, flags=re.M)
    requests = "".join(
        f'    "{name}": {{ {request(name, rest)} }};\n' for name in (*ENDPOINTS, *DASHBOARD_ENDPOINTS)
    )
    return f"{head}{integers}{types}\nexport interface Requests {{\n{requests}}}\n"


def request(name: str, source: str) -> str:
    """The parameters of a query and the body of an endpoint, as members of a type."""
    method, path = name.split()
    operation = re.search(
        rf'\b{method.lower()}: operations\["(\w+)"\]', block(source, f'    "{path}": {{', "    };")
    )
    assert operation, name
    text = block(source[source.index("export interface operations") :], f"    {operation[1]}: {{", "    };")
    query = re.search(r"^            query\??: (\{.*?^            \});", text, flags=re.M | re.S)
    body = re.search(r'requestBody\??: \{\s*content: \{\s*"application/json": (.*?);$', text, flags=re.M)
    return f"query: {query[1] if query else '{}'};" + (f" body: {body[1]};" if body else "")


def block(text: str, first: str, last: str) -> str:
    """The lines between two."""
    start = text.index(f"\n{first}\n") + len(first) + 2
    return text[start : text.index(f"\n{last}\n", start)]


def bare(schema: Any) -> Any:
    """A schema without prose; names of properties are left alone."""
    if isinstance(schema, list):
        return [bare(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: bare(part) for name, part in value.items()} if key == "properties" else bare(value)
        for key, value in schema.items()
        if key not in PROSE
    }


def lines(schema: Mapping[str, Any]) -> Iterator[str]:
    """JSON with a line for each endpoint and definition, so that a difference can be read."""
    yield f'{{"$comment": {json.dumps(schema["$comment"])}'
    for part in ("endpoints", "definitions"):
        yield f',\n"{part}": {{\n'
        yield ",\n".join(f"{json.dumps(name)}: {json.dumps(told)}" for name, told in schema[part].items())
        yield "\n}"
    yield "}\n"


if __name__ == "__main__":
    for version in sys.argv[1:] or VERSIONS:
        with TemporaryDirectory() as folder:
            file_for(version).write_text("".join(lines(make(version, Path(folder)))))
