"""A client that pushes, and what it pushes."""

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import OCI_MANIFEST
from tests.api.conftest import Proxy
from tests.api.wire import Parsed, request, response
from tests.fakes.shelf import image_manifest

BODY = bytes(range(256)) * 2000
DIGEST = Digest.of(BODY)
CONFIG, LAYER = b"{}", b"layer"
IMAGE = image_manifest(CONFIG, [LAYER])
TYPED = f"Content-Type: {OCI_MANIFEST}"
BEGIN = "/v2/team/app/blobs/uploads/"


async def send(proxy: Proxy, method: str, target: str, body: bytes = b"", *fields: str) -> Parsed:
    text = request(target, *fields, f"Content-Length: {len(body)}", "Connection: close", method=method, body=body)
    async with proxy.connected() as (reader, writer):
        writer.write(text)
        return await response(reader)


async def begun(proxy: Proxy, target: str = BEGIN) -> str:
    """Where the upload goes on."""
    answer = await send(proxy, "POST", target)
    assert answer.status == 202, answer.body
    return answer.fields["location"]


def named(location: str, digest: str = DIGEST) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


async def push_blob(proxy: Proxy, body: bytes, repository: str = "team/app") -> None:
    target = f"/v2/{repository}/blobs/uploads/?digest={Digest.of(body)}"
    assert (await send(proxy, "POST", target, body)).status == 201


async def push_image(proxy: Proxy, reference: str = "1.0") -> Parsed:
    for body in (CONFIG, LAYER):
        await push_blob(proxy, body)
    return await send(proxy, "PUT", f"/v2/team/app/manifests/{reference}", IMAGE, TYPED)
