"""``/docs``: the OpenAPI document as a page to read, complete in itself.

The usual viewers load scripts from elsewhere: they are blank where there is no way out, and see the keys
typed into them.
"""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 3rem; border-bottom: 1px solid #d0d7de } h3 { margin: 2rem 0 .5rem }
code, pre { font: 14px/1.45 ui-monospace, monospace; background: #f3f5f7; border-radius: 4px }
code { padding: .1em .3em } pre { padding: .8rem; overflow-x: auto }
table { border-collapse: collapse }
td, th { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top }
summary { cursor: pointer } .method { font-weight: 600; margin-right: .5rem }
"""


def page(document: Mapping[str, Any]) -> str:
    """The page of an OpenAPI document, as HTML."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style><h1>{escape(info['title'])}</h1>",
        *(f"<p>{_text(paragraph)}</p>" for paragraph in info["description"].strip().split("\n\n")),
        "<p>The same for machines: <a href=openapi.json>openapi.json</a>.</p>",
    ]
    calls = [
        (path, method, call)
        for path, methods in document["paths"].items()
        for method, call in methods.items()
    ]
    for tag in dict.fromkeys(call["tags"][0] for _, _, call in calls):
        parts.append(f"<h2>{escape(tag)}</h2>")
        for path, method, call in calls:
            if call["tags"][0] == tag:
                parts += _call(path, method, call)
    return "\n".join(parts)


def _call(path: str, method: str, call: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h3><span class=method>{method.upper()}</span><code>{escape(path)}</code></h3>"
    yield f"<p><strong>{escape(call['summary'])}.</strong> {_text(call.get('description', ''))}</p>"
    if call.get("parameters"):
        yield "<table><tr><th>Parameter<th>In<th>Meaning</tr>"
        for parameter in call["parameters"]:
            meaning = _text(parameter.get("description", ""))
            yield f"<tr><td><code>{escape(parameter['name'])}</code><td>{parameter['in']}<td>{meaning}</tr>"
        yield "</table>"
    for example in _request_examples(call):
        call_line = f'curl -X {method.upper()} $URL{path} -H "Authorization: Bearer $KEY"'
        curl = f"{call_line} \\\n  -d '{_json(example['value'])}'"
        yield f"<p>{escape(example['summary'])}:</p><pre>{escape(curl)}</pre>"
    yield "<details><summary>Answers</summary><table>"
    for status, answer in call["responses"].items():
        shown = answer.get("content", {}).get("application/json", {}).get("example")
        text = f"<pre>{escape(_json(shown, indent=2))}</pre>" if shown else ""
        yield f"<tr><td>{status}<td>{_text(answer['description'])}{text}</tr>"
    yield "</table></details>"


def _request_examples(call: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = call.get("requestBody", {}).get("content", {}).get("application/json", {})
    return list(content.get("examples", {}).values())


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent)


def _text(text: str) -> str:
    """Plain text with `code` in it, as HTML."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces))
