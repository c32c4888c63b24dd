// Makes CloudEvents with the npm package "cloudevents", as messages for publish.py.
//
// node events_maker.js '[{"mode": "binary" or "structured", "topic", "event": {...}}]'
// Prints a JSON array of {"topic", "content_type", "properties": [[name, value]], "payload": base64}.
const { CloudEvent, MQTT } = require('cloudevents');

const made = JSON.parse(process.argv[2]).map(({ mode, topic, event }) => {
  const message = MQTT[mode](new CloudEvent(event));
  const given = Object.entries(message['User Properties'] ?? {}).filter(([, value]) => value !== undefined);
  const payload = typeof message.payload === 'string' ? message.payload : JSON.stringify(message.payload);
  return {
    topic,
    content_type: message.PUBLISH['Content Type'],
    properties: given.map(([name, value]) => [name, String(value)]),
    payload: Buffer.from(payload).toString('base64'),
  };
});
console.log(JSON.stringify(made));
