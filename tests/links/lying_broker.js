// A broker of mqtt-packet that says in CONNACK what its caller wants and counts what really comes. It keeps no session and
// routes nothing.
//
// node lying_broker.js '{"connack": {...properties}, "delay", "close_on", "refuse", "hold", "deliver": [...]}'
//   connack   properties of the CONNACK, as mqtt-packet names them
//   delay     milliseconds before each PUBACK
//   close_on  ends the connection, without a word, on a PUBLISH whose payload holds this text
//   refuse    {"topic": code}: the PUBACK's reason code for this topic
//   hold      acknowledges nothing
//   deliver   messages to send after the SUBACK: {"topic", "payload", "properties"}
// Prints {"port"} and one line for each packet: {"cmd", "size", "at", "connection", ...what matters of it}, with the largest
// number of unacknowledged messages so far as "inflight" and the milliseconds since the start as "at".
const net = require('net');
const mqtt = require('mqtt-packet');

const wish = JSON.parse(process.argv[2] ?? '{}');
const began = Date.now();
const say = (what) => console.log(JSON.stringify(what));
let connections = 0;

function essence(packet) {
  const { cmd, topic, messageId, qos, retain, dup, reasonCode, subscriptions, keepalive, clientId, clean } = packet;
  const filters = subscriptions?.map((one) => one.topic);
  const payload = cmd === 'publish' ? packet.payload.toString().slice(0, 200) : undefined;
  const properties = packet.properties?.userProperties;
  return { cmd, topic, messageId, qos, retain, dup, reasonCode, filters, keepalive, clientId, clean, payload, user_properties: properties };
}

const server = net.createServer((socket) => {
  const connection = ++connections;
  const parser = mqtt.parser({ protocolVersion: 5 });
  const send = (packet) => socket.writable && socket.write(mqtt.generate(packet, { protocolVersion: 5 }));
  let open = 0;
  let most = 0;

  const act = {
    connect: () => send({ cmd: 'connack', reasonCode: 0, sessionPresent: false, properties: wish.connack ?? {} }),
    pingreq: () => send({ cmd: 'pingresp' }),
    subscribe: (packet) => {
      send({ cmd: 'suback', messageId: packet.messageId, granted: packet.subscriptions.map((one) => one.qos) });
      (wish.deliver ?? []).forEach((message, index) => send({ cmd: 'publish', qos: 1, messageId: index + 1, ...message }));
    },
    publish: (packet) => {
      if (wish.close_on && packet.payload.toString().includes(wish.close_on)) return socket.destroy();
      if (packet.qos === 0 || wish.hold) return undefined;
      const reasonCode = wish.refuse?.[packet.topic] ?? 0;
      return setTimeout(() => {
        open -= 1;
        send({ cmd: 'puback', messageId: packet.messageId, reasonCode });
      }, wish.delay ?? 0);
    },
    disconnect: () => socket.end(),
  };

  parser.on('packet', (packet) => {
    if (packet.cmd === 'publish' && packet.qos > 0) most = Math.max(most, ++open);
    say({ ...essence(packet), size: packet.length, at: Date.now() - began, connection, inflight: most });
    act[packet.cmd]?.(packet);
  });
  parser.on('error', (error) => say({ broken: error.message, connection }));
  socket.on('data', (bytes) => parser.parse(bytes));
  socket.on('close', () => say({ closed: connection, at: Date.now() - began }));
  socket.on('error', () => {});
});
server.listen(wish.port ?? 0, '127.0.0.1', () => say({ port: server.address().port }));
