// A broker of mqtt-packet that says in CONNACK what its caller wants and counts what really comes. It keeps no session and
// routes nothing.
//
// node lying_broker.js '{"connack": {...properties}, "delay", "close_on", "refuse", "hold", "deliver": [...]}'
//   connack   properties of the CONNACK, as mqtt-packet names them
//   delay     milliseconds before each PUBACK
//   close_on  ends the connection, without a word, on a PUBLISH whose payload holds this text
//   refuse    {"topic": code}: the PUBACK's reason code for this topic
//   hold      acknowledges nothing
//   refuse_once  {"text": code}: the PUBACK's reason code for the first PUBLISH whose payload holds this text
//   early     how the first connections end, one entry each: {"after": cmd, "code"}: on this packet with DISCONNECT and this code,
//             or without a word if there is no code
//   present   from which connection on CONNACK says that the session is kept; 0 or missing: never
//   most      ends the connection, without a word, when more messages than this are unacknowledged
//   deliver_to  delivers on the first connections only, this many; missing: on all
//   expiry    the most seconds of Session Expiry Interval that CONNACK grants
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
  const { cmd, topic, messageId, qos, retain, dup, reasonCode, subscriptions, unsubscriptions, keepalive, clientId, clean } = packet;
  const filters = subscriptions?.map((one) => one.topic) ?? unsubscriptions;
  const expiry = packet.properties?.sessionExpiryInterval;
  const payload = cmd === 'publish' ? packet.payload.toString().slice(0, 200) : undefined;
  const properties = packet.properties?.userProperties;
  return { cmd, topic, messageId, qos, retain, dup, reasonCode, filters, keepalive, clientId, clean, payload, expiry, user_properties: properties };
}

const refuseOnce = new Map(Object.entries(wish.refuse_once ?? {}));
function code_of(packet) {
  for (const [text, code] of refuseOnce) {
    if (packet.payload.toString().includes(text)) {
      refuseOnce.delete(text);
      return code;
    }
  }
  return wish.refuse?.[packet.topic] ?? 0;
}

const server = net.createServer((socket) => {
  const connection = ++connections;
  const parser = mqtt.parser({ protocolVersion: 5 });
  const send = (packet) => socket.writable && socket.write(mqtt.generate(packet, { protocolVersion: 5 }));
  let open = 0;
  let most = 0;

  const act = {
    connect: (packet) => {
      const sessionPresent = Boolean(wish.present) && connection >= wish.present;
      const asked = packet.properties?.sessionExpiryInterval ?? 0;
      const less = wish.expiry !== undefined && wish.expiry < asked ? { sessionExpiryInterval: wish.expiry } : {};
      send({ cmd: 'connack', reasonCode: 0, sessionPresent, properties: { ...less, ...(wish.connack ?? {}) } });
    },
    unsubscribe: (packet) => send({ cmd: 'unsuback', messageId: packet.messageId, granted: packet.unsubscriptions.map(() => 0) }),
    pingreq: () => send({ cmd: 'pingresp' }),
    subscribe: (packet) => {
      send({ cmd: 'suback', messageId: packet.messageId, granted: packet.subscriptions.map((one) => one.qos) });
      const messages = connection <= (wish.deliver_to ?? Infinity) ? (wish.deliver ?? []) : [];
      messages.forEach((message, index) => send({ cmd: 'publish', qos: 1, messageId: index + 1, ...message }));
    },
    publish: (packet) => {
      if (wish.close_on && packet.payload.toString().includes(wish.close_on)) return socket.destroy();
      if (wish.most && open > wish.most) return socket.destroy();
      if (packet.qos === 0 || wish.hold) return undefined;
      const reasonCode = code_of(packet);
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
    const early = wish.early?.[connection - 1];
    if (early?.after === packet.cmd) {
      // An accepted connection that ends: CONNACK comes first.
      if (packet.cmd === 'connect') act.connect(packet);
      if (early.code !== undefined) send({ cmd: 'disconnect', reasonCode: early.code });
      socket.end();
      return;
    }
    act[packet.cmd]?.(packet);
  });
  parser.on('error', (error) => say({ broken: error.message, connection }));
  socket.on('data', (bytes) => parser.parse(bytes));
  socket.on('close', () => say({ closed: connection, at: Date.now() - began }));
  socket.on('error', () => {});
});
server.listen(wish.port ?? 0, '127.0.0.1', () => say({ port: server.address().port }));
