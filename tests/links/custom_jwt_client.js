// MQTT.js as a client of a broker with CUSTOM-JWT: logs in, renews the token on the connection, subscribes, publishes.
// It shows that the test broker admits and refuses what it should, with a client that is not Sluice.
//
// node custom_jwt_client.js '{"url", "key", "client_id", "ca", "method", "claims", "renew", "subscribe", "publish"}'
// Prints one line of JSON for each thing that happens, and ends after the last.
const crypto = require('crypto');
const fs = require('fs');
const mqtt = require('mqtt');

const wish = JSON.parse(process.argv[2]);
const say = (what) => console.log(JSON.stringify(what));
const encode = (text) => Buffer.from(text).toString('base64url');

function token(claims) {
  const now = Math.floor(Date.now() / 1000);
  const all = { iss: 'sluice-test', sub: wish.client_id, aud: '127.0.0.1/', nbf: now - 60, exp: now + 600, ...claims };
  const plain = `${encode('{"alg":"RS256","typ":"JWT"}')}.${encode(JSON.stringify(all))}`;
  return Buffer.from(`${plain}.${crypto.sign('RSA-SHA256', plain, fs.readFileSync(wish.key)).toString('base64url')}`);
}

const client = mqtt.connect(wish.url, {
  protocolVersion: 5,
  clientId: wish.client_id,
  reconnectPeriod: 0,
  ca: wish.ca && fs.readFileSync(wish.ca),
  properties: { authenticationMethod: wish.method ?? 'CUSTOM-JWT', authenticationData: token(wish.claims) },
});

client.handleAuth = (packet, done) => {
  say({ auth: packet.reasonCode });
  done();
};

const packetOf = (act) => new Promise((resolve) => act((error, packet) => resolve(error ? error.code : packet)));

client.on('connect', async (connack) => {
  say({ connack: connack.reasonCode, method: connack.properties?.authenticationMethod });
  for (const filter of wish.subscribe ?? []) {
    const granted = await new Promise((resolve) => client.subscribe(filter, { qos: 1 }, (error, list, packet) => resolve(packet)));
    say({ suback: filter, codes: granted?.granted });
  }
  for (const topic of wish.publish ?? []) {
    const answer = await packetOf((done) => client.publish(topic, 'x', { qos: 1 }, done));
    say({ puback: topic, code: typeof answer === 'number' ? answer : answer?.reasonCode ?? 0 });
  }
  for (const renewal of wish.renew ?? []) {
    const properties = { authenticationMethod: renewal.method ?? 'CUSTOM-JWT', authenticationData: token(renewal.claims) };
    client._writePacket({ cmd: 'auth', reasonCode: 0x19, properties });
    await new Promise((resolve) => client.once('packetreceive', resolve));
  }
  if (!wish.stay) client.end();
});
client.on('disconnect', (packet) => say({ disconnect: packet.reasonCode }));
client.on('error', (error) => {
  say({ refused: error.code ?? error.message });
  client.end(true);
});
client.on('close', () => {
  say({ closed: true });
  process.exit();
});
