"""Publishes messages with paho-mqtt over MQTT 5 at QoS 1, with any properties, right or wrong.

publish.py '{"port", "username", "password"}' FILE, where FILE holds what events_maker.js prints.
Prints the reason code of each PUBACK, in order, as a JSON array.
"""

import base64
import json
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

wish = json.loads(sys.argv[1])
with open(sys.argv[2], encoding="utf-8") as file:
    messages = json.load(file)

codes = {}
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=wish.get("client_id", "paho"), protocol=mqtt.MQTTv5)
client.max_inflight_messages_set(1)
if wish.get("username"):
    client.username_pw_set(wish["username"], wish.get("password"))
client.on_publish = lambda _client, _data, mid, code, _properties: codes.__setitem__(mid, code.value)
client.connect("127.0.0.1", wish["port"])
client.loop_start()

order = []
for message in messages:
    properties = Properties(PacketTypes.PUBLISH)
    if message.get("content_type"):
        properties.ContentType = message["content_type"]
    if message.get("response_topic"):
        properties.ResponseTopic = message["response_topic"]
        properties.CorrelationData = message["correlation"].encode()
    if message.get("properties"):
        properties.UserProperty = [tuple(pair) for pair in message["properties"]]
    sent = client.publish(
        message["topic"],
        base64.b64decode(message["payload"]),
        qos=1,
        retain=message.get("retain", False),
        properties=properties,
    )
    sent.wait_for_publish(30)
    order.append(sent.mid)
client.disconnect()
client.loop_stop()
print(json.dumps([codes.get(mid) for mid in order]))
