"""AWS IoT Core's port 443 for client certificates: TLS that insists on the protocol name x-amzn-mqtt-ca.

What it admits goes to a real Mosquitto over TCP. It cannot show AWS' policies or its registry of certificates.

alpn_gate.py ADDRESS PORT BROKER_PORT CERTIFICATE KEY CLIENT_AUTHORITY
Prints one line of JSON for each connection.
"""
import asyncio
import json
import ssl
import sys

NAME = "x-amzn-mqtt-ca"
address, port, broker, certificate, key, authority = sys.argv[1:7]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
context.load_verify_locations(authority)
context.verify_mode = ssl.CERT_REQUIRED
context.set_alpn_protocols([NAME])


def say(**what):
    print(json.dumps(what), flush=True)


async def pipe(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def admit(reader, writer):
    tls = writer.get_extra_info("ssl_object")
    subject = dict(pair for part in tls.getpeercert()["subject"] for pair in part)
    say(alpn=tls.selected_alpn_protocol(), client=subject.get("commonName"))
    if tls.selected_alpn_protocol() != NAME:
        writer.close()
        return
    from_broker, to_broker = await asyncio.open_connection("127.0.0.1", int(broker))
    await asyncio.gather(pipe(reader, to_broker), pipe(from_broker, writer))


async def main():
    async with await asyncio.start_server(admit, address, int(port), ssl=context) as server:
        say(listening=int(port))
        await server.serve_forever()


asyncio.run(main())
