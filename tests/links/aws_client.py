"""Amazon's own client, the AWS IoT Device SDK for Python: the judge of the stand-ins, and the other end for Sluice.

aws_client.py '{"host", "port", "ca", "region", "client_id", "access_key", "secret_key", "token",
                "certificate", "key", "subscribe": [...], "publish": [[topic, text], ...], "stay": true}'

With `certificate` it logs in by mutual TLS, else by a signed websocket. Prints one line of JSON for each thing that
happens. It ends after its last publish, or with `stay` at SIGTERM.
"""
import json
import sys
import threading

from awscrt import auth, mqtt5
from awsiot import mqtt5_client_builder

wish = json.loads(sys.argv[1])
connected, over = threading.Event(), threading.Event()


def say(**what):
    print(json.dumps(what), flush=True)


def on_success(data):
    say(connack=int(data.connack_packet.reason_code))
    connected.set()


def on_failure(data):
    code = data.connack_packet.reason_code if data.connack_packet else None
    say(failed=str(data.exception).split(":")[0], connack=None if code is None else int(code))
    over.set()
    connected.set()


def on_message(data):
    packet = data.publish_packet
    properties = {item.name: item.value for item in packet.user_properties or []}
    payload = bytes(packet.payload).decode()
    say(message=packet.topic, payload=payload, properties=properties, content_type=packet.content_type)


common = dict(
    endpoint=wish["host"],
    port=wish.get("port"),
    ca_filepath=wish["ca"],
    client_id=wish["client_id"],
    on_publish_received=on_message,
    on_lifecycle_connection_success=on_success,
    on_lifecycle_connection_failure=on_failure,
    on_lifecycle_disconnection=lambda data: say(disconnected=True),
)
if "certificate" in wish:
    client = mqtt5_client_builder.mtls_from_path(
        cert_filepath=wish["certificate"], pri_key_filepath=wish["key"], **common)
else:
    provider = auth.AwsCredentialsProvider.new_static(wish["access_key"], wish["secret_key"], wish.get("token"))
    client = mqtt5_client_builder.websockets_with_default_aws_signing(
        region=wish.get("region", "us-east-1"), credentials_provider=provider, **common)

client.start()
connected.wait(30)
if not over.is_set():
    for topic in wish.get("subscribe", []):
        wanted = mqtt5.Subscription(topic_filter=topic, qos=mqtt5.QoS.AT_LEAST_ONCE)
        codes = client.subscribe(mqtt5.SubscribePacket(subscriptions=[wanted])).result(20).reason_codes
        say(suback=topic, codes=[int(code) for code in codes])
    for topic, text in wish.get("publish", []):
        packet = mqtt5.PublishPacket(topic=topic, payload=text.encode(), qos=mqtt5.QoS.AT_LEAST_ONCE)
        answer = client.publish(packet).result(20).puback
        say(puback=topic, code=int(answer.reason_code))
    if wish.get("stay"):
        over.wait()
client.stop()
