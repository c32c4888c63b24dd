// Asks for a guest's credential, subscribes at the broker over websockets, and shows what arrives. The topic stands in
// the page's fragment: /public#public/news. It implements only the part of MQTT 5 that it needs, and publishes nothing.
'use strict';

const KEEP_ALIVE_SECONDS = 30;
const SHOWN_MAX = 200; // messages on the page
const SHOWN_BYTES = 4096; // of one message
const PACKET_MAX = 1 << 20; // a larger one ends the connection
const PATIENCE_MS = 15000; // for the broker's answers
const RETRY_MS = { first: 2000, most: 60000 };
const MARGIN_MS = 30000; // a credential is replaced this long before it ends

const encoder = new TextEncoder();
const decoder = new TextDecoder();

// --- MQTT 5: packets as bytes

function number(value) {
  const bytes = [];
  do {
    bytes.push(value % 128 + (value > 127 ? 128 : 0));
    value = Math.floor(value / 128);
  } while (value > 0);
  return bytes;
}

function text(value) {
  const bytes = encoder.encode(value);
  return [bytes.length >> 8, bytes.length & 255, ...bytes];
}

const packet = (head, ...body) => Uint8Array.from([head, ...number(body.length), ...body]);
// Clean start, user name and password; no properties.
const connect = (clientId, user, password) => packet(0x10, ...text('MQTT'), 5, 0xc2, 0, KEEP_ALIVE_SECONDS, 0,
  ...text(clientId), ...text(user), ...text(password));
// Packet 1, no properties; QoS 0, so that nothing has to be acknowledged.
const subscribe = (filter) => packet(0x82, 0, 1, 0, ...text(filter), 0);
const PING = packet(0xc0);

// A number of variable length at `at`, and where it ends; null when it is not all there.
function readNumber(bytes, at) {
  for (let value = 0, place = 0; place < 4; place++) {
    if (at + place >= bytes.length) return null;
    value += (bytes[at + place] & 127) * 128 ** place;
    if (bytes[at + place] < 128) return { value, end: at + place + 1 };
  }
  throw new Error('the broker sent what is not MQTT');
}

// Cuts whole packets off the bytes; what is left waits for more.
function* packets(state) {
  for (;;) {
    const length = state.bytes.length > 1 ? readNumber(state.bytes, 1) : null;
    if (length && length.value > PACKET_MAX) throw new Error('the broker sent too large a message');
    if (!length || state.bytes.length < length.end + length.value) return;
    const end = length.end + length.value;
    const whole = { head: state.bytes[0], body: state.bytes.slice(length.end, end) };
    state.bytes = state.bytes.slice(end);
    yield whole;
  }
}

function message(head, body) {
  const topicEnd = 2 + (body[0] << 8 | body[1]);
  const properties = readNumber(body, topicEnd + (head & 6 ? 2 : 0));
  return { topic: decoder.decode(body.slice(2, topicEnd)), payload: body.slice(properties.end + properties.value) };
}

const code = (reason) => `reason code 0x${reason.toString(16)}`;

// One connection. Returns when `until` has come; throws when it ends earlier or is refused.
function listen(url, credential, filter, until) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, ['mqtt']);
    socket.binaryType = 'arraybuffer';
    const state = { bytes: new Uint8Array(0), heard: performance.now() };
    const end = (done, value) => {
      clearTimeout(patience);
      clearTimeout(renewal);
      clearInterval(pings);
      socket.onclose = socket.onmessage = null;
      socket.close();
      done(value);
    };
    const fail = (words, isRefusal = false) => end(reject, Object.assign(new Error(words), { isRefusal }));
    const patience = setTimeout(() => fail('the broker does not answer'), PATIENCE_MS);
    const renewal = setTimeout(() => end(resolve), Math.max(until - performance.now(), 0));
    const pings = setInterval(() => {
      if (performance.now() - state.heard > 2000 * KEEP_ALIVE_SECONDS) fail('the broker does not respond');
      else if (socket.readyState === WebSocket.OPEN) socket.send(PING);
    }, 1000 * KEEP_ALIVE_SECONDS);

    const take = ({ head, body }) => {
      switch (head >> 4) {
        case 2: // CONNACK
          if (body[1] >= 128) return fail(`the broker refused the connection (${code(body[1])})`, true);
          return socket.send(subscribe(filter));
        case 9: { // SUBACK
          const reason = body[body.length - 1];
          if (reason >= 128) return fail(`the broker refused the subscription (${code(reason)})`, true);
          clearTimeout(patience);
          return show('subscribed', `Subscribed to ${filter}`);
        }
        case 3: // PUBLISH
          return add(message(head, body));
        case 14: // DISCONNECT
          return fail(`the broker ended the connection (${code(body.length ? body[0] : 0)})`);
      }
    };
    const random = crypto.getRandomValues(new Uint32Array(1))[0].toString(16);
    socket.onopen = () => socket.send(connect(credential.client_id_prefix + random, credential.username, credential.token));
    socket.onclose = () => fail('the connection to the broker was closed');
    socket.onmessage = ({ data }) => {
      state.heard = performance.now();
      const more = new Uint8Array(data);
      const bytes = new Uint8Array(state.bytes.length + more.length);
      bytes.set(state.bytes);
      bytes.set(more, state.bytes.length);
      state.bytes = bytes;
      try {
        for (const whole of packets(state)) take(whole);
      } catch (error) {
        fail(error.message);
      }
    };
  });
}

// --- the page

function show(state, words) {
  const line = document.getElementById('state');
  line.dataset.state = state;
  line.textContent = words;
}

// What came from strangers is set as text, never as markup.
function add({ topic, payload }) {
  const cut = payload.length > SHOWN_BYTES ? ' …' : '';
  const parts = [['time', new Date().toLocaleTimeString()], ['code', topic],
    ['pre', decoder.decode(payload.slice(0, SHOWN_BYTES)) + cut]];
  const item = document.createElement('li');
  for (const [name, words] of parts) {
    item.appendChild(document.createElement(name)).textContent = words;
  }
  const list = document.getElementById('messages');
  list.prepend(item);
  while (list.children.length > SHOWN_MAX) list.lastChild.remove();
}

async function ask() {
  const response = await fetch('public/credentials', { method: 'POST', signal: AbortSignal.timeout(PATIENCE_MS) });
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail || `no credential (${response.status})`);
  if (!body.websocket_url) throw new Error('PUBLIC_WEBSOCKET_URL, the address of the broker, is not set');
  return body;
}

async function run() {
  const filter = decodeURIComponent(location.hash.slice(1)) || 'public/#';
  if (!filter.startsWith('public/')) return show('refused', `${filter} is not under public/: guests may subscribe only there`);
  let [credential, until, pause] = [null, 0, RETRY_MS.first];
  for (;;) {
    try {
      if (!credential || performance.now() >= until) {
        show('asking', 'Asking for a credential');
        credential = await ask();
        until = performance.now() + 1000 * credential.expires_in - MARGIN_MS;
      }
      show('connecting', 'Connecting');
      const begun = performance.now();
      await listen(credential.websocket_url, credential, filter, until).finally(() => {
        if (performance.now() - begun > RETRY_MS.most) pause = RETRY_MS.first;
      });
    } catch (error) {
      if (error.isRefusal) credential = null;
      show('waiting', `${error.message}; retrying`);
      await new Promise((done) => setTimeout(done, pause * (0.5 + Math.random() / 2)));
      pause = Math.min(2 * pause, RETRY_MS.most);
    }
  }
}

addEventListener('hashchange', () => location.reload());
run().catch((error) => show('refused', error.message));
