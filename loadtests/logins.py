"""What a login costs a hit: a manifest in memory, for anybody, for a bearer of a token, and by name and password."""

from collections import defaultdict
from pathlib import Path

import aiohttp
import bcrypt

from edgeproxy.oci.credentials import Credentials
from loadtests.hot import rate
from loadtests.peers import REPOSITORY, docker_registry, edgeproxy, push_image
from loadtests.report import Result, compared, table

_LOGIN = Credentials("bench", "of no use elsewhere")


async def logins(directory: Path, rounds: int, seconds: int) -> Result:
    """All three at one daemon, in turn, `rounds` times, `seconds` each."""
    users = directory / "users"
    users.write_text(f"{_LOGIN.username}:{bcrypt.hashpw(_LOGIN.password.encode(), bcrypt.gensalt()).decode()}\n")
    rates: dict[str, list[float]] = defaultdict(list)
    async with docker_registry(directory / "origin") as origin:
        await push_image(origin.url, [], "latest")
        async with edgeproxy(directory / "edge", origin.url, more=f'[auth]\nhtpasswd = "{users}"\n') as proxy:
            url = f"{proxy.url}/v2/{REPOSITORY}/manifests/latest"
            ways = {"nobody": "", "bearer": f"Bearer {await _token(proxy.url)}", "basic": _LOGIN.basic()}
            for number in range(rounds):
                for name in [*ways, *ways][number % 3 :][:3]:
                    fields = [f"Authorization: {ways[name]}"] if ways[name] else []
                    rates[name].append(await rate(f"hit by {name}", url, seconds, *fields))
    nobody = rates["nobody"]
    ratios = [
        compared(f"cost of a hit for a {name} over one for nobody", nobody, rates[name], at_most=1.3)
        for name in ("bearer", "basic")
    ]
    title = "logins: seconds of a hit with a login over those without"
    return Result("logins", table(title, ratios), ratios, {"rates": rates})


async def _token(url: str) -> str:
    async with (
        aiohttp.ClientSession(headers={"Authorization": _LOGIN.basic()}) as session,
        session.get(f"{url}/token?service=docker.io&scope=repository:{REPOSITORY}:pull") as answer,
    ):
        return str((await answer.json())["token"])
