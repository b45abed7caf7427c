"""Renders an OpenAPI document as one HTML page: on the server, without a script, so that it works wherever HTML does.

It reads the part of OpenAPI that our own document uses.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from flashsale.api.openapi_curl import curl
from flashsale.api.openapi_html import breakable, escaped, inline, listing, paragraphs, pretty, row, table

_HEAD: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="/static/favicon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/docs.css">
</head>
<body>
"""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One operation with where it stands."""

    method: str
    path: str
    data: dict[str, Any]

    @property
    def anchor(self) -> str:
        return str(self.data["operationId"])


def render(document: dict[str, Any]) -> str:
    """The whole page."""
    entries = [
        _Entry(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    by_tag = {
        tag["name"]: [entry for entry in entries if tag["name"] in entry.data["tags"]] for tag in document["tags"]
    }
    sections = [_section(document, tag, by_tag[tag["name"]]) for tag in document["tags"]]
    parts = [
        _HEAD.format(title=f"{escaped(document['info']['title'])} API"),
        _contents(document, by_tag),
        '<main id="top">',
        _introduction(document),
        *sections,
        _outcomes(document["components"]["schemas"]["Outcome"]),
        _shapes(document["components"]["schemas"]),
        "</main>\n</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _contents(document: dict[str, Any], by_tag: dict[str, list[_Entry]]) -> str:
    lines = ['<nav aria-label="Contents">', f'<a class="brand" href="#top">{escaped(document["info"]["title"])}</a>']
    for tag, entries in by_tag.items():
        lines.append(f"<h2>{escaped(tag)}</h2>\n<ul>")
        lines += [f'<li><a href="#{entry.anchor}">{escaped(entry.data["summary"])}</a></li>' for entry in entries]
        lines.append("</ul>")
    lines.append('<h2>Reference</h2>\n<ul>\n<li><a href="#letting-in">Who is let in</a></li>')
    lines.append('<li><a href="#outcomes">Outcomes</a></li>\n<li><a href="#shapes">Bodies</a></li>')
    lines.append('<li><a href="/openapi.json">openapi.json</a></li>\n</ul>\n</nav>')
    return "\n".join(lines)


def _introduction(document: dict[str, Any]) -> str:
    info = document["info"]
    rows = (
        row(f"<code>{escaped(scheme['name'] if scheme['type'] == 'apiKey' else 'Authorization')}</code>"
             f'<span class="soft">{escaped(name)}</span>', inline(scheme["description"]))
        for name, scheme in document["components"]["securitySchemes"].items()
    )  # fmt: skip
    return (
        f'<header>\n<h1>{escaped(info["summary"])}</h1>\n<p class="soft">Version {escaped(info["version"])}</p>\n'
        f'</header>\n<div class="introduction">{paragraphs(info["description"])}</div>\n'
        "<p>The examples take the site's address from <code>$SITE</code>, for instance "
        "<code>SITE=http://127.0.0.1:8000</code>, and the fan's token and right from <code>$TOKEN</code> and "
        "<code>$RIGHT</code>.</p>\n"
        f'<section id="letting-in">\n<h2>Who is let in</h2>\n{table(("Header", "What it holds"), rows)}\n</section>'
    )


def _section(document: dict[str, Any], tag: dict[str, Any], entries: Iterable[_Entry]) -> str:
    articles = "\n".join(_operation(document, entry) for entry in entries)
    return f"<section>\n<h2>{escaped(tag['name'])}</h2>\n{paragraphs(tag['description'])}\n{articles}\n</section>"


def _operation(document: dict[str, Any], entry: _Entry) -> str:
    operation = entry.data
    parameters = [_resolved(document, one) for one in operation.get("parameters", [])]
    parts = [
        f'<article id="{entry.anchor}">',
        f'<h3><a href="#{entry.anchor}">{escaped(operation["summary"])}</a></h3>',
        _route(entry),
        paragraphs(operation["description"]),
        _let_in(document, operation),
        _parameters(parameters),
        _request(operation),
        "<h4>Example</h4>",
        listing(curl(document, method=entry.method, path=entry.path)),
        *_success_examples(operation),
        "<h4>Answers</h4>",
        table(("Answer", "Meaning"), _answers(operation)),
        "</article>",
    ]
    return "\n".join(part for part in parts if part)


def _route(entry: _Entry) -> str:
    method = f'<span class="method {entry.method}">{entry.method.upper()}</span>'
    return f'<p class="route">{method} <code>{breakable(entry.path, "/")}</code></p>'


def _let_in(document: dict[str, Any], operation: dict[str, Any]) -> str:
    schemes = document["components"]["securitySchemes"]

    def header(name: str) -> str:
        told = schemes[name].get("name", "Authorization")
        return f"<code>{escaped(told if told != 'Authorization' else f'{told}: {name}')}</code>"

    ways = [", ".join(header(name) for name in way) for way in operation.get("security", [])]
    return f'<p class="soft">Needs {" or ".join(ways)}. <a href="#letting-in">Who is let in</a></p>' if ways else ""


def _parameters(parameters: list[dict[str, Any]]) -> str:
    if not parameters:
        return ""
    rows = (
        row(f"<code>{escaped(one['name'])}</code><span class=\"soft\">{escaped(one['in'])}"
             f"{'' if one['required'] else ', optional'}</span>",
             f"{inline(one['description'])}.{_bounds(one['schema'])}")
        for one in parameters
    )  # fmt: skip
    return f"<h4>Parameters</h4>\n{table(('Name', 'Meaning'), rows)}"


def _request(operation: dict[str, Any]) -> str:
    if "requestBody" not in operation:
        return ""
    body = operation["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    return f"<h4>Body</h4>\n<p>{_kind(schema)}{'' if body['required'] else ', optional'}, as application/json.</p>"


def _success_examples(operation: dict[str, Any]) -> Iterator[str]:
    """What comes back when all goes well."""
    for status, response in operation["responses"].items():
        for content in response.get("content", {}).values():
            if status.startswith("2") and "example" in content:
                example = content["example"]
                yield listing(example if isinstance(example, str) else pretty(example))


def _answers(operation: dict[str, Any]) -> Iterator[str]:
    for status, response in operation["responses"].items():
        content: dict[str, Any] = next(iter(response.get("content", {}).values()), {})
        problems = content.get("examples", {})
        for code, problem in problems.items():
            yield row(f"<strong>{status}</strong> <code>{breakable(code, '_')}</code>", _problem_words(problem))
        if not problems:
            schema = content.get("schema", {})
            kind = f" {_kind(schema)}" if "$ref" in schema else ""
            yield row(f"<strong>{status}</strong>{kind}", f"{inline(response['description'])}.{_headers(response)}")


def _problem_words(problem: dict[str, Any]) -> str:
    wait_s = problem["value"].get("retry_after_s")
    again = f' <span class="soft">Ask again after {wait_s} s or more.</span>' if wait_s else ""
    return f"{inline(problem['summary'])}.{again}"


def _headers(response: dict[str, Any]) -> str:
    told = "; ".join(
        f"<code>{escaped(name)}</code>: {inline(header['description'])}"
        for name, header in response.get("headers", {}).items()
    )
    return f'<span class="soft below">{told}</span>' if told else ""


def _outcomes(schema: dict[str, Any]) -> str:
    rows = (
        row(f"<code>{breakable(name, '_')}</code>", f"{inline(words)}.")
        for name, words in schema["x-enum-descriptions"].items()
    )
    told = f"{paragraphs(schema['description'])}\n{table(('Outcome', 'Meaning'), rows)}"
    return f'<section id="outcomes">\n<h2>Outcomes</h2>\n{told}\n</section>'


def _shapes(schemas: dict[str, Any]) -> str:
    shown = "\n".join(_shape(name, schema) for name, schema in schemas.items() if "properties" in schema)
    return f'<section id="shapes">\n<h2>Bodies</h2>\n{shown}\n</section>'


def _shape(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = (
        row(f"<code>{escaped(field)}</code><span class=\"soft\">{_kind(one)}"
             f"{'' if field in required else ', optional'}</span>", _meaning(one))
        for field, one in schema["properties"].items()
    )  # fmt: skip
    words = paragraphs(schema["description"])
    return f'<article id="body-{name}">\n<h3>{name}</h3>\n{words}\n{table(("Field", "Meaning"), rows)}\n</article>'


def _meaning(schema: dict[str, Any]) -> str:
    words = f"{inline(schema['description'])}." if "description" in schema else ""
    return words + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    values = [schema["const"]] if "const" in schema else schema.get("enum", [])
    told = [" or ".join(f"<code>{breakable(str(value), '_')}</code>" for value in values)] if values else []
    if "maxLength" in schema:
        told.append(f"At most {schema['maxLength']} characters")
    return f'<span class="soft below">{". ".join(told)}.</span>' if told else ""


def _kind(schema: dict[str, Any]) -> str:
    """The type of a value, with a way to its own description where it has one."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f'<a href="#{"outcomes" if name == "Outcome" else f"body-{name}"}">{name}</a>'
    if "oneOf" in schema:
        return " or ".join(_kind(one) for one in schema["oneOf"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return " or ".join(escaped(one) for one in types)


def _resolved(document: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["parameters"][reference["$ref"].rpartition("/")[2]]
    return found
