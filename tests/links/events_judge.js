// Reads CloudEvents at a broker and lets the npm package "cloudevents" judge them. MQTT.js receives.
//
// node events_judge.js '{"url", "ca", "username", "password", "filter"}'
// Prints {"subscribed"} and, for each message, {"topic", "content_type", "properties", "payload", "event" or "error"}:
// the payload in base64, properties as a list of pairs.
const fs = require('fs');
const mqtt = require('mqtt');
const { MQTT } = require('cloudevents');

const wish = JSON.parse(process.argv[2]);
const say = (what) => console.log(JSON.stringify(what));

const client = mqtt.connect(wish.url, {
  protocolVersion: 5,
  clientId: `judge-${process.pid}`,
  ca: wish.ca && fs.readFileSync(wish.ca),
  username: wish.username,
  password: wish.password,
});

function judged(contentType, properties, payload) {
  const text = payload.toString();
  const message = {
    PUBLISH: { 'Content Type': contentType },
    'User Properties': properties,
    payload: text,
    headers: properties,
    body: text,
  };
  try {
    const event = MQTT.toEvent(message);
    event.validate();
    return { event: event.toJSON() };
  } catch (error) {
    return { error: error.message };
  }
}

client.on('message', (topic, payload, packet) => {
  const properties = { ...packet.properties?.userProperties };
  const contentType = packet.properties?.contentType;
  say({
    topic,
    content_type: contentType ?? null,
    properties,
    payload: payload.toString('base64'),
    retain: packet.retain,
    ...judged(contentType, properties, payload),
  });
});
client.on('connect', () => client.subscribe(wish.filter, { qos: 1 }, () => say({ subscribed: wish.filter })));
client.on('error', (error) => say({ refused: error.code ?? error.message }));
