// A subscriber with a session that outlives its connections: MQTT.js prints one short line for each message.
//
// node collect.js '{"url", "ca", "username", "password", "filter", "client_id"}'
// Prints {"subscribed"}, then "<topic> <seq of the JSON payload> <dup>" for each message, in the order of arrival.
const fs = require('fs');
const mqtt = require('mqtt');

const wish = JSON.parse(process.argv[2]);
const client = mqtt.connect(wish.url, {
  protocolVersion: 5,
  clientId: wish.client_id ?? 'collector',
  clean: false,
  ca: wish.ca && fs.readFileSync(wish.ca),
  username: wish.username,
  password: wish.password,
  reconnectPeriod: 200,
  properties: { sessionExpiryInterval: 3600, receiveMaximum: 1000 },
});
client.on('message', (topic, payload, packet) => {
  let seq = null;
  try {
    const body = JSON.parse(payload.toString());
    seq = body.seq ?? body.data?.seq ?? null;
  } catch {
    // The line then has no number.
  }
  console.log(`${topic} ${seq} ${packet.dup}`);
});
client.on('connect', () => {
  client.subscribe(wish.filter, { qos: 1 }, () => console.log(JSON.stringify({ subscribed: wish.filter })));
});
client.on('error', (error) => console.log(JSON.stringify({ refused: error.code ?? error.message })));
