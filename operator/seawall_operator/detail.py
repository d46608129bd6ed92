"""GET /v1/sidecars/NAMESPACE/PROFILE: what each pod of a namespace said last. Statuses hold only counts of them."""

import asyncio
from collections.abc import Callable, Mapping

from aiohttp import web

from seawall_operator.callers import Callers, Denied
from seawall_operator.shelf import Shelf
from seawall_operator.sidecars import Key, Report


class Detail:
    """For pods of the same namespace."""

    def __init__(self, shelf: Shelf, callers: Callers, reports: Callable[[Key], Mapping[str, Report]]) -> None:
        self._shelf = shelf
        self._callers = callers
        self._reports = reports

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/sidecars/{namespace}/{profile}", self._sidecars)]

    async def _sidecars(self, request: web.Request) -> web.Response:
        key = request.match_info["namespace"], request.match_info["profile"]
        caller = await self._callers.ask(request.headers.get("Authorization", ""), key[0])
        if isinstance(caller, Denied):
            return web.Response(status=caller.status, headers=caller.fields, text=caller.text)
        now = asyncio.get_running_loop().time()
        sidecars = [
            {"pod": pod, "running": r.running, "refused": r.refused, "error": r.error, "secondsAgo": int(now - r.at)}
            for pod, r in sorted(self._reports(key).items())
        ]
        return web.json_response({"revision": self._shelf.of(key).revision, "sidecars": sidecars})
