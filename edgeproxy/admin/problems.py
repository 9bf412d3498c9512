"""Errors as RFC 9457 problem documents."""

from http import HTTPStatus

from aiohttp import web


def problem(status: int, detail: str) -> web.Response:
    """`detail` tells what to do."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return web.json_response(document, status=status, content_type="application/problem+json")
