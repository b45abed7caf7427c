"""The page for people says what the description says, and needs nothing but itself."""

import re
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient
from starlette.applications import Starlette
from starlette.routing import Route

from flashsale.api import openapi, openapi_page, pages
from flashsale.api.openapi_curl import curl
from flashsale.outcomes import Outcome


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The description."""
    return openapi.document()


def test_the_page_mentions_each_operation(document: dict[str, Any]) -> None:
    """Given the page / Then each operation has its place in the contents, its text and its curl command."""
    page = openapi.page()
    for operation in (one for methods in document["paths"].values() for one in methods.values()):
        name = operation["operationId"]
        assert f'<a href="#{name}">' in page
        assert f'<article id="{name}">' in page
        assert operation["summary"] in page.replace("&#x27;", "'")
    for path, methods in document["paths"].items():
        for method in methods:
            assert curl(document, method=method, path=path).splitlines()[0].replace('"', "&quot;") in page
            assert path in page.replace("<wbr>", "")
    for outcome in Outcome:
        assert f"<code>{outcome.name}</code>" in page.replace("<wbr>", "")


def test_every_link_within_the_page_leads_somewhere() -> None:
    """Given the page / Then each of its inner links has a target, and no target stands twice."""
    targets = re.findall(r' id="([^"]+)"', openapi.page())
    assert len(targets) == len(set(targets))
    assert set(re.findall(r'href="#([^"]+)"', openapi.page())) <= set(targets)


async def test_the_page_needs_no_script_and_nothing_from_elsewhere() -> None:
    """Given the page as it is served / Then it keeps to its own Content-Security-Policy, and its files are there."""
    routes = [Route("/docs", pages.docs), Route("/static/{name}", pages.Pages().static)]
    async with AsyncClient(transport=ASGITransport(Starlette(routes=routes)), base_url="http://site") as client:
        served = await client.get("/docs")
        files = re.findall(r'<link [^>]*href="([^"]+)"', served.text)
        statuses = [(await client.get(file)).status_code for file in files]
    assert served.status_code == 200
    assert "default-src 'self'" in served.headers["content-security-policy"]
    assert not re.search(r"<script|<style| style=| on[a-z]+=|//[a-z0-9.-]+/[^<]*\.(js|css)", served.text)
    assert files
    assert statuses == [200] * len(files)


def test_curl_puts_examples_where_they_belong(document: dict[str, Any]) -> None:
    """Given a purchase / Then its command has the path, the right and the key, and leaves the retry out."""
    command = curl(document, method="post", path="/api/v1/sales/{sale}/items/{item}/purchase")
    assert command.splitlines() == [
        'curl -X POST "$SITE/api/v1/sales/mi3/items/silver/purchase" \\',
        '  -H "Authorization: Right $RIGHT" \\',
        "  -H 'Idempotency-Key: press-7f3a9c'",
    ]


def test_what_is_written_in_the_description_can_not_become_html() -> None:
    """Given a description with a tag in it / Then the page shows the tag as text."""
    document = openapi.document()
    document["paths"]["/healthz"]["get"]["description"] = "<script>alert(1)</script>"
    page = openapi_page.render(document)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
