"""AWS IoT Core's websocket endpoint, as far as its documents describe it, in front of a real Mosquitto.

botocore judges the signature of the upgrade: key, region, service, host and the clock. Then the policy of a public
broadcast: a client id starts with the first prefix, topics and filters with the second. What it admits goes to
Mosquitto, packet by packet.

It cannot show: AWS' own wording, its throttling, its limits, IAM's wildcards, and what it does after 24 hours.

Prints one line of JSON for each upgrade, CONNECT, SUBSCRIBE and PUBLISH.
"""
import argparse
import asyncio
import datetime
import email.utils
import hashlib
import http
import json
import ssl
import sys
import time
from urllib.parse import unquote, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response

SERVICE = "iotdevicegateway"
NOT_AUTHORIZED = 0x87
CONNECT, PUBLISH, SUBSCRIBE = 1, 3, 8

parser = argparse.ArgumentParser()
parser.add_argument("--listen", type=int, required=True)
parser.add_argument("--broker", type=int, required=True)
parser.add_argument("--certificate", required=True)
parser.add_argument("--key", required=True)
parser.add_argument("--region", default="us-east-1")
parser.add_argument("--access-key", default="TESTACCESSKEY12345")
parser.add_argument("--secret-key", default="ABCSECRETKEY")
parser.add_argument("--tokens", help="file of `token end-in-seconds` lines; without it any token is good")
parser.add_argument("--skew", type=float, default=0, help="seconds that the clock of this gate is ahead")
parser.add_argument("--client-prefix", default="public-")
parser.add_argument("--topic-prefix", default="public/")
options = parser.parse_args()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(options.certificate, options.key)
context.set_alpn_protocols(["http/1.1"])


def say(**what):
    print(json.dumps(what), flush=True)


def now():
    return time.time() + options.skew


class Refused(Exception):
    pass


def signature(path, pairs, signed, headers, date):
    """The signature that botocore gives this request."""
    kept = sorted(pair for pair in pairs if pair[0] not in ("X-Amz-Signature", "X-Amz-Security-Token"))
    query = "&".join(f"{name}={value}" for name, value in kept)
    lines = "".join(f"{name}:{','.join(headers.get_all(name)).strip()}\n" for name in signed)
    nothing = hashlib.sha256(b"").hexdigest()
    canonical = f"GET\n{path}\n{query}\n{lines}\n{';'.join(signed)}\n{nothing}"
    request = AWSRequest(method="GET", url=path)
    request.context["timestamp"] = date
    signer = SigV4Auth(Credentials(options.access_key, options.secret_key), SERVICE, options.region)
    return signer.signature(signer.string_to_sign(request, canonical), request)


def check_token(token):
    if not options.tokens:
        return
    with open(options.tokens) as file:
        known = dict(line.split() for line in file)
    if token not in known:
        raise Refused("unknown session token")
    if float(known[token]) < now():
        raise Refused("expired session token")


def check(request):
    """Why the upgrade is refused, as Refused; else the age of its signature."""
    url = urlsplit(request.path)
    pairs = [tuple((pair + "=").split("=")[:2]) for pair in url.query.split("&")]
    query = {name: unquote(value) for name, value in pairs}
    if url.path != "/mqtt":
        raise Refused("wrong path")
    for name in ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature"):
        if name not in query:
            raise Refused(f"no {name}")
    signed = query["X-Amz-SignedHeaders"].split(";")
    if "host" not in signed or query["X-Amz-Algorithm"] != "AWS4-HMAC-SHA256":
        raise Refused("host is not signed, or another algorithm")
    key, day, region, service, end = query["X-Amz-Credential"].split("/")
    date = query["X-Amz-Date"]
    if key != options.access_key:
        raise Refused("unknown access key")
    if (day, region, service, end) != (date[:8], options.region, SERVICE, "aws4_request"):
        raise Refused("wrong credential scope")
    if query["X-Amz-Signature"] != signature(url.path, pairs, signed, request.headers, date):
        raise Refused("wrong signature")
    made = datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    age = now() - made.timestamp()
    if abs(age) > 300:
        raise Refused("clock skew")
    check_token(query.get("X-Amz-Security-Token", ""))
    return age


def judge(_connection, request):
    try:
        age = check(request)
    except Refused as refused:
        say(upgrade=403, why=str(refused), host=request.headers.get("Host"))
        # AWS names no cause.
        body = json.dumps({"message": "Forbidden", "traceId": "00000000-0000-0000-0000-000000000000"}).encode()
        headers = Headers({
            "Date": email.utils.formatdate(now(), usegmt=True),
            "x-amzn-ErrorType": "ForbiddenException",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        })
        return Response(http.HTTPStatus.FORBIDDEN.value, "Forbidden", headers, body)
    say(upgrade=101, age=round(age), host=request.headers.get("Host"))
    return None


class Packets:
    """Splits a stream into MQTT packets."""

    def __init__(self):
        self.buffer = b""

    def feed(self, data):
        self.buffer += data
        while len(self.buffer) >= 2:
            length, shift, at = 0, 0, 1
            while at < len(self.buffer) and at < 5:
                length |= (self.buffer[at] & 127) << shift
                shift, at = shift + 7, at + 1
                if not self.buffer[at - 1] & 128:
                    break
            else:
                return
            if len(self.buffer) < at + length:
                return
            packet, self.buffer = self.buffer[: at + length], self.buffer[at + length:]
            yield packet[0], packet[at:], packet


def text(body, at):
    end = at + 2 + int.from_bytes(body[at: at + 2], "big")
    return body[at + 2: end].decode(), end


def properties_end(body, at):
    length, shift = 0, 0
    while True:
        byte, at = body[at], at + 1
        length |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            return at + length


def verdict(first, body):
    """The answer to a packet that the policy forbids, and whether the connection ends; None: it passes."""
    kind = first >> 4
    if kind == CONNECT:
        client, _ = text(body, properties_end(body, 10))
        user_properties = 0x26 in body[10: properties_end(body, 10)]
        say(connect=client, user_properties=user_properties, keep_alive=int.from_bytes(body[8:10], "big"))
        if not client.startswith(options.client_prefix):
            return bytes([0x20, 3, 0, NOT_AUTHORIZED, 0]), True
    if kind == PUBLISH:
        topic, end = text(body, 0)
        allowed = topic.startswith(options.topic_prefix)
        say(publish=topic, allowed=allowed)
        if not allowed:
            return (bytes([0x40, 3]) + body[end: end + 2] + bytes([NOT_AUTHORIZED]) if first & 6 else b""), False
    if kind == SUBSCRIBE:
        at, filters = properties_end(body, 2), []
        while at < len(body):
            name, at = text(body, at)
            filters.append(name)
            at += 1
        allowed = [name.startswith(options.topic_prefix) for name in filters]
        say(subscribe=filters, allowed=allowed)
        if not all(allowed):
            return bytes([0x90, 3 + len(filters)]) + body[:2] + b"\0" + bytes([NOT_AUTHORIZED] * len(filters)), False
    return None


async def relay(client):
    reader, writer = await asyncio.open_connection("127.0.0.1", options.broker)

    async def outwards():
        packets = Packets()
        while data := await reader.read(65536):
            for _, _, packet in packets.feed(data):
                await client.send(packet)
        await client.close()

    task = asyncio.create_task(outwards())
    packets = Packets()
    try:
        async for message in client:
            if isinstance(message, str):
                raise ValueError("a text frame")
            for first, body, packet in packets.feed(message):
                answer = verdict(first, body)
                if answer is None:
                    writer.write(packet)
                    await writer.drain()
                    continue
                await client.send(answer[0]) if answer[0] else None
                if answer[1]:
                    await client.close()
    except (ConnectionClosed, ConnectionError):
        pass
    finally:
        task.cancel()
        writer.close()


async def main():
    async with serve(relay, "127.0.0.1", options.listen, ssl=context, subprotocols=["mqtt"], process_request=judge,
                     compression=None, ping_interval=None, max_size=1 << 20):
        say(listening=options.listen)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(0)
