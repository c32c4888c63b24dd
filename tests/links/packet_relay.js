// A relay in front of a broker that prints every MQTT packet of both directions, read by mqtt-packet. It changes nothing.
//
// node packet_relay.js '{"to"}'
// Prints {"port"} and {"from": "client" or "broker", "cmd", "connection", ...}.
const net = require('net');
const mqtt = require('mqtt-packet');

const wish = JSON.parse(process.argv[2]);
const say = (what) => console.log(JSON.stringify(what));
let connections = 0;

function watch(from, to, name, connection) {
  const parser = mqtt.parser({ protocolVersion: 5 });
  parser.on('packet', ({ cmd, topic, messageId, qos, dup, reasonCode, properties, clientId, username, subscriptions }) => {
    const filters = subscriptions?.map((one) => one.topic);
    const method = properties?.authenticationMethod;
    const user_properties = properties?.userProperties;
    say({ from: name, cmd, connection, topic, messageId, qos, dup, reasonCode, clientId, username, filters, method, user_properties });
  });
  parser.on('error', (error) => say({ from: name, broken: error.message, connection }));
  from.on('data', (bytes) => {
    parser.parse(bytes);
    to.write(bytes);
  });
  from.on('close', () => to.destroy());
  from.on('error', () => to.destroy());
}

const server = net.createServer((client) => {
  const connection = ++connections;
  const broker = net.connect(wish.to, '127.0.0.1');
  watch(client, broker, 'client', connection);
  watch(broker, client, 'broker', connection);
});
server.listen(0, '127.0.0.1', () => say({ port: server.address().port }));
